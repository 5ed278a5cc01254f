//! From the change feed to all sockets: frames are made once, however many sockets there are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    directory::Directory,
    frame::Event,
    ring::{Entrance, Listener, Ring},
};
use crate::storage::{Change, Clock, FeedError, Storage, StorageError, UserId};

/// Gauge of open sockets.
const SOCKETS: &str = "decentcom_gateway_sockets";

/// What the sockets share.
pub(crate) struct Hub {
    events: Entrance,
    present: Arc<Present>,
}

/// Open sockets of each user.
#[derive(Default)]
struct Present(Mutex<HashMap<UserId, usize>>);

impl Present {
    fn of_users(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a socket of a user while it lives.
pub(super) struct Attendance {
    present: Arc<Present>,
    user: UserId,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut of_users = self.present.of_users();
        if let Some(open) = of_users.get_mut(&self.user) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                of_users.remove(&self.user);
            }
        }
        metrics::gauge!(SOCKETS).decrement(1);
    }
}

impl Hub {
    /// Starts the task that turns changes into events. It ends with the feed, when the store is closed.
    pub(crate) async fn start(store: &Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Result<Self, StorageError> {
        let mut feed = store.changes(); // before the directory is read: what changes meanwhile comes again
        let mut directory = Directory::of(store).await?;
        let (ring, events) = Ring::new();
        tokio::spawn(async move {
            loop {
                match feed.next().await {
                    Ok(change) => {
                        let also = directory.follow(&change);
                        let also = also.into_iter().map(Change::ChannelUpdated);
                        for change in [change].into_iter().chain(also) {
                            if let Some(event) = Event::of(change, &directory, clock.now()) {
                                ring.put(event);
                            }
                        }
                    }
                    Err(FeedError::Lagged(missed)) => {
                        tracing::warn!(missed, "the gateway fell behind the store; every socket is closed");
                        ring.put(Event::Gap);
                        directory.read_again().await;
                    }
                    Err(FeedError::Closed) => return,
                }
            }
        });
        Ok(Self { events, present: Arc::default() })
    }

    /// A place for one more socket of `user`; `None` when there are `most` already.
    pub(super) fn enter(&self, user: UserId, most: usize) -> Option<Attendance> {
        let mut of_users = self.present.of_users();
        let open = of_users.entry(user).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        metrics::gauge!(SOCKETS).increment(1);
        Some(Attendance { present: self.present.clone(), user })
    }

    /// The events from now on. `None` once the store is closed.
    pub(super) fn listen(&self) -> Option<Listener> {
        self.events.listen()
    }

    /// How many sockets are open.
    pub(crate) fn sockets(&self) -> usize {
        self.present.of_users().values().sum()
    }
}
