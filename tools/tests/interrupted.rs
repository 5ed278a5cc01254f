//! Commands that are interrupted: a copy can go on, of a dump or a load nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use decentcom_server::storage::Backend;
use rustix::process::Signal;
use support::*;

for_each_backend! {
    a_copy_killed_half_way_goes_on_to_the_same_checksum
    a_copy_starts_over_when_the_source_has_changed
    a_copy_told_to_stop_can_go_on
    a_store_with_other_records_is_left_alone
    of_a_dump_told_to_stop_nothing_is_left
    of_a_load_told_to_stop_nothing_is_left
    what_a_killed_dump_left_goes_with_the_next_one
    what_a_killed_load_left_goes_with_the_next_one
    what_a_killed_compacting_left_goes_with_the_next_one
}

const MESSAGES: u64 = 18_000;
/// Bytes of a store that has some of them and not all.
const ENOUGH: u64 = 5_000_000;

/// Begins a command and sends it a signal once it has stored something in files whose names begin so. It has to be cut
/// short by that; answers its exit code, if it came to one.
fn cut_short(arguments: &[&str], directory: &Path, prefix: &str, bytes: u64, signal: Signal) -> Option<i32> {
    let mut child = spawn(command(arguments).stdout(Stdio::null()).stderr(Stdio::null()));
    let begun = Instant::now();
    let stored = || -> u64 {
        let files = names(directory).into_iter().filter(|name| name.starts_with(prefix));
        files.map(|name| fs::metadata(directory.join(name)).map_or(0, |file| file.len())).sum()
    };
    while stored() < bytes {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        assert!(begun.elapsed() < Duration::from_secs(300), "it does not get anywhere");
        std::thread::sleep(Duration::from_millis(2));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap().code()
}

/// How many records the second call found already copied.
fn passed_over(said: &str) -> u64 {
    let (_, rest) = said.split_once("going on after ").unwrap_or_else(|| panic!("{said}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn a_copy_killed_half_way_goes_on_to_the_same_checksum(backend: Backend) {
    let place = Place::new();
    let (from, to) = (place.store(backend, "from"), place.store(other(backend), "to"));
    large_store(backend, &place.path("from"), MESSAGES, 400);
    cut_short(&["copy", &from, &to], place.directory(), "to.partial", ENOUGH, Signal::KILL);
    assert!(!place.path("to").exists() && place.path("to.partial").exists(), "{:?}", place.names());
    let again = expect(0, &["copy", &from, &to]);
    let passed = passed_over(&again.err);
    assert!((1000..MESSAGES).contains(&passed), "{passed}");
    assert_eq!(checksum(&to), checksum(&from));
    assert_eq!(findings(other(backend), &place.path("to")), []);
    assert!(!place.names().iter().any(|name| name.contains("partial")), "{:?}", place.names());
}

fn a_copy_told_to_stop_can_go_on(backend: Backend) {
    let place = Place::new();
    let (from, to) = (place.store(backend, "from"), place.store(other(backend), "to"));
    large_store(backend, &place.path("from"), MESSAGES, 400);
    let code = cut_short(&["copy", &from, &to], place.directory(), "to.partial", ENOUGH, Signal::INT);
    assert_eq!(code, Some(130));
    assert!(!place.path("to").exists() && place.path("to.partial").exists(), "{:?}", place.names());
    assert!(passed_over(&expect(0, &["copy", &from, &to]).err) > 1000);
    assert_eq!(checksum(&to), checksum(&from));
}

fn a_copy_starts_over_when_the_source_has_changed(backend: Backend) {
    let place = Place::new();
    let (from, to) = (place.store(backend, "from"), place.store(other(backend), "to"));
    large_store(backend, &place.path("from"), MESSAGES, 400);
    cut_short(&["copy", &from, &to], place.directory(), "to.partial", ENOUGH, Signal::KILL);
    runtime().block_on(async {
        let store = opened(backend, &place.path("from")).await;
        let user = store.list_users().await.unwrap()[0].id;
        store.update_user(&user.text(), Some("renamed since"), None).await.unwrap();
        close(&store).await;
    });
    let again = expect(0, &["copy", &from, &to]);
    assert!(again.err.contains("starting over") && again.err.contains("user"), "{}", again.err);
    assert_eq!(checksum(&to), checksum(&from));
    // What is no store is no reason to fail either.
    fs::remove_file(place.path("to")).unwrap();
    fs::write(place.path("to.partial"), "rubbish").unwrap();
    assert!(expect(0, &["copy", &from, &to]).err.contains("starting over"));
    assert_eq!(checksum(&to), checksum(&from));
}

fn a_store_with_other_records_is_left_alone(backend: Backend) {
    let place = Place::new();
    let (from, to) = (place.store(backend, "from"), place.store(other(backend), "to"));
    secret_store(backend, &place.path("from"));
    secret_store(other(backend), &place.path("to"));
    let before = checksum(&to);
    let refused = expect(2, &["copy", &from, &to]);
    assert!(refused.err.contains("has records"), "{}", refused.err);
    assert_eq!(checksum(&to), before);
    expect(4, &["copy", &place.store(other(backend), "from"), &place.store(backend, "new")]);
    assert!(!place.path("new").exists());
}

fn of_a_dump_told_to_stop_nothing_is_left(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), MESSAGES, 400);
    let names = place.names();
    let arguments = ["dump", &store, "-o", &place.text("dump")];
    assert_eq!(cut_short(&arguments, place.directory(), ".dcstore-", 1_000_000, Signal::INT), Some(130));
    assert_eq!(place.names(), names);
}

fn of_a_load_told_to_stop_nothing_is_left(backend: Backend) {
    let place = Place::new();
    large_store(backend, &place.path("store"), MESSAGES, 400);
    expect(0, &["dump", &place.store(backend, "store"), "-o", &place.text("dump")]);
    let names = place.names();
    let loaded = place.store(backend, "loaded");
    let arguments = ["load", &loaded, &place.text("dump")];
    assert_eq!(cut_short(&arguments, place.directory(), "loaded.partial", ENOUGH, Signal::INT), Some(130));
    assert_eq!(place.names(), names);
}

fn what_a_killed_dump_left_goes_with_the_next_one(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), MESSAGES, 400);
    let names = place.names();
    let arguments = ["dump", &store, "-o", &place.text("dump")];
    assert_eq!(cut_short(&arguments, place.directory(), ".dcstore-", 1_000_000, Signal::KILL), None);
    assert_ne!(place.names(), names);
    // Of one that is still at work, nothing is taken away.
    let mut slow = spawn(command(&["dump", &store, "-o", &place.text("slow")]).stderr(Stdio::null()));
    let begun = Instant::now();
    while place.names().iter().filter(|name| name.starts_with(".dcstore-")).count() != 1 {
        assert!(begun.elapsed() < Duration::from_secs(60) && slow.try_wait().unwrap().is_none(), "{:?}", place.names());
        std::thread::sleep(Duration::from_millis(1));
    }
    expect(0, &["dump", &store, "-o", &place.text("dump"), "--only", "users"]);
    assert!(slow.wait().unwrap().success());
    assert_eq!(place.names(), [&["dump".to_owned(), "slow".to_owned()], names.as_slice()].concat());
}

fn what_a_killed_load_left_goes_with_the_next_one(backend: Backend) {
    let place = Place::new();
    large_store(backend, &place.path("store"), MESSAGES, 400);
    expect(0, &["dump", &place.store(backend, "store"), "-o", &place.text("dump")]);
    let names = place.names();
    let loaded = place.store(backend, "loaded");
    let arguments = ["load", &loaded, &place.text("dump")];
    assert_eq!(cut_short(&arguments, place.directory(), "loaded.partial", ENOUGH, Signal::KILL), None);
    assert_ne!(place.names(), names);
    expect(0, &arguments);
    let lock = place.path("loaded.lock");
    assert_eq!(lock.exists(), backend == Backend::Sqlite, "{:?}", place.names());
    fs::remove_file(place.path("loaded")).unwrap();
    let _ = fs::remove_file(lock);
    assert_eq!(place.names(), names);
}

fn what_a_killed_compacting_left_goes_with_the_next_one(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), MESSAGES, 400);
    let (names, before) = (place.names(), checksum(&store));
    cut_short(&["compact", &store], place.directory(), "store.partial", 500_000, Signal::KILL);
    assert!(place.path("store.partial").exists(), "{:?}", place.names());
    assert_eq!(checksum(&store), before);
    expect(0, &["compact", &store]);
    assert_eq!(checksum(&store), before);
    let left: Vec<_> = place.names().into_iter().filter(|name| name != "store.lock").collect();
    assert_eq!(left, names.into_iter().filter(|name| name != "store.lock").collect::<Vec<_>>());
}
