//! Looking into a store: what lies in it, as it lies there. Looking changes nothing.
//!
//! ```text
//!  dcstore ──> Inspection ┬ redb/inspect.rs    ── kvstore: the file (a crash repaired in memory) │ a running server,
//!         (inspection.rs) │                                in steps │ the same, spooled from one moment
//!                         └ sqlite/inspect.rs  ── a read-only connection, one read transaction
//!  rows.rs     streams over pages; the records that the contract shows
//!  rules.rs    what records must be, one by one and together: for whatever checks a store and whatever fills one
//!  verify.rs   what both backends check alike
//!  import.rs   makes a store beside its place, and moves it there when it is complete
//!  maintain.rs mending and compacting; besides import.rs, nothing here writes
//! ```
//!
//! Calls block; they are for tools, not for the server's own threads. Reading goes in pages, so memory stays constant
//! whatever the store's size, and two stores can be read side by side.

mod import;
pub mod maintain;
mod rows;
mod rules;
mod verify;

use std::path::Path;

pub use decentcom_kvstore::{ByteRange, Direction, RawRange};

pub use self::{
    import::{Claim, Import},
    rows::{DamagedRow, Records, Scan},
    rules::Rules,
    verify::{verify, verify_file},
};
use super::{Backend, OpenError, StorageError, files, redb, sqlite};
pub use super::{
    Row, StoredSession,
    finding::{Finding, Level},
    inspection::{Cell, CellValue, Explained, Facts, Inspection, Moment, State, Stored, TableFacts},
};

/// Opens the store in the file at `path`, which must exist, to look at it; its files stay as they are. `progress` is told
/// the rows copied so far, where rows have to be copied, and may stop that with an error.
pub fn open(
    backend: Backend,
    path: &Path,
    moment: Moment,
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<Box<dyn Inspection>, OpenError> {
    match backend {
        Backend::Redb => redb::inspect::open(path, moment, progress),
        Backend::Sqlite => sqlite::inspect::open(path),
    }
}

/// Whether there is something in the file at `path`; what can be no store is refused.
pub fn is_there(backend: Backend, path: &Path) -> Result<bool, OpenError> {
    files::kind::check(path, backend)?;
    Ok(files::sizes(path).0 > 0)
}

/// A store in memory with at least one row in each table and index, written by the backend's own writer: the same whenever it
/// is made.
pub fn example(backend: Backend) -> Result<Box<dyn Inspection>, OpenError> {
    match backend {
        Backend::Redb => redb::inspect::example(),
        Backend::Sqlite => sqlite::inspect::example(),
    }
}
