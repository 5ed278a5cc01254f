//! Mending and compacting a store, for tools. Each has the store to itself while it works.

use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::storage::{
    Backend, OpenError, StorageError,
    files::{self, beside},
    redb, sqlite,
};

/// Bytes of the files of the store at `path`, and bytes of the disk they take.
pub fn sizes(backend: Backend, path: &Path) -> (u64, u64) {
    let suffixes: &[&str] = match backend {
        Backend::Redb => &[""],
        Backend::Sqlite => &["", "-wal", "-shm"],
    };
    let sizes = suffixes.iter().map(|suffix| files::sizes(&beside(path, suffix)));
    sizes.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
}

/// Keeps a copy of the store's files beside them, makes every index anew from the records and records the largest id, if
/// a larger one is there than the recorded one. Answers where the copy is.
pub fn repair(backend: Backend, path: &Path) -> Result<PathBuf, OpenError> {
    files::require(path, backend)?;
    match backend {
        Backend::Redb => redb::maintain::repair(path),
        Backend::Sqlite => blocking(sqlite::maintain::repair(path)),
    }
}

/// Gives unused space back to the file system.
pub fn compact(backend: Backend, path: &Path) -> Result<(), OpenError> {
    files::require(path, backend)?;
    match backend {
        Backend::Redb => redb::maintain::compact(path),
        Backend::Sqlite => blocking(sqlite::maintain::compact(path)),
    }
}

/// Takes the largest id ever given out back to the largest one in use, and answers that: what a clock that was once years
/// ahead leaves behind. A server that ran meanwhile would give out ids that it gave out before, so the store is locked.
pub fn lower_high_water(backend: Backend, path: &Path) -> Result<Option<Ulid>, OpenError> {
    files::require(path, backend)?;
    match backend {
        Backend::Redb => redb::maintain::lower_high_water(path),
        Backend::Sqlite => blocking(sqlite::maintain::lower_high_water(path)),
    }
}

fn blocking<T>(work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| StorageError::internal("start a runtime", error))?.block_on(work)
}
