//! How a database is opened, and whom to tell about it.

/// How to open a store.
#[derive(Clone, Copy)]
pub struct Options {
    /// Bytes of memory for cached pages.
    pub cache_bytes: usize,
    /// Whether every commit also saves what a quick start after a crash needs: opening takes milliseconds instead of a
    /// walk through the file, and each commit costs a second sync.
    pub quick_repair: bool,
    /// Told while opening takes long.
    pub progress: fn(Progress),
}

/// What opening is busy with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// Walking through the file after a crash; done so far, from 0 to 1.
    Repairing(f64),
    /// Copying the file, as it is before it gets another format.
    KeepingACopy,
    /// About to run the migration with this name.
    Migrating(&'static str),
    /// Writing the file anew, as its tables were laid out otherwise: rows so far, and about how many there are.
    Rewriting {
        /// Rows and index entries that are written.
        rows: u64,
        /// Of about this many.
        of: u64,
    },
    /// Opening the file again after an input or output failed, while the store is in use.
    Recovering,
    /// Making indexes anew, because they were declared differently or a rebuild was cut short.
    RebuildingIndexes,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 128 * 1024 * 1024, quick_repair: false, progress: |_| {} }
    }
}
