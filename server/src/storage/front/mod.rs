//! What every backend shares, written once: the calls of the contract become commands, the commands a batch, the batch
//! answers and writes.
//!
//! ```text
//!  call ─ check.rs ──> Command ─ queue.rs ──> committer.rs: wants ─ Writer: load ─> decide ─ Writer: store ─> changes, answers
//!  users.rs … sessions.rs     one file per subject: its calls, its commands, their rules
//!  batch.rs                   what deciding works on; free of any database, so rules cannot differ between backends
//!  reclaim.rs, room.rs        what the committer does of its own accord: deleted channels; a full disk
//! ```
//!
//! Reads do not queue: they go to the backend's [`Reader`] at once, but for the newest pages of channels, which `newest.rs`
//! holds in memory. Each read has one view: what was true after a commit, whose number it knows.

mod batch;
mod categories;
mod channels;
mod check;
mod command;
mod committer;
mod messages;
mod mint;
mod newest;
mod queue;
mod reclaim;
mod room;
mod sessions;
#[cfg(test)]
mod tests;
mod users;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex, broadcast};
use ulid::Ulid;

use self::{
    batch::Batch,
    command::Command,
    committer::{Committer, LastCommit},
    newest::NewestPages,
    queue::{Queue, closed},
};
use super::{
    Backend, Change, ChangeFeed, Clock, Condition, LoginKey, OpenError, Storage, StorageError, Timestamp, Trouble,
    changes::FEED_CAPACITY,
    port::{Opened, Presence, Reader, View, Wants, Write},
};

pub use self::{
    committer::{BATCH_COMMANDS, COMMIT_SECONDS},
    newest::NEWEST_PAGES,
    queue::QUEUE_COMMANDS,
    room::{FREE_BYTES, FULL, Room},
};

/// A clock this far behind the newest id is worth a warning.
const CLOCK_BEHIND: Duration = Duration::from_secs(60);

/// The contract over any backend.
pub struct Front<R> {
    backend: Backend,
    clock: Arc<dyn Clock>,
    queue: Queue,
    /// Whether the store's files are in their place.
    presence: Arc<Presence>,
    reader: R,
    newest_pages: Arc<NewestPages>,
    last_commit: Arc<LastCommit>,
    login_key: LoginKey,
    room: Arc<Room>,
    /// Weak, so that subscriptions end when the commit thread does.
    feed: broadcast::WeakSender<Change>,
    closed: AtomicBool,
    closing: Mutex<()>,
}

impl<R: Reader> Front<R> {
    /// Puts the contract in front of an opened backend. A clock that does not want to go on from the backend's past is
    /// refused.
    pub fn start(opened: Opened<R>, room: Arc<Room>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let Opened { backend, writer, reader, past, login_key } = opened;
        if let Some(newest) = past.newest_commit().filter(|newest| !clock.may_follow(*newest)) {
            return Err(OpenError::Clock { now: clock.now(), newest });
        }
        warn_of_a_clock_behind(clock.now(), past.high_water);
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let weak_feed = feed.downgrade();
        let presence = writer.presence();
        let committer = Committer::new(writer, past, room.clone(), clock.clone(), feed);
        let (newest_pages, last_commit) = (committer.newest_pages.clone(), committer.last_commit.clone());
        Ok(Self {
            backend,
            clock,
            queue: Queue::start(room.clone(), |requests| committer.run(requests))?,
            presence,
            reader,
            newest_pages,
            last_commit,
            login_key,
            room,
            feed: weak_feed,
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
        })
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Reads from the backend. What is answered from then on is no older than this.
    async fn read<'a, T, F>(&'a self, read: impl FnOnce(&'a R) -> F) -> Result<T, StorageError>
    where
        F: Future<Output = Result<View<T>, StorageError>>,
    {
        self.view(read).await.map(|view| view.shows)
    }

    /// The same, with the commit after which it was so.
    async fn view<'a, T, F>(&'a self, read: impl FnOnce(&'a R) -> F) -> Result<View<T>, StorageError>
    where
        F: Future<Output = Result<View<T>, StorageError>>,
    {
        self.check_open()?;
        let view = read(&self.reader).await?;
        self.newest_pages.reveal(view.commit);
        Ok(view)
    }

    async fn write<C: Command>(&self, command: C) -> Result<C::Answer, StorageError> {
        self.check_open()?;
        self.queue.run(command).await
    }

    /// The same, of a command that answers a record.
    async fn write_record<M: Clone + Send + Sync, C: Command<Answer = Arc<M>>>(
        &self,
        command: C,
    ) -> Result<M, StorageError> {
        self.write(command).await.map(Arc::unwrap_or_clone)
    }
}

fn warn_of_a_clock_behind(now: Timestamp, high_water: Ulid) {
    let Some(newest) = Timestamp::from_millis(high_water.timestamp_ms()).filter(|_| !high_water.is_nil()) else {
        return;
    };
    if newest.since(now) > CLOCK_BEHIND {
        tracing::warn!(%now, %newest, "the clock is behind the newest id in the store; new ids keep the newest time until it catches up");
    }
}

#[async_trait]
impl<R: Reader> Storage for Front<R> {
    async fn ping(&self) -> Result<(), StorageError> {
        self.check_open()?;
        self.reader.ping().await
    }

    async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError> {
        self.check_open()?;
        if let Some(at) = self.last_commit.within(within) {
            return Ok(at);
        }
        self.write(Probe).await?;
        // What was committed since is as good.
        Ok(self.last_commit.within(Duration::MAX).unwrap_or_else(|| self.clock.now()))
    }

    async fn close(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.closing.lock().await;
        self.closed.store(true, Ordering::Release);
        let Some(writer) = self.queue.stop().await else { return Ok(()) };
        self.reader.close().await;
        let away = self.presence.check(); // closing may remove what is looked for
        tokio::task::spawn_blocking(move || writer.close())
            .await
            .map_err(|error| StorageError::internal("close the database", error))??;
        away // what was acknowledged may be lost: that is no good order
    }

    fn backend(&self) -> Backend {
        self.backend
    }

    fn condition(&self) -> Condition {
        let away = self.presence.last_problem().map(|problem| Trouble::Away { problem });
        Condition { troubles: away.into_iter().chain(self.room.condition().troubles).collect() }
    }

    fn changes(&self) -> ChangeFeed {
        let receiver = match self.feed.upgrade() {
            Some(feed) => feed.subscribe(),
            None => broadcast::channel(1).1, // closed: its sender is gone
        };
        receiver.into()
    }
}

/// Notes the time and nothing else: shows that changes can be stored.
struct Probe;

impl Command for Probe {
    type Answer = ();

    fn wants(&self, _: &mut Wants) {}

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        batch.writes.push(Write::NoteProbe(batch.now));
        Ok(())
    }
}
