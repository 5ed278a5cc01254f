//! redb used directly: the same tables, keys and lengths of values, the same cache, and nothing else. No record is decoded,
//! no checksum made or checked, no reference looked up. It works on the files of decentcom's store, which does not read them
//! again.

use std::{ops::Range, path::Path};

use dcstore::Code;
use decentcom_server::storage::{ChannelId, MessageId, RedbOptions, UserId};
use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::failure::Failure;

const MESSAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("messages");
const MESSAGES_BY_ID: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("messages_by_id");
const USERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("users");
const USERS_BY_PUBKEY: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("users_by_pubkey");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");

/// A message to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) id: MessageId,
    pub(crate) channel: ChannelId,
    pub(crate) author: UserId,
    pub(crate) text: &'a str,
}

impl Post<'_> {
    pub(super) fn key(&self) -> [u8; 16] {
        self.id.ulid().to_bytes()
    }

    /// Where it lies: among those of its channel that are not deleted.
    pub(super) fn place(&self) -> Vec<u8> {
        place(self.channel, self.key())
    }

    /// Makes `value` as long as decentcom's record: version, checksum, author, length, text, a flag.
    pub(super) fn record(&self, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&[2, 0, 0, 0, 0]);
        value.extend_from_slice(&self.author.ulid().to_bytes());
        value.push(u8::try_from(self.text.len()).unwrap_or(u8::MAX));
        value.extend_from_slice(self.text.as_bytes());
        value.push(0);
    }
}

fn place(channel: ChannelId, id: [u8; 16]) -> Vec<u8> {
    [channel.ulid().to_bytes().as_slice(), &[0], &id].concat()
}

/// The places of a channel's messages below `before`.
pub(super) fn places_below(channel: ChannelId, before: Option<MessageId>) -> Range<Vec<u8>> {
    let below = before.map_or([0xff; 16], |id| id.ulid().to_bytes());
    place(channel, [0; 16])..place(channel, below)
}

/// An open file.
pub(crate) fn open(path: &Path) -> Result<Database, Failure> {
    let cache = usize::try_from(RedbOptions::default().cache_bytes).unwrap_or(usize::MAX);
    let database = Builder::new().set_cache_size(cache).create(path)?;
    let transaction = database.begin_write()?;
    for table in [MESSAGES, MESSAGES_BY_ID, USERS, USERS_BY_PUBKEY, META] {
        transaction.open_table(table)?;
    }
    transaction.commit()?;
    Ok(database)
}

/// Writes messages in one durable transaction.
pub(crate) fn write(database: &Database, posts: &[Post<'_>]) -> Result<(), Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    insert(&transaction, posts)?;
    transaction.commit()?;
    Ok(())
}

/// The rows of messages: record, index entry, and the largest id of all.
fn insert(transaction: &WriteTransaction, posts: &[Post<'_>]) -> Result<(), Failure> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut index = transaction.open_table(MESSAGES_BY_ID)?;
    let mut value = Vec::new();
    for post in posts {
        post.record(&mut value);
        let place = post.place();
        messages.insert(place.as_slice(), value.as_slice())?;
        index.insert(post.key().as_slice(), place.as_slice())?;
    }
    if let Some(last) = posts.last() {
        transaction.open_table(META)?.insert(b"high_water_id".as_slice(), last.key().as_slice())?;
    }
    Ok(())
}

/// The tables of a store, opened once for all reads.
pub(crate) struct Reading {
    messages: ReadOnlyTable<&'static [u8], &'static [u8]>,
    by_id: ReadOnlyTable<&'static [u8], &'static [u8]>,
    users: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pubkeys: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// Last, so that it outlives what it reads.
    _database: Database,
}

impl Reading {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let database = open(path)?;
        let transaction = database.begin_read()?;
        Ok(Self {
            messages: transaction.open_table(MESSAGES)?,
            by_id: transaction.open_table(MESSAGES_BY_ID)?,
            users: transaction.open_table(USERS)?,
            pubkeys: transaction.open_table(USERS_BY_PUBKEY)?,
            _database: database,
        })
    }

    /// The bytes of a message.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Result<Option<Vec<u8>>, Failure> {
        let Some(place) = self.by_id.get(id.as_slice())? else { return Ok(None) };
        Ok(self.messages.get(place.value())?.map(|value| value.value().to_vec()))
    }

    /// The bytes of the user with this public key.
    pub(crate) fn user(&self, pubkey: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some(id) = self.pubkeys.get(pubkey.as_bytes())? else { return Ok(None) };
        Ok(self.users.get(id.value())?.map(|value| value.value().to_vec()))
    }

    /// The bytes of a page of messages below `before`, newest first: a walk along neighbours.
    pub(crate) fn page(
        &self,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let Range { start, end } = places_below(channel, before);
        let mut page = Vec::with_capacity(limit);
        for entry in self.messages.range::<&[u8]>(start.as_slice()..end.as_slice())?.rev().take(limit) {
            page.push(entry?.1.value().to_vec());
        }
        Ok(page)
    }
}

macro_rules! failures {
    ($($error:ty)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(Code::Io, format!("redb, used directly: {error}"))
            }
        }
    )*};
}

failures! { redb::DatabaseError redb::TransactionError redb::TableError redb::StorageError redb::CommitError redb::SetDurabilityError }
