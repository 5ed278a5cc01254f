//! Dumps: what is in them, what is not, and that a file is whole or not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{fs, os::unix::fs::PermissionsExt as _};

use decentcom_server::storage::{Backend, SessionDigest};
use support::*;

for_each_backend! {
    a_redacted_dump_holds_no_secret_and_loads
    sessions_leave_only_when_asked_for
    what_is_being_purged_is_in_no_dump
    damaged_rows_stop_a_dump_or_are_named_and_left_out
    the_header_the_order_and_the_trailer_are_as_documented
}

fn a_redacted_dump_holds_no_secret_and_loads(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    let token = secret_store(backend, &place.path("store"));
    let digest = SessionDigest::of(&token).to_hex();
    let open = expect(0, &["dump", &store, "--include-sessions"]).out;
    assert_eq!(open.matches("SECRET").count(), 10, "{open}");
    assert!(open.contains(&digest) && !open.contains(&token));
    for format in ["ndjson", "json", "table"] {
        let redacted = expect(0, &["dump", &store, "--include-sessions", "--redact-content", "--format", format]).out;
        assert!(!redacted.contains("SECRET") && !redacted.contains(&digest), "{redacted}");
    }
    let redacted = expect(0, &["dump", &store, "--include-sessions", "--redact-content"]).out;
    let same_lengths = redacted.lines().zip(open.lines()).skip(1).all(|(one, two)| {
        one.starts_with(r#"{"trailer""#) || (one.len(), one.chars().count()) == (two.len(), two.chars().count())
    });
    assert!(same_lengths && redacted.lines().count() == open.lines().count(), "{redacted}");
    fs::write(place.path("dump"), &redacted).unwrap();
    let loaded = place.store(backend, "loaded");
    let said = expect(0, &["load", &loaded, &place.text("dump")]);
    assert!(said.err.contains("redacted"), "{}", said.err);
    assert_eq!(ids(&expect(0, &["dump", &loaded]).out, "messages"), ids(&open, "messages"));
}

fn sessions_leave_only_when_asked_for(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    let token = secret_store(backend, &place.path("store"));
    let digest = SessionDigest::of(&token).to_hex();
    for arguments in [vec![], vec!["--format", "json"], vec!["--format", "table"], vec!["--exclude", "users"]] {
        let dump = expect(0, &[&["dump", &store], &arguments[..]].concat()).out;
        assert!(!dump.contains(&digest) && !dump.contains("sessions"), "{dump}");
    }
    let refused = expect(2, &["dump", &store, "--only", "sessions"]);
    assert!(refused.err.contains("--include-sessions"), "{}", refused.err);
    let csv = expect(0, &["dump", &store, "--only", "sessions", "--include-sessions", "--format", "csv"]).out;
    assert!(csv.starts_with(&format!("digest,user_id,created_at,expires_at\n{digest},")), "{csv}");
}

fn what_is_being_purged_is_in_no_dump(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    secret_store(backend, &place.path("store"));
    let before = expect(0, &["dump", &store]).out;
    let channel = ids(&before, "channels").remove(0);
    tamper(backend, &place.path("store"), None, Some(&channel));
    let after = expect(0, &["dump", &store]).out;
    assert_eq!((ids(&after, "channels"), ids(&after, "messages")), (vec![], vec![]));
    assert!(!after.contains(&channel) && after.contains("SECRET pubkey"));
    let copied = place.store(other(backend), "copied");
    expect(0, &["copy", &store, &copied]);
    assert_eq!(checksum(&copied), checksum(&store));
}

fn damaged_rows_stop_a_dump_or_are_named_and_left_out(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    secret_store(backend, &place.path("store"));
    let messages = ids(&expect(0, &["dump", &store]).out, "messages");
    tamper(backend, &place.path("store"), Some(&messages[0]), None);
    let names = place.names();
    let stopped = expect(4, &["dump", &store, "-o", &place.text("dump")]);
    assert!(stopped.err.contains(&messages[0]), "{}", stopped.err);
    assert_eq!(place.names(), names, "nothing is left of the dump");
    let dumped = expect(1, &["dump", &store, "-o", &place.text("dump"), "--skip-damaged"]);
    assert!(dumped.err.contains(&messages[0]) && !dumped.err.contains(&messages[1]), "{}", dumped.err);
    assert_eq!(ids(&fs::read_to_string(place.path("dump")).unwrap(), "messages"), &messages[1..]);
    expect(0, &["load", &place.store(backend, "loaded"), &place.text("dump")]);
    expect(4, &["checksum", &store]);
    expect(4, &["copy", &store, &place.store(other(backend), "copied")]);
    assert!(!place.names().iter().any(|name| name.starts_with("copied")), "{:?}", place.names());
}

fn the_header_the_order_and_the_trailer_are_as_documented(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    secret_store(backend, &place.path("store"));
    let dump = expect(0, &["dump", &store, "--include-sessions"]).out;
    let lines: Vec<&str> = dump.lines().collect();
    let header: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(header["dcstore"]["format"], 1);
    assert_eq!(header["dcstore"]["backend"], backend.name());
    let tables = ["meta", "users", "channels", "categories", "messages", "sessions"];
    assert_eq!(header["dcstore"]["tables"], serde_json::json!(tables));
    let records = &lines[1..lines.len() - 1];
    let table_of = |line: &str| line.strip_prefix(r#"{"table":""#).unwrap().split('"').next().unwrap().to_owned();
    let mut found: Vec<_> = records.iter().map(|line| table_of(line)).collect();
    found.dedup();
    assert_eq!(found, tables);
    assert!(ids(&dump, "messages").is_sorted());
    let hash = {
        use sha2::Digest as _;
        let body: String = records.iter().map(|line| format!("{line}\n")).collect();
        decentcom_kvstore::hex(&sha2::Sha256::digest(body))
    };
    let trailer: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(trailer["trailer"]["sha256"], hash);
    assert_eq!(trailer["trailer"]["records"]["users"], 2);
    // Checksums are over the same lines.
    let users: String = records.iter().filter(|it| table_of(it) == "users").map(|it| format!("{it}\n")).collect();
    use sha2::Digest as _;
    let sum = decentcom_kvstore::hex(&sha2::Sha256::digest(users));
    assert!(checksum(&store).lines().any(|line| line.starts_with("users") && line.ends_with(&sum)));
}

#[test]
fn a_file_is_private_and_not_replaced_unasked() {
    let place = Place::new();
    let store = place.store(Backend::Redb, "store");
    secret_store(Backend::Redb, &place.path("store"));
    fs::write(place.path("dump.zst"), "somebody's").unwrap();
    expect(2, &["dump", &store, "-o", &place.text("dump.zst")]);
    assert_eq!(fs::read(place.path("dump.zst")).unwrap(), b"somebody's");
    expect(0, &["dump", &store, "-o", &place.text("dump.zst"), "--force"]);
    let mode = fs::metadata(place.path("dump.zst")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let plain = zstd::decode_all(fs::File::open(place.path("dump.zst")).unwrap()).unwrap();
    assert!(plain.starts_with(br#"{"dcstore":{"format":1,"#));
    expect(6, &["dump", &store, "-o", &place.text("nowhere/dump")]);
    expect(2, &["dump", &store, "-o", "/dev/null", "--force"]);
    expect(2, &["dump", &store, "-o", &place.text("store"), "--force"]);
    let here = called(command(&["dump", &store, "-o", "here"]).current_dir(place.directory()).output().unwrap());
    assert_eq!(here.code, 0, "{}", here.err);
    checksum(&store);
    assert_eq!(place.names(), ["dump.zst", "here", "store"]);
}

#[test]
fn tables_are_chosen_by_name() {
    let place = Place::new();
    let store = place.store(Backend::Sqlite, "store");
    secret_store(Backend::Sqlite, &place.path("store"));
    let dump = expect(0, &["dump", &store, "--only", "users,meta"]).out;
    assert!(dump.contains("SECRET pubkey") && !dump.contains("SECRET channel"));
    let dump = expect(0, &["dump", &store, "--exclude", "users,messages"]).out;
    assert!(!dump.contains("SECRET pubkey") && dump.contains("SECRET channel") && !dump.contains("SECRET deleted"));
    let refused = expect(2, &["dump", &store, "--only", "message"]);
    assert!(refused.err.contains("meta, users, channels, categories, messages, sessions"), "{}", refused.err);
    expect(2, &["dump", &store, "--format", "csv"]);
    let csv = expect(0, &["dump", &store, "--format", "csv", "--only", "categories"]).out;
    assert!(csv.starts_with("id,name,position,created_at\n") && csv.contains(",SECRET category,0,"), "{csv}");
}
