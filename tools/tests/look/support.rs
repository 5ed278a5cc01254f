//! Stores to look at, and the program that looks.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use decentcom_kvstore::redb::{Database, TableDefinition};
use decentcom_server::storage::{
    self, Backend, Channel, ManualClock, Message, RedbOptions, Storage, StorageOptions, SystemClock, Timestamp, User,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const BOTH: [Backend; 2] = [Backend::Sqlite, Backend::Redb];

/// What the program said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

/// Held while a process is started and while a store is closed. A process that another test is just starting has for a
/// moment every file of this one open, and so keeps the locks of a store that is being closed.
static STARTING: Mutex<()> = Mutex::new(());

fn nobody_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn close(runtime: &Runtime, store: &Arc<dyn Storage>) {
    let _guard = nobody_starts();
    runtime.block_on(store.close()).unwrap();
}

/// Opens a store, lets `work` use it, and closes it.
pub(crate) fn with_store<T>(place: &Place, work: impl AsyncFnOnce(&dyn Storage) -> T) -> T {
    let runtime = Runtime::new().unwrap();
    let opened = runtime.block_on(async { storage::open(&place.options(), Arc::new(SystemClock)).await });
    let store = opened.unwrap();
    let result = runtime.block_on(work(&*store));
    close(&runtime, &store);
    result
}

/// Runs the program to its end.
pub(crate) fn dcstore(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcstore"));
    command.args(arguments);
    ran(command)
}

/// Runs a command to its end; one that is killed has the code -1.
pub(crate) fn ran(mut command: Command) -> Said {
    let started = {
        let _guard = nobody_starts();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let ran = started.unwrap().wait_with_output().unwrap();
    Said {
        code: ran.status.code().unwrap_or(-1),
        out: String::from_utf8(ran.stdout).unwrap(),
        err: String::from_utf8(ran.stderr).unwrap(),
    }
}

/// A store in a directory of its own.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) backend: Backend,
    pub(crate) path: PathBuf,
}

/// What a small store has.
pub(crate) struct Content {
    pub(crate) ann: User,
    pub(crate) ben: User,
    pub(crate) hall: Channel,
    pub(crate) attic: Channel,
    /// Of the hall, by day; the third is soft-deleted.
    pub(crate) messages: Vec<Message>,
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Place {
    pub(crate) fn new(backend: Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        Self { directory, backend, path }
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.backend.name(), self.path.display())
    }

    /// Runs `dcstore COMMAND STORE REST…`.
    pub(crate) fn run(&self, command: &str, rest: &[&str]) -> Said {
        let address = self.address();
        dcstore(&[&[command, address.as_str()], rest].concat())
    }

    pub(crate) fn options(&self) -> StorageOptions {
        let redb = RedbOptions { inspection_socket: true, ..RedbOptions::default() };
        StorageOptions { backend: self.backend, path: self.path.clone(), redb, min_free: Default::default() }
    }

    /// A closed store with a little of everything.
    pub(crate) fn filled(backend: Backend) -> (Self, Content) {
        let place = Self::new(backend);
        let runtime = Runtime::new().unwrap();
        let (store, content) = runtime.block_on(place.fill());
        close(&runtime, &store);
        (place, content)
    }

    /// The same, still open.
    pub(crate) async fn fill(&self) -> (Arc<dyn Storage>, Content) {
        let clock = Arc::new(ManualClock::at(time("2024-06-01T12:00:00.000Z")));
        let store = storage::open(&self.options(), clock.clone()).await.unwrap();
        let ann = store.create_user("key of ann", Some("Ann")).await.unwrap();
        let ben = store.create_user("key of ben", None).await.unwrap();
        let hall = store.create_channel("hall", None, 0).await.unwrap();
        let attic = store.create_channel("attic", None, 1).await.unwrap();
        let mut messages = Vec::new();
        for (author, text) in [(&ann, "breakfast"), (&ben, "an \u{1b}[2Jescape"), (&ann, "gone"), (&ben, "LUNCH")] {
            messages.push(store.create_message(&hall.id.text(), &author.id.text(), text).await.unwrap());
            clock.advance(Duration::from_secs(24 * 3600));
        }
        store.create_message(&attic.id.text(), &ann.id.text(), "dust").await.unwrap();
        store.delete_message(&messages[2].id.text()).await.unwrap();
        store.create_session(&ann.id.text(), Duration::from_secs(3600)).await.unwrap();
        (store, Content { ann, ben, hall, attic, messages })
    }

    /// The files of a store that was killed, in a place of their own.
    pub(crate) fn crashed(backend: Backend) -> (Self, Content) {
        let (open, killed) = (Self::new(backend), Self::new(backend));
        let runtime = Runtime::new().unwrap();
        let (store, content) = runtime.block_on(open.fill());
        for file in std::fs::read_dir(open.directory.path()).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), killed.directory.path().join(file.file_name())).unwrap();
            }
        }
        close(&runtime, &store);
        (killed, content)
    }

    /// Every file of the directory: its name, bytes and time of change.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>, SystemTime)> {
        let mut files: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| {
                let modified = entry.metadata().unwrap().modified().unwrap();
                (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap(), modified)
            })
            .collect();
        files.sort();
        files
    }

    /// Changes rows of a redb table behind the store's back.
    pub(crate) fn redb(&self, table: &str, change: impl FnOnce(&mut decentcom_kvstore::redb::Table<&[u8], &[u8]>)) {
        let database = Database::open(&self.path).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&mut transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap());
        transaction.commit().unwrap();
        let _guard = nobody_starts();
        drop(database);
    }

    /// Adds a log-in that an index of an SQLite store does not have: it comes while the index is another one.
    pub(crate) fn sql_row_that_an_index_lacks(&self) {
        let change_index = |sql| {
            self.sql(&format!(
                "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = {sql} WHERE name = 'idx_sessions_user'"
            ));
        };
        change_index("sql || ' WHERE user_id IS NULL'");
        self.sql(&format!(
            "INSERT INTO sessions SELECT '{}', id, created_at, '2030-01-01T00:00:00.000Z' FROM users LIMIT 1",
            "0".repeat(64)
        ));
        change_index("replace(sql, ' WHERE user_id IS NULL', '')");
    }

    /// Runs statements behind the store's back.
    pub(crate) fn sql(&self, statements: &str) {
        Runtime::new().unwrap().block_on(async {
            let options = SqliteConnectOptions::new().filename(&self.path).foreign_keys(false);
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

/// A copy of a text in which ids, which are drawn at random, are the same in every run.
pub(crate) fn without_ids(text: &str) -> String {
    let is_id = |word: &str| {
        (word.len() == 26 && word.starts_with("01") && word.chars().all(char::is_alphanumeric))
            || (word.len() == 64 && word.chars().all(|digit| digit.is_ascii_hexdigit()))
    };
    let mut known = Vec::<String>::new();
    let mut out = String::new();
    for piece in text.split_inclusive(|character: char| !character.is_alphanumeric()) {
        let word = piece.trim_end_matches(|character: char| !character.is_alphanumeric());
        if is_id(word) {
            let at = known.iter().position(|id| id == word).unwrap_or_else(|| {
                known.push(word.into());
                known.len() - 1
            });
            out += &format!("(id {at:width$})", width = word.len() - 5);
            out += &piece[word.len()..];
        } else {
            out += piece;
        }
    }
    out
}

/// The bytes that a message of a redb store lies under.
pub(crate) fn place_of(message: &Message) -> Vec<u8> {
    let (channel, id) = (message.channel_id.ulid().to_bytes(), message.id.ulid().to_bytes());
    [channel.as_slice(), &[message.deleted.into()], &id].concat()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    decentcom_kvstore::hex(bytes)
}

pub(crate) fn exists_beside(path: &Path, suffix: &str) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    Path::new(&name).exists()
}
