//! What a test gets: a store, its clock, and the usual things to put into it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use decentcom_server::storage::{
    self, Backend, Channel, Clock, ManualClock, Message, RedbOptions, Storage, StorageOptions, Timestamp, User,
};
use tempfile::TempDir;

use crate::reopening::Reopening;

/// Where a store lives, and for how long it stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory.
    Memory,
    /// In a file.
    Disk,
    /// In a file, closed and opened again after every call that may change something.
    Reopened,
}

/// Which store the suite runs over.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The engine.
    pub backend: Backend,
    /// Where it keeps its data.
    pub place: Place,
}

/// A fresh store and what a test needs around it.
pub struct Context {
    /// The store.
    pub store: Arc<dyn Storage>,
    /// The store's clock; it stands still until moved.
    pub clock: Arc<ManualClock>,
    setup: Setup,
    directory: TempDir,
}

/// The name of the store's file.
const STORE: &str = "store";

/// The time at which every test's clock starts: 2024-01-01T00:00:00.000Z.
pub const START: u64 = 1_704_067_200_000;

impl Context {
    /// A fresh store of this setup.
    pub async fn new(setup: Setup) -> Self {
        Self::in_directory(setup, tempfile::tempdir().expect("a temporary directory")).await
    }

    /// The same, with its files in memory where the system has such a place: for tests that are not about the disk.
    pub async fn in_quick_directory(setup: Setup) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self::in_directory(setup, directory.expect("a temporary directory")).await
    }

    async fn in_directory(setup: Setup, directory: TempDir) -> Self {
        let clock = Arc::new(ManualClock::at(at(START)));
        let store = open(setup, directory.path(), clock.clone()).await;
        Self { store, clock, setup, directory }
    }

    /// Closes the store and opens it again on the same data; a store in memory has only itself and stays.
    pub async fn reopen(&mut self) {
        if self.setup.place != Place::Memory {
            self.store.close().await.unwrap();
            self.store = open(self.setup, self.directory.path(), self.clock.clone()).await;
        }
    }

    /// Drops the store without closing it and opens it again, as after a crash of its owner.
    pub async fn drop_and_open(&mut self) {
        let elsewhere = Setup { place: Place::Memory, ..self.setup };
        self.store = open(elsewhere, self.directory.path(), self.clock.clone()).await;
        self.store = open(self.setup, self.directory.path(), self.clock.clone()).await;
    }

    /// The directory with the store's files; empty for one in memory.
    pub fn files(&self) -> &Path {
        self.directory.path()
    }

    /// The store's file; there is none for one in memory.
    pub fn store_file(&self) -> PathBuf {
        self.directory.path().join(STORE)
    }

    /// Which store this is.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Moves the clock.
    pub fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    /// The clock's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new user with this key.
    pub async fn user(&self, pubkey: &str) -> User {
        self.store.create_user(pubkey, None).await.unwrap()
    }

    /// A new channel with this name.
    pub async fn channel(&self, name: &str) -> Channel {
        self.store.create_channel(name, None, 0).await.unwrap()
    }

    /// A new message.
    pub async fn post(&self, channel: &Channel, author: &User, content: &str) -> Message {
        self.store.create_message(&channel.id.text(), &author.id.text(), content).await.unwrap()
    }

    /// A user, a channel, and `count` messages in it, named by their number.
    pub async fn history(&self, count: usize) -> (User, Channel, Vec<Message>) {
        let (user, channel) = (self.user("key").await, self.channel("room").await);
        let mut messages = Vec::new();
        for number in 0..count {
            messages.push(self.post(&channel, &user, &number.to_string()).await);
        }
        (user, channel, messages)
    }
}

/// The instant `millis` milliseconds after the epoch.
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// A well-formed id that nothing has.
pub const NOBODY: &str = "00000000000000000000000000";

/// Texts that are no ids.
pub const MALFORMED: [&str; 7] = [
    "",
    "x",
    "0000000000000000000000000",
    "000000000000000000000000000",
    "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "0000000000000000000000000U",
    "0000000000000000000000000\u{e9}",
];

async fn open(setup: Setup, directory: &Path, clock: Arc<ManualClock>) -> Arc<dyn Storage> {
    let options = StorageOptions {
        backend: setup.backend,
        path: directory.join(STORE),
        redb: RedbOptions::default(),
        min_free: Default::default(),
    };
    match setup.place {
        Place::Memory => storage::open_in_memory(setup.backend, clock).await.unwrap(),
        Place::Disk => storage::open(&options, clock).await.unwrap(),
        Place::Reopened => Arc::new(Reopening::open(options, clock).await),
    }
}
