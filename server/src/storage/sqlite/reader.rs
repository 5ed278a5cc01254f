//! Reads: each call is one statement on one read-only connection, so it sees one consistent state; the statement answers
//! the number of the newest commit too.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

use super::{ACQUIRE_TIMEOUT, channels, error::storage_error, messages, rows, sessions, users};
use crate::storage::{
    Category, Channel, ChannelId, MessagePage, StorageError, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    files::descriptor::InUse,
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

enum Connections {
    /// Read-only connections beside the writer's.
    Pooled(SqlitePool, #[allow(dead_code)] InUse), // its end is what matters
    /// The writer's own: a second connection would not see a database in memory.
    Shared(Arc<Mutex<SqliteConnection>>),
}

/// A connection for the length of one call.
enum Lease {
    Pooled(PoolConnection<Sqlite>),
    Shared(OwnedMutexGuard<SqliteConnection>),
}

impl Deref for Lease {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Shared(connection) => connection,
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Shared(connection) => connection,
        }
    }
}

impl SqliteReader {
    pub(super) fn pooled(pool: SqlitePool, in_use: InUse) -> Self {
        let others = pool.options().get_max_connections().saturating_sub(1).max(1);
        Self { connections: Connections::Pooled(pool, in_use), lists: Semaphore::new(others as usize) }
    }

    pub(super) fn shared(connection: Arc<Mutex<SqliteConnection>>) -> Self {
        Self { connections: Connections::Shared(connection), lists: Semaphore::new(1) }
    }

    async fn lease(&self) -> Result<Lease, StorageError> {
        match &self.connections {
            Connections::Pooled(pool, _) => pool
                .acquire()
                .await
                .map(Lease::Pooled)
                .map_err(|error| storage_error("get a connection for reading", error)),
            Connections::Shared(connection) => Ok(Lease::Shared(connection.clone().lock_owned().await)),
        }
    }

    /// A connection for a read that answers many rows, once it is its turn.
    async fn lease_for_a_list(&self) -> Result<(SemaphorePermit<'_>, Lease), StorageError> {
        let busy = || StorageError::unavailable("too many lists are being read; try again in a moment");
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, self.lists.acquire()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        Ok((turn, self.lease().await?))
    }
}

impl Reader for SqliteReader {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        rows::get(&mut *self.lease().await?, key).await
    }

    async fn list<M: Model>(&self, after: Option<M::Key>, limit: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        if limit.is_some_and(|limit| limit <= FEW) {
            return rows::list(&mut *self.lease().await?, after, limit).await;
        }
        let (_turn, mut connection) = self.lease_for_a_list().await?;
        rows::list(&mut connection, after, limit).await
    }

    async fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> Result<View<Vec<M>>, StorageError> {
        if limit <= FEW {
            return rows::find(&mut *self.lease().await?, index, value, limit).await;
        }
        let (_turn, mut connection) = self.lease_for_a_list().await?;
        rows::find(&mut connection, index, value, limit).await
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<View<Vec<User>>, StorageError> {
        if limit <= FEW {
            return users::members(&mut *self.lease().await?, after, limit).await;
        }
        let (_turn, mut connection) = self.lease_for_a_list().await?;
        users::members(&mut connection, after, limit).await
    }

    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        let (_turn, mut connection) = self.lease_for_a_list().await?;
        channels::list(&mut connection).await
    }

    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        let (_turn, mut connection) = self.lease_for_a_list().await?;
        channels::list_categories(&mut connection).await
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        messages::page(&mut *self.lease().await?, channel_id, page, bounds).await
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<View<Vec<Option<u32>>>, StorageError> {
        sessions::newest_challenges(&mut *self.lease().await?, key_digest, slots).await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("SELECT count(*) FROM meta")
            .fetch_one(&mut *self.lease().await?)
            .await
            .map(|_| ())
            .map_err(|error| storage_error("reach the database", error))
    }

    async fn close(&self) {
        if let Connections::Pooled(pool, _) = &self.connections {
            pool.close().await;
        }
    }
}
