//! Standard input and output, pipes that nobody reads, disks that are full.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    process::Stdio,
};

use decentcom_server::storage::Backend;

use crate::support::*;

for_each_backend! {
    a_dump_comes_from_standard_input_and_goes_to_standard_output
    whoever_stops_reading_is_no_failure
    a_full_disk_is_one
}

/// A call with this on its standard input.
fn fed(arguments: &[&str], input: Vec<u8>) -> Called {
    let mut child = spawn(command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input))); // it may not be wanted to its end
    let said = called(child.wait_with_output().unwrap());
    writing.join().unwrap();
    said
}

fn a_dump_comes_from_standard_input_and_goes_to_standard_output(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    secret_store(backend, &place.path("store"));
    let dump = expect(0, &["dump", &store, "-o", "-", "--include-sessions"]).out;
    assert!(dump.starts_with("{\"dcstore\"") && dump.contains("\n{\"trailer\""), "{dump}");
    assert!(!std::path::Path::new("-").exists());
    let compressed = zstd::encode_all(dump.as_bytes(), 3).unwrap();
    for (number, input) in [dump.clone().into_bytes(), compressed.clone()].into_iter().enumerate() {
        let loaded = place.store(backend, &format!("loaded-{number}"));
        let said = fed(&["load", &loaded, "-", "--dry-run"], input.clone());
        assert!(said.code == 0 && said.out.contains("would load 2 users"), "{}{}", said.out, said.err);
        let said = fed(&["load", &loaded, "-"], input);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(checksum(&loaded), checksum(&store));
    }
    // A named pipe is read once too.
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writing = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::OpenOptions::new().write(true).custom_flags(0).open(pipe).unwrap().write_all(&compressed).unwrap()
    });
    let loaded = place.store(backend, "loaded-pipe");
    expect(0, &["load", &loaded, &place.text("pipe")]);
    writing.join().unwrap();
    assert_eq!(checksum(&loaded), checksum(&store));
    // What is cut off leaves nothing.
    let names = place.names();
    let cut = dump.as_bytes()[..dump.len() / 2].to_vec();
    for input in [Vec::new(), cut, b"rubbish\n".repeat(1_000_000)] {
        let said = fed(&["load", &place.store(backend, "cut"), "-"], input);
        assert_eq!(said.code, 4, "{}", said.err);
        assert_eq!(place.names(), names);
    }
    let said = expect(2, &["dump", &store, "-o", &place.text("pipe"), "--force"]);
    assert!(said.err.contains("-o -") && fs::metadata(pipe).unwrap().file_type().is_fifo(), "{}", said.err);
}

/// Reads a little of what a call says and goes away.
fn read_a_little(arguments: &[&str]) -> (i32, String) {
    let mut child = spawn(command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 100]).unwrap();
    drop(out);
    let said = called(child.wait_with_output().unwrap());
    (said.code, said.err)
}

/// Nobody reads what a call says.
fn unread(arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = spawn(command(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()));
    let said = called(child.wait_with_output().unwrap());
    (said.code, said.err)
}

fn whoever_stops_reading_is_no_failure(backend: Backend) {
    let place = Place::new();
    let (store, small) = (place.store(backend, "store"), place.store(backend, "small"));
    large_store(backend, &place.path("store"), 2000, 400);
    secret_store(backend, &place.path("small"));
    for call in [
        &["scan", &store, "messages"][..],
        &["scan", &store, "messages", "--format", "json"],
        &["scan", &store, "messages", "--raw"],
        &["dump", &store],
        &["dump", &store, "-o", "-"],
        &["dump", &store, "--format", "json"],
        &["dump", &store, "--format", "table"],
        &["dump", &store, "--format", "csv", "--only", "messages"],
    ] {
        assert_eq!(read_a_little(call), (0, String::new()), "{call:?}");
    }
    for call in [
        &["info", &small][..],
        &["info", &small, "--format", "json"],
        &["stats", &small],
        &["checksum", &small],
        &["checksum", &small, "--format", "json"],
        &["verify", &small],
        &["scan", &small, "users"],
        &["get", &small, "meta", "high_water_id"],
        &["dump", &small],
        &["dump", &small, "--format", "csv", "--only", "users"],
        &["schema"],
        &["completions", "bash"],
        &["diff", &small, &small],
    ] {
        assert_eq!(unread(call), (0, String::new()), "{call:?}");
    }
    // That two stores differ is known by the first difference.
    for format in ["text", "json"] {
        assert_eq!(read_a_little(&["diff", &store, &small, "--format", format]), (1, String::new()));
    }
}

fn a_full_disk_is_one(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), 200, 400);
    for call in [
        &["info", &store][..],
        &["stats", &store],
        &["scan", &store, "messages"],
        &["scan", &store, "messages", "--count"],
        &["verify", &store, "--format", "json", "--repair"],
        &["checksum", &store],
        &["dump", &store],
        &["dump", &store, "-o", "-"],
        &["dump", &store, "--format", "json"],
        &["dump", &store, "--format", "table"],
        &["dump", &store, "--format", "csv", "--only", "messages"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = spawn(command(call).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()));
        let said = called(child.wait_with_output().unwrap());
        // A check that finds nothing says nothing in JSON.
        if call[0] != "verify" {
            assert_eq!(said.code, 6, "{call:?} {}", said.err);
            assert!(said.err.contains("No space left"), "{}", said.err);
        }
    }
    // A file that may not grow, in place of a disk that is full.
    for name in ["dump", "dump.zst"] {
        let names = place.names();
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_dcstore")]);
        limited.args(["dump", &store, "-o", &place.text(name)]);
        let child = spawn(limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let said = called(child.wait_with_output().unwrap());
        assert_eq!(said.code, 6, "{}", said.err);
        assert!(said.err.contains("too large"), "{}", said.err);
        assert_eq!(place.names(), names);
    }
}

/// Runs a call on a terminal of its own; answers its exit code and what the terminal was sent.
fn on_a_terminal(arguments: &[&str]) -> (i32, String) {
    const SCRIPT: &str = "import os, pty, sys
sent = []
def read(terminal):
    data = os.read(terminal, 65536)
    sent.append(data)
    return data
code = pty.spawn(sys.argv[1:], read)
sys.exit(os.waitstatus_to_exitcode(code))";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", SCRIPT, env!("CARGO_BIN_EXE_dcstore")]).args(arguments);
    let child = spawn(python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let said = called(child.wait_with_output().unwrap());
    (said.code, said.out)
}

#[test]
fn what_was_looked_for_stands_out_on_a_terminal_and_nowhere_else() {
    let place = Place::new();
    secret_store(Backend::Sqlite, &place.path("store"));
    let store = place.store(Backend::Sqlite, "store");
    let call = ["--quiet", "scan", &store, "messages", "--search", "secret"];
    let (code, seen) = on_a_terminal(&call);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("content=\"\u{1b}[1;7mSECRET\u{1b}[0m after"), "{seen:?}");
    assert!(!expect(0, &call).out.contains('\u{1b}'));
}

#[test]
fn a_dump_is_not_read_from_a_terminal() {
    let place = Place::new();
    let (code, seen) = on_a_terminal(&["load", &place.store(Backend::Sqlite, "store"), "-"]);
    assert_eq!(code, 2, "{seen}");
    assert!(seen.contains("standard input is a terminal"), "{seen}");
    assert_eq!(place.names(), [""; 0]);
}
