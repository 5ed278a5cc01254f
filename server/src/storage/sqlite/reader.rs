//! Reads: each call is one statement on one read-only connection, so it sees one consistent state; the statement answers
//! the number of the newest commit too.

use sqlx::SqliteConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    ACQUIRE_TIMEOUT, channels,
    connections::{Connections, Lease},
    error::storage_error,
    messages, rows, sessions, users,
};
use crate::storage::{
    Category, Channel, ChannelId, MessagePage, StorageError, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    port::{Bounds, Page, Reader, View},
};

/// Records that are read like one: whoever asks for no more does not list them.
const FEW: u32 = 16;

/// The reading half of the backend.
pub(in crate::storage) struct SqliteReader {
    connections: Connections,
    /// A permit for each connection but one: lists, which take long, never have all of them, and whoever reads one row
    /// finds the last one free of lists.
    lists: Semaphore,
}

impl SqliteReader {
    pub(super) fn with(connections: Connections) -> Self {
        let others = connections.most().saturating_sub(1).max(1);
        Self { connections, lists: Semaphore::new(others) }
    }

    /// A connection for a read that answers many rows, once it is its turn.
    async fn lease_for_a_list(&self) -> Result<(SemaphorePermit<'_>, Lease<'_>), StorageError> {
        let busy = || StorageError::unavailable("too many lists are being read; try again in a moment");
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, self.lists.acquire()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        Ok((turn, self.connections.lease().await?))
    }
}

/// Reads with a connection that is had for as long.
macro_rules! with {
    ($lease:expr, |$connection:ident| $read:expr) => {{
        let mut lease = $lease;
        let $connection: &mut SqliteConnection = &mut lease;
        let read = $read.await;
        lease.end(read).await
    }};
}

impl Reader for SqliteReader {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        with!(self.connections.lease().await?, |connection| rows::get(connection, key))
    }

    async fn list<M: Model>(&self, after: Option<M::Key>, limit: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        if limit.is_some_and(|limit| limit <= FEW) {
            return with!(self.connections.lease().await?, |connection| rows::list(connection, after, limit));
        }
        let (_turn, lease) = self.lease_for_a_list().await?;
        with!(lease, |connection| rows::list(connection, after, limit))
    }

    async fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> Result<View<Vec<M>>, StorageError> {
        if limit <= FEW {
            return with!(self.connections.lease().await?, |connection| rows::find(connection, index, value, limit));
        }
        let (_turn, lease) = self.lease_for_a_list().await?;
        with!(lease, |connection| rows::find(connection, index, value, limit))
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<View<Vec<User>>, StorageError> {
        if limit <= FEW {
            return with!(self.connections.lease().await?, |connection| users::members(connection, after, limit));
        }
        let (_turn, lease) = self.lease_for_a_list().await?;
        with!(lease, |connection| users::members(connection, after, limit))
    }

    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        let (_turn, lease) = self.lease_for_a_list().await?;
        with!(lease, |connection| channels::list(connection))
    }

    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        let (_turn, lease) = self.lease_for_a_list().await?;
        with!(lease, |connection| channels::list_categories(connection))
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        with!(self.connections.lease().await?, |connection| messages::page(connection, channel_id, page, bounds))
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<View<Vec<Option<u32>>>, StorageError> {
        with!(self.connections.lease().await?, |connection| sessions::newest_challenges(connection, key_digest, slots))
    }

    async fn ping(&self) -> Result<(), StorageError> {
        with!(self.connections.lease().await?, |connection| ping(connection))
    }

    async fn close(&self) {
        self.connections.close().await;
    }
}

async fn ping(connection: &mut SqliteConnection) -> Result<(), StorageError> {
    let answer = sqlx::query("SELECT count(*) FROM meta").fetch_one(connection).await;
    answer.map(drop).map_err(|error| storage_error("reach the database", error))
}
