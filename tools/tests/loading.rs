//! Loading: everything or nothing, beside what is there, and never beside a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{fs, path::Path};

use decentcom_server::storage::{Backend, OpenError, inspect};
use support::*;

for_each_backend! {
    a_truncated_dump_is_refused_wherever_it_ends
    an_altered_dump_is_refused_with_its_line
    what_a_store_has_stays_as_it_is
    a_dry_run_changes_nothing
    nobody_can_open_a_store_that_is_being_replaced
    a_store_in_use_is_left_alone
    a_store_left_by_a_crash_is_replaced_with_all_it_has
    a_store_behind_a_symbolic_link_is_replaced_where_it_lies
}

/// A dump of a small store.
fn small_dump(place: &Place, backend: Backend) -> String {
    let store = place.store(backend, "source");
    secret_store(backend, &place.path("source"));
    let dump = expect(0, &["dump", &store, "-o", &place.text("dump"), "--include-sessions"]);
    assert_eq!(dump.out, "");
    fs::read_to_string(place.path("dump")).unwrap()
}

/// Tries to load what is no dump; answers what is said about it. Nothing is left.
fn refused(place: &Place, backend: Backend, code: i32, name: &str, bytes: &[u8]) -> String {
    fs::write(place.path(name), bytes).unwrap();
    let names = place.names();
    let refused = expect(code, &["load", &place.store(backend, "loaded"), &place.text(name)]);
    assert_eq!(place.names(), names, "{}", refused.err);
    refused.err
}

fn a_truncated_dump_is_refused_wherever_it_ends(backend: Backend) {
    let place = Place::new();
    let dump = small_dump(&place, backend);
    for cut in (0..dump.len()).step_by(dump.len() / 40).chain([dump.len() - 1, dump.rfind("{\"trailer").unwrap()]) {
        let said = refused(&place, backend, 4, "cut", &dump.as_bytes()[..cut]);
        assert!(said.contains("truncated") || cut == 0, "{cut}: {said}");
    }
    let compressed = zstd::encode_all(dump.as_bytes(), 3).unwrap();
    for cut in (4..compressed.len()).step_by(compressed.len() / 20).chain([compressed.len() - 1]) {
        refused(&place, backend, 4, "cut", &compressed[..cut]);
    }
}

fn an_altered_dump_is_refused_with_its_line(backend: Backend) {
    let place = Place::new();
    let dump = small_dump(&place, backend);
    let lines: Vec<&str> = dump.lines().collect();
    let said = refused(&place, backend, 4, "altered", dump.replacen("SECRET after", "secret after", 1).as_bytes());
    assert!(said.contains("SHA-256"), "{said}");
    let swapped = [&[lines[0], lines[1], lines[3], lines[2]], &lines[4..]].concat().join("\n") + "\n";
    let said = refused(&place, backend, 4, "altered", swapped.as_bytes());
    assert!(said.contains("line 4") && said.contains("order"), "{said}");
    let doubled = [&lines[..3], &lines[2..]].concat().join("\n") + "\n";
    let said = refused(&place, backend, 4, "altered", doubled.as_bytes());
    assert!(said.contains("line 4") && said.contains("same key"), "{said}");
    let left_out = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
    let said = refused(&place, backend, 4, "altered", left_out.as_bytes());
    assert!(said.contains("does not exist"), "{said}");
    for (from, to, why) in [
        (r#""table":"users""#, r#""table":"bots""#, "no table `bots`"),
        (r#""deleted":true"#, r#""deleted":true,"pinned":true"#, "pinned"),
        ("SECRET other k", "SECRET pubkey", "pubkey"),
        (r#""format":1"#, r#""format":0"#, "format"),
        (r#""trailer":{"#, r#""trailer":{"more":1,"#, "more"),
        (r#""users":2"#, r#""users":3"#, "counts"),
        (r#""content":"SECRET after"#, "\"content\":\"\u{1}", "control character"),
    ] {
        let altered = dump.replacen(from, to, 1);
        assert_ne!(altered, dump, "{from}");
        let said = refused(&place, backend, 4, "altered", altered.as_bytes());
        assert!(said.contains(why) && said.contains("line "), "{said}");
    }
    let created_at = dump.split(r#""created_at":""#).nth(1).unwrap()[..24].to_owned();
    let altered = dump.replacen(&created_at, "2001-01-01T00:00:00.000Z", 1);
    assert!(refused(&place, backend, 4, "altered", altered.as_bytes()).contains("created_at"));
    let long = dump.replacen("SECRET pubkey", &"k".repeat(257), 1);
    assert!(refused(&place, backend, 4, "altered", long.as_bytes()).contains("257 bytes"));
    refused(&place, backend, 4, "altered", format!("{dump}\n").as_bytes());
    refused(&place, backend, 4, "altered", b"no dump\n");
    refused(&place, backend, 4, "altered", &[0xFF; 100]);
    refused(&place, backend, 5, "altered", dump.replacen(r#""format":1"#, r#""format":2,"new":1"#, 1).as_bytes());
    // A line without an end takes no more memory than the longest one there can be.
    let endless = [lines[0].as_bytes(), b"\n{\"table\":\"", &vec![b'x'; 20_000_000]].concat();
    assert!(refused(&place, backend, 4, "altered", &endless).contains("longer than"));
}

fn what_a_store_has_stays_as_it_is(backend: Backend) {
    let place = Place::new();
    let dump = small_dump(&place, other(backend));
    let target = place.store(backend, "target");
    expect(0, &["load", &target, &place.text("dump")]);
    let message = ids(&dump, "messages").remove(0);
    let (user, later) = runtime().block_on(async {
        let store = opened(backend, &place.path("target")).await;
        store.update_message(&message, "changed since").await.unwrap();
        let user = store.create_user("new key", None).await.unwrap();
        let channel = store.list_channels().await.unwrap()[0].id;
        let later = store.create_message(&channel.text(), &user.id.text(), "later").await.unwrap();
        close(&store).await;
        (user.id.to_string(), later.id.to_string())
    });
    runtime().block_on(async {
        let store = opened(other(backend), &place.path("source")).await;
        let channel = store.list_channels().await.unwrap()[0].id;
        let author = store.list_users().await.unwrap()[0].id;
        store.create_message(&channel.text(), &author.text(), "only in the dump").await.unwrap();
        close(&store).await;
    });
    let source = place.store(other(backend), "source");
    expect(0, &["dump", &source, "-o", &place.text("dump"), "--force"]);
    let before = checksum(&target);
    let refused = expect(2, &["load", &target, &place.text("dump")]);
    assert!(refused.err.contains("--skip-existing"), "{}", refused.err);
    assert_eq!(checksum(&target), before);
    let loaded = expect(0, &["load", &target, &place.text("dump"), "--skip-existing"]);
    assert!(loaded.out.contains("1 messages") && loaded.out.contains("6 records were there"), "{}", loaded.out);
    let now = expect(0, &["dump", &target, "--include-sessions"]).out;
    assert!(now.contains("changed since") && now.contains("only in the dump") && now.contains(&user), "{now}");
    assert!(now.contains(r#"{"table":"sessions""#) && ids(&now, "messages").contains(&later));
    assert_eq!(findings(backend, &place.path("target")), []);
    // A key that another user has by now is refused, and nothing changes.
    let before = checksum(&target);
    let id = ids(&now, "users")[0].clone();
    let taken = dump.replace(&id, &id.replace(&id[24..], if id.ends_with("00") { "01" } else { "00" }));
    let taken = with_trailer(&taken);
    fs::write(place.path("taken"), taken).unwrap();
    let refused = expect(4, &["load", &target, &place.text("taken"), "--skip-existing"]);
    assert!(refused.err.contains("another user has its pubkey"), "{}", refused.err);
    assert_eq!(checksum(&target), before);
}

/// A dump whose records were changed, with the hash that they have now.
fn with_trailer(dump: &str) -> String {
    use sha2::Digest as _;
    let (rest, trailer) = dump.trim_end().rsplit_once('\n').unwrap();
    let (header, records) = rest.split_once('\n').unwrap();
    let (start, _) = trailer.rsplit_once(':').unwrap();
    let hash = decentcom_kvstore::hex(&sha2::Sha256::digest(format!("{records}\n")));
    format!("{header}\n{records}\n{start}:\"{hash}\"}}}}\n")
}

fn a_dry_run_changes_nothing(backend: Backend) {
    let place = Place::new();
    let dump = small_dump(&place, backend);
    let names = place.names();
    let target = place.store(backend, "target");
    let said = expect(0, &["load", &target, &place.text("dump"), "--dry-run"]).out;
    assert!(said.contains("would load 2 users, 1 channels, 1 categories, 2 messages, 1 sessions"), "{said}");
    assert_eq!(place.names(), names);
    let source = place.store(backend, "source");
    let bytes = fs::read(place.path("source")).unwrap();
    expect(2, &["load", &source, &place.text("dump"), "--dry-run"]);
    let said = expect(0, &["load", &source, &place.text("dump"), "--dry-run", "--skip-existing"]).out;
    assert!(said.contains("would load 0 users") && said.contains("7 records"), "{said}");
    assert_eq!(fs::read(place.path("source")).unwrap(), bytes);
    assert_eq!(place.names(), names);
    fs::write(place.path("cut"), &dump[..dump.len() / 2]).unwrap();
    expect(4, &["load", &target, &place.text("cut"), "--dry-run"]);
}

fn nobody_can_open_a_store_that_is_being_replaced(backend: Backend) {
    let place = Place::new();
    secret_store(backend, &place.path("store"));
    let claimed = inspect::Claim::on(backend, &place.path("store")).unwrap();
    assert!(claimed.1.is_some());
    assert_in_use(backend, &place.path("store"));
    expect(3, &["load", &place.store(backend, "store"), &place.text("dump"), "--skip-existing"]);
    let (claim, existing) = claimed;
    drop(existing);
    drop(claim);
    nobody_is_starting();
    let names = place.names();
    assert!(names == ["store"] || names == ["store", "store.lock"], "{names:?}");
    runtime().block_on(async { close(&opened(backend, &place.path("store")).await).await });
}

fn assert_in_use(backend: Backend, path: &Path) {
    let options = decentcom_server::storage::StorageOptions {
        backend,
        path: path.into(),
        redb: Default::default(),
        min_free: Default::default(),
    };
    let clock = std::sync::Arc::new(decentcom_server::storage::SystemClock);
    match runtime().block_on(decentcom_server::storage::open(&options, clock)) {
        Err(OpenError::InUse { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a server can start"),
    }
}

fn a_store_in_use_is_left_alone(backend: Backend) {
    let place = Place::new();
    small_dump(&place, backend);
    let (source, copied) = (place.store(backend, "source"), place.store(other(backend), "copied"));
    let runtime = runtime();
    let store = runtime.block_on(opened(backend, &place.path("source")));
    for arguments in [["load", &source, &place.text("dump"), "--skip-existing"], ["copy", &copied, &source, "-q"]] {
        if arguments[0] == "copy" {
            expect(0, &["load", &copied, &place.text("dump")]);
        }
        let refused = expect(3, &arguments);
        assert!(refused.err.contains("process"), "{}", refused.err);
    }
    runtime.block_on(close(&store));
}

fn a_store_left_by_a_crash_is_replaced_with_all_it_has(backend: Backend) {
    let place = Place::new();
    small_dump(&place, backend);
    let target = place.store(backend, "target");
    runtime().block_on(async {
        let store = opened(backend, &place.path("running")).await;
        store.create_user("only in the log", None).await.unwrap();
        for suffix in ["", "-wal"] {
            let (from, to) = (place.path(&format!("running{suffix}")), place.path(&format!("target{suffix}")));
            if from.exists() {
                fs::copy(from, to).unwrap();
            }
        }
        close(&store).await;
    });
    expect(0, &["load", &target, &place.text("dump"), "--skip-existing"]);
    let dump = expect(0, &["dump", &target]).out;
    assert!(dump.contains("only in the log") && dump.contains("SECRET pubkey"), "{dump}");
    assert!(!place.path("target-wal").exists(), "{:?}", place.names());
    assert_eq!(findings(backend, &place.path("target")), []);
}

fn a_store_behind_a_symbolic_link_is_replaced_where_it_lies(backend: Backend) {
    let place = Place::new();
    small_dump(&place, backend);
    fs::create_dir(place.path("elsewhere")).unwrap();
    runtime().block_on(async { close(&opened(backend, &place.path("elsewhere/store")).await).await });
    std::os::unix::fs::symlink("elsewhere/store", place.path("link")).unwrap();
    expect(0, &["load", &place.store(backend, "link"), &place.text("dump")]);
    assert!(place.path("link").is_symlink());
    assert_eq!(checksum(&place.store(backend, "elsewhere/store")), checksum(&place.store(backend, "source")));
}

#[test]
fn the_log_of_a_store_that_is_gone_is_not_played_into_a_new_one() {
    let place = Place::new();
    small_dump(&place, Backend::Sqlite);
    fs::write(place.path("target-wal"), "something").unwrap();
    let refused = expect(6, &["load", &place.store(Backend::Sqlite, "target"), &place.text("dump")]);
    assert!(refused.err.contains("target-wal"), "{}", refused.err);
    assert!(!place.path("target").exists());
    assert_eq!(fs::read(place.path("target-wal")).unwrap(), b"something", "whoever moves it away still has it");
}
