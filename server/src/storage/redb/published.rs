//! The newest committed state and the number of its last commit, together: what reads see.
//!
//! The key-value store publishes a snapshot with every commit, also with those that are none of the front's, and does not know
//! of numbers. Here they are put together by the one that writes; only after the file was opened again is the number read.

use std::sync::{Arc, PoisonError, RwLock};

use decentcom_kvstore::{Snapshot, Store};

use super::{
    error::{corrupt, storage_error},
    schema::APPLIED,
};
use crate::storage::{
    StorageError,
    port::{CommitNumber, View},
};

/// The store, and what reads see of it.
pub(super) struct Published {
    pub(super) store: Arc<Store>,
    view: RwLock<View<Arc<Snapshot>>>,
}

impl Published {
    pub(super) fn of(store: Arc<Store>) -> Result<Self, StorageError> {
        let view = RwLock::new(read(&store)?);
        Ok(Self { store, view })
    }

    /// What is true now, in nanoseconds.
    pub(super) fn view(&self) -> View<Arc<Snapshot>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commit with this number was stored.
    pub(super) fn committed(&self, commit: CommitNumber) -> Result<(), StorageError> {
        self.publish(View { commit, shows: self.store.snapshot().map_err(storage_error("see a commit"))? });
        Ok(())
    }

    /// Opens the file again, if it failed: what was committed is there, perhaps with a commit that seemed to fail.
    pub(super) fn recover(&self, attempt: &'static str) -> Result<(), StorageError> {
        self.store.recover().map_err(storage_error(attempt))?;
        if !Arc::ptr_eq(&self.view().shows, &self.store.snapshot().map_err(storage_error(attempt))?) {
            self.publish(read(&self.store)?);
        }
        Ok(())
    }

    /// Shows this from now on, unless somebody else was faster and shows more.
    fn publish(&self, view: View<Arc<Snapshot>>) {
        let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if view.commit >= current.commit {
            let old = std::mem::replace(&mut *current, view);
            drop(current);
            drop(old); // outside of the lock: the last one to have a snapshot ends it
        }
    }
}

fn read(store: &Store) -> Result<View<Arc<Snapshot>>, StorageError> {
    let shows = store.snapshot().map_err(storage_error("begin to read"))?;
    let stored = shows.meta(APPLIED).map_err(storage_error("read the number of the newest commit"))?;
    let commit = match stored {
        None => 0,
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| corrupt("meta", APPLIED, "it is no number"))?,
    };
    Ok(View { commit, shows })
}

#[cfg(test)]
mod tests {
    use decentcom_kvstore::{Options, redb::backends::InMemoryBackend};

    use super::*;
    use crate::storage::redb::schema::SCHEMA;

    fn stored(published: &Published, commit: CommitNumber) {
        published.store.write(|batch| batch.set_meta(APPLIED, commit.to_string().as_bytes())).unwrap();
    }

    #[test]
    fn whoever_comes_late_with_an_older_view_does_not_hide_a_newer_one() {
        let store = Options::default().open_over(InMemoryBackend::new(), &SCHEMA).unwrap();
        let published = Published::of(Arc::new(store)).unwrap();
        assert_eq!(published.view().commit, 0);
        stored(&published, 1);
        let late = read(&published.store).unwrap(); // a reader after a disk error, which has not published it yet
        stored(&published, 2);
        published.committed(2).unwrap();
        published.publish(late);
        assert_eq!(published.view().commit, 2);
    }

    #[test]
    fn opening_the_file_again_finds_the_number_of_what_is_there() {
        let store = Options::default().open_over(InMemoryBackend::new(), &SCHEMA).unwrap();
        let published = Published::of(Arc::new(store)).unwrap();
        stored(&published, 7); // its writer heard of an error
        published.recover("open the file again").unwrap();
        assert_eq!(published.view().commit, 7);
    }
}
