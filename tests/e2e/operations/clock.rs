//! Clocks that are wrong.

use std::{fs, path::PathBuf, process::Command, time::SystemTime};

use reqwest::StatusCode;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{eventually, get, outcome};
use crate::support::{Server, preload, program};

const DAY: i64 = 24 * 3600;

/// A directory for servers, and the clock by which they live.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        machine.set_clock_off_by(0);
        machine
    }

    fn offset(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Also while a server runs.
    fn set_clock_off_by(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.offset()).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.directory.path());
        command.args(arguments).env("LD_PRELOAD", preload::time()).env("TIME_OFFSET", self.offset());
        command
    }

    fn start(&self, backend: &str, arguments: &[&str]) -> Server {
        Server::start_command(self.program(arguments), backend, &[])
    }

    /// A start that is refused; what it says.
    fn refused(&self, backend: &str, arguments: &[&str]) -> String {
        let mut command = self.program(arguments);
        command.env("DECENTCOM_STORAGE__BACKEND", backend).env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
        let (code, said) = outcome(&mut command);
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }
}

fn stop(server: Server) -> String {
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

#[test]
fn a_clock_before_1970_or_before_the_build_is_refused_at_the_start() {
    let machine = Machine::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    machine.set_clock_off_by(-now - 1000);
    for arguments in [&[][..], &["--accept-clock"]] {
        let said = machine.refused("sqlite", arguments);
        assert!(said.contains("before 1970"), "{said}");
    }
    machine.set_clock_off_by(-400 * DAY);
    let said = machine.refused("sqlite", &[]);
    assert!(said.contains("built") && said.contains("--accept-clock"), "{said}");
    assert!(!machine.directory.path().join("data").exists(), "nothing was created");
    stop(machine.start("sqlite", &["--accept-clock"]));
}

#[test]
fn a_clock_more_than_a_year_past_the_newest_commit_is_refused_until_it_is_accepted() {
    for backend in ["sqlite", "redb"] {
        let machine = Machine::new();
        stop(machine.start(backend, &[]));
        machine.set_clock_off_by(360 * DAY);
        stop(machine.start(backend, &[]));
        machine.set_clock_off_by(800 * DAY);
        for _again in 0..2 {
            let said = machine.refused(backend, &[]);
            assert!(said.contains("newest commit") && said.contains("--accept-clock"), "{said}");
        }
        stop(machine.start(backend, &["--accept-clock"]));
        stop(machine.start(backend, &[]));
        // Back in the right time, ids go on above those of the wrong one.
        machine.set_clock_off_by(0);
        stop(machine.start(backend, &[]));
    }
}

#[test]
fn an_empty_store_is_opened_by_any_clock() {
    for backend in ["sqlite", "redb"] {
        let machine = Machine::new();
        machine.set_clock_off_by(5000 * DAY);
        stop(machine.start(backend, &[]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_of_the_clock_is_logged_and_shown_and_a_leap_of_years_is_no_longer_ready() {
    let machine = Machine::new();
    let server = machine.start("redb", &[]);
    let jumped = async |at_least: u64| {
        eventually("a jump", async || {
            let (status, ready) = get(&server, "/health/ready").await;
            (ready["clock"]["jumps"].as_u64().unwrap() >= at_least).then_some((status, ready))
        })
        .await
    };
    machine.set_clock_off_by(3600);
    let (status, ready) = jumped(1).await;
    let by = ready["clock"]["last_jump"]["milliseconds"].as_i64().unwrap();
    assert_eq!(status, StatusCode::OK, "{ready}");
    assert!((3_590_000..3_610_000).contains(&by), "{ready}");
    server.says("the clock jumped ahead").await;

    machine.set_clock_off_by(800 * DAY);
    jumped(2).await;
    let reason = eventually("not ready", async || {
        let (status, ready) = get(&server, "/health/ready").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then(|| ready["reasons"][0].as_str().unwrap().to_owned())
    });
    let reason = reason.await;
    assert!(reason.contains("the clock leapt 800 days ahead"), "{reason}");
    machine.set_clock_off_by(0);
    jumped(3).await;
    eventually("ready", async || (get(&server, "/health/ready").await.0 == StatusCode::OK).then_some(())).await;
    server.says("the clock jumped back").await;
}
