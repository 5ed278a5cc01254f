//! Files as those programs wrote them, made from declarations of their own.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::LazyLock};

use decentcom_kvstore::{Options, Schema, Store, catalogue, record, table};
use decentcom_server::storage::{
    Channel, ChannelId, Clock as _, Message, MessageId, SystemClock, Timestamp, UserId, contract::model::Model as _,
};
use sqlx::{
    Connection as _,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode},
};
use ulid::Ulid;

const CHANNELS: usize = 20;

/// What was put into a file.
pub(crate) struct Made {
    channels: Vec<Channel>,
    pub(crate) messages: BTreeMap<MessageId, Message>,
}

impl Made {
    /// A channel, and the ids of its live messages, in order.
    pub(crate) fn live(&self) -> (String, Vec<String>) {
        let channel = self.channels[1].id;
        let live = self.messages.values().filter(|it| it.channel_id == channel && !it.deleted);
        (channel.text().to_string(), live.map(|it| it.id.to_string()).collect())
    }

    /// The id of the message with this number.
    pub(crate) fn id_of(&self, number: u64) -> String {
        MessageId::from(id(1000 + number)).to_string()
    }

    /// Another channel.
    pub(crate) fn another_channel(&self) -> String {
        self.channels[2].id.to_string()
    }
}

record! {
    /// A user, version 1.
    struct UserV1: version 1 {
        /// .
        pubkey: String,
        /// .
        display_name: Option<String>,
        /// .
        avatar_hash: Option<String>,
        /// .
        updated_at: u64,
    }
}

record! {
    /// A channel, version 1.
    struct ChannelV1: version 1 {
        /// .
        name: String,
        /// .
        topic: Option<String>,
        /// .
        category_id: Option<String>,
        /// .
        position: i32,
        /// .
        updated_at: u64,
    }
}

record! {
    /// A message, version 1.
    struct MessageV1: version 1 {
        /// .
        channel_id: [u8; 16],
        /// .
        author_id: [u8; 16],
        /// .
        content: String,
        /// .
        edited_at: Option<u64>,
        /// .
        deleted: bool,
    }
}

table! {
    /// .
    table Users("users"): Ulid => UserV1;
    /// .
    unique UsersByPubkey("users_by_pubkey"): String = |_, user| Some(user.pubkey.clone());
}

table! {
    /// .
    table Channels("channels"): Ulid => ChannelV1;
}

table! {
    /// .
    table Messages("messages"): Ulid => MessageV1;
    /// .
    index Live("messages_by_channel"): Ulid = |_, it| (!it.deleted).then(|| Ulid::from_bytes(it.channel_id));
    /// .
    index Deleted("tombstones_by_channel"): Ulid = |_, it| it.deleted.then(|| Ulid::from_bytes(it.channel_id));
}

const FORMAT_2: Schema = Schema { format: 2, oldest_reader: 2, ..Schema::new(catalogue![Users, Channels, Messages]) };

/// An id whose time is so many milliseconds after some moment of yesterday.
fn id(millis: u64) -> Ulid {
    static YESTERDAY: LazyLock<u64> = LazyLock::new(|| SystemClock.now().as_millis() - 24 * 60 * 60 * 1000);
    Ulid::from_parts(*YESTERDAY + millis, u128::from(millis) * 7919)
}

fn time(id: Ulid) -> Timestamp {
    Timestamp::from_millis(id.timestamp_ms()).unwrap()
}

/// Makes the file at `path`, with so many messages in some channels, some edited, some deleted, and runs of deleted ones.
pub(crate) async fn older_file(path: &Path, backend: &str, messages: u64) -> Made {
    with_deleted(path, backend, messages, 500..700).await
}

/// The same, with a run of deleted messages in one channel.
pub(crate) async fn with_deleted(path: &Path, backend: &str, messages: u64, deleted: Range<u64>) -> Made {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let author = UserId::from(id(0));
    let channels: Vec<_> = (1..=CHANNELS as u64)
        .map(|number| Channel {
            name: format!("room {number}"),
            created_at: time(id(number)),
            updated_at: time(id(number)),
            ..Channel::blank(ChannelId::from(id(number)))
        })
        .collect();
    let messages = (0..messages).map(|number| {
        let own = id(1000 + number);
        let message = Message {
            channel_id: channels
                [if deleted.contains(&number) { 1 } else { (number * number % 31) as usize % CHANNELS }]
            .id,
            author_id: author,
            content: format!("message {number} {}", "é".repeat(number as usize % 60)).into(),
            edited_at: number.is_multiple_of(7).then(|| time(own)),
            deleted: number % 11 == 3 || deleted.contains(&number),
            created_at: time(own),
            ..Message::blank(MessageId::from(own))
        };
        (message.id, message)
    });
    let made = Made { messages: messages.collect(), channels };
    match backend {
        "redb" => made.write_redb(path, author),
        _ => made.write_sqlite(path, author).await,
    }
    made
}

impl Made {
    fn write_redb(&self, path: &Path, author: UserId) {
        let store = Options::default().open(path, &FORMAT_2).unwrap();
        let user = UserV1 {
            pubkey: "key".into(),
            display_name: None,
            avatar_hash: None,
            updated_at: time(author.ulid()).as_millis(),
        };
        let rows: Vec<_> = self.messages.values().collect();
        let rest = |store: &Store, rows: &[&Message]| {
            store.write(|batch| {
                for it in rows {
                    let row = MessageV1 {
                        channel_id: it.channel_id.ulid().to_bytes(),
                        author_id: it.author_id.ulid().to_bytes(),
                        content: it.content.to_string(),
                        edited_at: it.edited_at.map(Timestamp::as_millis),
                        deleted: it.deleted,
                    };
                    batch.insert::<Messages>(&it.id.ulid(), &row)?;
                }
                batch.set_meta("high_water_id", &rows.last().unwrap().id.ulid().to_bytes())
            })
        };
        store
            .write(|batch| {
                batch.insert::<Users>(&author.ulid(), &user)?;
                self.channels.iter().try_for_each(|it| {
                    let row = ChannelV1 {
                        name: it.name.clone(),
                        topic: None,
                        category_id: None,
                        position: it.position,
                        updated_at: it.updated_at.as_millis(),
                    };
                    batch.insert::<Channels>(&it.id.ulid(), &row)
                })
            })
            .unwrap();
        rows.chunks(5000).for_each(|rows| rest(&store, rows).unwrap());
        store.close().unwrap();
    }

    async fn write_sqlite(&self, path: &Path, author: UserId) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let all = Migrator::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).await.unwrap();
        let older = all.iter().filter(|it| it.version <= 3).cloned().collect();
        Migrator::with_migrations(older).run_direct(None, &mut connection, false).await.unwrap();
        let mut batch = connection.begin().await.unwrap();
        let of_user = sqlx::query("INSERT INTO users (id, pubkey, created_at, updated_at) VALUES (?, 'key', ?, ?)");
        let at = time(author.ulid()).to_string();
        of_user.bind(author.to_string()).bind(&at).bind(&at).execute(&mut *batch).await.unwrap();
        for it in &self.channels {
            let statement = "INSERT INTO channels (id, name, created_at, updated_at) VALUES (?, ?, ?, ?)";
            let of_channel = sqlx::query(statement).bind(it.id.to_string()).bind(&it.name);
            of_channel
                .bind(it.created_at.to_string())
                .bind(it.updated_at.to_string())
                .execute(&mut *batch)
                .await
                .unwrap();
        }
        for it in self.messages.values() {
            let of_message = sqlx::query(
                "INSERT INTO messages (id, channel_id, author_id, content, edited_at, deleted, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            );
            let of_message = of_message.bind(it.id.to_string()).bind(it.channel_id.to_string());
            let of_message = of_message.bind(it.author_id.to_string()).bind(&*it.content);
            let of_message = of_message.bind(it.edited_at.map(|at| at.to_string())).bind(it.deleted);
            of_message.bind(it.created_at.to_string()).execute(&mut *batch).await.unwrap();
        }
        let newest = self.messages.keys().next_back().unwrap().to_string();
        let noted = sqlx::query("INSERT INTO meta (name, value) VALUES ('high_water_id', ?)").bind(newest);
        noted.execute(&mut *batch).await.unwrap();
        batch.commit().await.unwrap();
        connection.close().await.unwrap();
    }
}

/// Whether the file at `path` is still laid out as those programs did.
pub(crate) async fn is_older(path: &Path, backend: &str) -> bool {
    if backend == "redb" {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".before-format-3");
        return !Path::new(&partial).exists();
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let Ok(mut connection) = SqliteConnection::connect_with(&options).await else { return true };
    let newest = sqlx::query_scalar::<_, i64>("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection);
    let is_older = newest.await.map_or(true, |newest| newest < 4);
    let _ = connection.close().await; // who looks next would meet its locks
    is_older
}
