//! Reads: inline on the newest snapshot, which is dropped before the call returns. They are microseconds in memory, so
//! a hop to another thread would cost ten times the work; whole-table lists, which may be long, do take that hop.

use std::sync::Arc;

use decentcom_kvstore::{Snapshot, Store};

use super::{challenges, channels, error::storage_error, messages, sessions, users};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, Message, MessageId, MessagePage, SessionDigest, StorageError, User,
    UserId,
    front::engine::{Bounds, Page, Reader, StoredSession},
};

/// The reading half of the backend.
pub(super) struct RedbReader(pub(super) Arc<Store>);

impl RedbReader {
    fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.0.snapshot().map_err(storage_error("begin to read"))
    }

    /// Reads from the newest snapshot. After a disk error redb answers only from memory, until the file is opened again:
    /// reads that need more have that done, as the next change would.
    async fn read<T>(&self, call: impl Fn(&Snapshot) -> Result<T, StorageError>) -> Result<T, StorageError> {
        match call(&*self.snapshot()?) {
            Err(StorageError::Unavailable { .. }) => {
                let store = self.0.clone();
                tokio::task::spawn_blocking(move || store.recover())
                    .await
                    .map_err(|error| StorageError::internal("open the file again", error))?
                    .map_err(storage_error("open the file again after a disk error"))?;
                call(&*self.snapshot()?)
            }
            result => result,
        }
    }
}

impl Reader for RedbReader {
    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError> {
        self.read(|snapshot| users::by_id(snapshot, id)).await
    }

    async fn user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        self.read(|snapshot| users::by_pubkey(snapshot, pubkey)).await
    }

    async fn users(&self, after: Option<UserId>, limit: Option<u32>) -> Result<Vec<User>, StorageError> {
        let snapshot = self.snapshot()?;
        if limit.is_some() {
            return self.read(|snapshot| users::list(snapshot, after, limit)).await;
        }
        tokio::task::spawn_blocking(move || users::list(&snapshot, after, limit))
            .await
            .map_err(|error| StorageError::internal("list users", error))?
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.read(|snapshot| users::members(snapshot, after, limit)).await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StorageError> {
        self.read(|snapshot| channels::by_id(snapshot, id)).await
    }

    async fn channels(&self) -> Result<Vec<Channel>, StorageError> {
        self.read(channels::list).await
    }

    async fn category(&self, id: CategoryId) -> Result<Option<Category>, StorageError> {
        self.read(|snapshot| channels::category_by_id(snapshot, id)).await
    }

    async fn categories(&self) -> Result<Vec<Category>, StorageError> {
        self.read(channels::list_categories).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError> {
        self.read(|snapshot| messages::by_id(snapshot, id)).await
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<MessagePage, StorageError> {
        self.read(|snapshot| messages::page(snapshot, channel_id, page, bounds)).await
    }

    async fn session(&self, digest: SessionDigest) -> Result<Option<StoredSession>, StorageError> {
        self.read(|snapshot| sessions::by_digest(snapshot, digest)).await
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<Vec<Option<u32>>, StorageError> {
        self.read(|snapshot| challenges::newest(snapshot, key_digest, slots)).await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.0.meta("format").map(|_| ()).map_err(storage_error("reach the database"))
    }

    /// The writer closes the store; reads hold nothing between calls.
    async fn close(&self) {}
}
