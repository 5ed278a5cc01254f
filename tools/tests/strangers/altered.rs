//! Stores whose tables somebody dropped, renamed or replaced.

use std::path::Path;

use decentcom_kvstore::redb::{Database, MultimapTableDefinition, TableDefinition};
use decentcom_server::storage::Backend;

use crate::support::*;

for_each_backend! {
    a_lost_table_is_named_by_whatever_reads_it
    what_is_left_of_a_store_can_be_saved
    no_store_is_made_from_one_that_lost_a_table_or_put_in_its_place
}

/// Runs statements behind the store's back.
fn sql(path: &Path, statements: &str) {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
    runtime().block_on(async {
        let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    nobody_is_starting();
}

/// Each way of losing a table of a redb store.
fn redb(path: &Path, table: &str, way: &str) {
    let definition = TableDefinition::<&[u8], &[u8]>::new(table);
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    match way {
        "renamed" => transaction
            .rename_table(definition, TableDefinition::<&[u8], &[u8]>::new(&format!("other than {table}")))
            .unwrap(),
        _ => assert!(transaction.delete_table(definition).unwrap()),
    }
    match way {
        "of another type" => drop(transaction.open_table(TableDefinition::<u64, &str>::new(table)).unwrap()),
        "a multimap" => {
            drop(transaction.open_multimap_table(MultimapTableDefinition::<&[u8], &[u8]>::new(table)).unwrap());
        }
        _ => {}
    }
    transaction.commit().unwrap();
    drop(database);
    nobody_is_starting();
}

/// Stores that lost a table, each in another way.
fn lose(backend: Backend, path: &Path, table: &str, way: usize) -> bool {
    match backend {
        Backend::Sqlite => {
            let ways = [
                format!("PRAGMA legacy_alter_table = ON; ALTER TABLE {table} RENAME TO other"),
                format!("PRAGMA legacy_alter_table = ON; DROP TABLE {table}"),
                format!(
                    "PRAGMA legacy_alter_table = ON; ALTER TABLE {table} RENAME TO other; \
                     CREATE VIEW {table} AS SELECT * FROM other"
                ),
            ];
            ways.get(way).map(|statements| sql(path, statements)).is_some()
        }
        Backend::Redb => {
            let ways = ["renamed", "dropped", "of another type", "a multimap"];
            ways.get(way).map(|way| redb(path, table, way)).is_some()
        }
    }
}

fn a_lost_table_is_named_by_whatever_reads_it(backend: Backend) {
    let whole = Place::new();
    secret_store(backend, &whole.path("store"));
    for table in ["users", "messages", "purges", "sessions"] {
        for way in 0.. {
            let place = Place::new();
            std::fs::copy(whole.path("store"), place.path("store")).unwrap();
            if !lose(backend, &place.path("store"), table, way) {
                break;
            }
            let before = std::fs::read(place.path("store")).unwrap();
            let (store, other) = (place.store(backend, "store"), whole.store(backend, "store"));
            let copy = place.store(backend, "copy");
            let mut calls = vec![vec!["scan", &store, table], vec!["dump", &store, "--include-sessions"]];
            // However it was lost, all read it the same way.
            if way == 0 {
                calls.extend([
                    vec!["scan", &store, table, "--count"],
                    vec!["copy", &store, &copy],
                    vec!["checksum", &store],
                    vec!["diff", &store, &other],
                    vec!["diff", &other, &store],
                    vec!["info", &store],
                    vec!["stats", &store],
                    vec!["verify", &store],
                    vec!["verify", &store, "--repair", "--yes"],
                ]);
            }
            for call in calls {
                let said = expect(4, &call);
                assert!(said.err.contains(table), "{way} {call:?}: {}", said.err);
            }
            assert_eq!(std::fs::read(place.path("store")).unwrap(), before);
            assert!(!place.path("copy").exists(), "{:?}", place.names());
        }
    }
}

fn what_is_left_of_a_store_can_be_saved(backend: Backend) {
    let place = Place::new();
    secret_store(backend, &place.path("store"));
    assert!(lose(backend, &place.path("store"), "messages", 1));
    let store = place.store(backend, "store");
    let said = expect(4, &["info", &store]);
    assert!(said.out.contains("largest id") && said.err.contains("messages"), "{}{}", said.out, said.err);
    expect(0, &["scan", &store, "users"]);
    expect(4, &["dump", &store, "--skip-damaged"]);
    let saved = expect(0, &["dump", &store, "--exclude", "messages,meta"]).out;
    assert!(saved.contains("SECRET pubkey"), "{saved}");
}

fn no_store_is_made_from_one_that_lost_a_table_or_put_in_its_place(backend: Backend) {
    let place = Place::new();
    secret_store(backend, &place.path("store"));
    let store = place.store(backend, "store");
    expect(0, &["dump", &store, "-o", &place.text("dump")]);
    assert!(lose(backend, &place.path("store"), "messages", 1));
    let (before, names) = (std::fs::read(place.path("store")).unwrap(), place.names());
    let said = expect(4, &["load", &store, &place.text("dump"), "--skip-existing"]);
    assert!(said.err.contains("messages"), "{}", said.err);
    assert!(std::fs::read(place.path("store")).unwrap() == before && place.names() == names, "{:?}", place.names());
}

#[test]
fn a_server_does_not_start_on_a_redb_store_that_lost_its_messages() {
    use decentcom_server::storage::{StorageOptions, SystemClock, open};
    let place = Place::new();
    secret_store(Backend::Redb, &place.path("store"));
    for table in ["messages", "meta"] {
        redb(&place.path("store"), table, "renamed");
        let options = StorageOptions {
            backend: Backend::Redb,
            path: place.path("store"),
            redb: Default::default(),
            min_free: Default::default(),
        };
        let opened = runtime().block_on(open(&options, std::sync::Arc::new(SystemClock)));
        let refused = opened.err().unwrap().to_string();
        assert!(refused.contains(&format!("`{table}`")), "{refused}");
        nobody_is_starting();
    }
}

#[test]
fn a_lost_column_is_named_too() {
    let place = Place::new();
    secret_store(Backend::Sqlite, &place.path("store"));
    let store = place.store(Backend::Sqlite, "store");
    sql(&place.path("store"), "ALTER TABLE messages RENAME COLUMN content TO words");
    for call in [vec!["scan", &store, "messages"], vec!["verify", &store], vec!["dump", &store]] {
        let said = expect(4, &call);
        assert!(said.err.contains("messages") && said.err.contains("content"), "{}", said.err);
    }
}

#[test]
fn what_anybody_may_add_to_a_database_is_no_alteration() {
    let place = Place::new();
    secret_store(Backend::Sqlite, &place.path("store"));
    let store = place.store(Backend::Sqlite, "store");
    sql(
        &place.path("store"),
        "ANALYZE; CREATE TABLE notes (text); CREATE VIEW newest AS SELECT * FROM messages; \
         CREATE INDEX by_author ON messages (author_id)",
    );
    assert!(expect(0, &["verify", &store]).out.contains("nothing wrong was found"));
    assert!(expect(0, &["info", &store]).out.contains("just opens it"));
    expect(0, &["copy", &store, &place.store(Backend::Redb, "copy")]);
    sql(&place.path("store"), "CREATE TRIGGER log AFTER INSERT ON messages BEGIN INSERT INTO notes VALUES (1); END");
    let said = expect(1, &["verify", &store]);
    assert!(said.out.contains("the trigger log on messages"), "{}", said.out);
    assert!(expect(0, &["info", &store]).out.contains("does not mend"));
}

#[test]
fn what_is_no_largest_id_is_found_and_mended() {
    for backend in [Backend::Sqlite, Backend::Redb] {
        let place = Place::new();
        secret_store(backend, &place.path("store"));
        let store = place.store(backend, "store");
        match backend {
            Backend::Sqlite => sql(&place.path("store"), "UPDATE meta SET value = 'zzz' WHERE name = 'high_water_id'"),
            Backend::Redb => {
                let database = Database::open(place.path("store")).unwrap();
                let transaction = database.begin_write().unwrap();
                let meta = TableDefinition::<&[u8], &[u8]>::new("meta");
                transaction.open_table(meta).unwrap().insert(&b"high_water_id"[..], &b"zzz"[..]).unwrap();
                transaction.commit().unwrap();
            }
        }
        let said = expect(1, &["verify", &store]);
        assert!(said.out.contains("is no id"), "{}", said.out);
        let said = expect(0, &["verify", &store, "--repair", "--yes"]);
        assert!(said.out.contains("nothing wrong was found"), "{}", said.out);
    }
}
