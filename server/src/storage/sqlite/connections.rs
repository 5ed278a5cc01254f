//! The connections that read. Who reads has one alone for the length of a call.
//!
//! The first that is free is taken: its pages are in its cache, and in the processor's. (sqlx's own pool asks a connection after
//! each use whether it is alive, a message to its thread and back: a quarter of what a page of messages costs.)

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard, Semaphore, SemaphorePermit};

use super::{ACQUIRE_TIMEOUT, error::storage_error};
use crate::storage::{StorageError, files::descriptor::InUse};

/// Where reads get their connections.
pub(super) enum Connections {
    /// Read-only connections beside the writer's.
    Own(Box<Own>),
    /// The writer's: a second connection would not see a database in memory.
    Shared(Arc<Mutex<SqliteConnection>>),
}

/// Connections that are opened when they are needed, and stay.
pub(super) struct Own {
    options: SqliteConnectOptions,
    connections: Vec<Arc<Mutex<Option<SqliteConnection>>>>,
    /// A turn for each.
    turns: Semaphore,
    _in_use: InUse, // its end is what matters
}

/// A connection for the length of one call. Should the caller go away meanwhile, the next one can use it: what it was asked
/// ends before its next statement begins.
pub(super) struct Lease<'a> {
    connection: Leased,
    /// How to get another in its place.
    options: Option<&'a SqliteConnectOptions>,
    _turn: Option<SemaphorePermit<'a>>, // ends after the lock
}

enum Leased {
    Own(OwnedMappedMutexGuard<Option<SqliteConnection>, SqliteConnection>),
    Shared(OwnedMutexGuard<SqliteConnection>),
}

impl Connections {
    /// Up to so many connections with these options to a file, which is in use for as long. One is opened at once.
    pub(super) async fn own(options: SqliteConnectOptions, most: usize, in_use: InUse) -> Result<Self, sqlx::Error> {
        let mut first = Some(options.connect().await?);
        let connections: Vec<_> = (0..most).map(|_| Arc::new(Mutex::new(first.take()))).collect();
        let turns = Semaphore::new(connections.len());
        Ok(Self::Own(Box::new(Own { options, connections, turns, _in_use: in_use })))
    }

    /// How many there may be.
    pub(super) fn most(&self) -> usize {
        match self {
            Self::Own(own) => own.connections.len(),
            Self::Shared(_) => 1,
        }
    }

    /// A connection, once one is free.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StorageError> {
        match self {
            Self::Own(own) => own.lease().await,
            Self::Shared(connection) => {
                let connection = Leased::Shared(connection.clone().lock_owned().await);
                Ok(Lease { connection, options: None, _turn: None })
            }
        }
    }

    /// Closes them once no call has one; there are none from then on.
    pub(super) async fn close(&self) {
        let Self::Own(own) = self else { return };
        own.turns.close();
        for connection in &own.connections {
            if let Some(connection) = connection.lock().await.take() {
                let _ = connection.close().await; // it has written nothing
            }
        }
    }
}

impl Own {
    async fn lease(&self) -> Result<Lease<'_>, StorageError> {
        let busy = || StorageError::unavailable("too many are reading; try again in a moment");
        let closed = || StorageError::unavailable("the store is closed");
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, self.turns.acquire()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| closed())?;
        let mut free = self.connections.iter().filter_map(|connection| connection.clone().try_lock_owned().ok());
        let mut connection = free.next().ok_or_else(closed)?; // as many as there are turns, unless they are being closed
        if connection.is_none() {
            let opened = self.options.connect().await;
            *connection = Some(opened.map_err(|error| storage_error("get a connection for reading", error))?);
        }
        let connection = OwnedMutexGuard::try_map(connection, Option::as_mut).map_err(|_| closed())?;
        Ok(Lease { connection: Leased::Own(connection), options: Some(&self.options), _turn: Some(turn) })
    }
}

impl Lease<'_> {
    /// Ends it with what the call came to. Whoever comes after a failure has a new connection.
    pub(super) async fn end<T>(mut self, read: Result<T, StorageError>) -> Result<T, StorageError> {
        if read.is_err()
            && let Some(options) = self.options
            && let Ok(new) = options.connect().await
        {
            let failed = std::mem::replace(&mut *self, new);
            let _ = failed.close().await;
        }
        read
    }
}

impl Deref for Lease<'_> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        match &self.connection {
            Leased::Own(connection) => connection,
            Leased::Shared(connection) => connection,
        }
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match &mut self.connection {
            Leased::Own(connection) => connection,
            Leased::Shared(connection) => connection,
        }
    }
}
