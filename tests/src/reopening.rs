//! A store that is closed and opened again after every call that may change something.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use decentcom_server::storage::{Around, Change, ChangeFeed, ManualClock, Storage, StorageError};
use tokio::sync::broadcast;

use crate::Provider;

/// Subscribers of the wrapper see the changes of all the stores it opens.
const FEED_CAPACITY: usize = 4096;

/// How the names of methods begin that only read. Any other may change something.
const READING: [&str; 6] = ["get_", "list_", "page_", "newest_", "login_key", "ping"];

/// The wrapper.
pub(crate) struct Reopening {
    provider: &'static dyn Provider,
    directory: PathBuf,
    clock: Arc<ManualClock>,
    /// The store that is open now.
    store: RwLock<Arc<dyn Storage>>,
    /// Held by calls: one that may change something has the store to itself. Whether it was closed for good.
    is_closed: tokio::sync::RwLock<bool>,
    feed: broadcast::Sender<Change>,
}

impl Reopening {
    pub(crate) async fn open(provider: &'static dyn Provider, directory: &Path, clock: Arc<ManualClock>) -> Self {
        let store = provider.open(directory, clock.clone()).await.unwrap();
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let (store, is_closed) = (RwLock::new(store), tokio::sync::RwLock::new(false));
        Self { provider, directory: directory.into(), clock, store, is_closed, feed }
    }
}

impl Around for Reopening {
    fn inside(&self) -> impl Deref<Target = dyn Storage> + Send + Sync {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        if READING.iter().any(|begin| method.starts_with(begin)) {
            let _shared = self.is_closed.read().await;
            return call.await;
        }
        let mut is_closed = self.is_closed.write().await;
        *is_closed |= method == "close";
        if *is_closed {
            return call.await;
        }
        let mut changes = self.inside().changes();
        let result = call.await;
        self.inside().close().await.unwrap();
        while let Ok(change) = changes.next().await {
            let _ = self.feed.send(change);
        }
        let opened = self.provider.open(&self.directory, self.clock.clone()).await.unwrap();
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = opened;
        result
    }

    fn feed(&self) -> ChangeFeed {
        self.feed.subscribe().into()
    }
}
