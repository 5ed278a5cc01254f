//! `verify --repair` and `compact`.

use decentcom_server::storage::Backend;

use crate::support::{BOTH, Place, exists_beside, with_store};

/// A store of which only indexes and the largest id are damaged, and another problem that no repair mends.
fn damaged(backend: Backend, also_lost: bool) -> Place {
    let (place, content) = Place::filled(backend);
    match backend {
        Backend::Redb => {
            place.redb("users_by_pubkey", |index| {
                index.remove(&b"key of ann"[..]).unwrap();
                index.insert(&b"nobody"[..], &[7; 16][..]).unwrap();
            });
            place.redb("meta", |meta| drop(meta.remove(&b"high_water_id"[..]).unwrap()));
            if also_lost {
                let key = content.attic.id.ulid().to_bytes();
                place.redb("channels", |channels| drop(channels.remove(&key[..]).unwrap()));
            }
        }
        Backend::Sqlite => {
            place.sql("DELETE FROM meta WHERE name = 'high_water_id'");
            place.sql_row_that_an_index_lacks();
            if also_lost {
                place.sql("DELETE FROM channels WHERE name = 'attic'");
            }
        }
    }
    place
}

#[test]
fn a_repair_says_what_it_would_do_and_changes_nothing() {
    for backend in BOTH {
        let place = damaged(backend, true);
        let before = place.files();
        let said = place.run("verify", &["--repair"]);
        assert_eq!(said.code, 1, "{}", said.err);
        for expected in ["--repair --yes would:", "keep a copy", "every index anew", "no repair can mend"] {
            assert!(said.out.contains(expected), "{expected}: {}", said.out);
        }
        assert!(place.files() == before);
    }
}

#[test]
fn a_repair_mends_indexes_and_the_largest_id_and_keeps_a_copy_first() {
    for backend in BOTH {
        let place = damaged(backend, false);
        let broken = std::fs::read(&place.path).unwrap();
        let said = place.run("verify", &["--repair", "--yes"]);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("nothing wrong was found"), "{}", said.out);
        assert_eq!(place.run("verify", &[]).code, 0);
        let mut copy = place.path.clone().into_os_string();
        copy.push(".before-repair");
        assert!(std::fs::read(&copy).unwrap() == broken);
        assert_eq!(place.run("scan", &["messages", "--count"]).out, "5\n");
        assert!(place.run("info", &["--format", "json"]).json()[0]["high_water_id"].is_string());
        // The server opens it.
        let user = with_store(&place, async |store| store.get_user_by_pubkey("key of ann").await);
        assert!(user.unwrap().is_some());
    }
}

#[test]
fn what_a_repair_cannot_mend_stays_a_finding() {
    let place = damaged(Backend::Redb, true);
    let said = place.run("verify", &["--repair", "--yes"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("repaired; the files as they were are in"), "{}", said.out);
    let after = said.out.rsplit("repaired;").next().unwrap();
    assert!(after.contains("references (1)") && !after.contains("indexes ("), "{}", said.out);
}

#[test]
fn a_store_without_findings_is_not_repaired() {
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let before = place.files();
        assert_eq!(place.run("verify", &["--repair", "--yes"]).code, 0);
        assert!(place.files() == before && !exists_beside(&place.path, ".before-repair"));
    }
}

#[test]
fn compacting_gives_space_back_and_keeps_every_record() {
    for backend in BOTH {
        let (place, content) = Place::filled(backend);
        with_store(&place, async |store| {
            let room = store.create_channel("room", None, 0).await.unwrap();
            for _ in 0..40 {
                store.create_message(&room.id.text(), &content.ann.id.text(), &"x".repeat(100_000)).await.unwrap();
            }
            store.delete_channel(&room.id.text()).await.unwrap();
        });
        // What the close left of the channel goes in the background of the next run.
        let before = place.run("info", &["--format", "json"]).json()[0]["allocated_bytes"].as_u64().unwrap();
        let said = place.run("compact", &[]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.out.contains("before ") && said.out.contains("after ") && said.out.contains("gained "),
            "{}",
            said.out
        );
        let after = place.run("info", &["--format", "json"]).json()[0]["allocated_bytes"].as_u64().unwrap();
        assert!(after <= before, "{backend:?} {before} {after}");
        assert_eq!(place.run("verify", &[]).code, 0);
        assert_eq!(place.run("scan", &["messages", "--channel", "hall", "--count"]).out, "4\n");
    }
}

#[test]
fn compacting_never_makes_a_store_larger() {
    use std::os::unix::fs::MetadataExt as _;
    for backend in BOTH {
        let (place, _) = Place::filled(backend);
        let size = |place: &Place| std::fs::metadata(&place.path).map(|it| (it.blocks(), it.len())).unwrap();
        let mut last = size(&place);
        for round in 0..4 {
            let said = place.run("compact", &[]);
            assert_eq!(said.code, 0, "{}", said.err);
            let line = |name: &str| said.out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            assert!(line("before").ends_with(" on disk") && line("after").ends_with(" on disk"), "{}", said.out);
            let now = size(&place);
            assert!(now.0 <= last.0 && now.1 <= last.1, "{backend:?}, round {round}: {now:?} after {last:?}");
            assert_eq!(now == last, said.out.contains("gained  nothing"), "{}", said.out);
            last = now;
            assert_eq!(place.run("verify", &[]).code, 0);
            let mode = std::fs::metadata(&place.path).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // In the end there is nothing to gain, and the file is not touched.
        let before = std::fs::read(&place.path).unwrap();
        assert!(place.run("compact", &[]).out.contains("gained  nothing"));
        assert!(std::fs::read(&place.path).unwrap() == before);
        assert!(!exists_beside(&place.path, ".partial"));
    }
}

#[test]
fn a_database_that_a_shell_only_has_open_is_not_replaced() {
    use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
    let (place, _) = Place::filled(Backend::Sqlite);
    let before = std::fs::read(&place.path).unwrap(); // not later: closing a file lets go of all its locks
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shell = runtime.block_on(async {
        let mut shell = SqliteConnectOptions::new().filename(&place.path).connect().await.unwrap();
        sqlx::raw_sql("SELECT count(*) FROM users").execute(&mut shell).await.unwrap();
        shell
    });
    let said = place.run("compact", &[]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    runtime.block_on(shell.close()).unwrap();
    assert!(std::fs::read(&place.path).unwrap() == before && !exists_beside(&place.path, ".partial"));
    assert_eq!(place.run("compact", &[]).code, 0);
}
