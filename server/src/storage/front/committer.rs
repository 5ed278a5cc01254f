//! The commit thread: group commit.
//!
//! It takes everything that is waiting (it never waits for more to gather), decides it against one set of rows, makes
//! **one** durable commit, publishes the changes, and answers everyone. When traffic is thin that is a commit per call;
//! under load the cost of a commit is shared. Tests take its turns one by one.

use std::{
    ops::DerefMut,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, oneshot};
use ulid::Ulid;

use super::{
    batch::Batch,
    command::Job,
    mint::Mint,
    newest::NewestPages,
    queue::{Request, Requests},
    reclaim::{RECLAIM_INTERVAL, Reclaimed, Reclaiming},
    room::{Keeper, Room, no_room},
};
use crate::storage::{
    Change, Clock, StorageError, Timestamp,
    port::{CommitNumber, Past, Presence, Rows, Staged, Wants, Write, Writer},
};

/// Most commands in one commit, so that the first in it does not wait for too many others.
const MAX_BATCH_COMMANDS: usize = 512;
/// A batch takes no more commands once it holds this many bytes.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long the commit thread looks for another command, without sleeping, after it has committed one: those who were just
/// answered call again within that time, and to be woken up takes as long. It keeps its core: by yielding it would get
/// behind everybody else who has work.
const LINGER: Duration = Duration::from_micros(30);
/// Without traffic, the store's files are looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// Histogram of commands per commit.
pub const BATCH_COMMANDS: &str = "decentcom_storage_batch_commands";
/// Histogram of the seconds a commit takes, from the first look at rows to its end on disk.
pub const COMMIT_SECONDS: &str = "decentcom_storage_commit_seconds";

/// When something was last made durable, by the clock that never jumps and by the store's.
#[derive(Default)]
pub(super) struct LastCommit(Mutex<Option<(Instant, Timestamp)>>);

impl LastCommit {
    /// When that was, if it is at most so long ago.
    pub(super) fn within(&self, within: Duration) -> Option<Timestamp> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(made, _)| made.elapsed() <= within).map(|(_, at)| at)
    }

    fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), at));
    }
}

/// Where the writer goes when the commit thread is told to stop.
type Stop = oneshot::Sender<Box<dyn Writer>>;

/// The commit thread's state.
pub(super) struct Committer {
    writer: Box<dyn Writer>,
    keeper: Keeper,
    /// Whether the store's files are where they were opened; as long as they are not, nothing is acknowledged.
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
    pub(super) newest_pages: Arc<NewestPages>,
    pub(super) last_commit: Arc<LastCommit>,
    feed: broadcast::Sender<Change>,
    mint: Mint,
    stored_high_water: Ulid,
    /// The last one that was tried.
    commit: CommitNumber,
    reclaiming: Reclaiming,
}

impl Committer {
    /// One that goes on from a store's past.
    pub(super) fn new(
        writer: Box<dyn Writer>,
        past: Past,
        room: Arc<Room>,
        clock: Arc<dyn Clock>,
        feed: broadcast::Sender<Change>,
    ) -> Self {
        Self {
            presence: writer.presence(),
            keeper: Keeper::of(room),
            writer,
            clock,
            newest_pages: Arc::new(NewestPages::after(past.commit)),
            last_commit: Arc::default(),
            feed,
            stored_high_water: past.high_water,
            mint: Mint::after(past.high_water),
            commit: past.commit,
            reclaiming: Reclaiming::default(),
        }
    }

    /// Works until everybody is gone, or somebody stops it.
    pub(super) fn run(mut self, requests: &Requests) {
        self.keeper.begin(&mut *self.writer);
        loop {
            match self.wait(requests) {
                Ok(Request::Run(first)) => {
                    if let Some(writer) = self.turn(first, requests) {
                        let _ = writer.send(self.writer);
                        return;
                    }
                }
                Ok(Request::Stop(writer)) => {
                    let _ = writer.send(self.writer);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.writer.close() {
                        tracing::error!(%error, "closing the database failed");
                    }
                    return;
                }
            }
        }
    }

    /// The next request; a time-out when there is none and there is time for what else is to be done.
    fn wait(&self, requests: &Requests) -> Result<Request, RecvTimeoutError> {
        let began = Instant::now();
        while began.elapsed() < LINGER {
            match requests.try_next() {
                Ok(request) => return Ok(request),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
            }
        }
        // Idle time is for reclaiming: no need to keep the pace meant for constant traffic.
        let now = Instant::now();
        let purge = self.reclaiming.next.map(|due| due.saturating_duration_since(now).saturating_sub(RECLAIM_INTERVAL));
        let look = self.keeper.next_look().map(|due| due.saturating_duration_since(now));
        let patience = purge.into_iter().chain(look).fold(LOOK_INTERVAL, Duration::min);
        requests.next_within(patience)
    }

    /// One batch: `first`, and what waits behind it. Answers whether to stop.
    pub(super) fn turn(&mut self, first: Box<dyn Job>, requests: &Requests) -> Option<Stop> {
        let (jobs, stop) = gather(first, requests);
        requests.taken(jobs.len());
        self.commit_jobs(jobs);
        if stop.is_none() && self.presence.last_problem().is_none() && self.reclaiming.is_due(Duration::ZERO) {
            self.reclaim();
        }
        stop
    }

    /// What is done when nobody asks for anything.
    pub(super) fn idle(&mut self) {
        if self.keeper.next_look().is_some_and(|due| due <= Instant::now()) {
            self.keeper.look(&mut *self.writer);
        }
        let is_there = self.check_files().is_ok();
        self.writer.note_newest(self.stored_high_water);
        if is_there && self.reclaiming.is_due(RECLAIM_INTERVAL) {
            self.reclaim();
        }
    }

    /// One step of reclaiming.
    fn reclaim(&mut self) {
        let mut step = self.reclaiming.step();
        let has_room = self.keeper.takes(true);
        let reclaimed = match has_room {
            true => self.commit(&mut [&mut step as &mut dyn Job]).and_then(|()| step.into_decision()),
            false => Err(no_room()),
        };
        match &reclaimed {
            Ok(Reclaimed { channels_left: Some(_), .. }) => self.keeper.committed(&mut *self.writer),
            Err(StorageError::Full { .. }) if has_room => {
                self.keeper.refused(&mut *self.writer);
            }
            _ => {}
        }
        self.reclaiming.stepped(reclaimed);
    }

    fn commit_jobs(&mut self, jobs: Vec<Box<dyn Job>>) {
        metrics::histogram!(BATCH_COMMANDS).record(jobs.len() as f64);
        self.keeper.look(&mut *self.writer);
        let (mut jobs, refused): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| self.keeper.takes(job.frees_room()));
        for mut job in refused {
            job.fail(no_room());
            job.answer();
        }
        if jobs.is_empty() {
            return;
        }
        self.commit_in_place(&mut jobs);
        self.keeper.committed(&mut *self.writer);
        jobs.into_iter().for_each(Job::answer);
    }

    /// Commits, as long as the store's files are in their place.
    fn commit_in_place(&mut self, jobs: &mut [Box<dyn Job>]) {
        // Before, so that nothing is changed in a file that is away; afterwards, so that what got into one is not
        // acknowledged.
        if let Err(away) = self.check_files() {
            return fail_all(jobs, &away);
        }
        self.commit_together_or_apart(jobs);
        self.writer.note_newest(self.stored_high_water);
        if let Err(away) = self.check_files() {
            fail_all(jobs, &away);
        }
    }

    fn check_files(&mut self) -> Result<(), StorageError> {
        self.presence.check().inspect_err(|_| self.writer.rescue())
    }

    /// One commit for all. If it fails because a stored row is damaged, each command gets a commit of its own, so that
    /// only those that need that row fail. If there is no room, those that free some are tried again with what was made.
    /// Any other failure is everybody's.
    fn commit_together_or_apart(&mut self, jobs: &mut [Box<dyn Job>]) {
        let calls = jobs.len();
        let Err(error) = self.commit(jobs) else { return };
        match error {
            StorageError::Corrupt { .. } if calls > 1 => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    calls,
                    "a damaged row; committing one by one"
                );
                jobs.iter_mut().for_each(|job| self.commit_alone(job));
            }
            StorageError::Full { .. } => {
                let was_full = self.keeper.is_full();
                let made_room = self.keeper.refused(&mut *self.writer);
                tracing::debug!(error = &error as &dyn std::error::Error, calls, "no room for a commit");
                let is_worth_it = calls > 1 || jobs.iter().all(|job| job.frees_room());
                if (was_full && !made_room) || !is_worth_it {
                    return fail_all(jobs, &error);
                }
                for job in jobs {
                    if self.keeper.takes(job.frees_room()) {
                        self.commit_alone(job);
                    } else {
                        job.fail(no_room());
                    }
                }
            }
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, calls, "a commit failed");
                fail_all(jobs, &error);
            }
        }
    }

    fn commit_alone(&mut self, job: &mut Box<dyn Job>) {
        if let Err(error) = self.commit(std::slice::from_mut(job)) {
            if matches!(error, StorageError::Full { .. }) {
                self.keeper.refused(&mut *self.writer);
            }
            job.fail(error);
        }
    }

    /// Decides and stores one batch. An error means that nothing of it was stored.
    fn commit<J: DerefMut<Target = dyn Job>>(&mut self, jobs: &mut [J]) -> Result<(), StorageError> {
        let mut wants = Wants::default();
        jobs.iter().for_each(|job| job.wants(&mut wants));

        self.commit += 1;
        let Self { writer, clock, newest_pages, mint, stored_high_water, commit, .. } = self;
        let mut changes = Vec::new();
        let mut begins_purge = false;
        let mut writes_something = false;
        let mut decide = |rows: Rows| {
            let mut batch = Batch::new(clock.now(), mint, &wants, rows);
            jobs.iter_mut().for_each(|job| job.decide(&mut batch));
            let writes = batch.writes;
            changes = writes.iter().filter_map(Write::change).collect();
            newest_pages.begin(*commit, &changes);
            writes_something = !writes.is_empty();
            begins_purge = writes.iter().any(|write| matches!(write, Write::BeginPurge(_)));
            let high_water = mint.high_water();
            let high_water = (high_water > *stored_high_water).then_some(high_water);
            Staged { writes, high_water, commit: *commit }
        };
        let began = Instant::now();
        let panicked = || StorageError::Internal { attempt: "commit a batch, which panicked".into(), source: None };
        catch_unwind(AssertUnwindSafe(|| writer.transact(&wants, &mut decide)))
            .unwrap_or_else(|_| Err(panicked()))
            .inspect_err(|_| newest_pages.abort())?;
        newest_pages.reveal(*commit);
        if writes_something {
            self.last_commit.set(self.clock.now());
        }

        metrics::histogram!(COMMIT_SECONDS).record(began.elapsed());
        self.stored_high_water = self.mint.high_water();
        if begins_purge {
            self.reclaiming.begin();
        }
        for change in changes {
            let _ = self.feed.send(change); // nobody listening is fine
        }
        Ok(())
    }
}

/// Everything that waits, up to a batch's bounds; and whether to stop after it.
fn gather(first: Box<dyn Job>, requests: &Requests) -> (Vec<Box<dyn Job>>, Option<Stop>) {
    let mut bytes = first.weight();
    let mut jobs = vec![first];
    while jobs.len() < MAX_BATCH_COMMANDS && bytes < MAX_BATCH_BYTES {
        match requests.try_next() {
            Ok(Request::Run(job)) => {
                bytes += job.weight();
                jobs.push(job);
            }
            Ok(Request::Stop(writer)) => return (jobs, Some(writer)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    (jobs, None)
}

fn fail_all(jobs: &mut [Box<dyn Job>], error: &StorageError) {
    jobs.iter_mut().for_each(|job| job.fail(error.clone()));
}
