//! Reads: inline on the newest snapshot, which is dropped before the call returns. They are microseconds in memory, so
//! a hop to another thread would cost ten times the work; whole-table lists, which may be long, do take that hop.

use std::sync::Arc;

use decentcom_kvstore::{Snapshot, Store};

use super::{channels, error::storage_error, messages, sessions, users};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, Message, MessageId, SessionDigest, StorageError, User, UserId,
    front::engine::{Page, Reader, StoredSession},
};

/// The reading half of the backend.
pub(super) struct RedbReader(pub(super) Arc<Store>);

impl RedbReader {
    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.0.snapshot().map_err(storage_error("begin to read"))
    }
}

impl Reader for RedbReader {
    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError> {
        users::by_id(&*self.snapshot()?, id)
    }

    async fn user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        users::by_pubkey(&*self.snapshot()?, pubkey)
    }

    async fn users(&self, after: Option<UserId>, limit: Option<u32>) -> Result<Vec<User>, StorageError> {
        let snapshot = self.snapshot()?;
        if limit.is_some() {
            return users::list(&snapshot, after, limit);
        }
        tokio::task::spawn_blocking(move || users::list(&snapshot, after, limit))
            .await
            .map_err(|error| StorageError::internal("list users", error))?
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StorageError> {
        channels::by_id(&*self.snapshot()?, id)
    }

    async fn channels(&self) -> Result<Vec<Channel>, StorageError> {
        channels::list(&*self.snapshot()?)
    }

    async fn category(&self, id: CategoryId) -> Result<Option<Category>, StorageError> {
        channels::category_by_id(&*self.snapshot()?, id)
    }

    async fn categories(&self) -> Result<Vec<Category>, StorageError> {
        channels::list_categories(&*self.snapshot()?)
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError> {
        messages::by_id(&*self.snapshot()?, id)
    }

    async fn page(&self, channel_id: ChannelId, page: Page, limit: u32) -> Result<Vec<Message>, StorageError> {
        messages::page(&*self.snapshot()?, channel_id, page, limit)
    }

    async fn session(&self, digest: SessionDigest) -> Result<Option<StoredSession>, StorageError> {
        sessions::by_digest(&*self.snapshot()?, digest)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.0.meta("format").map(|_| ()).map_err(storage_error("reach the database"))
    }

    /// The writer closes the store; reads hold nothing between calls.
    async fn close(&self) {}
}
