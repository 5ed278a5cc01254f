//! The newest pages of channels, in memory: nearly every page that people ask for is a channel's newest, and on disk each
//! of its messages lies at a place of its own.
//!
//! A page is filled in by whoever reads it first, and follows the commits from then on. All pages are as of the same commit,
//! and a commit takes effect here as soon as anybody has seen it: the commit thread, or a reader to whom the backend shows it
//! a moment earlier. So a hit is never older than what any call has answered.
//!
//! ```text
//!  commit thread   decide ── begin(n) ── store, sync ───────── reveal(n) ── announce, answer
//!  a reader                                 └ its view has n ── reveal(n) ── answer
//! ```
//!
//! A view that is filled in may be older than the pages: the commits that it lacks are still known, and follow.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hashlink::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::storage::{
    Change, ChannelId, Message, MessageId, MessagePage,
    port::{Bounds, CommitNumber, View},
};

/// Memory that held pages may take, in bytes: the newest 50 messages of about a thousand channels.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A page that takes more is not held: it would push out too many others.
const MAX_PAGE_BYTES: usize = MAX_BYTES / 8;
/// Pages for more messages than this are not held. HTTP asks for 100 at most, and one more is read.
const MAX_MESSAGES: u32 = 128;
/// Commits that are remembered for views that lack them; whoever reads for longer does not fill in what was read.
const MAX_COMMITS: usize = 256;
/// What the changes of remembered commits may take, in bytes.
const MAX_COMMIT_BYTES: usize = MAX_PAGE_BYTES;
/// Pages that are read from the backend at the same time: as many as SQLite has connections at most.
const LOADS: usize = 16;
/// What a message takes beside its own fields and text: counters, its slot, the allocator's part.
const OVERHEAD: usize = 48;

/// Counter of newest pages asked for, by whether they were `held` in memory.
pub const NEWEST_PAGES: &str = "decentcom_storage_newest_pages_total";

/// The cache. One lock, held for less than a microsecond: messages are copied outside of it.
pub(super) struct NewestPages {
    state: Mutex<State>,
    turns: Semaphore,
    /// The newest commit that anybody has seen; so that nearly all reads need no lock.
    revealed: AtomicU64,
}

struct State {
    pages: LruCache<ChannelId, NewestPage>,
    bytes: usize,
    commits: Commits,
}

/// The newest commits that change messages, the last one perhaps under way.
struct Commits {
    newest: VecDeque<Commit>,
    bytes: usize,
    /// The newest one that is no longer here.
    forgotten: CommitNumber,
}

struct Commit {
    number: CommitNumber,
    changes: Vec<Change>,
    bytes: usize,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody has seen it.
    Pending,
    /// It is stored.
    Stored,
    /// It failed; perhaps it was stored all the same.
    Unknown,
}

struct NewestPage {
    /// Newest first. Readers copy from it while the next commit makes another.
    messages: Arc<VecDeque<Arc<Message>>>,
    /// For how many messages it was filled in; it holds no more, and fewer where their length was bounded.
    depth: usize,
    /// Whether the channel has no others.
    is_whole: bool,
    bytes: usize,
}

impl NewestPages {
    /// No pages, of a store whose newest commit has this number.
    pub(super) fn after(commit: CommitNumber) -> Self {
        let commits = Commits { newest: VecDeque::new(), bytes: 0, forgotten: commit };
        let pages = LruCache::new_unbounded(); // bounded by `MAX_BYTES`
        Self {
            state: Mutex::new(State { pages, bytes: 0, commits }),
            turns: Semaphore::new(LOADS),
            revealed: AtomicU64::new(commit),
        }
    }

    /// The newest messages of a channel within these bounds, newest first, if it is known what they are and whether there
    /// are others.
    pub(super) fn held(&self, channel_id: ChannelId, bounds: Bounds) -> Option<MessagePage> {
        let (messages, is_whole) = self.lock().held(channel_id)?;
        let within = bounds.hold(messages.iter().map(|message| message.content.len()));
        let has_more = within < messages.len();
        (has_more || is_whole).then(|| MessagePage {
            messages: messages.iter().take(within).map(|message| Message::clone(message)).collect(),
            has_more,
        })
    }

    /// Waits for a turn to read a page from the backend. Whoever had to wait may find it held by now: otherwise a backend
    /// that is too slow for a moment would be asked for the same pages again and again, and stay too slow.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Holds the newest page of a channel as it was read, for up to so many messages, with what has changed since.
    pub(super) fn fill(&self, channel_id: ChannelId, limit: u32, read: &View<MessagePage>) {
        let View { commit, shows: MessagePage { messages, has_more } } = read;
        let bytes = messages.iter().map(weight).sum();
        // An empty page costs the backend next to nothing, and may be of a channel that never was.
        if limit > MAX_MESSAGES || messages.is_empty() || bytes > MAX_PAGE_BYTES {
            return;
        }
        let mut page = NewestPage {
            messages: Arc::new(messages.iter().cloned().map(Arc::new).collect()),
            depth: limit as usize,
            is_whole: !has_more,
            bytes,
        };
        let mut state = self.lock();
        if state.commits.bring_up_to_date(&mut page, channel_id, *commit) && page.bytes <= MAX_PAGE_BYTES {
            state.put(channel_id, page);
        }
    }

    /// A commit with these changes is about to be stored: from now on views may have it. One that began before and was
    /// neither seen nor [aborted](Self::abort) is forgotten.
    pub(super) fn begin(&self, number: CommitNumber, changes: &[Change]) {
        let changes: Vec<_> = changes.iter().filter(|change| changed_channel(change).is_some()).cloned().collect();
        let mut state = self.lock();
        state.commits.forget_pending();
        if !changes.is_empty() {
            let bytes = changes.iter().map(weight_of).sum();
            state.commits.bytes += bytes;
            state.commits.newest.push_back(Commit { number, changes, bytes, fate: Fate::Pending });
        }
    }

    /// The commit with this number, and all before it, are stored: a view has them. Whoever has such a view says so before
    /// answering anything from it.
    pub(super) fn reveal(&self, number: CommitNumber) {
        if self.revealed.load(Ordering::Acquire) >= number {
            return;
        }
        let mut state = self.lock();
        state.reveal(number);
        self.revealed.fetch_max(number, Ordering::Release);
    }

    /// The commit that began last failed. Whether it was stored all the same is not known: what is in its channels, the
    /// backend must say.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        let State { commits, .. } = &mut *state;
        let Some(failed) = commits.newest.back_mut().filter(|commit| commit.fate == Fate::Pending) else { return };
        failed.fate = Fate::Unknown;
        let channels: Vec<_> = failed.changes.iter().filter_map(changed_channel).collect();
        channels.into_iter().for_each(|channel_id| state.remove(channel_id));
        state.commits.trim();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The messages of a held page, and whether the channel has no others.
    fn held(&mut self, channel_id: ChannelId) -> Option<(Arc<VecDeque<Arc<Message>>>, bool)> {
        self.pages.get(&channel_id).map(|page| (page.messages.clone(), page.is_whole))
    }

    fn put(&mut self, channel_id: ChannelId, page: NewestPage) {
        self.bytes += page.bytes;
        if let Some(old) = self.pages.insert(channel_id, page) {
            self.bytes -= old.bytes;
        }
        while self.bytes > MAX_BYTES {
            let Some((_, evicted)) = self.pages.remove_lru() else { break };
            self.bytes -= evicted.bytes;
        }
    }

    fn remove(&mut self, channel_id: ChannelId) {
        if let Some(page) = self.pages.remove(&channel_id) {
            self.bytes -= page.bytes;
        }
    }

    /// Makes the pages what the commit under way leaves of them, if it is among those that were revealed.
    fn reveal(&mut self, number: CommitNumber) {
        let pending = |commit: &Commit| commit.fate == Fate::Pending && commit.number <= number;
        let Some(mut commit) = self.commits.newest.pop_back_if(|commit| pending(commit)) else { return };
        for change in &commit.changes {
            if let Some(channel_id) = changed_channel(change) {
                self.follow(channel_id, change);
            }
        }
        commit.fate = Fate::Stored;
        self.commits.newest.push_back(commit);
        self.commits.trim();
    }

    /// Makes a held page what the change leaves of it.
    fn follow(&mut self, channel_id: ChannelId, change: &Change) {
        let Some(page) = self.pages.peek_mut(&channel_id) else { return };
        self.bytes -= page.bytes;
        let keep = page.follow(change);
        self.bytes += page.bytes;
        if !keep || page.bytes > MAX_PAGE_BYTES {
            self.remove(channel_id);
        }
    }
}

impl Commits {
    fn forget_pending(&mut self) {
        if let Some(replaced) = self.newest.pop_back_if(|commit| commit.fate == Fate::Pending) {
            self.bytes -= replaced.bytes;
        }
    }

    /// Keeps to the bounds; what is under way stays.
    fn trim(&mut self) {
        while self.newest.len() > MAX_COMMITS || self.bytes > MAX_COMMIT_BYTES {
            let Some(oldest) = self.newest.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.forgotten = oldest.number;
        }
    }

    /// Makes a page of a channel, as it was after `commit`, what it is now; answers whether it is known what that is.
    fn bring_up_to_date(&self, page: &mut NewestPage, channel_id: ChannelId, commit: CommitNumber) -> bool {
        let since = self.newest.iter().filter(|it| it.number > commit);
        let changes = since.flat_map(|it| it.changes.iter().map(move |change| (it.fate, change)));
        commit >= self.forgotten
            && changes.filter(|(_, change)| changed_channel(change) == Some(channel_id)).all(
                |(fate, change)| match fate {
                    Fate::Stored => page.follow(change),
                    Fate::Pending => true, // the page will follow it once it is revealed
                    Fate::Unknown => false,
                },
            )
    }
}

impl NewestPage {
    /// Applies a change; answers whether there is still a page to hold.
    fn follow(&mut self, change: &Change) -> bool {
        let messages = Arc::make_mut(&mut self.messages);
        match change {
            Change::MessageCreated(message) => {
                let (Ok(at) | Err(at)) = position(messages, message.id);
                self.bytes += weight(message);
                messages.insert(at, message.clone());
                if messages.len() > self.depth {
                    self.is_whole = false;
                    self.bytes -= messages.pop_back().map_or(0, |oldest| weight(&oldest));
                }
            }
            Change::MessageUpdated(message) => {
                if let Some(old) = position(messages, message.id).ok().and_then(|at| messages.get_mut(at)) {
                    self.bytes = self.bytes - weight(old) + weight(message);
                    *old = message.clone();
                }
            }
            Change::MessageDeleted { id, .. } => {
                let deleted = position(messages, *id).ok().and_then(|at| messages.remove(at));
                self.bytes -= deleted.map_or(0, |message| weight(&message));
            }
            _ => return false,
        }
        true
    }
}

/// Where a message is on a page, or would be.
fn position(newest_first: &VecDeque<Arc<Message>>, id: MessageId) -> Result<usize, usize> {
    newest_first.binary_search_by(|message| id.cmp(&message.id))
}

/// The channel whose pages a change concerns.
fn changed_channel(change: &Change) -> Option<ChannelId> {
    match change {
        Change::MessageCreated(message) | Change::MessageUpdated(message) => Some(message.channel_id),
        Change::MessageDeleted { channel_id, .. } => Some(*channel_id),
        Change::ChannelDeleted(id) => Some(*id),
        _ => None,
    }
}

/// What a remembered change takes.
fn weight_of(change: &Change) -> usize {
    size_of::<Change>()
        + match change {
            Change::MessageCreated(message) | Change::MessageUpdated(message) => weight(message),
            _ => 0,
        }
}

fn weight(message: &Message) -> usize {
    size_of::<Message>() + message.content.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;
    use crate::storage::{Timestamp, contract::model::Model as _};

    fn channel(number: u8) -> ChannelId {
        Ulid(u128::from(number) + 1).into()
    }

    fn message(number: u128, channel_id: ChannelId, content: &str) -> Message {
        Message {
            channel_id,
            author_id: Ulid(1).into(),
            content: content.into(),
            created_at: Timestamp::MIN,
            ..Message::blank(Ulid(number).into())
        }
    }

    fn posted(message: &Message) -> Change {
        Change::MessageCreated(Arc::new(message.clone()))
    }

    fn held(pages: &NewestPages, channel_id: ChannelId, limit: u32) -> Option<Vec<Message>> {
        pages.held(channel_id, Bounds { messages: limit, bytes: usize::MAX }).map(|page| page.messages)
    }

    fn is_held(pages: &NewestPages, channel_id: ChannelId, limit: u32) -> bool {
        held(pages, channel_id, limit).is_some()
    }

    /// All the messages of a channel, as the backend showed them after a commit.
    fn whole(commit: CommitNumber, messages: &[Message]) -> View<MessagePage> {
        View { commit, shows: MessagePage { messages: messages.to_vec(), has_more: false } }
    }

    /// Fills in the page of a channel in which there were these messages after a commit.
    fn hold(pages: &NewestPages, commit: CommitNumber, messages: &[Message]) {
        assert_eq!(held(pages, messages[0].channel_id, 50), None);
        pages.fill(messages[0].channel_id, 51, &whole(commit, messages));
    }

    fn commit(pages: &NewestPages, number: CommitNumber, changes: &[Change]) {
        pages.begin(number, changes);
        pages.reveal(number);
    }

    #[test]
    fn until_somebody_has_seen_a_commit_its_channels_are_as_they_were() {
        let pages = NewestPages::after(5);
        let (one, two) = (message(10, channel(0), "one"), message(11, channel(0), "two"));
        hold(&pages, 5, std::slice::from_ref(&one));
        pages.begin(6, &[posted(&two)]);
        pages.reveal(5); // somebody's view is older
        assert_eq!(held(&pages, channel(0), 50).unwrap(), std::slice::from_ref(&one));
        pages.reveal(6);
        assert_eq!(held(&pages, channel(0), 50).unwrap(), &[two, one]);
        pages.begin(7, &[Change::ChannelDeleted(channel(0))]);
        assert!(is_held(&pages, channel(0), 50));
        pages.reveal(7);
        assert!(!is_held(&pages, channel(0), 50));
    }

    #[test]
    fn an_older_view_is_filled_in_with_what_has_changed_since() {
        let pages = NewestPages::after(0);
        let [one, two, three] =
            [(10, "one"), (11, "two"), (12, "three")].map(|(id, text)| message(id, channel(0), text));
        commit(&pages, 1, &[posted(&one)]);
        commit(&pages, 2, &[posted(&two)]);
        let gone = Change::MessageDeleted { id: one.id, channel_id: channel(0) };
        commit(&pages, 4, &[posted(&three), gone]);
        for older in [whole(1, std::slice::from_ref(&one)), whole(2, &[two.clone(), one.clone()])] {
            pages.fill(channel(0), 51, &older);
            assert_eq!(held(&pages, channel(0), 50).unwrap(), &[three.clone(), two.clone()]);
        }
    }

    #[test]
    fn what_is_filled_in_while_a_commit_is_under_way_follows_it() {
        let (pages, one, two) = (NewestPages::after(0), message(10, channel(0), "one"), message(11, channel(0), "two"));
        commit(&pages, 1, &[posted(&one)]);
        pages.begin(2, &[posted(&two)]);
        hold(&pages, 1, std::slice::from_ref(&one));
        assert_eq!(held(&pages, channel(0), 50).unwrap(), std::slice::from_ref(&one));
        pages.reveal(2);
        assert_eq!(held(&pages, channel(0), 50).unwrap(), &[two, one]);
    }

    #[test]
    fn a_view_that_lacks_more_than_is_remembered_fills_in_nothing() {
        let (pages, one) = (NewestPages::after(0), message(10, channel(0), "one"));
        for number in 1..=MAX_COMMITS as u64 + 1 {
            commit(&pages, number, &[posted(&message(100 + u128::from(number), channel(1), ""))]);
        }
        hold(&pages, 0, std::slice::from_ref(&one));
        assert!(!is_held(&pages, channel(0), 1));
        hold(&pages, 1, std::slice::from_ref(&one));
        assert!(is_held(&pages, channel(0), 1));

        let large = posted(&message(1000, channel(1), &"x".repeat(MAX_COMMIT_BYTES)));
        commit(&pages, 1000, &[large]);
        assert_eq!(pages.lock().commits.bytes, 0);
        let other = message(11, channel(2), "other");
        hold(&pages, 999, std::slice::from_ref(&other));
        assert!(!is_held(&pages, channel(2), 1));
        hold(&pages, 1000, &[other]);
        assert!(is_held(&pages, channel(2), 1));
    }

    #[test]
    fn after_a_failed_commit_only_a_later_view_tells() {
        let (pages, one, two) = (NewestPages::after(0), message(10, channel(0), "one"), message(11, channel(0), "two"));
        commit(&pages, 1, &[posted(&one)]);
        hold(&pages, 1, std::slice::from_ref(&one));
        pages.begin(2, &[posted(&two)]);
        pages.abort();
        assert!(!is_held(&pages, channel(0), 50));
        hold(&pages, 1, std::slice::from_ref(&one)); // which may show less than what is stored
        assert!(!is_held(&pages, channel(0), 50));
        hold(&pages, 2, &[two, one]); // it was stored all the same
        assert!(is_held(&pages, channel(0), 50));
    }

    #[test]
    fn memory_is_bounded_and_the_least_read_pages_go_first() {
        let pages = NewestPages::after(0);
        let text = "x".repeat(100_000);
        for number in 0..200 {
            hold(&pages, 0, &[message(1000 + u128::from(number), channel(number), &text)]);
            assert!(is_held(&pages, channel(0), 1), "{number}");
        }
        let state = pages.lock();
        assert!(state.bytes <= MAX_BYTES && state.bytes > MAX_BYTES / 2, "{}", state.bytes);
        assert!(!state.pages.contains_key(&channel(1)) && state.pages.contains_key(&channel(199)));
        drop(state);

        let large = message(5000, channel(201), &"x".repeat(MAX_PAGE_BYTES));
        hold(&pages, 0, std::slice::from_ref(&large));
        hold(&pages, 0, &[large]); // it was not held
    }

    /// What a test does, on channels and messages by number.
    #[derive(Clone, Debug)]
    enum Step {
        /// Makes a commit, with reads meanwhile.
        Commit {
            changes: Vec<(u8, Edit)>,
            outcome: Outcome,
            meanwhile: Vec<Read>,
        },
        Read(Read),
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Outcome {
        Stored,
        Failed,
        /// Its writer hears of an error, and later views have it.
        StoredButFailed,
    }

    /// Reads a channel's page of some length. What a slow reader gets is filled in when the next one has read.
    #[derive(Clone, Copy, Debug)]
    struct Read {
        channel: u8,
        bounds: Bounds,
        is_slow: bool,
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Post(usize),
        Change(prop::sample::Index, usize),
        Delete(prop::sample::Index),
        DeleteChannel,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let limit = || prop_oneof![1..6_u32, Just(MAX_MESSAGES + 1)];
        let bytes = || prop_oneof![Just(usize::MAX), 0..60_usize];
        let read = || {
            (0..3_u8, limit(), bytes(), prop::bool::weighted(0.3)).prop_map(|(channel, messages, bytes, is_slow)| {
                Read { channel, bounds: Bounds { messages, bytes }, is_slow }
            })
        };
        let edit = prop_oneof![
            6 => (0..20_usize).prop_map(Edit::Post),
            2 => any::<(prop::sample::Index, u8)>().prop_map(|(which, length)| Edit::Change(which, length.into())),
            2 => any::<prop::sample::Index>().prop_map(Edit::Delete),
            1 => Just(Edit::DeleteChannel),
        ];
        let outcome =
            prop_oneof![8 => Just(Outcome::Stored), 1 => Just(Outcome::Failed), 1 => Just(Outcome::StoredButFailed)];
        let commit = (prop::collection::vec((0..3_u8, edit), 1..5), outcome, prop::collection::vec(read(), 0..3));
        let commit = commit.prop_map(|(changes, outcome, meanwhile)| Step::Commit { changes, outcome, meanwhile });
        prop::collection::vec(prop_oneof![1 => commit, 2 => read().prop_map(Step::Read)], 1..60)
    }

    /// The live messages of each channel, oldest first.
    type Channels = [Vec<Message>; 3];

    fn newest(channels: &Channels, number: u8, bounds: Bounds) -> MessagePage {
        bounds.cut(MessagePage {
            messages: channels[usize::from(number)].iter().rev().cloned().collect(),
            has_more: false,
        })
    }

    /// Makes the change to the channels and says what it was.
    fn change(channels: &mut Channels, next_id: &mut u128, number: u8, edit: &Edit) -> Option<Change> {
        let live = &mut channels[usize::from(number)];
        match edit {
            Edit::Post(length) => {
                *next_id += 1;
                live.push(message(*next_id, channel(number), &"p".repeat(*length)));
                live.last().map(posted)
            }
            Edit::Change(which, length) => (!live.is_empty()).then(|| {
                let old = which.get(live).id;
                let changed = live.iter_mut().find(|message| message.id == old).unwrap();
                changed.content = "c".repeat(*length).into();
                Change::MessageUpdated(Arc::new(changed.clone()))
            }),
            Edit::Delete(which) => (!live.is_empty()).then(|| {
                let deleted = live.remove(which.index(live.len()));
                Change::MessageDeleted { id: deleted.id, channel_id: deleted.channel_id }
            }),
            Edit::DeleteChannel => {
                live.clear();
                Some(Change::ChannelDeleted(channel(number)))
            }
        }
    }

    /// A store that shows views, while calls have answered what was true `seen`.
    struct Store {
        pages: NewestPages,
        shown: View<Channels>,
        seen: View<Channels>,
        /// What somebody has read and not filled in yet.
        slow: Option<(ChannelId, u32, View<MessagePage>)>,
    }

    impl Store {
        /// Reads as [`Front`](super::super::Front) does: a hit is what was true when calls last answered something.
        fn read(&mut self, Read { channel: number, bounds, is_slow }: Read) {
            if let Some(held) = self.pages.held(channel(number), bounds) {
                assert_eq!(held, newest(&self.seen.shows, number, bounds));
                return;
            }
            let deeper = Bounds { messages: bounds.messages + 1, ..bounds };
            let shows = newest(&self.shown.shows, number, deeper);
            let read = (channel(number), deeper.messages, View { commit: self.shown.commit, shows });
            self.pages.reveal(self.shown.commit);
            self.seen.clone_from(&self.shown);
            let filled = if is_slow { self.slow.replace(read) } else { Some(read) };
            if let Some((channel_id, limit, view)) = filled {
                self.pages.fill(channel_id, limit, &view);
            }
        }
    }

    proptest! {
        #[test]
        fn a_hit_is_always_what_was_true_when_a_call_last_answered(steps in steps()) {
            let empty = View { commit: 0, shows: Channels::default() };
            let mut store =
                Store { pages: NewestPages::after(0), shown: empty.clone(), seen: empty, slow: None };
            let (mut next_id, mut number) = (100, 0);
            for step in steps {
                match step {
                    Step::Read(read) => store.read(read),
                    Step::Commit { changes, outcome, meanwhile } => {
                        let (before, mut after) = (store.shown.clone(), store.shown.shows.clone());
                        let changes: Vec<_> = changes
                            .iter()
                            .filter_map(|(channel, edit)| change(&mut after, &mut next_id, *channel, edit))
                            .collect();
                        number += 1;
                        let after = View { commit: number, shows: after };
                        store.pages.begin(number, &changes);
                        for (at, read) in meanwhile.into_iter().enumerate() {
                            // The store shows the commit at some moment that nobody is told of.
                            store.shown = if at == 0 || outcome != Outcome::Stored { before.clone() } else { after.clone() };
                            store.read(read);
                        }
                        match outcome {
                            Outcome::Stored => {
                                store.pages.reveal(number);
                                store.shown = after;
                                store.seen.clone_from(&store.shown);
                            }
                            Outcome::StoredButFailed => {
                                store.pages.abort();
                                store.shown = after;
                            }
                            Outcome::Failed => {
                                store.pages.abort();
                                store.shown = before;
                            }
                        }
                    }
                }
                let state = store.pages.lock();
                let held = state.pages.iter().flat_map(|(_, page)| page.messages.iter());
                prop_assert_eq!(state.bytes, held.map(|message| weight(message)).sum::<usize>());
                let remembered: usize = state.commits.newest.iter().map(|commit| commit.bytes).sum();
                prop_assert_eq!(state.commits.bytes, remembered);
            }
        }
    }
}
