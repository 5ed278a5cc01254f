//! Mending and compacting a redb store; see `inspect/maintain.rs`.

use std::path::{Path, PathBuf};

use decentcom_kvstore::{Options, Store, live::Live};
use ulid::Ulid;

use super::{
    CATALOGUE,
    error::{open_error, storage_error},
    log_progress, newest_ids, open_store, opening,
    schema::{HIGH_WATER, PROBED_AT, Purges, SCHEMA},
};
use crate::storage::{Clock as _, OpenError, RedbOptions, StorageError, SystemClock, files};

pub(in crate::storage) fn repair(path: &Path) -> Result<PathBuf, OpenError> {
    // Looking at the file keeps writers out of it while it is copied.
    let looking = Options::default().inspect(path, &SCHEMA).map_err(|error| named(open_error(path, error)))?;
    let copy = files::keep_copy(path, &[""])?;
    drop(looking);
    let store = open_store(path, RedbOptions::default()).map_err(named)?;
    store.rebuild_indexes().map_err(storage_error("make the indexes anew"))?;
    raise_high_water(&store)?;
    close(&store)?;
    Ok(copy)
}

/// Makes a compact copy of the store at `path` in the empty file at `copy`, and answers whether it did: with every row in the order
/// of its key, so that all pages are full. Of a file of an older format, or with tables of somebody else's, it makes none.
pub(in crate::storage) fn compact_copy(path: &Path, copy: &Path) -> Result<bool, OpenError> {
    let old = Options::default().inspect(path, &SCHEMA).map_err(|error| named(open_error(path, error)))?;
    if !std::ptr::eq(old.catalogue(), CATALOGUE) {
        return Ok(false);
    }
    let new = open_store(copy, RedbOptions::default())?;
    if !old.copy_to(&new, log_progress).map_err(storage_error("write a compact copy"))? {
        return Ok(false);
    }
    close(&new)?;
    drop(new);
    compact_closed(copy)?;
    Ok(true)
}

/// Moves pages together in the file at `path`.
pub(in crate::storage) fn compact(path: &Path) -> Result<(), OpenError> {
    let store = open_store(path, RedbOptions::default()).map_err(named)?;
    close(&store)?;
    drop(store);
    compact_closed(path)
}

/// Compacts the file of a store that is closed, and is left as it was then: a commit afterwards, such as one that notes the
/// time, would find no free page in the file, and redb would make it twice as long.
fn compact_closed(path: &Path) -> Result<(), OpenError> {
    let store = open_store(path, RedbOptions::default()).map_err(named)?;
    give_back(&store)?;
    drop(store);
    Ok(())
}

/// Gives back the room at the end of the file that pages leave when they are moved to its beginning.
fn give_back(store: &Store) -> Result<(), StorageError> {
    // Each pass moves what it can; the next one finds what that has made possible.
    while store.compact().map_err(storage_error("compact the file"))? {}
    Ok(())
}

pub(in crate::storage) fn lower_high_water(path: &Path) -> Result<Option<Ulid>, OpenError> {
    let attempt = "record the largest id";
    let store = open_store(path, RedbOptions::default()).map_err(named)?;
    let largest = {
        let snapshot = store.snapshot().map_err(storage_error(attempt))?;
        // A deleted channel's id is in use until its messages are gone.
        let ids = newest_ids(&snapshot).chain([snapshot.last_key::<Purges>()]);
        ids.collect::<Result<Vec<_>, _>>().map_err(storage_error(attempt))?.into_iter().flatten().max()
    };
    let stored = store.write(|batch| {
        batch.set_meta(HIGH_WATER, &largest.unwrap_or_default().to_bytes())?;
        batch.set_meta(PROBED_AT, SystemClock.now().as_millis().to_string().as_bytes())
    });
    stored.map_err(storage_error(attempt))?;
    close(&store)?;
    Ok(largest)
}

/// A store left by a crash is closed in good order from now on.
fn close(store: &Store) -> Result<(), StorageError> {
    opening::end(store).and_then(|()| store.close()).map_err(storage_error("close the store"))
}

/// Records the largest id that is there. Unlike at a start, a recorded one that cannot be read is no reason to stop.
fn raise_high_water(store: &Store) -> Result<(), OpenError> {
    let attempt = "record the largest id";
    let recorded = store.meta(HIGH_WATER).map_err(storage_error(attempt))?;
    let is_recorded = recorded.is_some();
    let recorded = recorded.and_then(|bytes| bytes.try_into().ok()).map(Ulid::from_bytes);
    let snapshot = store.snapshot().map_err(storage_error(attempt))?;
    // A key that cannot be read is a finding of its own, which nobody can mend.
    let newest = newest_ids(&snapshot).filter_map(|last| last.ok().flatten()).max();
    // Where there is no id at all, what is no id either gives way to the smallest.
    let newest = newest.or_else(|| is_recorded.then(Ulid::nil));
    if let Some(newest) = newest.filter(|newest| recorded.is_none_or(|recorded| recorded < *newest)) {
        let stored = store.write(|batch| batch.set_meta(HIGH_WATER, &newest.to_bytes()));
        stored.map_err(storage_error(attempt))?;
    }
    Ok(())
}

/// Asks whoever has the store who it is, where the operating system does not say.
fn named(error: OpenError) -> OpenError {
    match error {
        OpenError::InUse { path, holder: None } => {
            let live = Live::connect(&path, CATALOGUE).ok().flatten();
            OpenError::InUse { holder: live.map(|it| format!("{} (process {})", it.about(), it.process())), path }
        }
        other => other,
    }
}
