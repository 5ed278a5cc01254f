//! Other engines, used directly for the same rows as redb is: for whoever wonders. Only those that can be used without
//! unsafe code, which LMDB's bindings cannot (their `open` is unsafe).

use std::path::Path;

use dcstore::Code;
use decentcom_server::storage::{ChannelId, MessageId, RedbOptions};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::raw_redb::{Post, places_below};
use crate::failure::Failure;

/// fjall: a log-structured merge tree, whose journal is synced with each batch.
pub(crate) struct Fjall {
    database: Database,
    messages: Keyspace,
    messages_by_id: Keyspace,
    meta: Keyspace,
}

impl Fjall {
    /// Opens what is in a directory, with as large a cache as redb's.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let database = Database::builder(path).cache_size(RedbOptions::default().cache_bytes).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let (messages, messages_by_id) = (keyspace("messages")?, keyspace("messages_by_id")?);
        let meta = keyspace("meta")?;
        Ok(Self { database, messages, messages_by_id, meta })
    }

    /// Writes messages in one durable batch.
    pub(crate) fn write(&self, posts: &[Post<'_>]) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut value = Vec::new();
        for post in posts {
            post.record(&mut value);
            let place = post.place();
            batch.insert(&self.messages, place.as_slice(), value.as_slice());
            batch.insert(&self.messages_by_id, post.key(), place);
        }
        if let Some(last) = posts.last() {
            batch.insert(&self.meta, "high_water_id", last.key());
        }
        Ok(batch.commit()?)
    }

    /// The bytes of a message.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Result<Option<Vec<u8>>, Failure> {
        let Some(place) = self.messages_by_id.get(id)? else { return Ok(None) };
        Ok(self.messages.get(place)?.map(|value| value.to_vec()))
    }

    /// The bytes of a page of messages below `before`, newest first.
    pub(crate) fn page(
        &self,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let walk = self.messages.range(places_below(channel, before)).rev().take(limit);
        walk.map(|entry| Ok(entry.value()?.to_vec())).collect()
    }
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        Self::new(Code::Io, format!("fjall: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use decentcom_server::storage::UserId;
    use ulid::Ulid;

    use super::*;

    #[test]
    fn what_is_written_is_found_again_after_closing() {
        let directory = tempfile::tempdir().unwrap();
        let (id, channel): (MessageId, ChannelId) = (Ulid(3).into(), Ulid(2).into());
        let post = Post { id, channel, author: UserId::from(Ulid(1)), text: "text" };
        Fjall::open(directory.path()).unwrap().write(&[post]).unwrap();
        let again = Fjall::open(directory.path()).unwrap();
        let mut expected = Vec::new();
        post.record(&mut expected);
        assert_eq!(again.get(&post.key()).unwrap().unwrap(), expected);
        assert_eq!(again.page(channel, None, 50).unwrap(), [expected]);
        assert!(again.page(channel, Some(id), 50).unwrap().is_empty());
    }
}
