//! The commit queue under a writer that can be held, made to fail and made to panic.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ulid::Ulid;

use super::{Front, Room, room::no_room};
use crate::storage::{
    Backend, Category, Change, Channel, ChannelId, Disk, FeedError, Key, LoginKey, Look, ManualClock, Message,
    MessageId, MessagePage, MessageStore, Row, SessionStore, Storage, StorageError, Timestamp, Trouble, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    port::{Bounds, Opened, Page, Past, Reader, Rows, Staged, View, Wants, Write, Writer},
};

/// What the tests steer and see of the fake engine.
#[derive(Default)]
struct Controls {
    /// While somebody holds this, commits wait.
    gate: Mutex<()>,
    /// While somebody holds this, commits wait that readers see already.
    end: Mutex<()>,
    /// How many pages were read.
    pages: AtomicUsize,
    started: AtomicUsize,
    fail: AtomicBool,
    /// So many commits find no room.
    full: AtomicUsize,
    panic: AtomicBool,
    /// Messages per commit.
    commits: Mutex<Vec<usize>>,
    messages: Mutex<HashMap<MessageId, Message>>,
    /// The number of the newest commit.
    commit: AtomicU64,
}

/// Knows every channel and user that is asked for, and keeps messages.
struct FakeEngine(Arc<Controls>);

impl Writer for FakeEngine {
    fn transact(&mut self, wants: &Wants, decide: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError> {
        let mut rows = Rows::default();
        let exists = |key: &&Key| matches!(key, Key::User(_) | Key::Channel(_));
        rows.known.extend(wants.references.iter().filter(exists));
        let messages = self.0.messages.lock().unwrap().clone();
        let wanted = |key: &Key| if let Key::Message(id) = key { messages.get(id) } else { None };
        wants.records.iter().filter_map(wanted).for_each(|message| rows.put(Arc::new(message.clone())));
        self.0.started.fetch_add(1, SeqCst);
        if wants.records.iter().any(|key| key.to_string() == DAMAGED_ID) {
            drop(self.0.gate.lock().unwrap());
            return Err(StorageError::Corrupt { place: "here".into(), problem: "damage".into(), remedy: "none" });
        }
        drop(self.0.gate.lock().unwrap());
        let staged = decide(rows);
        if staged.writes.is_empty() {
            return Ok(());
        }
        assert!(!self.0.panic.swap(false, SeqCst), "planned");
        if self.0.fail.swap(false, SeqCst) {
            return Err(StorageError::Internal { attempt: "commit, as planned".into(), source: None });
        }
        if self.0.full.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(no_room());
        }
        let mut messages = self.0.messages.lock().unwrap();
        for write in &staged.writes {
            if let Write::Insert(Row::Message(message)) | Write::Replace(Row::Message(message)) = write {
                messages.insert(message.id, Message::clone(message));
            }
        }
        self.0.commit.store(staged.commit, SeqCst);
        drop(messages);
        self.0.commits.lock().unwrap().push(staged.writes.len());
        drop(self.0.end.lock().unwrap());
        Ok(())
    }

    fn store_high_water(&mut self, _id: Ulid) -> Result<(), StorageError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }
}

impl FakeEngine {
    /// What is true now. (Messages and number are not read at one moment; the tests that care hold the writer.)
    fn view<T>(&self, shows: T) -> View<T> {
        View { commit: self.0.commit.load(SeqCst), shows }
    }
}

impl Reader for FakeEngine {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        let row = match key.into() {
            Key::User(id) => Some(Row::User(Arc::new(a_user(id)))),
            Key::Channel(id) => Some(Row::Channel(Arc::new(a_channel(id)))),
            Key::Message(id) => {
                let message = self.0.messages.lock().unwrap().get(&id).cloned();
                message.map(|message| Row::Message(Arc::new(message)))
            }
            _ => None,
        };
        Ok(self.view(row.and_then(|row| M::of_row(&row).map(|record| M::clone(record)))))
    }
    async fn list<M: Model>(&self, _: Option<M::Key>, _: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        Ok(self.view(Vec::new()))
    }
    async fn find<M: Model>(&self, _: &'static Index, _: Value<'_>, _: u32) -> Result<View<Vec<M>>, StorageError> {
        Ok(self.view(Vec::new()))
    }
    async fn members(&self, _: Option<UserId>, _: u32) -> Result<View<Vec<User>>, StorageError> {
        Ok(self.view(Vec::new()))
    }
    async fn newest_used_challenges(&self, _: [u8; 32], slots: &[u64]) -> Result<View<Vec<Option<u32>>>, StorageError> {
        Ok(self.view(vec![None; slots.len()]))
    }
    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        Ok(self.view(Vec::new()))
    }
    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        Ok(self.view(Vec::new()))
    }
    async fn page(&self, channel_id: ChannelId, _: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        self.0.pages.fetch_add(1, SeqCst);
        let mut page: Vec<_> = self.0.messages.lock().unwrap().values().cloned().collect();
        page.retain(|message| message.channel_id == channel_id);
        page.sort_by_key(|message| std::cmp::Reverse(message.id));
        Ok(self.view(bounds.cut(MessagePage { messages: page, has_more: false })))
    }
    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }
    async fn close(&self) {}
}

fn a_user(id: UserId) -> User {
    let now = Timestamp::MIN;
    let (display_name, avatar_hash, is_bot, is_member) = (None, None, false, true);
    User { id, pubkey: "key".into(), display_name, avatar_hash, is_bot, is_member, created_at: now, updated_at: now }
}

fn a_channel(id: ChannelId) -> Channel {
    let now = Timestamp::MIN;
    Channel { id, name: "room".into(), topic: None, category_id: None, position: 0, created_at: now, updated_at: now }
}

/// The engine finds the row of this message damaged.
const DAMAGED_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FZZ";
const SOME_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn a_store() -> (Arc<Front<FakeEngine>>, Arc<Controls>) {
    a_store_in(Room::unbounded())
}

fn a_store_in(room: Arc<Room>) -> (Arc<Front<FakeEngine>>, Arc<Controls>) {
    let controls = Arc::new(Controls::default());
    let writer = Box::new(FakeEngine(controls.clone()));
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000).unwrap()));
    let opened = Opened {
        backend: Backend::Sqlite,
        writer,
        reader: FakeEngine(controls.clone()),
        past: Past::default(),
        login_key: LoginKey::from_bytes([0; 32]),
    };
    (Arc::new(Front::start(opened, room, clock).unwrap()), controls)
}

type Posting = tokio::task::JoinHandle<Result<Message, StorageError>>;

fn post(store: &Arc<Front<FakeEngine>>, content: &str) -> Posting {
    let (store, content) = (store.clone(), content.to_owned());
    tokio::spawn(async move { store.create_message(SOME_ID, SOME_ID, &content).await })
}

async fn until(condition: impl Fn() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    patience.await.expect("the condition never came true");
}

/// Holds the commit thread in a first commit, queues `count` further posts, and lets go.
async fn post_behind_a_held_commit(count: usize) -> (Arc<Front<FakeEngine>>, Arc<Controls>, Vec<Posting>) {
    let (store, controls) = a_store();
    until(|| controls.started.load(SeqCst) > 0).await; // the look for deleted channels at the start
    let started = controls.started.load(SeqCst);
    let gate = controls.gate.lock().unwrap();
    let mut postings = vec![post(&store, "first")];
    drive(|| controls.started.load(SeqCst) > started);
    postings.extend((0..count).map(|_| post(&store, "next")));
    drive(|| store.queue.waiting() == count);
    drop(gate);
    (store, controls, postings)
}

/// Waits without an `.await`, which a held lock does not allow; the other worker threads go on.
fn drive(condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the condition never came true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_wait_together_share_one_commit() {
    let (_store, controls, postings) = post_behind_a_held_commit(64).await;
    for posting in postings {
        posting.await.unwrap().unwrap();
    }
    assert_eq!(*controls.commits.lock().unwrap(), [1, 64]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_is_heard_by_everyone_in_it_and_leaves_no_trace() {
    let (store, controls) = a_store();
    let mut feed = store.changes();
    controls.fail.store(true, SeqCst);
    let refused = store.create_message(SOME_ID, SOME_ID, "lost").await;
    assert!(matches!(refused, Err(StorageError::Internal { .. })), "{refused:?}");
    let kept = store.create_message(SOME_ID, SOME_ID, "kept").await.unwrap();
    assert_eq!(controls.messages.lock().unwrap().len(), 1);
    match feed.next().await {
        Ok(Change::MessageCreated(message)) => assert_eq!(*message, kept),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_fails_only_those_who_need_it() {
    let (store, controls) = a_store();
    until(|| controls.started.load(SeqCst) > 0).await;
    let started = controls.started.load(SeqCst);
    let (postings, damaged) = {
        let _gate = controls.gate.lock().unwrap();
        let mut postings = vec![post(&store, "first")];
        drive(|| controls.started.load(SeqCst) > started);
        postings.extend((0..10).map(|_| post(&store, "before")));
        let editor = store.clone();
        let damaged = tokio::spawn(async move { editor.update_message(DAMAGED_ID, "new").await });
        postings.extend((0..10).map(|_| post(&store, "after")));
        drive(|| store.queue.waiting() == 21);
        (postings, damaged)
    };
    for posting in postings {
        posting.await.unwrap().unwrap();
    }
    assert!(matches!(damaged.await.unwrap(), Err(StorageError::Corrupt { .. })));
    assert_eq!(controls.messages.lock().unwrap().len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_during_a_commit_aborts_that_batch_and_the_store_goes_on() {
    let (store, controls) = a_store();
    controls.panic.store(true, SeqCst);
    let refused = store.create_message(SOME_ID, SOME_ID, "lost").await;
    assert!(matches!(refused, Err(StorageError::Internal { .. })), "{refused:?}");
    store.create_message(SOME_ID, SOME_ID, "kept").await.unwrap();
    assert_eq!(controls.messages.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let (store, controls, postings) = post_behind_a_held_commit(100).await;
    store.close().await.unwrap();
    for posting in postings {
        posting.await.unwrap().unwrap();
    }
    assert_eq!(controls.messages.lock().unwrap().len(), 101);
    let late = store.create_message(SOME_ID, SOME_ID, "late").await;
    assert!(matches!(late, Err(StorageError::Unavailable { .. })), "{late:?}");
    assert_eq!(store.changes().next().await.unwrap_err(), FeedError::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_queue_refuses_at_once_and_recovers() {
    let (store, controls) = a_store();
    let large = "x".repeat(crate::storage::limits::MAX_CONTENT_BYTES);
    let gate = controls.gate.lock().unwrap();
    let postings: Vec<_> = (0..100).map(|_| post(&store, &large)).collect();
    // 64 MiB of waiting commands are accepted, less the few bytes each takes besides its text.
    drive(|| postings.iter().filter(|posting| posting.is_finished()).count() >= 36);
    drop(gate);
    let mut refused = 0;
    for posting in postings {
        match posting.await.unwrap() {
            Ok(_) => {}
            Err(StorageError::Unavailable { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!((36..=38).contains(&refused), "{refused}");
    store.create_message(SOME_ID, SOME_ID, &large).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_too_many_commands_refuses_at_once() {
    let (store, controls) = a_store();
    let gate = controls.gate.lock().unwrap();
    let postings: Vec<_> = (0..6000).map(|_| post(&store, "x")).collect();
    // One batch may be in the commit thread's hands beside the 4096 that wait.
    drive(|| postings.iter().filter(|posting| posting.is_finished()).count() >= 6000 - 4096 - 512);
    drop(gate);
    let mut refused = 0;
    for posting in postings {
        if posting.await.unwrap().is_err() {
            refused += 1;
        }
    }
    assert!((6000 - 4096 - 512..=6000 - 4096).contains(&refused), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_page_is_read_once_and_then_follows_the_commits() {
    let (store, controls) = a_store();
    let first = post(&store, "first").await.unwrap().unwrap();
    for _ in 0..3 {
        assert_eq!(store.list_messages(SOME_ID, None, 50).await.unwrap(), std::slice::from_ref(&first));
    }
    let second = post(&store, "second").await.unwrap().unwrap();
    assert_eq!(store.list_messages(SOME_ID, None, 50).await.unwrap(), [second.clone(), first]);
    assert_eq!(store.list_messages(SOME_ID, None, 1).await.unwrap(), [second]);
    assert_eq!(controls.pages.load(SeqCst), 1);
}

#[test]
fn a_page_is_never_older_than_what_another_call_has_seen() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (store, controls) = a_store();
    let page = || runtime.block_on(store.list_messages(SOME_ID, None, 50)).unwrap();
    runtime.block_on(post(&store, "first")).unwrap().unwrap();
    assert_eq!(page().len(), 1);

    let held = controls.end.lock().unwrap();
    let second = post(&store, "second");
    let seen = loop {
        let messages = controls.messages.lock().unwrap();
        if let Some(message) = messages.values().find(|message| *message.content == *"second") {
            break message.id;
        }
    };
    // The store shows it, though it is not acknowledged. Nobody has seen it yet, then somebody has.
    assert_eq!(page().len(), 1);
    assert!(runtime.block_on(store.get_message(&seen.text())).unwrap().is_some());
    let during = page();
    drop(held);
    assert_eq!(during.iter().map(|message| &*message.content).collect::<Vec<_>>(), ["second", "first"]);

    runtime.block_on(second).unwrap().unwrap();
    assert_eq!(page(), during);
    assert_eq!(controls.pages.load(SeqCst), 1, "in memory the page followed the commit when it was seen");
}

/// A disk of as many bytes as are said to be free.
#[derive(Clone, Default)]
struct FakeDisk(Arc<(AtomicU64, AtomicBool)>);

const MIN_FREE: u64 = 1000;
const RESERVE: u64 = 200;
/// What a disk that tells nothing has.
const UNKNOWN: u64 = u64::MAX;

impl FakeDisk {
    fn with(free: u64) -> Self {
        let disk = Self::default();
        disk.set_free(free);
        disk
    }

    fn set_free(&self, free: u64) {
        self.0.0.store(free, SeqCst);
    }

    fn change_free(&self, by: i64) {
        let changed = |free| (free != UNKNOWN).then(|| u64::saturating_add_signed(free, by));
        let _ = self.0.0.fetch_update(SeqCst, SeqCst, changed);
    }
}

impl Disk for FakeDisk {
    fn look(&self) -> Option<Look> {
        let free = self.0.0.load(SeqCst);
        (free != UNKNOWN).then_some(Look { free, min_free: MIN_FREE, reserve: RESERVE })
    }
    fn has_reserve(&self) -> bool {
        self.0.1.load(SeqCst)
    }
    fn release_reserve(&self) -> bool {
        let had = self.0.1.swap(false, SeqCst);
        self.change_free(if had { RESERVE as i64 } else { 0 });
        had
    }
    fn take_reserve(&self) -> bool {
        if !self.0.1.swap(true, SeqCst) {
            self.change_free(-(RESERVE as i64));
        }
        true
    }
}

async fn takes_posts_again(store: &Arc<Front<FakeEngine>>) {
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while store.create_message(SOME_ID, SOME_ID, "again").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    patience.await.expect("it never takes anything again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_only_what_frees_room_is_taken_and_the_engine_hears_of_nothing_else() {
    let disk = FakeDisk::with(10_000);
    let (store, controls) = a_store_in(Room::on(disk.clone()));
    let message = store.create_message(SOME_ID, SOME_ID, "early").await.unwrap();
    assert!(store.condition().is_well() && disk.has_reserve());

    disk.set_free(MIN_FREE - 1);
    assert!(!store.condition().is_well(), "it can be told before anybody posts");
    let refused = store.create_message(SOME_ID, SOME_ID, "late").await;
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
    let commits = controls.commits.lock().unwrap().len();
    let refused = store.update_message(&message.id.text(), "late").await;
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
    assert_eq!(controls.commits.lock().unwrap().len(), commits);
    assert!(matches!(store.condition().troubles[..], [Trouble::Full { .. }]));
    assert!(disk.has_reserve(), "it is not needed yet");
    store.delete_message(&message.id.text()).await.unwrap();
    store.delete_session("nobody's").await.unwrap();
    assert_eq!(controls.commits.lock().unwrap().len(), commits + 1);

    disk.set_free(0);
    tokio::time::sleep(Duration::from_millis(1500)).await; // it looks
    assert!(disk.has_reserve(), "whoever fills the disk would have it");
    controls.messages.lock().unwrap().insert(MessageId::parse(SOME_ID).unwrap(), a_message());
    controls.full.store(1, SeqCst);
    store.delete_message(SOME_ID).await.unwrap();
    assert!(!disk.has_reserve(), "now it was needed");
    disk.set_free(MIN_FREE + RESERVE);
    tokio::time::sleep(Duration::from_millis(1500)).await; // it looks, and finds too little for what it had before
    assert!(!store.condition().is_well());
    disk.set_free(10_000);
    takes_posts_again(&store).await;
    assert!(store.condition().is_well() && disk.has_reserve());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_commit_without_room_costs_its_callers_and_a_second_one_begins_the_mode() {
    let (store, controls) = a_store_in(Room::on(FakeDisk::with(1_000_000)));
    controls.full.store(1, SeqCst);
    let refused = store.create_message(SOME_ID, SOME_ID, "one").await;
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
    store.create_message(SOME_ID, SOME_ID, "two").await.unwrap();

    controls.full.store(1, SeqCst);
    let refused = store.create_message(SOME_ID, SOME_ID, "three").await;
    assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
    let refused = store.create_message(SOME_ID, SOME_ID, "four").await;
    assert!(matches!(refused, Err(StorageError::Full { .. })), "a quota, say, shows in nothing else: {refused:?}");
    takes_posts_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_tells_nothing_is_tried_again() {
    let (store, controls) = a_store_in(Room::on(FakeDisk::with(UNKNOWN)));
    controls.full.store(1, SeqCst);
    for text in ["one", "two"] {
        let refused = store.create_message(SOME_ID, SOME_ID, text).await;
        assert!(matches!(refused, Err(StorageError::Full { .. })), "{refused:?}");
    }
    takes_posts_again(&store).await;
    assert!(store.condition().is_well());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_frees_room_has_another_go_with_what_the_reserve_gave() {
    let disk = FakeDisk::with(10_000);
    let (store, controls) = a_store_in(Room::on(disk.clone()));
    until(|| disk.has_reserve() && controls.started.load(SeqCst) > 0).await; // it has begun
    disk.set_free(MIN_FREE);
    controls.messages.lock().unwrap().insert(MessageId::parse(SOME_ID).unwrap(), a_message());
    controls.full.store(1, SeqCst);
    store.delete_message(SOME_ID).await.unwrap();
    assert!(controls.messages.lock().unwrap().values().all(|message| message.deleted));
    assert!(!store.condition().is_well());
}

fn a_message() -> Message {
    Message {
        channel_id: ChannelId::parse(SOME_ID).unwrap(),
        author_id: UserId::parse(SOME_ID).unwrap(),
        content: "text".into(),
        created_at: Timestamp::MIN,
        ..Message::blank(MessageId::parse(SOME_ID).unwrap())
    }
}
