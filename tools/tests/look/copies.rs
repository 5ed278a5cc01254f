//! Stores whose files do not belong together, names that are no stores, other names of a store that is open.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use decentcom_server::storage::Backend;
use tokio::runtime::Runtime;

use crate::support::{BOTH, Place, close, dcstore};

/// A copy of the file alone, made while the store was open.
fn copied_without_its_log() -> Place {
    let (open, copy) = (Place::new(Backend::Sqlite), Place::new(Backend::Sqlite));
    let runtime = Runtime::new().unwrap();
    let (store, _) = runtime.block_on(open.fill());
    assert!(Command::new("cp").args([&open.path, &copy.path]).status().unwrap().success());
    close(&runtime, &store);
    copy
}

/// A store closed in good order, and beside it the log of a later life of it.
fn beside_a_later_log(with_note: bool) -> Place {
    let (place, _) = Place::filled(Backend::Sqlite);
    let backup = fs::read(&place.path).unwrap();
    let beside = |suffix: &str| place.path.with_file_name(format!("store{suffix}"));
    let runtime = Runtime::new().unwrap();
    let opened = runtime.block_on(async {
        let clock = std::sync::Arc::new(decentcom_server::storage::SystemClock);
        decentcom_server::storage::open(&place.options(), clock).await
    });
    let store = opened.unwrap();
    runtime.block_on(store.create_channel("later", None, 0)).unwrap();
    for suffix in ["-wal", ".lock"] {
        let name = |prefix: &str| place.path.with_file_name(format!("{prefix}{suffix}"));
        assert!(Command::new("cp").args([name("store"), name("kept")]).status().unwrap().success());
    }
    close(&runtime, &store);
    fs::write(&place.path, backup).unwrap();
    fs::rename(place.path.with_file_name("kept-wal"), beside("-wal")).unwrap();
    match with_note {
        true => fs::rename(place.path.with_file_name("kept.lock"), beside(".lock")).unwrap(),
        false => {
            fs::remove_file(beside(".lock")).unwrap();
            fs::remove_file(place.path.with_file_name("kept.lock")).unwrap();
        }
    }
    place
}

#[test]
fn a_copy_without_its_log_is_named_and_a_repair_takes_it_for_what_it_is() {
    let copy = copied_without_its_log();
    let before = copy.files();
    let info = copy.run("info", &[]);
    assert_eq!(info.code, 0, "{}", info.err);
    for expected in ["WARNING", "copied while a server had it open", "refuses it", "open since", "--accept-copy"] {
        assert!(info.out.contains(expected), "{expected}: {}", info.out);
    }
    let json = &copy.run("info", &["--format", "json"]).json()[0];
    assert_eq!(json["state"], "doubtful");
    assert!(json["open_since"].is_string() && json["store_id"].is_string(), "{json}");
    let verified = copy.run("verify", &[]);
    assert_eq!(verified.code, 1, "{}", verified.out);
    assert!(verified.out.contains("copied while a server had it open"), "{}", verified.out);
    let scanned = copy.run("scan", &["channels"]);
    assert!(scanned.code == 0 && scanned.err.contains("copied while a server had it open"), "{}", scanned.err);
    assert!(copy.run("compact", &[]).code == 4);
    assert_eq!(before, copy.files(), "looking changes nothing");

    let repaired = copy.run("verify", &["--repair", "--yes"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.out, repaired.err);
    assert!(repaired.out.contains("take what is in the file for all there is"), "{}", repaired.out);
    let info = copy.run("info", &[]);
    assert!(info.out.contains("closed in good order") && info.out.contains("just opens it"), "{}", info.out);
}

#[test]
fn a_log_of_another_opening_is_never_read_into_the_store_beside_it() {
    for with_note in [true, false] {
        let place = beside_a_later_log(with_note);
        let before = place.files();
        let info = place.run("info", &[]);
        assert!(
            info.code == 0 && info.out.contains("the log beside it (-wal) is not its own"),
            "{}{}",
            info.out,
            info.err
        );
        let channels = place.run("scan", &["channels", "--count"]);
        assert_eq!(channels.out.trim(), "2", "the later one is in the log: {}", channels.err);
        assert!(channels.err.contains("is not its own"), "{}", channels.err);
        let verified = place.run("verify", &[]);
        assert!(verified.code == 1 && verified.out.contains("is not its own"), "{}", verified.out);
        for arguments in [&["compact"][..], &["verify", "--repair", "--yes"]] {
            let said = place.run(arguments[0], &arguments[1..]);
            assert_ne!(said.code, 0, "{arguments:?}: {}", said.out);
        }
        assert_eq!(before, place.files(), "nothing is changed");
    }
}

#[test]
fn a_store_made_by_load_or_copy_has_an_id_of_its_own() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let id = |address: &str| dcstore(&["info", "--format", "json", address]).json()[0]["store_id"].clone();
        let other = format!("{}:{}", backend.name(), place.directory.path().join("other").display());
        let copied = dcstore(&["copy", &place.address(), &other]);
        assert_eq!(copied.code, 0, "{}", copied.err);
        let (one, two) = (id(&place.address()), id(&other));
        assert!(one.as_str().is_some_and(|id| id.len() == 32) && two.is_string(), "{one} {two}");
        assert_ne!(one, two);
        assert_eq!(dcstore(&["info", "--format", "json", &other]).json()[0]["open_since"], serde_json::Value::Null);
    }
}

#[test]
fn a_running_store_is_not_to_be_had_under_another_name() {
    for backend in BOTH {
        let place = Place::new(backend);
        let runtime = Runtime::new().unwrap();
        let (store, _) = runtime.block_on(place.fill());
        let hard = place.directory.path().join("hard");
        fs::hard_link(&place.path, &hard).unwrap();
        let soft = place.directory.path().join("soft");
        std::os::unix::fs::symlink(&place.path, &soft).unwrap();
        let (source, _) = Place::filled(backend);
        let dump = place.directory.path().join("dump.ndjson").display().to_string();
        assert_eq!(place.run("dump", &["-o", &dump]).code, 0);
        for name in [&hard, &soft] {
            let address = format!("{}:{}", backend.name(), name.display());
            for arguments in [
                &["compact", &address][..],
                &["load", "--skip-existing", &address, &dump],
                &["copy", &source.address(), &address],
            ] {
                let said = dcstore(arguments);
                assert_eq!(said.code, 3, "{backend:?} {arguments:?}: {}{}", said.out, said.err);
            }
        }
        // A hard link has no log beside it: what a reader would see is not what the server has.
        let said = dcstore(&["scan", &format!("{}:{}", backend.name(), hard.display()), "users"]);
        assert_eq!(said.code, 3, "{}{}", said.out, said.err);
        if backend == Backend::Sqlite {
            assert!(said.err.contains("by another name"), "{}", said.err);
            let said = dcstore(&["scan", &format!("sqlite:{}", soft.display()), "users", "--count"]);
            assert_eq!((said.code, said.out.trim()), (0, "2"), "{}", said.err);
        }
        close(&runtime, &store);
        let said = dcstore(&["scan", &format!("{}:{}", backend.name(), hard.display()), "users", "--count"]);
        assert_eq!((said.code, said.out.trim()), (0, "2"), "{}", said.err);
    }
}

#[test]
fn what_is_no_file_is_refused_at_once_by_every_command() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    fs::create_dir(at("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let (source, _) = Place::filled(Backend::Sqlite);
    let dump = at("dump.ndjson");
    assert_eq!(source.run("dump", &["-o", &dump]).code, 0);
    let long = at(&"x".repeat(250));
    for (path, code, said) in [
        (at("pipe"), 4, "it is a named pipe"),
        (at("directory"), 4, "it is a directory"),
        (at("socket"), 4, "it is a socket"),
        ("/dev/null".into(), 4, "it is a device"),
        (":memory:".into(), 2, "not in memory"),
        ("file:store?mode=memory".into(), 2, "path of its file"),
        (long, 2, "shorter name"),
        (at("nothing"), 6, "nothing"),
    ] {
        for backend in BOTH {
            let name = format!("{}:{path}", backend.name());
            let config = at("decentcom.toml");
            let settings = format!("[storage]\nbackend = \"{}\"\ndatabase_path = \"{path}\"\n", backend.name());
            fs::write(&config, settings).unwrap();
            let source = source.address();
            for address in [name, format!("config:{config}")] {
                let mut commands = vec![
                    vec!["info", &address],
                    vec!["stats", &address],
                    vec!["get", &address, "users", "x"],
                    vec!["scan", &address, "users"],
                    vec!["dump", &address],
                    vec!["checksum", &address],
                    vec!["diff", &address, &source],
                    vec!["diff", &source, &address],
                    vec!["verify", &address],
                    vec!["verify", "--repair", "--yes", &address],
                    vec!["compact", &address],
                    vec!["copy", &address, &source],
                ];
                if code != 6 {
                    commands.push(vec!["load", &address, &dump]);
                    commands.push(vec!["load", "--dry-run", &address, &dump]);
                    commands.push(vec!["copy", &source, &address]);
                }
                for arguments in commands {
                    let began = Instant::now();
                    let found = dcstore(&arguments);
                    assert!(began.elapsed() < Duration::from_secs(10), "{arguments:?}");
                    assert_eq!(found.code, code, "{arguments:?}: {}{}", found.out, found.err);
                    assert!(found.err.contains(said), "{arguments:?}: {}", found.err);
                }
            }
        }
    }
    assert!(!Path::new(&at("file:store")).exists());
}
