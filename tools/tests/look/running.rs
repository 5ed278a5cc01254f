//! The store of a server that is up.

use decentcom_server::storage::Backend;
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use tokio::runtime::Runtime;

use crate::support::{BOTH, Place, Said, close};

/// Runs `check` while a server has the store open.
fn while_open(backend: Backend, check: impl FnOnce(&Place)) {
    let place = Place::new(backend);
    let runtime = Runtime::new().unwrap();
    let (store, _) = runtime.block_on(place.fill());
    check(&place);
    close(&runtime, &store);
}

#[test]
fn a_running_store_is_looked_into_beside_its_server() {
    for backend in BOTH {
        while_open(backend, |place| {
            let info = place.run("info", &["--format", "json"]);
            assert_eq!(info.code, 0, "{}", info.err);
            let info = &info.json()[0];
            assert_eq!(info["state"], "open");
            assert!(info["open_in"].as_str().unwrap().contains("process"), "{info}");
            let said = place.run("scan", &["messages", "--channel", "hall", "--format", "json"]);
            assert_eq!((said.code, said.json().len()), (0, 4), "{}", said.err);
            let way = if backend == Backend::Redb { "in steps" } else { "as of one moment" };
            assert!(said.err.contains(way), "{}", said.err);
            let stats = place.run("stats", &["--format", "json"]);
            assert_eq!(stats.json()[0]["one_moment"], backend == Backend::Sqlite);
            assert_eq!(place.run("stats", &[]).out.contains("not as of one moment"), backend == Backend::Redb);
            let verified = place.run("verify", &[]);
            assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
            assert!(verified.err.contains("as of one moment"), "{}", verified.err);
            let Said { err, .. } = crate::support::dcstore(&["--quiet", "scan", &place.address(), "users"]);
            assert_eq!(err, "");
        });
    }
}

#[test]
fn what_needs_the_store_to_itself_says_who_has_it() {
    for backend in BOTH {
        while_open(backend, |place| {
            let before: Vec<_> = place.files().into_iter().map(|file| file.0).collect();
            let said = place.run("compact", &[]);
            assert_eq!(said.code, 3, "{}", said.err);
            let process = std::process::id().to_string();
            assert!(said.err.contains(&process) && said.err.contains("needs the store to itself"), "{}", said.err);
            let after: Vec<_> = place.files().into_iter().map(|file| file.0).collect();
            assert_eq!(before, after);
        });
    }
}

#[test]
fn a_repair_of_a_running_store_is_refused() {
    let place = Place::new(Backend::Sqlite);
    let runtime = Runtime::new().unwrap();
    let (store, _) = runtime.block_on(place.fill());
    place.sql("DELETE FROM meta WHERE name = 'high_water_id'");
    let said = place.run("verify", &["--repair", "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.err.contains(&std::process::id().to_string()) && said.err.contains("Stop it first"), "{}", said.err);
    close(&runtime, &store);
}

#[test]
fn a_redb_file_that_something_without_a_socket_holds_is_in_use() {
    let (place, _) = Place::filled(Backend::Redb);
    let _held = decentcom_kvstore::redb::Database::open(&place.path).unwrap();
    for command in ["info", "verify", "stats", "compact"] {
        let said = place.run(command, &[]);
        assert_eq!(said.code, 3, "{command}: {}", said.err);
        assert!(said.err.contains(&std::process::id().to_string()), "{}", said.err);
    }
}

#[test]
fn an_sqlite_file_that_a_shell_is_writing_to_is_in_use() {
    let (place, _) = Place::filled(Backend::Sqlite);
    let runtime = Runtime::new().unwrap();
    let mut shell = runtime.block_on(async {
        let mut shell = SqliteConnectOptions::new().filename(&place.path).connect().await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut shell).await.unwrap();
        shell
    });
    let said = place.run("compact", &[]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("needs the store to itself"), "{}", said.err);
    // Looking at it is possible all the same.
    assert_eq!(place.run("scan", &["messages", "--count"]).out, "5\n");
    runtime.block_on(async { sqlx::raw_sql("ROLLBACK").execute(&mut shell).await }).unwrap();
}

#[test]
fn a_ninth_reader_is_told_who_is_busy_and_what_to_do() {
    use decentcom_kvstore::live::Live;
    use decentcom_server::storage::declared::redb_catalogue;
    while_open(Backend::Redb, |place| {
        let readers: Vec<_> = (0..8).map(|_| Live::connect(&place.path, redb_catalogue()).unwrap().unwrap()).collect();
        for (command, rest) in [("scan", &["users"][..]), ("info", &[]), ("dump", &[]), ("verify", &[]), ("stats", &[])]
        {
            let said = place.run(command, rest);
            assert_eq!((said.code, said.out.as_str()), (3, ""), "{command}: {}", said.err);
            for expected in [std::process::id().to_string().as_str(), "8 others", "Try again"] {
                assert!(said.err.contains(expected), "{expected}: {}", said.err);
            }
        }
        drop(readers);
        // The server notices in its own time.
        let begun = std::time::Instant::now();
        while place.run("scan", &["users"]).code != 0 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
}
