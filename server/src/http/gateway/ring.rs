//! The newest events, held once for all sockets: bounded in number and bytes, however slow a socket is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::frame::Event;

/// Events that a socket may fall behind before it is closed.
const MOST_EVENTS: usize = 1024;
/// Bytes of their frames.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Where events are put in. Dropped, the listeners hear that it is over.
pub(super) struct Ring {
    held: Arc<Mutex<RingState>>,
    /// The number of the next event.
    next: watch::Sender<u64>,
}

/// What the ring holds for its listeners.
#[derive(Default)]
struct RingState {
    /// The number of the oldest event that is held.
    first: u64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// Where listeners come from.
pub(super) struct Entrance {
    held: Arc<Mutex<RingState>>,
    next: watch::Receiver<u64>,
}

/// What one socket has heard, and what it has not.
pub(super) struct Listener {
    held: Arc<Mutex<RingState>>,
    news: watch::Receiver<u64>,
    /// The number of the event to take next.
    next: u64,
    /// The number of the event to look at next, which may be beyond.
    unseen: u64,
}

/// Why a listener hears no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deaf {
    /// Events that it had not taken were dropped to make room.
    FellBehind,
    /// No more will come.
    Over,
}

impl Ring {
    pub(super) fn new() -> (Self, Entrance) {
        let (next, receiver) = watch::channel(0);
        let held = Arc::default();
        (Self { held: Arc::clone(&held), next }, Entrance { held, next: receiver })
    }

    pub(super) fn put(&self, event: Event) {
        let mut held = lock(&self.held);
        held.bytes += event.bytes();
        held.events.push_back(Arc::new(event));
        while held.events.len() > MOST_EVENTS || (held.bytes > MOST_BYTES && held.events.len() > 1) {
            let oldest = held.events.pop_front().map_or(0, |event| event.bytes());
            held.bytes -= oldest;
            held.first += 1;
        }
        let next = held.first + held.events.len() as u64;
        drop(held);
        self.next.send_replace(next);
    }
}

impl Entrance {
    /// Hears what comes from now on; `None` once it is over.
    pub(super) fn listen(&self) -> Option<Listener> {
        let mut news = self.next.clone();
        news.has_changed().ok()?;
        let next = *news.borrow_and_update();
        Some(Listener { held: self.held.clone(), news, next, unseen: next })
    }
}

impl Listener {
    /// The next event, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Arc<Event>>, Deaf> {
        let event = at(&lock(&self.held), self.next)?;
        if event.is_some() {
            self.next += 1;
            self.unseen = self.unseen.max(self.next);
        }
        Ok(event)
    }

    /// Waits until there is an event that was not looked at, and answers the first that `concerns` the listener in a way that
    /// cannot wait until its turn. Dropped early, it loses nothing.
    pub(super) async fn news(&mut self, mut concerns: impl FnMut(&Event) -> bool) -> Result<Option<Arc<Event>>, Deaf> {
        while *self.news.borrow_and_update() <= self.unseen {
            self.news.changed().await.map_err(|_| Deaf::Over)?;
        }
        let held = lock(&self.held);
        at(&held, self.next)?;
        while let Some(event) = at(&held, self.unseen)? {
            self.unseen += 1;
            if concerns(&event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn at(held: &RingState, number: u64) -> Result<Option<Arc<Event>>, Deaf> {
    let index = number.checked_sub(held.first).ok_or(Deaf::FellBehind)?;
    Ok(usize::try_from(index).ok().and_then(|index| held.events.get(index)).cloned())
}

/// What it guards is whole between any two lines.
fn lock(held: &Mutex<RingState>) -> MutexGuard<'_, RingState> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SessionDigest;

    fn of_bytes(bytes: usize) -> Event {
        Event::Everyone("x".repeat(bytes).into())
    }

    #[tokio::test]
    async fn every_event_is_heard_once_and_in_order_until_it_is_over() {
        let (ring, entrance) = Ring::new();
        let mut listener = entrance.listen().unwrap();
        for bytes in 1..=3 {
            ring.put(of_bytes(bytes));
        }
        assert!(listener.news(|_| false).await.unwrap().is_none());
        for bytes in 1..=3 {
            assert_eq!(listener.take().unwrap().unwrap().bytes(), bytes);
        }
        assert!(listener.take().unwrap().is_none());
        drop(ring);
        assert_eq!(listener.news(|_| true).await.err(), Some(Deaf::Over));
        assert!(entrance.listen().is_none());
    }

    #[tokio::test]
    async fn who_falls_behind_by_too_many_events_or_bytes_is_told() {
        for (events, bytes, falls_behind) in [
            (MOST_EVENTS, 1, false),
            (MOST_EVENTS + 1, 1, true),
            (16, MOST_BYTES / 16, false),
            (17, MOST_BYTES / 16, true),
        ] {
            let (ring, entrance) = Ring::new();
            let mut listener = entrance.listen().unwrap();
            for _ in 0..events {
                ring.put(of_bytes(bytes));
            }
            assert!(lock(&ring.held).bytes <= MOST_BYTES);
            assert_eq!(listener.take().is_err(), falls_behind, "{events} of {bytes}");
            assert_eq!(listener.news(|_| false).await.is_err(), falls_behind, "{events} of {bytes}");
        }
    }

    #[tokio::test]
    async fn what_cannot_wait_is_seen_before_its_turn() {
        let (ring, entrance) = Ring::new();
        let mut listener = entrance.listen().unwrap();
        ring.put(of_bytes(1));
        ring.put(Event::SessionEnded(SessionDigest::of("token")));
        let urgent = listener.news(|event| matches!(event, Event::SessionEnded(_))).await.unwrap();
        assert!(urgent.is_some());
        assert_eq!(listener.take().unwrap().unwrap().bytes(), 1, "and nothing is lost");
    }
}
