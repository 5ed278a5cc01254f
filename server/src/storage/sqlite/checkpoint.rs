//! Checkpoints: moving pages from the write-ahead log to the database file, beside the commits.
//!
//! A commit appends to the log; sooner or later what is in the log has to go to the file, page by page, with a sync of its
//! own. Left to SQLite, the commit that makes the log too long does that, and everybody waits for it. Here a connection of
//! its own moves what the log has so far while commits go on behind. The log can begin anew only once nothing in it is
//! left to move, so when it is long enough, a commit finishes the work: then only the pages of a few commits are left.
//!
//! The longer the log may get, the less is written in all, because pages that change often are moved once in a while
//! instead of often. See <https://www.sqlite.org/wal.html>, "Checkpointing" and "Performance Considerations".

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use sqlx::{ConnectOptions, Connection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard},
};

use super::error::is_full;
use crate::storage::{Row, port::Write};

/// Pages at which the log shall begin anew: 48 MiB.
const LOG_PAGES: i64 = 12_000;
/// Pages after which they are moved beside the commits: few, because commits wait while the disk takes them all at once.
const STEP_PAGES: usize = 200;
/// Pages in the log at which commits do the work alone, should that not have happened.
pub(super) const FALLBACK_PAGES: i64 = 15_000;
/// Pages that one write changes, about: its row's and its index entries'.
const PAGES_PER_WRITE: usize = 3;
/// Bytes in a page, SQLite's default.
const PAGE_BYTES: usize = 4096;

/// The one that looks after the log.
pub(super) struct Checkpointer {
    requests: SyncSender<()>,
    /// Not a task: whoever closes the store may be blocking the thread that tasks run on.
    thread: JoinHandle<()>,
    /// Whether the log is long, with little left to move.
    is_finishable: Arc<AtomicBool>,
    /// Held during a checkpoint.
    turn: Arc<Mutex<()>>,
    /// Pages written to the log since it was last looked after, about.
    pages: usize,
}

impl Checkpointer {
    /// Starts it; it opens its connection when there is work for the first time.
    pub(super) fn start(runtime: &Handle, options: SqliteConnectOptions) -> io::Result<Self> {
        let (requests, received) = sync_channel(1);
        let is_finishable = Arc::new(AtomicBool::new(false));
        let turn = Arc::default();
        let (runtime, is_long, its_turn) = (runtime.clone(), is_finishable.clone(), Arc::clone(&turn));
        let run = move || runtime.block_on(run(&received, options, &is_long, &its_turn));
        let thread = std::thread::Builder::new().name("storage-checkpoint".into()).spawn(run)?;
        Ok(Self { requests, thread, is_finishable, turn, pages: 0 })
    }

    /// Takes note of what was committed on `connection`, and finishes the work if it is time to.
    pub(super) async fn after_commit(&mut self, connection: &mut SqliteConnection, writes: &[Write]) {
        self.pages += writes.iter().map(pages_of).sum::<usize>();
        // While it is at work, a later commit asks again.
        if self.pages >= STEP_PAGES && self.requests.try_send(()).is_ok() {
            self.pages = 0;
        }
        if self.is_finishable.swap(false, Ordering::Relaxed) {
            checkpoint(connection).await;
        }
    }

    /// Waits for the checkpoint under way; none begins before this is dropped.
    pub(super) async fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Lets it finish what it is at, and closes its connection.
    pub(super) fn stop(self) {
        drop(self.requests);
        let _ = self.thread.join();
    }
}

fn pages_of(write: &Write) -> usize {
    let content = match write {
        Write::Insert(Row::Message(message)) | Write::Replace(Row::Message(message)) => message.content.len(),
        _ => 0,
    };
    PAGES_PER_WRITE + content / PAGE_BYTES
}

async fn run(requests: &Receiver<()>, options: SqliteConnectOptions, is_finishable: &AtomicBool, turn: &Mutex<()>) {
    let mut connection = None;
    while requests.recv().is_ok() {
        let _alone = turn.lock().await;
        let usable = match &mut connection {
            Some(connection) => connection,
            None => match options.connect().await {
                Ok(new) => connection.insert(new),
                Err(error) => {
                    tracing::warn!(%error, "no connection for checkpoints; commits do them meanwhile");
                    continue;
                }
            },
        };
        let is_long = |log: &Option<i64>| log.is_some_and(|pages| pages >= LOG_PAGES);
        let mut log = checkpoint(usable).await;
        if is_long(&log) {
            // Once more, for what was committed meanwhile: that took time, this takes little.
            log = checkpoint(usable).await;
            is_finishable.store(is_long(&log), Ordering::Relaxed);
        }
        if log.is_none() {
            connection = None;
        }
    }
    if let Some(connection) = connection {
        let _ = connection.close().await;
    }
}

/// Moves what the log has, waiting for nobody; answers how many pages the log has, or `None` if that failed.
async fn checkpoint(connection: &mut SqliteConnection) -> Option<i64> {
    let moved = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await;
    match moved.and_then(|row| row.try_get("log")) {
        Ok(log) => Some(log),
        Err(error) => {
            // Of a full disk there is a line when that begins.
            if !is_full(&error) {
                tracing::warn!(%error, "a checkpoint failed; it is tried again");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use crate::storage::{Backend, RedbOptions, StorageOptions, SystemClock, open};

    const MIB: u64 = 1024 * 1024;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_moved_to_the_file_while_the_store_is_open_and_stays_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let size = |name: &str| std::fs::metadata(directory.path().join(name)).map_or(0, |file| file.len());
        let options = StorageOptions {
            backend: Backend::Sqlite,
            path,
            redb: RedbOptions::default(),
            min_free: Default::default(),
        };
        let store = open(&options, Arc::new(SystemClock)).await.unwrap();
        let user = store.create_user("key", None).await.unwrap().id;
        let channel = store.create_channel("general", None, 0).await.unwrap().id;
        let text = "z".repeat(500_000);
        let post = async |messages| {
            for _ in 0..messages {
                store.create_message(&channel.text(), &user.text(), &text).await.unwrap();
            }
        };
        // Less than makes a commit do it.
        post(60).await;
        let mut patience = 500;
        while size("store") < 10 * MIB {
            patience -= 1;
            assert!(patience > 0, "the file has {} bytes, the log {}", size("store"), size("store-wal"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        post(300).await;
        assert!(size("store-wal") < 80 * MIB, "the log has {} bytes", size("store-wal"));
        store.close().await.unwrap();
    }

    /// SQLite reuses the log only at a moment when nobody reads from it. Here there is none: each reader begins before the
    /// one before it ends.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_bounded_although_somebody_is_always_reading() {
        use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let options = StorageOptions {
            backend: Backend::Sqlite,
            path: path.clone(),
            redb: RedbOptions::default(),
            min_free: Default::default(),
        };
        let store = open(&options, Arc::new(SystemClock)).await.unwrap();
        let user = store.create_user("key", None).await.unwrap().id;
        let channel = store.create_channel("general", None, 0).await.unwrap().id;
        let reading = tokio::spawn(async move {
            let options = SqliteConnectOptions::new().filename(&path).read_only(true);
            let mut readers = [options.connect().await.unwrap(), options.connect().await.unwrap()];
            let begin = "BEGIN; SELECT count(*) FROM users";
            readers[0].execute(begin).await.unwrap();
            loop {
                readers[1].execute(begin).await.unwrap();
                readers[0].execute("COMMIT").await.unwrap();
                readers.swap(0, 1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let text = "z".repeat(500_000);
        let mut longest = 0;
        for _ in 0..400 {
            store.create_message(&channel.text(), &user.text(), &text).await.unwrap();
            longest = longest.max(std::fs::metadata(directory.path().join("store-wal")).map_or(0, |file| file.len()));
        }
        assert!(!reading.is_finished());
        reading.abort();
        assert!(longest < 150 * MIB, "200 MB were written, and the log had {longest} bytes");
        store.close().await.unwrap();
    }
}
