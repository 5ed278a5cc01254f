//! Copies that are interrupted.

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
use support::*;

for_each_backend! {
    a_copy_killed_half_way_goes_on_to_the_same_checksum
    a_copy_starts_over_when_the_source_has_changed
    a_copy_told_to_stop_can_go_on
    a_store_with_other_records_is_left_alone
}

const MESSAGES: u64 = 60_000;

/// Begins a copy and ends it with a signal once it has stored something. Answers whether it was cut short.
fn cut_short(from: &str, to: &str, partial: &Path, signal: rustix::process::Signal) -> bool {
    let mut child = command(&["copy", from, to]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let wal = partial.with_extension("partial-wal");
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    while size(partial) + size(&wal) < 6_000_000 && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(300), "the copy does not get anywhere");
        std::thread::sleep(Duration::from_millis(2));
    }
    let process = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(process, signal);
    !child.wait().unwrap().success()
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
    assert!(cut_short(&from, &to, &place.path("to.partial"), rustix::process::Signal::KILL));
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
    assert!(cut_short(&from, &to, &place.path("to.partial"), rustix::process::Signal::INT));
    assert!(!place.path("to").exists() && place.path("to.partial").exists(), "{:?}", place.names());
    assert!(passed_over(&expect(0, &["copy", &from, &to]).err) > 1000);
    assert_eq!(checksum(&to), checksum(&from));
}

fn a_copy_starts_over_when_the_source_has_changed(backend: Backend) {
    let place = Place::new();
    let (from, to) = (place.store(backend, "from"), place.store(other(backend), "to"));
    large_store(backend, &place.path("from"), MESSAGES, 400);
    assert!(cut_short(&from, &to, &place.path("to.partial"), rustix::process::Signal::KILL));
    runtime().block_on(async {
        let store = opened(backend, &place.path("from")).await;
        let user = store.list_users().await.unwrap()[0].id;
        store.update_user(&user, Some("renamed since"), None).await.unwrap();
        store.close().await.unwrap();
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
