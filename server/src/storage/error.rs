//! What can go wrong, in terms of the contract. Every backend maps its native errors to these in its `error.rs`; errors that
//! only tools meet are mapped where they open a store.

use std::{error::Error, path::PathBuf, sync::Arc};

use super::{Entity, Timestamp, limits::ELLIPSIS_AFTER};

/// A native error kept for the log; shared, because one failed commit is reported to every caller in it.
pub type Source = Arc<dyn Error + Send + Sync>;

/// Why a call on an open store failed. A call that is refused (`InvalidInput`, `NotFound`, `Conflict`, `Full`) has changed
/// nothing. After `Unavailable` or `Internal` the change may have been stored: read, or repeat it.
///
/// One call reports the first that applies of: [`InvalidInput`](Self::InvalidInput),
/// [`NotFound`](Self::NotFound), [`Conflict`](Self::Conflict).
///
/// The text is meant for logs and operators. Of [`Corrupt`](Self::Corrupt) and
/// [`Internal`](Self::Internal) it may quote the database, so it must not reach an HTTP client.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The named thing does not exist, or is deleted.
    #[error("no {entity} has the id `{id}`")]
    NotFound {
        /// What was looked for.
        entity: Entity,
        /// The id: canonical if it is a ULID, else as the caller gave it, shortened when it is very long.
        id: String,
    },
    /// A unique field is taken.
    #[error("another {entity} already has this {field}")]
    Conflict {
        /// What kind of record holds the value.
        entity: Entity,
        /// The unique field.
        field: &'static str,
    },
    /// An argument breaks a rule of the contract.
    #[error("invalid {field}: {reason}")]
    InvalidInput {
        /// The argument.
        field: &'static str,
        /// The rule, with its limit and unit.
        reason: String,
    },
    /// There is no room for the change: on the disk, within what `[storage] min_free` leaves, within a quota. Nothing was
    /// changed. Reads, log-outs and deletions go on.
    #[error("no room: {reason}")]
    Full {
        /// What is full and what to do about it.
        reason: String,
        /// The native error, where there is one.
        #[source]
        source: Option<Source>,
    },
    /// The store cannot serve this now (closed, busy, overloaded); the same call may succeed later.
    #[error("storage unavailable: {reason}")]
    Unavailable {
        /// What stands in the way and what would remove it.
        reason: String,
        /// The native error, where there is one.
        #[source]
        source: Option<Source>,
    },
    /// Stored bytes are not what was written.
    #[error("corrupt data in {place}: {problem}. {remedy}")]
    Corrupt {
        /// File, table and key, as far as known.
        place: String,
        /// What was found.
        problem: String,
        /// What the operator should do next.
        remedy: &'static str,
    },
    /// The engine failed in a way the contract has no word for.
    #[error("internal storage error while trying to {attempt}")]
    Internal {
        /// Completes "while trying to …".
        attempt: String,
        /// The native error.
        #[source]
        source: Option<Source>,
    },
}

impl StorageError {
    /// The variant's name in snake case, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::InvalidInput { .. } => "invalid_input",
            Self::Full { .. } => "full",
            Self::Unavailable { .. } => "unavailable",
            Self::Corrupt { .. } => "corrupt",
            Self::Internal { .. } => "internal",
        }
    }

    /// The `NotFound` of one entity; `id` may be anything a caller sent.
    pub fn not_found(entity: Entity, id: impl AsRef<str>) -> Self {
        let id = id.as_ref();
        let mut shown: String = id.chars().take(ELLIPSIS_AFTER).collect();
        if shown.len() < id.len() {
            shown.push('…');
        }
        Self::NotFound { entity, id: shown }
    }

    /// An `InvalidInput`: which argument, and the rule it breaks.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidInput { field, reason: reason.into() }
    }

    /// An `Unavailable` without a native error behind it.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// An `Internal`: what was attempted, and the native error.
    pub fn internal(attempt: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Internal { attempt: attempt.into(), source: Some(Arc::new(source)) }
    }
}

/// Why a store could not be opened. Nothing was created or changed that was not there before,
/// save directories on the way to a new database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path cannot be used: missing rights, a directory in its place, a full disk.
    #[error("cannot open the database {}: {problem}. {remedy}", path.display())]
    Path {
        /// The database file or its directory.
        path: PathBuf,
        /// What the operating system said, in plain words.
        problem: String,
        /// What the operator should do next.
        remedy: &'static str,
    },
    /// No store can have this name.
    #[error("`{}` names no store: {problem}. {remedy}", path.display())]
    Name {
        /// The name.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the operator should do next.
        remedy: &'static str,
    },
    /// The file belongs to something else.
    #[error("{} is not {expected} database: {found}. {remedy}", path.display())]
    WrongFormat {
        /// The file.
        path: PathBuf,
        /// What the configured backend needs, with its article.
        expected: &'static str,
        /// What the file looks like.
        found: String,
        /// What the operator should do next.
        remedy: &'static str,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "{} was written by a newer decentcom (format {found}; this program knows up to {supported}). \
         Start the newer version, or restore a backup made before the upgrade",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format or migration found in the file.
        found: String,
        /// The newest this program knows.
        supported: String,
    },
    /// Another process holds the file.
    #[error("{} is in use by {}. Stop it first", path.display(), holder.as_deref().unwrap_or("another process"))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process, where that can be told: its program and number.
        holder: Option<String>,
    },
    /// The process that has the file serves as many readers as it will.
    #[error(
        "{} is open in {}, which is being read by {readers} others already. Try again when one of them has ended, or stop one",
        path.display(), holder.as_deref().unwrap_or("another process")
    )]
    Busy {
        /// The file.
        path: PathBuf,
        /// The process, where that can be told: its program and number.
        holder: Option<String>,
        /// How many it serves.
        readers: usize,
    },
    /// The engine reports damage, or opening failed half-way.
    #[error("cannot open the database {}: {problem}. {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        problem: String,
        /// What the operator should do next.
        remedy: &'static str,
    },
    /// The clock is too far from what the store has seen to give out ids by it.
    #[error(
        "this computer's clock says {now}, more than a year after the store's newest commit, which was made at {newest}. Ids \
         given out by a wrong clock cannot be taken back: set the clock; or, if it is right, start once with --accept-clock"
    )]
    Clock {
        /// What the clock says.
        now: Timestamp,
        /// When the newest commit was made.
        newest: Timestamp,
    },
    /// The store opened, but its first reads failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
