//! The bounded commit queue and the one thread that empties it: group commit.
//!
//! Callers put a command in and wait. The commit thread takes everything that is waiting (it never waits for more to
//! gather), decides it against one set of rows, makes **one** durable commit, publishes the changes, and answers
//! everyone. When traffic is thin that is a commit per call; under load the cost of a commit is shared.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot};
use ulid::Ulid;

use super::{
    command::{Answer, Command, Reclaimed},
    decide::Batch,
    engine::{Presence, PurgeStep, Rows, Staged, Wants, Write, Writer},
    mint::Mint,
    recent::RecentPages,
    room::{Keeper, Room, no_room},
};
use crate::storage::{Change, Clock, StorageError, Timestamp};

/// Commands that may wait; at ten thousand commits a second, less than half a second of work.
const MAX_QUEUE_COMMANDS: usize = 4096;
/// Bytes of memory that waiting commands may hold.
const MAX_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Most commands in one commit, so that the first in it does not wait for too many others.
const MAX_BATCH_COMMANDS: usize = 512;
/// A batch takes no more commands once it holds this many bytes.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Messages reclaimed per step: a few milliseconds of work that a caller may have to wait for.
const PURGE_STEP: usize = 256;
/// Under constant traffic a reclaiming step is taken this often.
const PURGE_INTERVAL: Duration = Duration::from_millis(20);
/// How long the commit thread looks for another command, without sleeping, after it has committed one: those who were just
/// answered call again within that time, and to be woken up takes as long. It keeps its core: by yielding it would get
/// behind everybody else who has work.
const LINGER: Duration = Duration::from_micros(30);
/// Without traffic, the store's files are looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);
/// After reclaiming failed for all that is left, or the store is busy or without room, the next try waits this long.
const PURGE_RETRY: Duration = Duration::from_secs(10);

/// Gauge of commands that wait for a commit; those that one is being made of are no longer among them.
pub const QUEUE_COMMANDS: &str = "decentcom_storage_queue_commands";
/// Histogram of commands per commit.
pub const BATCH_COMMANDS: &str = "decentcom_storage_batch_commands";
/// Histogram of the seconds a commit takes, from the first look at rows to its end on disk.
pub const COMMIT_SECONDS: &str = "decentcom_storage_commit_seconds";

/// Gauge of deleted channels that still have messages in the file.
const RECLAIM_CHANNELS: &str = "decentcom_storage_reclaim_channels";
/// Counter of messages reclaimed.
const RECLAIMED_MESSAGES: &str = "decentcom_storage_reclaimed_messages_total";
/// Counter of reclaiming steps that failed.
const RECLAIM_FAILURES: &str = "decentcom_storage_reclaim_failures_total";

type Response = oneshot::Sender<Result<Answer, StorageError>>;

struct Job {
    command: Command,
    response: Response,
    /// Held until the answer is sent, so that [`MAX_QUEUE_BYTES`] bounds what waits and what is being committed.
    _memory: OwnedSemaphorePermit,
}

enum Request {
    Run(Box<Job>),
    /// Stop after what was queued before, and hand the writer back.
    Stop(oneshot::Sender<Box<dyn Writer>>),
}

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

/// The callers' end of the commit queue.
pub(super) struct Queue {
    requests: Option<SyncSender<Request>>,
    memory: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
    waiting: Arc<Waiting>,
    room: Arc<Room>,
}

/// Commands queued and not yet taken into a batch, and the gauge that shows them: also while a commit takes long.
struct Waiting {
    commands: AtomicUsize,
    gauge: metrics::Gauge,
}

impl Waiting {
    fn new() -> Self {
        let gauge = metrics::gauge!(QUEUE_COMMANDS);
        gauge.set(0.0);
        Self { commands: AtomicUsize::new(0), gauge }
    }

    fn add(&self, commands: usize) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
        self.gauge.increment(commands as f64);
    }

    fn take(&self, commands: usize) {
        self.commands.fetch_sub(commands, Ordering::Relaxed);
        self.gauge.decrement(commands as f64);
    }
}

impl Queue {
    /// Starts the commit thread, which gives out ids above `high_water`.
    pub(super) fn start(
        writer: Box<dyn Writer>,
        high_water: Ulid,
        room: Arc<Room>,
        clock: Arc<dyn Clock>,
        recent: Arc<RecentPages>,
        last_commit: Arc<LastCommit>,
        feed: broadcast::Sender<Change>,
    ) -> Result<Self, StorageError> {
        let (sender, requests) = sync_channel(MAX_QUEUE_COMMANDS);
        let waiting = Arc::new(Waiting::new());
        let committer = Committer {
            presence: writer.presence(),
            requests,
            waiting: waiting.clone(),
            keeper: Keeper::of(room.clone()),
            writer,
            clock,
            recent,
            last_commit,
            feed,
            stored_high_water: high_water,
            mint: Mint::after(high_water),
            next_purge: Some(Instant::now()),
            skipped: 0,
        };
        let thread = std::thread::Builder::new()
            .name("storage-commit".into())
            .spawn(move || committer.run())
            .map_err(|error| StorageError::internal("start the commit thread", error))?;
        Ok(Self {
            requests: Some(sender),
            memory: Arc::new(Semaphore::new(MAX_QUEUE_BYTES)),
            thread: Some(thread),
            waiting,
            room,
        })
    }

    /// Queues a command and waits until it is durable. A full queue is `Unavailable` at once, a full disk `Full`.
    pub(super) async fn run<T>(&self, command: Command) -> Result<T, StorageError>
    where
        T: TryFrom<Answer, Error = StorageError>,
    {
        self.room.check(&command)?;
        let weight = u32::try_from(command.weight()).unwrap_or(u32::MAX);
        let memory = self.memory.clone().try_acquire_many_owned(weight).map_err(|_| overloaded())?;
        let (response, answer) = oneshot::channel();
        self.send(Request::Run(Box::new(Job { command, response, _memory: memory })))?;
        answer.await.map_err(|_| closed())??.try_into()
    }

    /// Finishes what is queued and takes the writer back; `None` if that was done before.
    pub(super) async fn stop(&self) -> Option<Box<dyn Writer>> {
        let (sender, writer) = oneshot::channel();
        let mut request = Request::Stop(sender);
        loop {
            match self.requests.as_ref()?.try_send(request) {
                Ok(()) => return writer.await.ok(),
                Err(TrySendError::Full(again)) => request = again,
                Err(TrySendError::Disconnected(_)) => return None,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn send(&self, request: Request) -> Result<(), StorageError> {
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        self.waiting.add(1);
        requests.try_send(request).map_err(|error| {
            self.waiting.take(1);
            match error {
                TrySendError::Full(_) => overloaded(),
                TrySendError::Disconnected(_) => closed(),
            }
        })
    }

    /// How many commands wait to be taken into a batch.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.commands.load(Ordering::Relaxed)
    }
}

/// Waits for the commit thread to finish what was queued, so that the files are free when this returns.
impl Drop for Queue {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What calls on a closed store answer.
pub(super) fn closed() -> StorageError {
    StorageError::unavailable("the store is closed")
}

fn overloaded() -> StorageError {
    StorageError::unavailable("too many changes are waiting to be written; try again in a moment")
}

/// The answer to a batch of one.
fn sole(answers: Vec<Result<Answer, StorageError>>) -> Result<Result<Answer, StorageError>, StorageError> {
    let missing = || StorageError::Internal { attempt: "find the answer to a command".into(), source: None };
    answers.into_iter().next().ok_or_else(missing)
}

/// The commit thread's state.
struct Committer {
    requests: Receiver<Request>,
    waiting: Arc<Waiting>,
    writer: Box<dyn Writer>,
    keeper: Keeper,
    /// Whether the store's files are where they were opened; as long as they are not, nothing is acknowledged.
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
    recent: Arc<RecentPages>,
    last_commit: Arc<LastCommit>,
    feed: broadcast::Sender<Change>,
    mint: Mint,
    stored_high_water: Ulid,
    /// When the next reclaiming step is due; `None` when no deleted channel is left to reclaim.
    next_purge: Option<Instant>,
    /// Deleted channels that a step failed for, in this round through all of them.
    skipped: usize,
}

impl Committer {
    fn run(mut self) {
        self.keeper.begin(&mut *self.writer);
        loop {
            match self.wait() {
                Ok(Request::Run(first)) => {
                    let (jobs, then) = self.gather(*first);
                    self.commit_jobs(jobs);
                    if let Some(writer) = then {
                        let _ = writer.send(self.writer);
                        return;
                    }
                    if self.presence.last_problem().is_none()
                        && self.next_purge.is_some_and(|due| due <= Instant::now())
                    {
                        self.purge_step();
                    }
                }
                Ok(Request::Stop(writer)) => {
                    let _ = writer.send(self.writer);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.keeper.next_look().is_some_and(|due| due <= Instant::now()) {
                        self.keeper.look(&mut *self.writer);
                    }
                    let is_there = self.check_files().is_ok();
                    self.writer.note_newest(self.stored_high_water);
                    if is_there && self.next_purge.is_some_and(|due| due <= Instant::now() + PURGE_INTERVAL) {
                        self.purge_step();
                    }
                }
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
    fn wait(&self) -> Result<Request, RecvTimeoutError> {
        let began = Instant::now();
        while began.elapsed() < LINGER {
            match self.requests.try_recv() {
                Ok(request) => return Ok(request),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
            }
        }
        // Idle time is for reclaiming: no need to keep the pace meant for constant traffic.
        let now = Instant::now();
        let purge = self.next_purge.map(|due| due.saturating_duration_since(now).saturating_sub(PURGE_INTERVAL));
        let look = self.keeper.next_look().map(|due| due.saturating_duration_since(now));
        let patience = purge.into_iter().chain(look).fold(LOOK_INTERVAL, Duration::min);
        self.requests.recv_timeout(patience)
    }

    /// Everything that waits, up to a batch's bounds; and whether to stop after it.
    fn gather(&self, first: Job) -> (Vec<Job>, Option<oneshot::Sender<Box<dyn Writer>>>) {
        let mut bytes = first.command.weight();
        let mut jobs = vec![first];
        while jobs.len() < MAX_BATCH_COMMANDS && bytes < MAX_BATCH_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Run(job)) => {
                    bytes += job.command.weight();
                    jobs.push(*job);
                }
                Ok(Request::Stop(writer)) => return (jobs, Some(writer)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        (jobs, None)
    }

    fn commit_jobs(&mut self, jobs: Vec<Job>) {
        self.waiting.take(jobs.len());
        metrics::histogram!(BATCH_COMMANDS).record(jobs.len() as f64);
        self.keeper.look(&mut *self.writer);
        let (jobs, refused): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| self.keeper.takes(&job.command));
        for job in refused {
            let _ = job.response.send(Err(no_room()));
        }
        if jobs.is_empty() {
            return;
        }
        let (commands, responses): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.command, (job.response, job._memory))).unzip();
        let answers = self.commit_in_place(commands);
        self.keeper.committed(&mut *self.writer);
        for ((response, _memory), answer) in responses.into_iter().zip(answers) {
            let _ = response.send(answer);
        }
    }

    /// Commits, and answers, as long as the store's files are in their place.
    fn commit_in_place(&mut self, commands: Vec<Command>) -> Vec<Result<Answer, StorageError>> {
        let count = commands.len();
        // Before, so that nothing is changed in a file that is away; afterwards, so that what got into one is not
        // acknowledged.
        if let Err(away) = self.check_files() {
            return vec![Err(away); count];
        }
        let answers = self.commit_together_or_apart(commands);
        self.writer.note_newest(self.stored_high_water);
        match self.check_files() {
            Ok(()) => answers,
            Err(away) => vec![Err(away); count],
        }
    }

    fn check_files(&mut self) -> Result<(), StorageError> {
        self.presence.check().inspect_err(|_| self.writer.rescue())
    }

    /// One commit for all. If it fails because a stored row is damaged, each command gets a commit of its own, so that
    /// only those that need that row fail. If there is no room, those that free some are tried again with what was made.
    /// Any other failure is everybody's.
    fn commit_together_or_apart(&mut self, commands: Vec<Command>) -> Vec<Result<Answer, StorageError>> {
        let count = commands.len();
        let one_by_one = count > 1 || commands.iter().all(Command::frees_room);
        let apart = if one_by_one { commands.clone() } else { Vec::new() };
        match self.commit(commands) {
            Ok(answers) => answers,
            Err(error @ StorageError::Corrupt { .. }) if count > 1 => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    calls = count,
                    "a damaged row; committing one by one"
                );
                let alone = |command| self.commit(vec![command]).and_then(|answers| sole(answers)?);
                apart.into_iter().map(alone).collect()
            }
            Err(error @ StorageError::Full { .. }) => {
                let was_full = self.keeper.is_full();
                let made_room = self.keeper.refused(&mut *self.writer);
                tracing::debug!(error = &error as &dyn std::error::Error, calls = count, "no room for a commit");
                if (was_full && !made_room) || apart.is_empty() {
                    return vec![Err(error); count];
                }
                let mut again = |command: Command| {
                    if !self.keeper.takes(&command) {
                        return Err(no_room());
                    }
                    let answer = self.commit(vec![command]).and_then(|answers| sole(answers)?);
                    if matches!(answer, Err(StorageError::Full { .. })) {
                        self.keeper.refused(&mut *self.writer);
                    }
                    answer
                };
                apart.into_iter().map(&mut again).collect()
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, calls = count, "a commit failed");
                vec![Err(error); count]
            }
        }
    }

    /// Decides and stores one batch. An error means that nothing of it was stored.
    fn commit(&mut self, commands: Vec<Command>) -> Result<Vec<Result<Answer, StorageError>>, StorageError> {
        let mut wants = Wants::default();
        commands.iter().for_each(|command| command.add_wants(&mut wants));

        let Self { writer, clock, recent, mint, stored_high_water, .. } = self;
        let mut commands = Some(commands);
        let mut answers = Vec::new();
        let mut changes = Vec::new();
        let mut begins_purge = false;
        let mut writes_something = false;
        let mut decide = |rows: Rows| {
            let mut batch = Batch::new(clock.now(), mint, &wants, rows);
            answers = commands.take().unwrap_or_default().into_iter().map(|command| batch.decide(command)).collect();
            let Batch { writes, changes: announced, .. } = batch;
            changes = announced;
            recent.begin(&changes);
            writes_something = !writes.is_empty();
            begins_purge = writes.iter().any(|write| matches!(write, Write::BeginPurge(_)));
            let high_water = mint.high_water();
            Staged { writes, high_water: (high_water > *stored_high_water).then_some(high_water) }
        };
        let began = Instant::now();
        let panicked = || StorageError::Internal { attempt: "commit a batch, which panicked".into(), source: None };
        catch_unwind(AssertUnwindSafe(|| writer.transact(&wants, &mut decide)))
            .unwrap_or_else(|_| Err(panicked()))
            .inspect_err(|_| recent.abort())?;
        recent.end(&changes);
        if writes_something {
            self.last_commit.set(self.clock.now());
        }

        metrics::histogram!(COMMIT_SECONDS).record(began.elapsed());
        self.stored_high_water = self.mint.high_water();
        if begins_purge {
            self.next_purge = Some(Instant::now());
        }
        for change in changes {
            let _ = self.feed.send(change); // nobody listening is fine
        }
        Ok(answers)
    }

    /// One step for the first channel that is left. Where it fails because of that channel, the next step is for the one
    /// behind it, so that damage to one costs the others nothing; at the end of such a round it begins anew, later.
    fn purge_step(&mut self) {
        let step = Command::Purge(PurgeStep { at_most: PURGE_STEP, skipped: self.skipped });
        let has_room = self.keeper.takes(&step);
        let answer = if has_room { self.commit(vec![step]).and_then(|answers| sole(answers)?) } else { Err(no_room()) };
        let pause = match answer {
            Ok(Answer::Reclaimed(Reclaimed { messages, channels_left: Some(left) })) => {
                self.keeper.committed(&mut *self.writer);
                metrics::counter!(RECLAIMED_MESSAGES).increment(messages);
                metrics::gauge!(RECLAIM_CHANNELS).set(left as f64);
                Some(PURGE_INTERVAL)
            }
            Ok(_) => {
                let failed = std::mem::take(&mut self.skipped);
                metrics::counter!(RECLAIMED_MESSAGES).increment(0); // so that it is there from the start
                metrics::counter!(RECLAIM_FAILURES).increment(0);
                metrics::gauge!(RECLAIM_CHANNELS).set(failed as f64);
                (failed > 0).then_some(PURGE_INTERVAL + PURGE_RETRY)
            }
            Err(StorageError::Full { .. }) => {
                if has_room {
                    self.keeper.refused(&mut *self.writer);
                }
                Some(PURGE_INTERVAL + PURGE_RETRY)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "reclaiming a deleted channel failed; it stays hidden and is tried again"
                );
                metrics::counter!(RECLAIM_FAILURES).increment(1);
                let is_of_the_channel = !matches!(error, StorageError::Unavailable { .. });
                self.skipped += usize::from(is_of_the_channel);
                Some(if is_of_the_channel { PURGE_INTERVAL } else { PURGE_INTERVAL + PURGE_RETRY })
            }
        };
        self.next_purge = pause.map(|pause| Instant::now() + pause);
    }
}
