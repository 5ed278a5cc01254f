//! The newest pages of channels, in memory: nearly every page that people ask for is a channel's newest, and on disk each
//! of its messages lies at a place of its own.
//!
//! A page is filled in by whoever reads it first, and follows the commits from then on. A hit must never be older than
//! what another call has seen, though SQLite shows a commit to readers before the commit thread hears of it:
//!
//! ```text
//!  commit thread   decide ── begin(changes) ── store, sync, visible to readers ── end(changes) ── announce, answer
//!  a channel       from begin to end its page is not answered from here, and not filled in
//!  a miss          fills in only if the channel did not change since it began to read
//! ```

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashlink::LruCache;

use crate::storage::{Change, ChannelId, Message, MessageId};

/// Memory that held pages may take, in bytes: the newest 50 messages of about a thousand channels.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A page that takes more is not held: it would push out too many others.
const MAX_PAGE_BYTES: usize = MAX_BYTES / 8;
/// Pages for more messages than this are not held. HTTP asks for 101 at most.
const MAX_MESSAGES: u32 = 128;
/// Changed channels that are remembered for those who are reading: more than change while a page is read.
const REMEMBERED: usize = 1024;
/// What a message takes beside its own fields and text: counters, its slot, the allocator's part.
const OVERHEAD: usize = 48;

/// Counter of newest pages asked for, by whether they were `held` in memory.
pub const NEWEST_PAGES: &str = "decentcom_storage_newest_pages_total";

/// The cache. One lock, held for less than a microsecond: messages are copied outside of it.
#[derive(Default)]
pub(super) struct RecentPages(Mutex<State>);

/// What a look into the cache answers.
pub(super) enum Lookup {
    /// The newest messages, newest first.
    Hit(Vec<Message>),
    /// Ask the store; [`RecentPages::fill`] wants this back.
    Miss(Miss),
}

/// How many changes of channels had begun when the page was missed; `None` if what is read may not be kept.
pub(super) struct Miss(Option<u64>);

struct State {
    pages: LruCache<ChannelId, NewestPage>,
    bytes: usize,
    /// Channels that the commit under way changes.
    changing: HashSet<ChannelId>,
    /// The last [`REMEMBERED`] channels whose changes began, the latest last.
    changed: VecDeque<ChannelId>,
    /// How many changes of channels have begun.
    begun: u64,
}

struct NewestPage {
    /// Newest first. Readers copy from it while the next commit makes another.
    messages: Arc<VecDeque<Arc<Message>>>,
    /// For how many messages it was filled in; it holds no more.
    depth: usize,
    /// Whether the channel has no others.
    is_whole: bool,
    bytes: usize,
}

impl RecentPages {
    /// The newest `limit` messages of a channel, if they are held.
    pub(super) fn lookup(&self, channel_id: ChannelId, limit: u32) -> Lookup {
        if limit > MAX_MESSAGES {
            return Lookup::Miss(Miss(None));
        }
        let mut state = self.lock();
        let held = if state.changing.contains(&channel_id) {
            Err(None)
        } else {
            let begun = state.begun;
            let page =
                state.pages.get(&channel_id).filter(|page| page.is_whole || page.messages.len() >= limit as usize);
            page.map(|page| page.messages.clone()).ok_or(Some(begun))
        };
        drop(state);
        metrics::counter!(NEWEST_PAGES, "held" => if held.is_ok() { "true" } else { "false" }).increment(1);
        match held {
            Ok(messages) => Lookup::Hit(messages.iter().take(limit as usize).map(|it| Message::clone(it)).collect()),
            Err(begun) => Lookup::Miss(Miss(begun)),
        }
    }

    /// Holds what the store answered after a miss, unless the channel has changed meanwhile.
    pub(super) fn fill(&self, miss: &Miss, channel_id: ChannelId, limit: u32, messages: &[Message]) {
        let Some(begun) = miss.0 else { return };
        let bytes = messages.iter().map(weight).sum();
        // An empty page costs the store next to nothing, and may be of a channel that never was.
        if messages.is_empty() || bytes > MAX_PAGE_BYTES {
            return;
        }
        let page = NewestPage {
            messages: Arc::new(messages.iter().cloned().map(Arc::new).collect()),
            depth: limit as usize,
            is_whole: messages.len() < limit as usize,
            bytes,
        };
        let mut state = self.lock();
        if state.is_unchanged_since(begun, channel_id) {
            state.put(channel_id, page);
        }
    }

    /// A commit is about to be stored: from now on readers may see these changes.
    pub(super) fn begin(&self, changes: &[Change]) {
        let mut state = self.lock();
        for channel_id in changes.iter().filter_map(changed_channel) {
            if state.changing.insert(channel_id) {
                state.begun += 1;
                state.changed.push_back(channel_id);
            }
        }
        let forgotten = state.changed.len().saturating_sub(REMEMBERED);
        state.changed.drain(..forgotten);
    }

    /// The commit that began last was stored: readers see its changes, in this order.
    pub(super) fn end(&self, changes: &[Change]) {
        let mut state = self.lock();
        state.changing.clear();
        for change in changes {
            if let Some(channel_id) = changed_channel(change) {
                state.follow(channel_id, change);
            }
        }
    }

    /// The commit that began last failed: what readers see of its channels, the store must say.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        for channel_id in std::mem::take(&mut state.changing) {
            state.remove(channel_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            pages: LruCache::new_unbounded(), // bounded by `MAX_BYTES`
            bytes: 0,
            changing: HashSet::new(),
            changed: VecDeque::new(),
            begun: 0,
        }
    }
}

impl State {
    fn is_unchanged_since(&self, begun: u64, channel_id: ChannelId) -> bool {
        let since = usize::try_from(self.begun - begun).unwrap_or(usize::MAX);
        since <= self.changed.len() && !self.changed.iter().rev().take(since).any(|changed| *changed == channel_id)
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

    fn remove(&mut self, channel_id: ChannelId) -> Option<NewestPage> {
        self.pages.remove(&channel_id).inspect(|page| self.bytes -= page.bytes)
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

impl NewestPage {
    /// Answers whether there is still a page to hold.
    fn follow(&mut self, change: &Change) -> bool {
        let messages = Arc::make_mut(&mut self.messages);
        match change {
            Change::MessageCreated(message) => {
                self.bytes += weight(message);
                messages.push_front(message.clone());
                if messages.len() > self.depth {
                    self.is_whole = false;
                    self.bytes -= messages.pop_back().map_or(0, |oldest| weight(&oldest));
                }
            }
            Change::MessageUpdated(message) => {
                if let Some(old) = position(messages, message.id).and_then(|at| messages.get_mut(at)) {
                    self.bytes = self.bytes - weight(old) + weight(message);
                    *old = message.clone();
                }
            }
            Change::MessageDeleted { id, .. } => {
                let deleted = position(messages, *id).and_then(|at| messages.remove(at));
                self.bytes -= deleted.map_or(0, |message| weight(&message));
            }
            _ => return false,
        }
        true
    }
}

/// Where a message is on a page, if it is there.
fn position(newest_first: &VecDeque<Arc<Message>>, id: MessageId) -> Option<usize> {
    newest_first.binary_search_by(|message| id.cmp(&message.id)).ok()
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

fn weight(message: &Message) -> usize {
    size_of::<Message>() + message.content.capacity() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulid::Ulid;

    use super::*;
    use crate::storage::Timestamp;

    fn channel(number: u8) -> ChannelId {
        Ulid(u128::from(number) + 1).into()
    }

    fn message(number: u128, channel_id: ChannelId, content: &str) -> Message {
        Message {
            id: Ulid(number).into(),
            channel_id,
            author_id: Ulid(1).into(),
            content: content.to_owned(),
            edited_at: None,
            deleted: false,
            created_at: Timestamp::MIN,
        }
    }

    fn posted(message: &Message) -> Change {
        Change::MessageCreated(Arc::new(message.clone()))
    }

    fn is_hit(pages: &RecentPages, channel_id: ChannelId, limit: u32) -> bool {
        matches!(pages.lookup(channel_id, limit), Lookup::Hit(_))
    }

    fn missed(pages: &RecentPages, channel_id: ChannelId, limit: u32) -> Miss {
        match pages.lookup(channel_id, limit) {
            Lookup::Miss(miss) => miss,
            Lookup::Hit(messages) => panic!("{messages:?} are held"),
        }
    }

    fn hold(pages: &RecentPages, limit: u32, messages: &[Message]) {
        let channel_id = messages[0].channel_id;
        pages.fill(&missed(pages, channel_id, limit), channel_id, limit, messages);
    }

    #[test]
    fn while_a_channel_changes_its_page_is_neither_answered_nor_filled_in() {
        let (pages, one) = (RecentPages::default(), message(10, channel(0), "one"));
        let slow = missed(&pages, channel(0), 50);
        hold(&pages, 50, std::slice::from_ref(&one));
        assert!(is_hit(&pages, channel(0), 50));

        let two = message(11, channel(0), "two");
        pages.begin(&[posted(&two)]);
        let during = missed(&pages, channel(0), 50);
        pages.fill(&during, channel(0), 50, std::slice::from_ref(&one));
        pages.fill(&slow, channel(0), 50, std::slice::from_ref(&one));
        assert!(!is_hit(&pages, channel(0), 50));

        pages.end(&[posted(&two)]);
        pages.fill(&during, channel(0), 50, std::slice::from_ref(&one));
        pages.fill(&slow, channel(0), 50, std::slice::from_ref(&one));
        assert!(matches!(pages.lookup(channel(0), 50), Lookup::Hit(held) if held == [two, one]));
    }

    #[test]
    fn after_a_failed_commit_the_store_is_asked() {
        let (pages, one) = (RecentPages::default(), message(10, channel(0), "one"));
        hold(&pages, 50, std::slice::from_ref(&one));
        pages.begin(&[posted(&message(11, channel(0), "two"))]);
        pages.abort();
        assert!(!is_hit(&pages, channel(0), 50));
        hold(&pages, 50, &[one]);
    }

    #[test]
    fn memory_is_bounded_and_the_least_read_pages_go_first() {
        let pages = RecentPages::default();
        let text = "x".repeat(100_000);
        for number in 0..200 {
            hold(&pages, 1, &[message(1000 + u128::from(number), channel(number), &text)]);
            assert!(is_hit(&pages, channel(0), 1), "{number}");
        }
        let state = pages.lock();
        assert!(state.bytes <= MAX_BYTES && state.bytes > MAX_BYTES / 2, "{}", state.bytes);
        assert!(!state.pages.contains_key(&channel(1)) && state.pages.contains_key(&channel(199)));
        drop(state);

        let large = message(5000, channel(201), &"x".repeat(MAX_PAGE_BYTES));
        hold(&pages, 1, std::slice::from_ref(&large));
        hold(&pages, 1, &[large]); // it was not held
    }

    /// What a test does, on channels and messages by number.
    #[derive(Clone, Debug)]
    enum Step {
        /// Commits these, or fails to, with reads meanwhile.
        Commit {
            changes: Vec<(u8, Edit)>,
            fails: bool,
            meanwhile: Vec<(u8, u32)>,
        },
        Read(u8, u32),
        /// A slow reader: what it read now is filled in when the next one begins.
        BeginToRead(u8, u32),
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Post(usize),
        Change(prop::sample::Index, usize),
        Delete(prop::sample::Index),
        DeleteChannel,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let read = || (0..3_u8, prop_oneof![1..6_u32, Just(MAX_MESSAGES + 1)]);
        let edit = prop_oneof![
            6 => (0..20_usize).prop_map(Edit::Post),
            2 => any::<(prop::sample::Index, u8)>().prop_map(|(which, length)| Edit::Change(which, length.into())),
            2 => any::<prop::sample::Index>().prop_map(Edit::Delete),
            1 => Just(Edit::DeleteChannel),
        ];
        let commit = (
            prop::collection::vec((0..3_u8, edit), 1..5),
            prop::bool::weighted(0.2),
            prop::collection::vec(read(), 0..3),
        );
        let commit = commit.prop_map(|(changes, fails, meanwhile)| Step::Commit { changes, fails, meanwhile });
        let read_step = read().prop_map(|(channel, limit)| Step::Read(channel, limit));
        let slow = read().prop_map(|(channel, limit)| Step::BeginToRead(channel, limit));
        prop::collection::vec(prop_oneof![2 => commit, 4 => read_step, 1 => slow], 1..60)
    }

    /// The live messages of each channel, oldest first.
    type Channels = [Vec<Message>; 3];

    fn newest(channels: &Channels, number: u8, limit: u32) -> Vec<Message> {
        channels[usize::from(number)].iter().rev().take(limit as usize).cloned().collect()
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
                changed.content = "c".repeat(*length);
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

    /// Reads as [`Front`](super::super::Front) does: a hit must be what the store has.
    fn read(pages: &RecentPages, stored: &Channels, (number, limit): (u8, u32)) {
        let answer = newest(stored, number, limit);
        match pages.lookup(channel(number), limit) {
            Lookup::Hit(held) => assert_eq!(held, answer),
            Lookup::Miss(miss) => pages.fill(&miss, channel(number), limit, &answer),
        }
    }

    proptest! {
        #[test]
        fn a_hit_is_always_what_the_store_has(steps in steps()) {
            let pages = RecentPages::default();
            let mut stored = Channels::default();
            let mut next_id = 100;
            let mut slow: Option<(Miss, u8, u32, Vec<Message>)> = None;
            for step in steps {
                match step {
                    Step::Read(number, limit) => read(&pages, &stored, (number, limit)),
                    Step::BeginToRead(number, limit) => {
                        if let Some((miss, number, limit, answer)) = slow.take() {
                            pages.fill(&miss, channel(number), limit, &answer);
                        }
                        if let Lookup::Miss(miss) = pages.lookup(channel(number), limit) {
                            slow = Some((miss, number, limit, newest(&stored, number, limit)));
                        }
                    }
                    Step::Commit { changes, fails, meanwhile } => {
                        let mut after = stored.clone();
                        let changes: Vec<_> = changes
                            .iter()
                            .filter_map(|(number, edit)| change(&mut after, &mut next_id, *number, edit))
                            .collect();
                        pages.begin(&changes);
                        for (at, what) in meanwhile.into_iter().enumerate() {
                            // The store shows the commit at some moment that the cache does not know of.
                            read(&pages, if at == 0 || fails { &stored } else { &after }, what);
                        }
                        if fails {
                            pages.abort();
                        } else {
                            pages.end(&changes);
                            stored = after;
                        }
                    }
                }
                let state = pages.lock();
                let held = state.pages.iter().flat_map(|(_, page)| page.messages.iter());
                prop_assert_eq!(state.bytes, held.map(|message| weight(message)).sum::<usize>());
            }
        }
    }
}
