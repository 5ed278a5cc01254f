//! The storage layer: one contract, several backends.
//!
//! ```text
//!  handlers ── Arc<dyn Storage> ──> front ── Batch, one at a time ──> Writer ┐
//!  (traits.rs)                       │                    port.rs            ├ sqlite/, redb/
//!                                    └────── reads, concurrently ──> Reader ┘
//!  contract: traits.rs, models.rs, error.rs, contract/, ids, times, limits, changes ── names nothing else
//! ```
//!
//! [`traits`] is the contract. [`front`] gives it its meaning, once: parsing, limits, ids, the commit queue, the
//! rules of every call, the change feed. A backend only keeps rows (`port.rs`). Only this file, `inspect/`
//! and `declared.rs` name backends.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use self::{
    front::{Front, Room},
    port::{Opened, Reader},
    space::Space,
};

mod bytes;
mod changes;
mod clock;
mod condition;
pub mod contract;
pub mod declared;
mod disk;
mod error;
mod example;
mod files;
mod finding;
pub mod front;
mod id;
pub mod inspect;
mod inspection;
pub mod limits;
pub mod log;
mod login;
mod metered;
mod models;
pub mod port;
mod redb;
mod space;
mod sqlite;
#[cfg(test)]
mod tests;
mod text;
mod timestamp;
mod token;
pub mod traits;

pub use changes::{Change, ChangeFeed, FeedError};
pub use clock::{CautiousClock, Clock, ManualClock, SystemClock, check_system_clock};
pub use condition::{Condition, Trouble};
pub use contract::around::Around;
pub use disk::{Disk, Look, wanted};
pub use error::{OpenError, Source, StorageError};
pub use front::{BATCH_COMMANDS, COMMIT_SECONDS, FREE_BYTES, FULL, NEWEST_PAGES, QUEUE_COMMANDS};
pub use id::IdText;
pub use login::{ANSWERABLE_SLOTS, Admission, Challenge, LogIn, LoggedIn, LoginKey, MAX_SLOTS, SLOT, UsedChallenge};
pub use metered::{CALL_SECONDS, Metered};
pub use models::*;
pub use space::MinFree;
pub use text::shows_something;
pub use timestamp::{ParseTimestampError, Timestamp};
pub use token::{SessionDigest, bytes_of_hex};
pub use traits::*;

/// What opening a store takes; configuration fills it in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StorageOptions {
    /// Which backend keeps it.
    pub backend: Backend,
    /// The database file. It and its directories are created, closed to other users, when missing.
    #[serde(rename = "database_path", serialize_with = "lossy")]
    pub path: PathBuf,
    /// What only redb has to be told.
    pub redb: RedbOptions,
    /// How much of the disk is to stay free.
    pub min_free: MinFree,
}

/// Settings of the redb backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RedbOptions {
    /// Bytes of memory for cached pages.
    #[serde(rename = "cache_mib")] // the key by which operators know it
    pub cache_bytes: u64,
    /// Whether every commit also saves what a quick start after a crash needs. Without it, a start after a crash walks
    /// through the file (about a second per million messages); with it, every commit costs a second sync.
    pub quick_repair: bool,
    /// Whether tools of the same user may look into the store while it is open, through a socket beside the file.
    pub inspection_socket: bool,
}

fn lossy<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl Default for RedbOptions {
    /// 128 MiB: the upper levels of every table and the pages in use of a community with some million messages, on a
    /// machine that has other things to do. redb's own default is 1 GiB. No quick repair: commits are many, crashes few.
    /// No socket: that is for servers.
    fn default() -> Self {
        Self { cache_bytes: 128 * 1024 * 1024, quick_repair: false, inspection_socket: false }
    }
}

/// A store being opened.
type BeingOpened<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Storage>, OpenError>> + Send + 'a>>;

/// Opens the store, creating it when the file does not exist.
pub fn open(options: &StorageOptions, clock: Arc<dyn Clock>) -> BeingOpened<'_> {
    let space = Space::below(&options.path, options.min_free);
    Box::pin(async move {
        space.prepare(&options.path)?;
        let room = Room::on(space);
        match options.backend {
            Backend::Sqlite => start(sqlite::open(&options.path).await?, room, clock),
            Backend::Redb => {
                let (path, redb, reserve) = (options.path.clone(), options.redb, room.clone());
                let opened = tokio::task::spawn_blocking(move || redb::open(&path, redb, move || reserve.make_room()));
                start(opened.await.map_err(|error| StorageError::internal("open the database", error))??, room, clock)
            }
        }
    })
}

/// Takes a copy of a store that was open, without what its log had, for what it is: the next start opens it. Answers whether
/// the file is one; a redb file never is.
pub fn accept_copy(options: &StorageOptions) -> Result<bool, OpenError> {
    match options.backend {
        Backend::Sqlite => sqlite::opening::accept(&options.path),
        Backend::Redb => Ok(false),
    }
}

/// Refuses names that no store of `backend` can have, such as `:memory:`; looks at no file.
pub fn check_name(path: &std::path::Path, backend: Backend) -> Result<(), OpenError> {
    files::kind::check_name(path, backend)
}

/// What is to be said of the place where the database lies, if it is no local disk.
pub fn place_warning(path: &std::path::Path) -> Option<String> {
    files::filesystem::warning(path)
}

/// Opens an empty store that lives in memory and is gone when dropped; for tests and trials.
pub fn open_in_memory(backend: Backend, clock: Arc<dyn Clock>) -> BeingOpened<'static> {
    Box::pin(async move {
        match backend {
            Backend::Sqlite => start(sqlite::open_in_memory().await?, Room::unbounded(), clock),
            Backend::Redb => start(redb::open_in_memory()?, Room::unbounded(), clock),
        }
    })
}

/// Puts the contract in front of a backend: only here are the parts put together.
fn start<R: Reader>(opened: Opened<R>, room: Arc<Room>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Storage>, OpenError> {
    Ok(Arc::new(Front::start(opened, room, clock)?))
}

/// The backends of this repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// One SQLite file, the default.
    Sqlite,
    /// One redb file.
    Redb,
}

impl Backend {
    /// The name used in configuration, store addresses and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
        }
    }
}
