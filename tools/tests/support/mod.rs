//! What the tests of dumps and copies share: a store of real content, and the built program.

#![allow(dead_code)] // each test program uses a part

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use decentcom_server::storage::{
    Backend, ChannelEdit, RedbOptions, Storage, StorageError, StorageOptions, SystemClock, contract::model::Model as _,
    inspect, open,
};
use tokio::task::JoinSet;

/// A test body for each backend.
macro_rules! for_each_backend {
    ($($name:ident)*) => {
        mod sqlite {$(
            #[test]
            fn $name() {
                super::$name(decentcom_server::storage::Backend::Sqlite);
            }
        )*}
        mod redb {$(
            #[test]
            fn $name() {
                super::$name(decentcom_server::storage::Backend::Redb);
            }
        )*}
    };
}

const DAYS: [(&str, &str); 3] = [
    ("2004-12-25", include_str!("../../../tests/data/irc/2004-12-25.txt")),
    ("2005-02-08", include_str!("../../../tests/data/irc/2005-02-08.txt")),
    ("2005-05-14", include_str!("../../../tests/data/irc/2005-05-14.txt")),
];
const NAUGHTY: &str = include_str!("../../../tests/data/blns.json");

/// The strings that break text handling.
pub(crate) fn naughty_strings() -> Vec<String> {
    serde_json::from_str(NAUGHTY).unwrap()
}

/// Each spoken line, as (nick, text).
fn spoken(log: &str) -> Vec<(&str, &str)> {
    log.lines()
        .filter_map(|line| {
            let (_time, rest) = line.strip_prefix('[')?.split_once("] ")?;
            rest.strip_prefix('<')?.split_once("> ")
        })
        .collect()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

pub(crate) async fn opened(backend: Backend, path: &Path) -> Arc<dyn Storage> {
    let redb = RedbOptions { inspection_socket: true, ..RedbOptions::default() };
    open(&StorageOptions { backend, path: path.into(), redb, min_free: Default::default() }, Arc::new(SystemClock))
        .await
        .unwrap()
}

/// Held while a process is started. Until it runs, a new process has every file of this one open, and so keeps the locks of
/// a store that another test lets go at that moment.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a process; when this returns, it has none of this one's files.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// To be called after letting go of a store: then nobody has its locks any more.
pub(crate) fn nobody_is_starting() {
    drop(STARTING.lock().unwrap_or_else(PoisonError::into_inner));
}

pub(crate) async fn close(store: &Arc<dyn Storage>) {
    store.close().await.unwrap();
    nobody_is_starting();
}

pub(crate) fn address(backend: Backend, path: &Path) -> String {
    format!("{}:{}", backend.name(), path.display())
}

/// What was written, unless the text may not be there.
pub(crate) fn accepted<T>(result: Result<T, StorageError>) -> Option<T> {
    match result {
        Err(StorageError::InvalidInput { .. }) => None,
        result => Some(result.unwrap()),
    }
}

/// A store with three days of IRC, through the store traits alone, and of everything else something: edits, soft deletes,
/// a deleted channel, categories, sessions, naughty strings.
pub(crate) fn irc_store(backend: Backend, path: &Path) {
    runtime().block_on(async {
        let store = opened(backend, path).await;
        let mut users = BTreeMap::new();
        for (_, log) in DAYS {
            for (nick, _) in spoken(log) {
                if !users.contains_key(nick) {
                    let user = store.create_user(&format!("key of {nick}"), Some(nick)).await.unwrap();
                    users.insert(nick, user.id.to_string());
                }
            }
        }
        let anybody = users.values().next().unwrap().clone();
        store.update_user(&anybody, None, Some("hash of a picture")).await.unwrap();
        let category = store.create_category("days", 1).await.unwrap();
        store.create_category("empty", -2).await.unwrap();
        for (day, log) in DAYS {
            let channel = store.create_channel(day, Some(&category.id.text()), 3).await.unwrap();
            let mut posts = JoinSet::new();
            for (nick, text) in spoken(log) {
                let (store, channel, author, text) =
                    (store.clone(), channel.id.to_string(), users[nick].clone(), text.to_owned());
                posts.spawn(async move { store.create_message(&channel, &author, &text).await.unwrap().id });
            }
            let posted = posts.join_all().await;
            assert!(posted.len() > 500);
            for id in posted.iter().step_by(50) {
                store.update_message(&id.text(), "edited").await.unwrap();
            }
            for id in posted.iter().skip(1).step_by(50) {
                store.delete_message(&id.text()).await.unwrap();
            }
        }
        let channel = store.create_channel("naughty", Some("kept as it was given"), i32::MIN).await.unwrap();
        for text in naughty_strings() {
            accepted(store.create_message(&channel.id.text(), &anybody, &text).await);
            if text.len() <= 1024 {
                let edit = ChannelEdit { topic: Some(text.clone()), ..ChannelEdit::default() };
                accepted(store.edit_channel(&channel.id.text(), edit).await);
            }
        }
        let gone = store.create_channel("deleted channel", None, 0).await.unwrap();
        for number in 0..100 {
            store
                .create_message(&gone.id.text(), &anybody, &format!("message {number} of a deleted channel"))
                .await
                .unwrap();
        }
        store.delete_channel(&gone.id.text()).await.unwrap();
        for user in users.values().take(20) {
            store.create_session(user, Duration::from_secs(3600)).await.unwrap();
        }
        // The largest id ever given out belongs to nothing that is left.
        let last = store.create_category("removed", 0).await.unwrap();
        store.delete_category(&last.id.text()).await.unwrap();
        close(&store).await;
    });
}

/// What a call of the program did.
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcstore"));
    command.args(arguments);
    command
}

pub(crate) fn called(output: Output) -> Called {
    Called {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn dcstore(arguments: &[&str]) -> Called {
    let mut command = command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    called(spawn(&mut command).wait_with_output().unwrap())
}

/// A call that has to end with this code; answers what it wrote to stdout.
pub(crate) fn expect(code: i32, arguments: &[&str]) -> Called {
    let called = dcstore(arguments);
    assert_eq!(called.code, code, "dcstore {}\n{}\n{}", arguments.join(" "), called.out, called.err);
    called
}

pub(crate) fn checksum(store: &str) -> String {
    expect(0, &["checksum", store]).out
}

/// What a thorough check of a store finds.
pub(crate) fn findings(backend: Backend, path: &Path) -> Vec<inspect::Finding> {
    let mut store = inspect::open(backend, path, inspect::Moment::One, &mut |_| Ok(())).unwrap();
    let mut findings = Vec::new();
    inspect::verify(store.as_mut(), &mut |finding| findings.push(finding), &mut |_| Ok(())).unwrap();
    drop(store);
    nobody_is_starting();
    findings
}

/// The names in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".reserve")); // of the server's, and in nobody's way
    names.sort();
    names
}

/// A directory that goes with the test, and paths in it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn store(&self, backend: Backend, name: &str) -> String {
        address(backend, &self.path(name))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

pub(crate) fn other(backend: Backend) -> Backend {
    match backend {
        Backend::Sqlite => Backend::Redb,
        Backend::Redb => Backend::Sqlite,
    }
}

/// Changes bytes of a store behind its back: of a message, and which channels are being purged.
pub(crate) fn tamper(backend: Backend, path: &Path, damaged_message: Option<&str>, purged_channel: Option<&str>) {
    match backend {
        Backend::Sqlite => runtime().block_on(async {
            use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
            let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            for (statement, id) in [
                ("UPDATE messages SET edited_at = 'rubbish' WHERE id = ?", damaged_message),
                ("INSERT INTO purges (channel_id) VALUES (?)", purged_channel),
            ] {
                if let Some(id) = id {
                    let done = sqlx::query(statement).bind(id).execute(&mut connection).await.unwrap();
                    assert_eq!(done.rows_affected(), 1);
                }
            }
            connection.close().await.unwrap();
        }),
        Backend::Redb => {
            use decentcom_kvstore::redb::{Database, ReadableTable as _, TableDefinition};
            let table = |name| TableDefinition::<&[u8], &[u8]>::new(name);
            let key = |id: &str| ulid::Ulid::from_string(id).unwrap().to_bytes();
            let database = Database::open(path).unwrap();
            let transaction = database.begin_write().unwrap();
            if let Some(id) = damaged_message {
                let by_id = transaction.open_table(table("messages_by_id")).unwrap();
                let place = by_id.get(key(id).as_slice()).unwrap().unwrap().value().to_vec();
                let mut messages = transaction.open_table(table("messages")).unwrap();
                let mut value = messages.get(place.as_slice()).unwrap().unwrap().value().to_vec();
                *value.last_mut().unwrap() ^= 1;
                messages.insert(place.as_slice(), value.as_slice()).unwrap();
            }
            if let Some(id) = purged_channel {
                let mut purges = transaction.open_table(table("purges")).unwrap();
                assert!(purges.insert(key(id).as_slice(), [].as_slice()).unwrap().is_none());
            }
            transaction.commit().unwrap();
        }
    }
    nobody_is_starting();
}

/// The ids of the records of a table, in order.
pub(crate) fn ids(dump: &str, table: &str) -> Vec<String> {
    let lines = dump.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["table"] == table).map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

/// A small store with a secret in every field that can hold one, and the token of a session.
pub(crate) fn secret_store(backend: Backend, path: &Path) -> String {
    runtime().block_on(async {
        let store = opened(backend, path).await;
        let user = store.create_user("SECRET pubkey", Some("SECRET name")).await.unwrap();
        store.update_user(&user.id.text(), None, Some("SECRET avatar")).await.unwrap();
        store.create_user("SECRET other k", None).await.unwrap();
        store.create_category("SECRET category", 0).await.unwrap();
        let channel = store.create_channel("SECRET channel", Some("SECRET reference"), 0).await.unwrap();
        store.update_channel(&channel.id.text(), None, Some("SECRET topic"), None).await.unwrap();
        let edited = store.create_message(&channel.id.text(), &user.id.text(), "SECRET before").await.unwrap();
        store.update_message(&edited.id.text(), "SECRET after ü").await.unwrap();
        let deleted = store.create_message(&channel.id.text(), &user.id.text(), "SECRET deleted").await.unwrap();
        store.delete_message(&deleted.id.text()).await.unwrap();
        let session = store.create_session(&user.id.text(), Duration::from_secs(3600)).await.unwrap();
        close(&store).await;
        session.token
    })
}

/// A store of `messages` messages of about `bytes` bytes, made with what `load` makes stores with.
pub(crate) fn large_store(backend: Backend, path: &Path, messages: u64, bytes: usize) {
    use decentcom_server::storage::{
        Channel, Message, Timestamp, User,
        inspect::{Claim, Row},
    };
    use ulid::Ulid;

    const START: u64 = 1_700_000_000_000;
    let time = |millis| Timestamp::from_millis(millis).unwrap();
    let id = |millis: u64, random: u64| Ulid::from_parts(millis, u128::from(random));
    let (user, channel) = (id(START, 1), id(START, 2));
    let (claim, existing) = Claim::on(backend, path).unwrap();
    let mut import = claim.import().unwrap();
    let (created_at, updated_at) = (time(START), time(START));
    let user_row = User {
        id: user.into(),
        pubkey: "key".into(),
        display_name: None,
        avatar_hash: None,
        is_bot: false,
        is_member: true,
        created_at,
        updated_at,
    };
    let channel_row = Channel {
        id: channel.into(),
        name: "large".into(),
        topic: None,
        category_id: None,
        position: 0,
        created_at,
        updated_at,
    };
    [Row::User(user_row.into()), Row::Channel(channel_row.into())]
        .into_iter()
        .for_each(|row| import.push(row).unwrap());
    let mut last = channel;
    for first in (0..messages).step_by(5000) {
        let mut rows = Vec::new();
        for number in first..(first + 5000).min(messages) {
            let millis = START + 1 + number / 10;
            last = id(millis, number);
            rows.push(Row::Message(
                Message {
                    id: last.into(),
                    channel_id: channel.into(),
                    author_id: user.into(),
                    content: format!("{number} {}", "lorem ipsum ".repeat(bytes / 12)).into(),
                    created_at: time(millis),
                    ..Message::blank(last.into())
                }
                .into(),
            ));
        }
        rows.into_iter().for_each(|row| import.push(row).unwrap());
    }
    import.close(Some(last)).unwrap();
    claim.install(existing).unwrap();
    nobody_is_starting();
}

/// Makes a store in which every text is a key, a name, a topic, a message: also those that no call would take any more.
pub(crate) fn write_as_older_versions_did<'a>(backend: Backend, path: &Path, texts: impl Iterator<Item = &'a String>) {
    use decentcom_server::storage::{Category, Channel, Message, Timestamp, User, inspect::Row};
    let created_at = Timestamp::from_millis(1_704_067_200_000).unwrap();
    let id = |number: u128| ulid::Ulid::from_parts(created_at.as_millis(), number);
    let (claim, _) = inspect::Claim::on(backend, path).unwrap();
    let mut import = claim.import().unwrap();
    let mut last = 0;
    for text in texts {
        let [user, channel, category, message] = [1, 2, 3, 4].map(|number| id(last + number));
        last += 4;
        let text = text.clone();
        let rows = [
            Row::User(Arc::new(User {
                id: user.into(),
                pubkey: text.clone(),
                display_name: Some(text.clone()),
                avatar_hash: None,
                is_bot: false,
                is_member: true,
                created_at,
                updated_at: created_at,
            })),
            Row::Channel(Arc::new(Channel {
                id: channel.into(),
                name: text.clone(),
                topic: Some(text.clone()),
                category_id: Some(text.clone()),
                position: 0,
                created_at,
                updated_at: created_at,
            })),
            Row::Category(Arc::new(Category { id: category.into(), name: text.clone(), position: 0, created_at })),
            Row::Message(Arc::new(Message {
                id: message.into(),
                channel_id: channel.into(),
                author_id: user.into(),
                content: text.into(),
                created_at,
                ..Message::blank(message.into())
            })),
        ];
        rows.into_iter().for_each(|row| import.push(row).unwrap());
    }
    import.close(Some(id(last))).unwrap();
    claim.install(None).unwrap();
}
