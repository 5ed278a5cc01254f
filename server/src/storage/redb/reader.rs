//! Reads: inline on the newest snapshot, which is dropped before the call returns. They are microseconds in memory, so
//! a hop to another thread would cost ten times the work; whole-table lists, which may be long, do take that hop.

use std::sync::Arc;

use decentcom_kvstore::Snapshot;

use super::{channels, error::storage_error, messages, published::Published, rows, sessions, users};
use crate::storage::{
    Category, Channel, ChannelId, MessagePage, StorageError, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    port::{Bounds, Page, Reader, View},
};

/// The reading half of the backend.
pub(in crate::storage) struct RedbReader(pub(super) Arc<Published>);

impl RedbReader {
    /// Reads from the newest snapshot. After a disk error redb answers only from memory, until the file is opened again:
    /// reads that need more have that done, as the next change would.
    async fn read<T>(&self, call: impl Fn(&Snapshot) -> Result<T, StorageError>) -> Result<View<T>, StorageError> {
        let view = self.0.view();
        match call(&view.shows) {
            Err(StorageError::Unavailable { .. }) => {
                let published = self.0.clone();
                tokio::task::spawn_blocking(move || published.recover("open the file again after a disk error"))
                    .await
                    .map_err(|error| StorageError::internal("open the file again", error))??;
                let view = self.0.view();
                call(&view.shows).map(|shows| View { commit: view.commit, shows })
            }
            result => result.map(|shows| View { commit: view.commit, shows }),
        }
    }
}

impl Reader for RedbReader {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        self.read(|snapshot| rows::get::<M>(snapshot, key)).await
    }

    async fn list<M: Model>(&self, after: Option<M::Key>, limit: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        if limit.is_some() {
            return self.read(|snapshot| rows::list(snapshot, after, limit)).await;
        }
        let View { commit, shows } = self.0.view();
        let listed = tokio::task::spawn_blocking(move || rows::list(&shows, after, limit))
            .await
            .map_err(|error| StorageError::internal("list records", error))??;
        Ok(View { commit, shows: listed })
    }

    async fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> Result<View<Vec<M>>, StorageError> {
        self.read(|snapshot| rows::find(snapshot, index, &value, limit)).await
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<View<Vec<User>>, StorageError> {
        self.read(|snapshot| users::members(snapshot, after, limit)).await
    }

    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        self.read(channels::list).await
    }

    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        self.read(channels::list_categories).await
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        self.read(|snapshot| messages::page(snapshot, channel_id, page, bounds)).await
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<View<Vec<Option<u32>>>, StorageError> {
        self.read(|snapshot| sessions::newest_challenges(snapshot, key_digest, slots)).await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.0.store.meta("format").map(|_| ()).map_err(storage_error("reach the database"))
    }

    /// The writer closes the store; reads hold nothing between calls.
    async fn close(&self) {}
}
