//! Mending and compacting a store, for tools. Each has the store to itself while it works.

use std::path::{Path, PathBuf};

use ulid::Ulid;

use super::{Claim, Inspection, Moment, open};
use crate::storage::{
    Backend, OpenError, StorageError,
    files::{self, beside, descriptor::Descriptor},
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

/// Gives unused space back to the file system: makes a compact copy beside the store, and puts it in its place if that is
/// shorter or takes less of the disk, and neither longer nor more. Answers whether it did. `phase` is told what is being done and may stop it while nothing was changed.
pub fn compact(
    backend: Backend,
    path: &Path,
    phase: &mut dyn FnMut(&'static str) -> Result<(), StorageError>,
) -> Result<bool, OpenError> {
    files::require(path, backend)?;
    let (claim, existing) = Claim::on(backend, path)?;
    let made = make_compact(backend, &claim, existing, phase);
    match made {
        Ok(Some(existing)) => claim.install(Some(existing)).map(|()| true),
        Ok(None) => claim.discard().map(|()| false),
        Err(error) => {
            claim.discard()?;
            Err(error)
        }
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

/// The store that is there, if there is a compact copy now that takes less of the disk.
fn make_compact(
    backend: Backend,
    claim: &Claim,
    existing: Option<Box<dyn Inspection>>,
    phase: &mut dyn FnMut(&'static str) -> Result<(), StorageError>,
) -> Result<Option<Box<dyn Inspection>>, OpenError> {
    let (path, partial) = (claim.path(), claim.partial());
    claim.discard()?; // what one that was killed has left
    let copy_error = |error: &std::io::Error| files::path_error(&partial, error);
    drop(Descriptor::write(&partial).map_err(|error| copy_error(&error))?); // for nobody else to read
    let existing = match backend {
        Backend::Redb => {
            phase("writing a compact copy")?;
            if !redb::maintain::compact_copy(path, &partial)? {
                phase("copying")?;
                std::fs::copy(path, &partial).map_err(|error| copy_error(&error))?;
                phase("moving pages together")?;
                redb::maintain::compact(&partial)?;
            }
            existing
        }
        Backend::Sqlite => {
            drop(existing);
            phase("emptying the log")?;
            blocking(sqlite::empty_the_log(path))?;
            phase("writing a compact copy")?;
            blocking(sqlite::maintain::compact(path, &partial))?;
            Some(open(backend, path, Moment::One, &mut |_| Ok(()))?)
        }
    };
    phase("syncing")?;
    let synced = std::fs::File::open(&partial).and_then(|file| file.sync_all());
    synced.map_err(|error| copy_error(&error))?;
    let (before, after) = (files::sizes(path), files::sizes(&partial)); // logs are empty by now
    let is_smaller = after.0 <= before.0 && after.1 <= before.1 && after != before;
    Ok(existing.filter(|_| is_smaller))
}

fn blocking<T>(work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| StorageError::internal("start a runtime", error))?.block_on(work)
}
