//! The rows in a server's file, as `dcstore` sees them, and changing them behind its back while it is stopped.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use decentcom_kvstore::redb::{Database, Table, TableDefinition};
use decentcom_server::storage::{
    self, Backend, Clock, RedbOptions, Storage, StorageOptions,
    inspect::{self, Finding, Moment},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

/// The database that a server started in `directory` makes by default.
pub(crate) fn database(directory: &Path, backend: &str) -> PathBuf {
    directory.join(format!("data/decentcom.{backend}"))
}

fn backend_of(name: &str) -> Backend {
    if name == "redb" { Backend::Redb } else { Backend::Sqlite }
}

/// How many rows a table or index has now, whether a server has the store open or not.
pub(crate) async fn rows(directory: &Path, backend: &str, table: &'static str) -> u64 {
    let (path, backend) = (database(directory, backend), backend_of(backend));
    let counting = tokio::task::spawn_blocking(move || {
        let mut store = inspect::open(backend, &path, Moment::Steps, &mut |_| Ok(())).unwrap();
        store.count(table).unwrap()
    });
    counting.await.unwrap()
}

/// What a thorough check finds.
pub(crate) async fn findings(directory: &Path, backend: &str) -> Vec<Finding> {
    let (path, backend) = (database(directory, backend), backend_of(backend));
    let checking = tokio::task::spawn_blocking(move || {
        let mut store = inspect::open(backend, &path, Moment::One, &mut |_| Ok(())).unwrap();
        let mut findings = Vec::new();
        inspect::verify(&mut *store, &mut |finding| findings.push(finding), &mut |_| Ok(())).unwrap();
        findings
    });
    checking.await.unwrap()
}

/// The store of a server that is stopped, for a test to fill; to be closed.
pub(crate) async fn store(directory: &Path, backend: &str, clock: Arc<dyn Clock>) -> Arc<dyn Storage> {
    let (path, backend) = (database(directory, backend), backend_of(backend));
    let options = StorageOptions { backend, path, redb: RedbOptions::default(), min_free: Default::default() };
    storage::open(&options, clock).await.unwrap()
}

/// Posts so many messages at once; answers their ids in order.
pub(crate) async fn fill(store: &Arc<dyn Storage>, channel: &str, author: &str, messages: usize) -> Vec<String> {
    let posting = (0..messages).map(|number| {
        let (store, channel, author) = (store.clone(), channel.to_owned(), author.to_owned());
        tokio::spawn(async move { store.create_message(&channel, &author, &number.to_string()).await.unwrap() })
    });
    let posted = futures::future::join_all(posting).await;
    let mut ids: Vec<_> = posted.into_iter().map(|it| it.unwrap().id.to_string()).collect();
    ids.sort_unstable();
    ids
}

/// What a live message lies under in redb.
pub(crate) fn message_place(channel: &str, id: &str) -> Vec<u8> {
    [&bytes(channel)[..], &[0], &bytes(id)[..]].concat()
}

/// Changes a redb table or index.
pub(crate) fn change_redb(directory: &Path, table: &str, change: impl FnOnce(&mut Table<&[u8], &[u8]>)) {
    let database = Database::open(database(directory, "redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap());
    transaction.commit().unwrap();
}

/// Runs statements that no reference stops.
pub(crate) async fn change_sqlite(directory: &Path, statements: &str) {
    let mut connection = sqlite(directory).await;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Another process's connection to the database, as a shell's.
pub(crate) async fn sqlite(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database(directory, "sqlite")).foreign_keys(false);
    options.connect().await.unwrap()
}

/// The 16 bytes of an id.
pub(crate) fn bytes(id: &str) -> [u8; 16] {
    ulid::Ulid::from_string(id).unwrap().to_bytes()
}
