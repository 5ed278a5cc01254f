//! Reads: inline on the newest snapshot, which is dropped before the call returns. They are microseconds in memory, so
//! a hop to another thread would cost ten times the work; whole-table lists, which may be long, do take that hop.

use std::sync::Arc;

use decentcom_kvstore::{Snapshot, Store};

use super::{channels, error::storage_error, messages, rows, sessions, users};
use crate::storage::{
    Category, Channel, ChannelId, MessagePage, StorageError, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    port::{Bounds, Page, Reader},
};

/// The reading half of the backend.
pub(in crate::storage) struct RedbReader(pub(super) Arc<Store>);

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
    async fn get<M: Model>(&self, key: M::Key) -> Result<Option<M>, StorageError> {
        self.read(|snapshot| rows::get::<M>(snapshot, key)).await
    }

    async fn list<M: Model>(&self, after: Option<M::Key>, limit: Option<u32>) -> Result<Vec<M>, StorageError> {
        if limit.is_some() {
            return self.read(|snapshot| rows::list(snapshot, after, limit)).await;
        }
        let snapshot = self.snapshot()?;
        tokio::task::spawn_blocking(move || rows::list(&snapshot, after, limit))
            .await
            .map_err(|error| StorageError::internal("list records", error))?
    }

    async fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> Result<Vec<M>, StorageError> {
        self.read(|snapshot| rows::find(snapshot, index, &value, limit)).await
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.read(|snapshot| users::members(snapshot, after, limit)).await
    }

    async fn channels(&self) -> Result<Vec<Channel>, StorageError> {
        self.read(channels::list).await
    }

    async fn categories(&self) -> Result<Vec<Category>, StorageError> {
        self.read(channels::list_categories).await
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<MessagePage, StorageError> {
        self.read(|snapshot| messages::page(snapshot, channel_id, page, bounds)).await
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<Vec<Option<u32>>, StorageError> {
        self.read(|snapshot| sessions::newest_challenges(snapshot, key_digest, slots)).await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.0.meta("format").map(|_| ()).map_err(storage_error("reach the database"))
    }

    /// The writer closes the store; reads hold nothing between calls.
    async fn close(&self) {}
}
