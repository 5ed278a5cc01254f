//! Reads: each call is one statement on one read-only connection, so it sees one consistent state.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{channels, error::storage_error, messages, sessions, users};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, Message, MessageId, SessionDigest, StorageError, User, UserId,
    front::engine::{Page, Reader, StoredSession},
};

/// The reading half of the backend.
pub(super) struct SqliteReader(Connections);

enum Connections {
    /// Read-only connections beside the writer's.
    Pooled(SqlitePool),
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
    pub(super) fn pooled(pool: SqlitePool) -> Self {
        Self(Connections::Pooled(pool))
    }

    pub(super) fn shared(connection: Arc<Mutex<SqliteConnection>>) -> Self {
        Self(Connections::Shared(connection))
    }

    async fn lease(&self) -> Result<Lease, StorageError> {
        match &self.0 {
            Connections::Pooled(pool) => pool
                .acquire()
                .await
                .map(Lease::Pooled)
                .map_err(|error| storage_error("get a connection for reading", error)),
            Connections::Shared(connection) => Ok(Lease::Shared(connection.clone().lock_owned().await)),
        }
    }
}

impl Reader for SqliteReader {
    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError> {
        users::by_id(&mut *self.lease().await?, id).await
    }

    async fn user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        users::by_pubkey(&mut *self.lease().await?, pubkey).await
    }

    async fn users(&self, after: Option<UserId>, limit: Option<u32>) -> Result<Vec<User>, StorageError> {
        users::list(&mut *self.lease().await?, after, limit).await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StorageError> {
        channels::by_id(&mut *self.lease().await?, id).await
    }

    async fn channels(&self) -> Result<Vec<Channel>, StorageError> {
        channels::list(&mut *self.lease().await?).await
    }

    async fn category(&self, id: CategoryId) -> Result<Option<Category>, StorageError> {
        channels::category_by_id(&mut *self.lease().await?, id).await
    }

    async fn categories(&self) -> Result<Vec<Category>, StorageError> {
        channels::list_categories(&mut *self.lease().await?).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError> {
        messages::by_id(&mut *self.lease().await?, id).await
    }

    async fn page(&self, channel_id: ChannelId, page: Page, limit: u32) -> Result<Vec<Message>, StorageError> {
        messages::page(&mut *self.lease().await?, channel_id, page, limit).await
    }

    async fn session(&self, digest: SessionDigest) -> Result<Option<StoredSession>, StorageError> {
        sessions::by_digest(&mut *self.lease().await?, digest).await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("SELECT count(*) FROM meta")
            .fetch_one(&mut *self.lease().await?)
            .await
            .map(|_| ())
            .map_err(|error| storage_error("reach the database", error))
    }

    async fn close(&self) {
        if let Connections::Pooled(pool) = &self.0 {
            pool.close().await;
        }
    }
}
