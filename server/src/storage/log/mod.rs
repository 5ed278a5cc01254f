//! The commit log: what was committed, in order, in files of its own beside the database.
//!
//! ```text
//!  journal.rs    the log as one: opened, appended to, read, trimmed        Journal
//!  segment.rs    a file of it: a header, then records                      Segment
//!  header.rs     which log, which place in it                              Header
//!  record.rs     a commit: number, time, hash of the one before, payload   Record
//!  commit.rs     the payload: what was written                             Commit
//!  memtable.rs   what is committed and not yet applied                     Memtable
//!  reader.rs     what is true: memtables, then the backend                 LogReader
//!  folder.rs     where the files lie: a directory, or memory               Folder
//! ```
//!
//! # On disk
//!
//! ```text
//!  segment    block 0, block 1      the header, twice
//!             block 2 …             records, each from the beginning of a block of 4 KiB on, zeros up to its end
//!
//!  sequence   41           42               43
//!             1 … 712      713 … 1200       1200 …           43 began when the log was opened: it repeats record 1200, and
//!                                                            what 42 has of that number and above counts no more
//! ```
//!
//! A segment is written full of zeros before it is used, and used again when nobody needs what is in it: a sync of a record then
//! changes no metadata. Records of its former life do not count, because their checksums are salted: each life has a salt.
//!
//! # Rules
//!
//! - A record is acknowledged after it was synced, and the next one is written after that. So at most one record lies beyond
//!   the last successful sync.
//! - Opening appends to no segment that it finds. It begins one whose first record is the last valid one, written again and
//!   synced: what was written but perhaps never synced is either gone or durable before anybody hears of it.
//! - A sync that failed is not tried again on the same bytes (<https://wiki.postgresql.org/wiki/Fsync_Errors>). The next segment
//!   begins with the number that failed, which makes void whatever the older one has of it. Only when that is durable is it
//!   known that the record is not stored; if that fails too, nobody knows, and the journal takes nothing more.
//! - Where the newest segment has an invalid record, and behind it a valid one with a larger number, it is damaged; with none it
//!   was torn when it was written. (Damage to the very last record cannot be told from that.)

pub mod commit;
pub mod folder;
mod header;
mod journal;
pub mod memtable;
mod reader;
mod record;
mod segment;
#[cfg(test)]
mod tests;

pub use self::{
    commit::Commit,
    folder::{Directory, File, Folder},
    journal::{AppendError, Identity, Journal, Keep, Log, Records, Sizes, Tip},
    memtable::Memtable,
    reader::{Layers, LogReader},
    record::{Hash, Record},
};

/// What the files are written and read in: records and headers begin at a multiple of it.
const BLOCK: usize = 4096;

/// Why the log, or a part of it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The operating system refused something.
    #[error("cannot {attempt} {name} of the log")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// The file.
        name: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A record that was acknowledged is not what it was.
    #[error("record {number} of the log is damaged: {problem} ({name})")]
    Damaged {
        /// Its number.
        number: u64,
        /// The file.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file that should be a segment is not.
    #[error("{name} is no segment of the log: {problem}")]
    Header {
        /// The file.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Records between what is applied and what the log has are missing.
    #[error("the log begins at record {first}, and the store has them up to {applied} only")]
    Gap {
        /// The newest record that is applied.
        applied: u64,
        /// The oldest that the log has.
        first: u64,
    },
    /// The log ends before what is applied.
    #[error("the log ends at record {last}, and the store has them up to {applied}")]
    Behind {
        /// The newest record that is applied.
        applied: u64,
        /// The newest that the log has.
        last: u64,
    },
    /// The log is of another store, or of another history of this one.
    #[error("record {number} of the log is not the one that the store has applied")]
    Foreign {
        /// Its number.
        number: u64,
    },
    /// There is no log.
    #[error("there is no log")]
    Missing,
}
