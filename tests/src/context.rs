//! What a test gets: a store, its clock, and the usual things to put into it.

use std::{path::Path, sync::Arc, time::Duration};

use decentcom_server::storage::{Channel, Clock, ManualClock, Message, Storage, Timestamp, User};
use tempfile::TempDir;

use crate::{
    Kept, Provider,
    provider::{IN_MEMORY, ON_DISK},
    reopening::Reopening,
};

/// Which store a test runs over.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Who opens it.
    pub provider: &'static dyn Provider,
    /// Whether it is closed and opened again after every call that may change something.
    pub is_reopened: bool,
}

impl Setup {
    /// Stores of this provider that stay open.
    pub fn of(provider: &'static dyn Provider) -> Self {
        Self { provider, is_reopened: false }
    }

    /// Every way in which stores of this provider can live.
    pub fn every(provider: &'static dyn Provider) -> Vec<Self> {
        let open = Self::of(provider);
        if open.is_kept() { vec![open, Self { is_reopened: true, ..open }] } else { vec![open] }
    }

    /// Stores of each backend of this repository, in memory.
    pub fn in_memory() -> Vec<Self> {
        IN_MEMORY.map(Self::of).to_vec()
    }

    /// Stores of each backend of this repository, in files.
    pub fn on_disk() -> Vec<Self> {
        ON_DISK.map(Self::of).to_vec()
    }

    /// What tests over this setup are called.
    pub fn name(&self) -> String {
        let way = match (self.is_reopened, self.provider.kept()) {
            (true, _) => "reopened_after_every_change",
            (false, Kept::Nowhere) => "in_memory",
            (false, Kept::InFiles) => "on_disk",
            (false, Kept::Elsewhere) => "elsewhere",
        };
        format!("{}::{way}", self.provider.name())
    }

    /// Whether a store that is closed can be opened again.
    pub fn is_kept(&self) -> bool {
        self.provider.kept() != Kept::Nowhere
    }

    async fn open(self, directory: &Path, clock: Arc<ManualClock>) -> Arc<dyn Storage> {
        if self.is_reopened {
            return Arc::new(Reopening::open(self.provider, directory, clock).await);
        }
        self.provider.open(directory, clock).await.unwrap()
    }
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
        let store = setup.open(directory.path(), clock.clone()).await;
        Self { store, clock, setup, directory }
    }

    /// Closes the store and opens it again on the same data; one whose data is kept nowhere stays as it is.
    pub async fn reopen(&mut self) {
        if self.setup.is_kept() {
            self.store.close().await.unwrap();
            self.store = self.setup.open(self.directory.path(), self.clock.clone()).await;
        }
    }

    /// Drops the store without closing it and opens it again, as after a crash of its owner.
    pub async fn drop_and_open(&mut self) {
        // The store has to be gone before it is opened again, so another one takes its place meanwhile.
        let [other, ..] = IN_MEMORY;
        self.store = Setup::of(other).open(self.directory.path(), self.clock.clone()).await;
        self.store = self.setup.open(self.directory.path(), self.clock.clone()).await;
    }

    /// The store's own directory; empty but for stores that are [kept in files](Kept::InFiles).
    pub fn files(&self) -> &Path {
        self.directory.path()
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
