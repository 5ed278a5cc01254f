//! Where the suite gets its stores from: a [`Provider`] per backend, of this repository or of another.

use std::{error::Error, path::Path, sync::Arc};

use async_trait::async_trait;
use decentcom_server::storage::{
    self, Backend, ManualClock, RedbOptions, Storage, StorageOptions, inspect::verify_file,
};

/// A store, or why there is none.
pub type Opened = Result<Arc<dyn Storage>, Box<dyn Error + Send + Sync>>;

/// The file in a test's directory in which [`OnDisk`] keeps a store.
pub(crate) const STORE: &str = "store";

/// Where a store's data is while the store is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nowhere: it is gone once the store is closed.
    Nowhere,
    /// In files in the directory that the store was opened with. The suite reads them: they belong to their owner alone and
    /// hold no session token.
    InFiles,
    /// Somewhere else, as on a database server. The suite does not look there.
    Elsewhere,
}

/// Opens the stores that the suite runs over.
///
/// The suite opens a store for each test, many of them at the same time. Where data is [kept](Self::kept), it also closes or
/// drops a store and opens it again, with the same directory.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The first part of the names of its tests, such as `redb`.
    fn name(&self) -> &str;

    /// What remains of a store that is closed.
    fn kept(&self) -> Kept;

    /// Opens the store that belongs to `directory`, and creates it if there is none. The directory exists; no two stores
    /// have the same one. The store takes the time from `clock` alone.
    async fn open(&self, directory: &Path, clock: Arc<ManualClock>) -> Opened;

    /// What [`Storage::backend`] has to answer. `None` where nothing is expected of it.
    fn backend(&self) -> Option<Backend> {
        None
    }

    /// What is wrong with the data of the closed store that belongs to `directory`, a sentence for each fault. Nothing is
    /// checked by default. Blocks the thread.
    fn verify(&self, directory: &Path) -> Vec<String> {
        let _ = directory;
        Vec::new()
    }
}

/// Stores of this repository, in memory.
#[derive(Clone, Copy, Debug)]
pub struct InMemory(pub Backend);

/// Stores of this repository, each in a file.
#[derive(Clone, Copy, Debug)]
pub struct OnDisk(pub Backend);

/// The stores of this repository in memory, one provider per backend.
pub static IN_MEMORY: [&dyn Provider; 2] = [&InMemory(Backend::Sqlite), &InMemory(Backend::Redb)];

/// The stores of this repository in files, one provider per backend.
pub static ON_DISK: [&dyn Provider; 2] = [&OnDisk(Backend::Sqlite), &OnDisk(Backend::Redb)];

#[async_trait]
impl Provider for InMemory {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn kept(&self) -> Kept {
        Kept::Nowhere
    }

    async fn open(&self, _directory: &Path, clock: Arc<ManualClock>) -> Opened {
        Ok(storage::open_in_memory(self.0, clock).await?)
    }

    fn backend(&self) -> Option<Backend> {
        Some(self.0)
    }
}

#[async_trait]
impl Provider for OnDisk {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn kept(&self) -> Kept {
        Kept::InFiles
    }

    async fn open(&self, directory: &Path, clock: Arc<ManualClock>) -> Opened {
        let options = StorageOptions {
            backend: self.0,
            path: directory.join(STORE),
            redb: RedbOptions::default(),
            min_free: Default::default(),
        };
        Ok(storage::open(&options, clock).await?)
    }

    fn backend(&self) -> Option<Backend> {
        Some(self.0)
    }

    fn verify(&self, directory: &Path) -> Vec<String> {
        let mut findings = Vec::new();
        verify_file(self.0, &directory.join(STORE), |finding| findings.push(finding.to_string())).unwrap();
        findings
    }
}
