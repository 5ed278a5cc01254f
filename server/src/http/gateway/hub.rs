//! From the change feed to all sockets: each change becomes one frame, made once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::broadcast;

use super::{directory::Directory, frame::Event};
use crate::storage::{Change, Clock, FeedError, Storage, StorageError};

/// Events a socket may fall behind before it is closed.
const EVENT_BUFFER: usize = 1024;

/// Gauge of open sockets.
const SOCKETS: &str = "decentcom_gateway_sockets";

/// What the sockets share.
pub(crate) struct Hub {
    /// Weak, so that the sockets' receivers end when the hub's task does.
    events: broadcast::WeakSender<Arc<Event>>,
    sockets: Arc<AtomicUsize>,
}

/// Counts a socket while it lives.
pub(super) struct Presence(Arc<AtomicUsize>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(SOCKETS).decrement(1);
    }
}

impl Hub {
    /// Starts the task that turns changes into events. It ends with the feed, when the store is closed.
    pub(crate) async fn start(store: &Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Result<Self, StorageError> {
        let mut feed = store.changes(); // before the directory is read: what changes meanwhile comes again
        let mut directory = Directory::of(store).await?;
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        let hub = Self { events: events.downgrade(), sockets: Arc::default() };
        tokio::spawn(async move {
            // Nobody listening is fine.
            let announce = |event| drop(events.send(Arc::new(event)));
            loop {
                match feed.next().await {
                    Ok(change) => {
                        let also = directory.follow(&change);
                        announce(Event::of(change, &directory, clock.now()));
                        for channel in also {
                            announce(Event::of(Change::ChannelUpdated(channel), &directory, clock.now()));
                        }
                    }
                    Err(FeedError::Lagged(missed)) => {
                        tracing::warn!(missed, "the gateway fell behind the store; every socket is closed");
                        announce(Event::Gap);
                        directory.read_again().await;
                    }
                    Err(FeedError::Closed) => return,
                }
            }
        });
        Ok(hub)
    }

    /// A new socket: the events from now on. `None` once the store is closed.
    pub(super) fn join(&self) -> Option<(broadcast::Receiver<Arc<Event>>, Presence)> {
        let receiver = self.events.upgrade()?.subscribe();
        self.sockets.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(SOCKETS).increment(1);
        Some((receiver, Presence(self.sockets.clone())))
    }

    /// How many sockets are open.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }
}
