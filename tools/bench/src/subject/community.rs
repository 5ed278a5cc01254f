//! decentcom's own stores, through the traits that handlers use.

use std::{path::Path, sync::Arc};

use dcstore::Code;
use decentcom_server::storage::{
    self, Backend, ChannelId, RedbOptions, Storage, StorageError, StorageOptions, SystemClock, UserId,
};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// An open store, and who posts where in it.
#[derive(Clone)]
pub(crate) struct Community {
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) user: UserId,
    pub(crate) channels: Arc<[ChannelId]>,
}

impl Community {
    /// A new store with one user and so many channels.
    pub(crate) async fn found(backend: Backend, path: &Path, channels: u32) -> Result<Self, Failure> {
        let store = open(backend, path).await?;
        let user = store.create_user("the only one", None).await?.id;
        let mut making = JoinSet::new();
        for number in 0..channels {
            let store = store.clone();
            making.spawn(async move { store.create_channel(&format!("channel {number}"), None, 0).await });
        }
        let mut ids = Vec::new();
        while let Some(made) = making.join_next().await {
            ids.push(made.map_err(|error| Failure::new(Code::Io, error.to_string()))??.id);
        }
        ids.sort_unstable();
        Ok(Self { store, user, channels: ids.into() })
    }

    /// Posts the message with this number. Channels take turns, in an order that is not theirs on disk.
    pub(crate) async fn post(&self, number: u64, text: &str) -> Result<(), StorageError> {
        let Some(channel) = turn(&self.channels, number) else { return Ok(()) };
        self.store.create_message(&channel.text(), &self.user.text(), text).await.map(|_| ())
    }
}

/// Whose turn it is: evenly, neighbours far apart.
pub(crate) fn turn<T>(of: &[T], number: u64) -> Option<&T> {
    let count = u64::try_from(of.len()).ok().filter(|count| *count > 0)?;
    of.get(usize::try_from(number.wrapping_mul(7919) % count).ok()?)
}

/// Opens a store as the server does by default.
pub(crate) async fn open(backend: Backend, path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let options =
        StorageOptions { backend, path: path.into(), redb: RedbOptions::default(), min_free: Default::default() };
    Ok(storage::open(&options, Arc::new(SystemClock)).await?)
}
