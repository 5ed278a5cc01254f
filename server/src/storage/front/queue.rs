//! The bounded commit queue: where callers put a command, and wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use super::{
    command::{Asked, Command, Job},
    room::Room,
};
use crate::storage::{StorageError, port::Writer};

/// Commands that may wait; at ten thousand commits a second, less than half a second of work.
const MAX_QUEUE_COMMANDS: usize = 4096;
/// Bytes of memory that waiting commands may hold.
const MAX_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Gauge of commands that wait for a commit; those that one is being made of are no longer among them.
pub const QUEUE_COMMANDS: &str = "decentcom_storage_queue_commands";

/// What the commit thread is asked for.
pub(super) enum Request {
    Run(Box<dyn Job>),
    /// Stop after what was queued before, and hand the writer back.
    Stop(oneshot::Sender<Box<dyn Writer>>),
}

/// The callers' end of the commit queue.
pub(super) struct Queue {
    requests: Option<SyncSender<Request>>,
    memory: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
    waiting: Arc<Waiting>,
    room: Arc<Room>,
}

/// The committer's end.
pub(super) struct Requests {
    requests: Receiver<Request>,
    waiting: Arc<Waiting>,
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

impl Requests {
    pub(super) fn try_next(&self) -> Result<Request, TryRecvError> {
        self.requests.try_recv()
    }

    pub(super) fn next_within(&self, patience: Duration) -> Result<Request, RecvTimeoutError> {
        self.requests.recv_timeout(patience)
    }

    /// So many of them are in a batch now.
    pub(super) fn taken(&self, commands: usize) {
        self.waiting.take(commands);
    }
}

impl Queue {
    /// A queue, and a thread that empties it.
    pub(super) fn start(room: Arc<Room>, run: impl FnOnce(&Requests) + Send + 'static) -> Result<Self, StorageError> {
        let (mut queue, requests) = Self::new(room);
        let thread = std::thread::Builder::new()
            .name("storage-commit".into())
            .spawn(move || run(&requests))
            .map_err(|error| StorageError::internal("start the commit thread", error))?;
        queue.thread = Some(thread);
        Ok(queue)
    }

    /// A queue that nobody empties yet, and the end from which it is emptied.
    pub(super) fn new(room: Arc<Room>) -> (Self, Requests) {
        let (sender, requests) = sync_channel(MAX_QUEUE_COMMANDS);
        let waiting = Arc::new(Waiting::new());
        let memory = Arc::new(Semaphore::new(MAX_QUEUE_BYTES));
        let queue = Self { requests: Some(sender), memory, thread: None, waiting: waiting.clone(), room };
        (queue, Requests { requests, waiting })
    }

    /// Has a command decided and stored; answers once it is durable.
    pub(super) async fn run<C: Command>(&self, command: C) -> Result<C::Answer, StorageError> {
        self.room.check(command.frees_room())?;
        let weight = u32::try_from(command.weight()).unwrap_or(u32::MAX);
        let memory = self.memory.clone().try_acquire_many_owned(weight).map_err(|_| overloaded())?;
        let (asked, answer) = Asked::by_a_caller(command, memory);
        self.send(Request::Run(Box::new(asked)))?;
        answer.await.map_err(|_| closed())?
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
