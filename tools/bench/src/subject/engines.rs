//! Other engines, used directly for the same rows as redb is: for whoever wonders. Only those that can be used without
//! unsafe code, which LMDB's bindings cannot (their `open` is unsafe).

use std::path::Path;

use dcstore::Code;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::raw_redb::Post;
use crate::failure::Failure;

/// fjall: a log-structured merge tree, whose journal is synced with each batch.
pub(crate) struct Fjall {
    database: Database,
    messages: Keyspace,
    messages_by_channel: Keyspace,
    meta: Keyspace,
}

impl Fjall {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let database = Database::builder(path).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let (messages, messages_by_channel) = (keyspace("messages")?, keyspace("messages_by_channel")?);
        let meta = keyspace("meta")?;
        Ok(Self { database, messages, messages_by_channel, meta })
    }

    /// Writes messages in one durable batch.
    pub(crate) fn write(&self, posts: &[Post<'_>]) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut value = Vec::new();
        for post in posts {
            post.record(&mut value);
            batch.insert(&self.messages, post.key(), value.as_slice());
            batch.insert(&self.messages_by_channel, post.index_key().as_slice(), []);
        }
        if let Some(last) = posts.last() {
            batch.insert(&self.meta, "high_water_id", last.key());
        }
        Ok(batch.commit()?)
    }
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        Self::new(Code::Io, format!("fjall: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use decentcom_server::storage::{ChannelId, MessageId, UserId};
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
        assert_eq!(again.messages.get(post.key()).unwrap().unwrap().as_ref(), expected);
        assert!(again.messages_by_channel.get(post.index_key()).unwrap().is_some());
    }
}
