//! Each test is also the program that it looks at.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Barrier,
    thread,
};

use super::*;
use crate::watch::again::{self, role};

const FILE: &str = "DCBENCH_TEST_FILE";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// The file that parent and child agree on.
fn file() -> File {
    File::create(env::var_os(FILE).unwrap()).unwrap()
}

fn again(test: &str, role: &str, file: &Path) -> Command {
    let mut command = again::again(module_path!(), test, role);
    command.env(FILE, file);
    command
}

/// What was counted; `None` on a system that does not let anything be counted, which is found out in another way.
fn counted(command: &mut Command) -> Option<Counted> {
    match count_syncs(command, LONG) {
        Ok(counted) => Some(counted),
        Err(NotCounted::Uncountable(why)) => {
            assert!(!ptrace_is_permitted(), "{why}, but ptrace is permitted");
            eprintln!("not tested, as this system permits no ptrace: {why}");
            None
        }
        Err(failed) => panic!("{failed}"),
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn ptrace_is_permitted() -> bool {
    use nix::{sys::ptrace, sys::wait::waitpid, unistd::Pid};
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let process = Pid::from_raw(child.id().cast_signed());
    let seized = ptrace::seize(process, ptrace::Options::PTRACE_O_EXITKILL).and_then(|()| ptrace::interrupt(process));
    let seen = seized.is_ok() && waitpid(process, None).is_ok() && ptrace::syscall_info(process).is_ok();
    child.kill().unwrap();
    child.wait().unwrap();
    seen
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn ptrace_is_permitted() -> bool {
    false
}

#[test]
fn the_syncs_of_all_threads_between_the_marks_are_counted_and_no_others() {
    if role().is_none() {
        let place = tempfile::tempdir().unwrap();
        let test = "the_syncs_of_all_threads_between_the_marks_are_counted_and_no_others";
        let Some(counted) = counted(&mut again(test, "child", &place.path().join("file"))) else { return };
        assert!(counted.status.success(), "{counted:?}");
        assert_eq!(counted.syncs, 37);
        let said: Vec<_> = counted.stdout.lines().filter(|line| line.starts_with("said")).collect();
        assert_eq!(said, ["said before", "said between", "said after"]);
        return;
    }
    let file = file();
    let sync = |times: u32| (0..times).for_each(|_| file.sync_data().unwrap());
    let say = |text: &str| std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).unwrap();
    let begun = Barrier::new(3);
    thread::scope(|scope| {
        let early = [11, 12].map(|times| {
            let (begun, sync) = (&begun, &sync);
            scope.spawn(move || {
                sync(3);
                begun.wait(); // both are there before anybody looks
                begun.wait();
                sync(times);
            })
        });
        begun.wait();
        say("\nsaid before\n");
        marks::ready().unwrap();
        begun.wait();
        say("said between\n");
        let late = [5, 6].map(|times| {
            let sync = &sync;
            scope.spawn(move || sync(times))
        });
        sync(1);
        file.sync_all().unwrap();
        rustix::fs::syncfs(&file).unwrap();
        for thread in early.into_iter().chain(late) {
            thread.join().unwrap();
        }
        assert_eq!(rustix::fs::fsync(std::io::stdin()), Err(rustix::io::Errno::INVAL)); // a pipe: nothing was synced
        marks::done().unwrap();
        say("said after\n");
        sync(4);
    });
}

#[test]
fn the_syncs_of_processes_that_it_starts_are_counted() {
    let test = "the_syncs_of_processes_that_it_starts_are_counted";
    match role().as_deref() {
        None => {
            let place = tempfile::tempdir().unwrap();
            let Some(counted) = counted(&mut again(test, "child", &place.path().join("file"))) else { return };
            assert!(counted.status.success(), "{counted:?}");
            assert_eq!(counted.syncs, 2 + 7);
        }
        Some("child") => {
            let file = file();
            marks::ready().unwrap();
            file.sync_all().unwrap();
            let path = env::var_os(FILE).unwrap();
            assert!(again(test, "grandchild", path.as_ref()).stdout(Stdio::null()).status().unwrap().success());
            file.sync_all().unwrap();
            marks::done().unwrap();
        }
        Some(_) => (0..7).for_each(|_| file().sync_all().unwrap()),
    }
}

/// Leaves its number in the file, then hangs; and if nobody has killed it by then, says so.
fn hang() {
    let path = PathBuf::from(env::var_os(FILE).unwrap());
    fs::write(path.with_extension("new"), std::process::id().to_string()).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    thread::sleep(LONG / 3);
    File::create(path.with_extension("survived")).unwrap();
}

fn has_survived(file: &Path) -> bool {
    file.with_extension("survived").exists()
}

/// Whether the process that left its number there runs.
fn runs(file: &Path) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", fs::read_to_string(file).unwrap())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|it| !it.is_empty() && !it.starts_with(['Z', 'X']))
}

#[test]
fn a_program_that_hangs_is_killed_at_the_limit() {
    let test = "a_program_that_hangs_is_killed_at_the_limit";
    match role().as_deref() {
        None => {
            thread::scope(|scope| {
                for when in ["before", "between", "after"] {
                    scope.spawn(move || {
                        let place = tempfile::tempdir().unwrap();
                        let file = place.path().join("process");
                        match count_syncs(&mut again(test, when, &file), LONG / 24).unwrap_err() {
                            NotCounted::Failed(why) => assert!(why.contains("not done after 5s"), "{when}: {why}"),
                            NotCounted::Uncountable(why) => return assert!(!ptrace_is_permitted(), "{why}"),
                        }
                        assert!(!runs(&file) && !has_survived(&file), "{when}");
                    });
                }
            });
        }
        Some(when) => {
            (when == "before").then(hang);
            marks::ready().unwrap();
            (when == "between").then(hang);
            marks::done().unwrap();
            hang();
        }
    }
}

#[test]
fn the_program_dies_with_whoever_counts() {
    let test = "the_program_dies_with_whoever_counts";
    match role().as_deref() {
        None => {
            if !ptrace_is_permitted() {
                return eprintln!("not tested, as this system permits no ptrace");
            }
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("process");
            let mut counting = again(test, "parent", &file).stdout(Stdio::null()).spawn().unwrap();
            wait_until(&mut counting, || file.exists());
            assert!(runs(&file));
            counting.kill().unwrap();
            counting.wait().unwrap();
            wait_until(&mut counting, || !runs(&file));
            assert!(!has_survived(&file));
        }
        Some("parent") => {
            let path = env::var_os(FILE).unwrap();
            panic!("{:?}", count_syncs(&mut again(test, "child", path.as_ref()), LONG));
        }
        Some(_) => {
            marks::ready().unwrap();
            hang();
        }
    }
}

fn wait_until(process: &mut Child, is_so: impl Fn() -> bool) {
    let give_up = std::time::Instant::now() + LONG;
    while !is_so() {
        assert!(std::time::Instant::now() < give_up, "waited in vain; {:?}", process.try_wait());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_does_not_do_its_part_is_an_error() {
    let why = |command: &mut Command| match count_syncs(command, LONG).unwrap_err() {
        NotCounted::Failed(why) => why,
        NotCounted::Uncountable(why) => {
            assert!(!ptrace_is_permitted(), "{why}");
            why
        }
    };
    assert!(why(&mut Command::new("no-such-program")).contains("cannot be started"));
    assert!(why(&mut Command::new("true")).contains("before it was ready"));
    let ready_only = format!("echo '{}'; read line; exit 3", marks::READY);
    let why = why(Command::new("sh").args(["-c", &ready_only]));
    assert!(why.contains("(exit status: 3) before it was done") || !ptrace_is_permitted(), "{why}");
}
