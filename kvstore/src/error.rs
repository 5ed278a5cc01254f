//! What can go wrong, with file, table and key where they are known.

use std::{fmt::Write as _, io, path::PathBuf, sync::Arc};

/// Why a read or a batch failed. A batch that fails has stored nothing that anybody sees while the store is open; if it
/// failed on the disk and the power goes before [`Store::recover`](crate::Store::recover) took it back, it may be found
/// stored afterwards.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Stored bytes are not what was written.
    #[error("table `{table}`, key {key}: {problem}")]
    Corrupt {
        /// The table or index.
        table: &'static str,
        /// The key in hexadecimal.
        key: String,
        /// What is wrong with the bytes.
        problem: String,
    },
    /// A unique index has another row with these fields; the call staged nothing.
    #[error("unique index `{index}` has this value already")]
    Duplicate {
        /// The index.
        index: &'static str,
    },
    /// A row that does not exist was to be replaced or removed; the call staged nothing.
    #[error("table `{table}` has no row with the key {key}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key in hexadecimal.
        key: String,
    },
    /// A row was inserted under a key that has one; nothing was overwritten.
    #[error("table `{table}` has a row with the key {key} already")]
    Exists {
        /// The table.
        table: &'static str,
        /// The key in hexadecimal.
        key: String,
    },
    /// The record is too large to be stored.
    #[error("table `{table}`: {problem}")]
    TooLarge {
        /// The table.
        table: &'static str,
        /// What the encoder said.
        problem: String,
    },
    /// No more room: on the disk, within a quota, or for a file of that size.
    #[error("the disk is full")]
    DiskFull(#[source] Arc<redb::Error>),
    /// An input or output failed. What follows is [`MustReopen`](Self::MustReopen).
    #[error("the disk failed")]
    Io(#[source] Arc<redb::Error>),
    /// An earlier input or output failed. What is in memory can be read; for all else the file has to be opened again,
    /// see [`Store::recover`](crate::Store::recover).
    #[error("the store stopped after an input/output error and must be opened again")]
    MustReopen(#[source] Arc<redb::Error>),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The file, or a copy of it, is not in one piece. Also what is answered for a table that was never declared.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// A copy of the store, or the connection to whoever has it open, failed.
    #[error("the copy of the store or the connection to it failed: {0}")]
    Transfer(#[source] Arc<io::Error>),
    /// The process that has the store open does not answer this.
    #[error("{0}")]
    Refused(String),
    /// The process that has the store open serves as many readers as it will at one time.
    #[error("it answers {0} readers already")]
    Busy(usize),
    /// Tables that every store of this catalogue has are missing, or are none of ours: somebody altered the file.
    #[error("{0}")]
    Altered(String),
    /// The engine failed otherwise.
    #[error("the engine failed")]
    Engine(#[source] Arc<redb::Error>),
}

/// Why a file could not be opened as a store; it is as it was, unless setting it up failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotOpen {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process holds the file.
    #[error("{} is open in another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer program, which allows no older readers.
    #[error("{} has format {found}, readable from format {oldest_reader} on; this program has {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The oldest format of a program that may read it.
        oldest_reader: u32,
        /// This program's format.
        supported: u32,
    },
    /// The file is no redb file, or damaged.
    #[error("{} is damaged or no redb file: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        problem: String,
    },
    /// The file is another program's: it has no format of ours.
    #[error("{} is a redb file of another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Creating tables, migrating or rebuilding indexes failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Error {
    pub(crate) fn corrupt(table: &'static str, key: &[u8], problem: impl ToString) -> Self {
        Self::Corrupt { table, key: hex(key), problem: problem.to_string() }
    }

    pub(crate) fn exists(table: &'static str, key: &[u8]) -> Self {
        Self::Exists { table, key: hex(key) }
    }

    pub(crate) fn too_large(table: &'static str, problem: impl ToString) -> Self {
        Self::TooLarge { table, problem: problem.to_string() }
    }

    pub(crate) fn undeclared(table: &str) -> Self {
        Self::Damaged(format!("table `{table}` is not in the catalogue"))
    }
}

/// Whether the operating system refused for lack of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Any of redb's errors, by what its reader can do about it.
impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) if is_full(&source) => Self::DiskFull(Arc::new(redb::Error::Io(source))),
            redb::Error::Io(_) => Self::Io(Arc::new(error)),
            redb::Error::PreviousIo => Self::MustReopen(Arc::new(error)),
            redb::Error::DatabaseClosed => Self::Closed,
            redb::Error::Corrupted(problem) => Self::Damaged(problem),
            redb::Error::TableDoesNotExist(table) => Self::Altered(format!("its table `{table}` is missing")),
            redb::Error::TableTypeMismatch { table, .. } | redb::Error::TableIsMultimap(table) => {
                Self::Altered(format!("its table `{table}` was replaced by one of another type"))
            }
            other => Self::Engine(Arc::new(other)),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Transfer(Arc::new(error))
    }
}

macro_rules! from_engine_errors {
    ($($kind:ident)*) => {$(
        impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_engine_errors! { StorageError TableError TransactionError CommitError CompactionError DatabaseError
SetDurabilityError CursorError }

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
