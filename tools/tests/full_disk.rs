//! A tool that has no room says so, names the file, and leaves the disk as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::process::Command;

use decentcom_server::storage::Backend;
use support::Place;

/// Runs `dcstore` beside a file system of 256 KiB, which it finds under `$DISK`. Answers its exit code, what it said, and
/// what is then on the disk.
fn on_a_small_disk(arguments: &[&str], directory: &std::path::Path) -> (i32, String, String) {
    let script =
        r#"mount -t tmpfs -o size=256k tmpfs "$DISK" && { "$@"; code=$?; } 2>&1; echo "--"; ls -A "$DISK"; exit $code"#;
    // Who may not mount may do so as root of a user namespace, where those are allowed.
    for namespaces in ["-m", "-rm"] {
        let mut command = Command::new("unshare");
        command.args([namespaces, "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_dcstore")]).args(arguments);
        let ran = command.env("DISK", directory).output().expect("unshare is installed");
        let text = String::from_utf8(ran.stdout).unwrap();
        let Some((said, left)) = text.split_once("--\n") else { continue };
        if !said.contains("permission denied") {
            return (ran.status.code().unwrap(), said.to_owned(), left.to_owned());
        }
    }
    panic!("this test needs to mount a small file system, as root or in a user namespace, and may do neither");
}

fn a_full_disk_is_named_and_nothing_is_left_on_it(backend: Backend) {
    let place = Place::new();
    support::large_store(backend, &place.path("store"), 3000, 400);
    let store = place.store(backend, "store");
    let small = place.path("small");
    std::fs::create_dir(&small).unwrap();
    let onto = |name: &str| small.join(name).display().to_string();

    let (code, said, left) = on_a_small_disk(&["dump", &store, "-o", &onto("dump.ndjson")], &small);
    assert_eq!((code, left.as_str()), (6, ""), "{said}");
    assert!(said.contains("No space left") || said.contains("full"), "{said}");
    assert!(said.contains("dump.ndjson"), "{said}");

    let dump = place.text("dump.ndjson");
    support::expect(0, &["dump", &store, "-o", &dump]);
    for target in [Backend::Sqlite, Backend::Redb] {
        let made = format!("{}:{}", target.name(), onto("made"));
        let (code, said, left) = on_a_small_disk(&["load", &made, &dump], &small);
        assert_eq!((code, left.as_str()), (6, ""), "{said}");
        assert!(said.contains("full") && said.contains("made") && !said.contains("backup"), "{said}");
        let (code, said, _) = on_a_small_disk(&["copy", &store, &made], &small);
        assert_eq!(code, 6, "{said}");
        assert!(said.contains("full") && said.contains("made") && !said.contains("backup"), "{said}");
    }
}

for_each_backend! {
    a_full_disk_is_named_and_nothing_is_left_on_it
}
