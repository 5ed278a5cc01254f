//! How much memory dumps, loads and copies take: the peak resident set of the real process, as Linux counts it.
//!
//! `DCSTORE_TEST_MESSAGES=1000000` makes stores of more messages than in CI, with shorter texts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{process::Stdio, time::Duration};

use decentcom_server::storage::Backend;
use support::*;

for_each_backend! {
    moving_a_store_takes_little_memory
}

const BOUND_KIB: u64 = 100 * 1024;
/// The texts alone are larger than the bound.
const CONTENT_BYTES: u64 = 110 * 1024 * 1024;

fn moving_a_store_takes_little_memory(backend: Backend) {
    let messages = std::env::var("DCSTORE_TEST_MESSAGES").map_or(25_000, |text| text.parse().unwrap());
    let bytes = CONTENT_BYTES / messages;
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), messages, bytes as usize);
    let (dump, loaded, copied) =
        (place.text("dump.zst"), place.store(backend, "loaded"), place.store(other(backend), "copied"));
    for arguments in [&["dump", &store, "-o", &dump][..], &["load", &loaded, &dump], &["copy", &store, &copied]] {
        let peak = peak_kib(arguments);
        eprintln!("{}: {messages} messages, {} {peak} KiB", backend.name(), arguments[0]);
        assert!(peak < BOUND_KIB, "{} {peak} KiB", arguments[0]);
    }
}

/// Runs a command to its end and answers the most memory it had, in KiB.
fn peak_kib(arguments: &[&str]) -> u64 {
    let mut child = spawn(command(arguments).stdout(Stdio::null()));
    let mut peak = 0;
    loop {
        // VmHWM only grows, so the last look before the end is what counts; see proc(5).
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(line.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            assert!(peak > 0);
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
