//! Where a run was made, and of what.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    thread,
};

use serde::Deserialize;
use sqlx::{Connection as _, SqliteConnection};

use super::{device::Device, memory::kibibytes, mounts::Mount};
use crate::results::Machine;

/// What this program was built with.
const LOCK: &str = include_str!("../../../../Cargo.lock");
/// The parts of it whose versions matter.
const ENGINES: [&str; 3] = ["fjall", "redb", "sqlx"];

const UNKNOWN: &str = "unknown";

/// This machine, for a run in `directory`. What cannot be told is "unknown", or 0.
pub(crate) fn machine(directory: &Path) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mountinfo = read("/proc/self/mountinfo");
    let mount = directory.canonicalize().ok().and_then(|directory: PathBuf| Mount::of(&directory, &mountinfo));
    Machine {
        processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(|| env::consts::ARCH.into()),
        cores: thread::available_parallelism().map_or(0, Into::into),
        memory_bytes: kibibytes(&read("/proc/meminfo"), "MemTotal").unwrap_or_default(),
        system: system(&read("/etc/os-release")),
        file_system: mount.map_or(UNKNOWN.into(), |mount| mount.describe()),
        device: Device::under(directory).map(|device| device.name()),
        load_average: load_average(&read("/proc/loadavg")).unwrap_or_default(),
    }
}

/// Names and versions of what is measured.
pub(crate) async fn versions() -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await?;
    let sqlite: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut sqlite).await?;
    let own = [("dcbench".to_owned(), env!("CARGO_PKG_VERSION").to_owned()), ("SQLite".to_owned(), sqlite)];
    Ok(own.into_iter().chain(locked(LOCK, &ENGINES)).collect())
}

/// Those of these crates that a `Cargo.lock` has, with their versions; of a crate that is there more than once, all.
fn locked(lock: &str, names: &[&str]) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for package in toml::from_str::<Lock>(lock).map_or_else(|_| Vec::new(), |lock| lock.package) {
        if names.contains(&package.name.as_str()) {
            let version = versions.entry(package.name).or_default();
            *version = [version.as_str(), &package.version].join(" ").trim_start().to_owned();
        }
    }
    versions
}

/// The processor's name in a `/proc/cpuinfo`. On ARM, the board's name where there is one, else numbers.
fn processor(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let name = ["model name", "Model", "Hardware", "cpu"].iter().find_map(|name| field(name)).map(ToOwned::to_owned);
    name.or_else(|| Some(format!("ARM implementer {}, part {}", field("CPU implementer")?, field("CPU part")?)))
}

/// The distribution's name in an `os-release`, and the kernel that runs.
fn system(os_release: &str) -> String {
    let kernel = rustix::system::uname();
    let text = |it: &std::ffi::CStr| it.to_string_lossy().into_owned();
    let kernel = format!("{} {} {}", text(kernel.sysname()), text(kernel.release()), text(kernel.machine()));
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    match name.map(|name| name.trim_matches(['"', '\''])).filter(|name| !name.is_empty()) {
        Some(name) => format!("{name}, {kernel}"),
        None => kernel,
    }
}

/// Over the last minute.
fn load_average(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_several_kinds_have_names() {
        let name = |cpuinfo: &str| processor(cpuinfo);
        let x86 =
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9R14\nflags\t: fpu\n";
        assert_eq!(name(x86).as_deref(), Some("AMD EPYC 9R14"));
        let arm =
            "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n";
        assert_eq!(name(arm).as_deref(), Some("ARM implementer 0x41, part 0xd0c"));
        let board = format!("{arm}\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n");
        assert_eq!(name(&board).as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(name("cpu\t\t: POWER9, altivec supported\n").as_deref(), Some("POWER9, altivec supported"));
        assert_eq!(name("processor\t: 0\nmodel name\t: \n"), None);
    }

    #[test]
    fn a_system_without_a_name_or_a_load_average_is_told_as_far_as_it_is_known() {
        let kernel = system("");
        assert!(kernel.contains(&*rustix::system::uname().release().to_string_lossy()), "{kernel}");
        assert_eq!(
            system("NAME=Alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n"),
            format!("Alpine Linux v3.20, {kernel}")
        );
        assert_eq!(system("PRETTY_NAME=''\n"), kernel);
        assert_eq!(load_average("0.52 0.58 0.59 1/389 12345\n"), Some(0.52));
        assert_eq!(load_average(""), None);
    }

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "version = 4\n[[package]]\nname = \"redb\"\nversion = \"4.6.0\"\n[[package]]\nname = \"ulid\"\n\
                    version = \"3.0.0\"\n[[package]]\nname = \"redb\"\nversion = \"3.1.0\"\n";
        assert_eq!(locked(lock, &["redb", "sled"]), BTreeMap::from([("redb".into(), "4.6.0 3.1.0".into())]));
        assert_eq!(locked("no lock file", &["redb"]), BTreeMap::new());
    }

    #[tokio::test]
    async fn everything_that_is_measured_has_a_version() {
        let versions = versions().await.unwrap();
        for name in ["SQLite", "dcbench", "redb", "sqlx"] {
            let version = versions.get(name).unwrap_or_else(|| panic!("{name} is not among {versions:?}"));
            let numbers: Vec<&str> = version.split('.').collect();
            assert_eq!(numbers.len(), 3, "{name} {version}");
            assert!(numbers.iter().all(|it| it.parse::<u32>().is_ok()), "{name} {version}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let machine = machine(directory.path());
        assert!(machine.cores > 0);
        assert!(!machine.processor.is_empty());
        if cfg!(target_os = "linux") {
            assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
            assert_ne!(machine.file_system, UNKNOWN);
        }
    }
}
