//! decentcom's own stores, through the traits that handlers use.

use std::{path::Path, sync::Arc};

use decentcom_server::storage::{
    self, Backend, ChannelId, RedbOptions, Storage, StorageError, StorageOptions, SystemClock, UserId,
};

use crate::failure::Failure;

/// A new store, and who posts where in it.
#[derive(Clone)]
pub(crate) struct Community {
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) user: UserId,
    pub(crate) channel: ChannelId,
}

impl Community {
    /// A new store with one user and one channel.
    pub(crate) async fn found(backend: Backend, path: &Path) -> Result<Self, Failure> {
        let store = open(backend, path).await?;
        let user = store.create_user("the only one", None).await?.id;
        let channel = store.create_channel("the only one", None, 0).await?.id;
        Ok(Self { store, user, channel })
    }

    /// Posts a message.
    pub(crate) async fn post(&self, text: &str) -> Result<(), StorageError> {
        self.store.create_message(&self.channel.text(), &self.user.text(), text).await.map(|_| ())
    }
}

/// Opens a store as the server does by default.
pub(crate) async fn open(backend: Backend, path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let options =
        StorageOptions { backend, path: path.into(), redb: RedbOptions::default(), min_free: Default::default() };
    Ok(storage::open(&options, Arc::new(SystemClock)).await?)
}
