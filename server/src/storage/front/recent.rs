//! The newest pages of channels, in memory: nearly every page that people ask for is a channel's newest, and on disk each
//! of its messages lies at a place of its own.
//!
//! A page is filled in by whoever reads it first, and follows the commits from then on. A hit must never be older than
//! what any call has answered, though a commit becomes visible at a moment that only the backend knows:
//!
//! ```text
//!  commit thread   decide ── begin ── store, sync, visible to the backend's readers ── end ── announce, answer
//!  the page of a   (before)  as it was, until some call has read from the backend        as it is now
//!  changed channel           what the commit changes; from then on what the backend says
//! ```
//!
//! So as long as nobody can have seen the commit, a hit takes place before it. A page that is being filled in follows the
//! commits too: whoever reads it cannot know how many of those that ended meanwhile it shows, so all are applied to it, in
//! order, and the last word on each message is right.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use hashlink::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::storage::{Change, ChannelId, Entity, Message, MessageId, MessagePage, port::Bounds};

/// Memory that held pages may take, in bytes: the newest 50 messages of about a thousand channels.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A page that takes more is not held: it would push out too many others.
const MAX_PAGE_BYTES: usize = MAX_BYTES / 8;
/// Pages for more messages than this are not held. HTTP asks for 100 at most, and one more is read.
const MAX_MESSAGES: u32 = 128;
/// Changes of a channel that are kept for those who are filling in its page; whoever takes longer does so in vain.
const MAX_CHANGES: usize = 256;
/// Pages that are read from the backend at the same time: as many as SQLite has connections at most.
const LOADS: usize = 16;
/// What a message takes beside its own fields and text: counters, its slot, the allocator's part.
const OVERHEAD: usize = 48;

/// Counter of newest pages asked for, by whether they were `held` in memory.
pub const NEWEST_PAGES: &str = "decentcom_storage_newest_pages_total";

/// The cache. One lock, held for less than a microsecond: messages are copied outside of it.
pub(super) struct RecentPages {
    state: Mutex<State>,
    turns: Semaphore,
    /// The kinds of records that the commit under way changes, a bit for each; so that other reads need no lock.
    changing: AtomicU8,
}

/// What a read from the backend shows. Sessions show nothing that has a place in the order of messages.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    /// Records of a kind: which of them exist.
    Records(Entity),
    /// Messages of a channel.
    Page(ChannelId),
}

/// Somebody reads a page from the backend.
pub(super) struct Load<'a> {
    pages: &'a RecentPages,
    channel_id: ChannelId,
    limit: u32,
    /// The number of the channel's first change that the backend may not have shown.
    first_change: usize,
}

struct State {
    pages: LruCache<ChannelId, NewestPage>,
    bytes: usize,
    /// Channels that the commit under way changes.
    changing: HashSet<ChannelId>,
    /// Whether some call may have answered what the commit under way changes.
    is_seen: bool,
    loading: HashMap<ChannelId, Loading>,
}

/// A channel whose page is being read from the backend.
#[derive(Default)]
struct Loading {
    readers: usize,
    /// The number of the first change in `changes`; a reader that needs one before it has come too late.
    first: usize,
    changes: Vec<Change>,
    /// What the changes take.
    bytes: usize,
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

impl Default for RecentPages {
    fn default() -> Self {
        Self { state: Mutex::default(), turns: Semaphore::new(LOADS), changing: AtomicU8::new(0) }
    }
}

impl RecentPages {
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

    /// Notes that a page is about to be read from the backend, to be filled in; `None` if so long a one is never held.
    pub(super) fn load(&self, channel_id: ChannelId, limit: u32) -> Option<Load<'_>> {
        let first_change = (limit <= MAX_MESSAGES).then(|| self.lock().begin_to_load(channel_id))?;
        Some(Load { pages: self, channel_id, limit, first_change })
    }

    /// A call has read this from the backend and is about to answer it.
    pub(super) fn seen(&self, shown: Shown) {
        let kind = match shown {
            Shown::Records(kind) => kind,
            Shown::Page(_) => Entity::Message,
        };
        if self.changing.load(Ordering::Acquire) & bit(kind) == 0 {
            return;
        }
        let mut state = self.lock();
        state.is_seen |= match shown {
            Shown::Records(_) => true,
            Shown::Page(channel_id) => state.changing.contains(&channel_id),
        };
    }

    /// A commit is about to be stored: from now on the backend may show these changes.
    pub(super) fn begin(&self, changes: &[Change]) {
        let mut state = self.lock();
        state.is_seen = false;
        state.changing.extend(changes.iter().filter_map(changed_channel));
        self.changing.store(changes.iter().map(kinds).fold(0, std::ops::BitOr::bitor), Ordering::Release);
    }

    /// The commit that began last was stored: the backend shows its changes, in this order.
    pub(super) fn end(&self, changes: &[Change]) {
        let mut state = self.lock();
        self.changing.store(0, Ordering::Release);
        state.changing.clear();
        for change in changes {
            if let Some(channel_id) = changed_channel(change) {
                state.follow(channel_id, change);
            }
        }
    }

    /// The commit that began last failed: what is in its channels, the backend must say.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        self.changing.store(0, Ordering::Release);
        for channel_id in std::mem::take(&mut state.changing) {
            state.remove(channel_id);
            if let Some(loading) = state.loading.get_mut(&channel_id) {
                loading.begin_anew();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load<'_> {
    /// Holds what the backend answered, with the changes that have ended since.
    pub(super) fn fill(self, answer: &MessagePage) {
        let MessagePage { messages, has_more } = answer;
        let bytes = messages.iter().map(weight).sum();
        // An empty page costs the backend next to nothing, and may be of a channel that never was.
        if messages.is_empty() || bytes > MAX_PAGE_BYTES {
            return;
        }
        let mut page = NewestPage {
            messages: Arc::new(messages.iter().cloned().map(Arc::new).collect()),
            depth: self.limit as usize,
            is_whole: !has_more,
            bytes,
        };
        let mut state = self.pages.lock();
        let Some(changes) = state.loading.get(&self.channel_id).and_then(|it| it.changes_from(self.first_change))
        else {
            return;
        };
        if changes.iter().all(|change| page.follow(change)) && page.bytes <= MAX_PAGE_BYTES {
            state.put(self.channel_id, page);
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut state = self.pages.lock();
        if let Some(loading) = state.loading.get_mut(&self.channel_id) {
            loading.readers -= 1;
            if loading.readers == 0 {
                state.loading.remove(&self.channel_id);
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            pages: LruCache::new_unbounded(), // bounded by `MAX_BYTES`
            bytes: 0,
            changing: HashSet::new(),
            is_seen: false,
            loading: HashMap::new(),
        }
    }
}

impl State {
    /// The messages of a held page, and whether the channel has no others.
    fn held(&mut self, channel_id: ChannelId) -> Option<(Arc<VecDeque<Arc<Message>>>, bool)> {
        if self.is_seen && self.changing.contains(&channel_id) {
            return None;
        }
        self.pages.get(&channel_id).map(|page| (page.messages.clone(), page.is_whole))
    }

    fn begin_to_load(&mut self, channel_id: ChannelId) -> usize {
        let loading = self.loading.entry(channel_id).or_default();
        loading.readers += 1;
        loading.first + loading.changes.len()
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

    /// Makes a held page what the change leaves of it, and keeps the change for those who are filling one in.
    fn follow(&mut self, channel_id: ChannelId, change: &Change) {
        if let Some(loading) = self.loading.get_mut(&channel_id) {
            loading.add(change);
        }
        let Some(page) = self.pages.peek_mut(&channel_id) else { return };
        self.bytes -= page.bytes;
        let keep = page.follow(change);
        self.bytes += page.bytes;
        if !keep || page.bytes > MAX_PAGE_BYTES {
            self.remove(channel_id);
        }
    }
}

impl Loading {
    fn add(&mut self, change: &Change) {
        if self.changes.len() == MAX_CHANGES || self.bytes > MAX_PAGE_BYTES {
            self.begin_anew();
        }
        self.bytes += match change {
            Change::MessageCreated(message) | Change::MessageUpdated(message) => weight(message),
            _ => 0,
        };
        self.changes.push(change.clone());
    }

    /// Forgets the changes: those who are reading now cannot fill in what they read.
    fn begin_anew(&mut self) {
        self.first += self.changes.len() + 1;
        self.changes.clear();
        self.bytes = 0;
    }

    fn changes_from(&self, number: usize) -> Option<&[Change]> {
        self.changes.get(number.checked_sub(self.first)?..)
    }
}

impl NewestPage {
    /// Applies a change, which the page may show already; answers whether there is still a page to hold.
    fn follow(&mut self, change: &Change) -> bool {
        let messages = Arc::make_mut(&mut self.messages);
        match change {
            Change::MessageCreated(message) => {
                let place = position(messages, message.id);
                self.bytes += weight(message);
                match place {
                    Ok(at) => {
                        let shown = messages.get_mut(at).map(|shown| std::mem::replace(shown, message.clone()));
                        self.bytes -= shown.map_or(0, |shown| weight(&shown));
                    }
                    Err(at) => messages.insert(at, message.clone()),
                }
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

/// The kinds of records that a change concerns, a bit for each.
fn kinds(change: &Change) -> u8 {
    match change {
        Change::UserCreated(_) | Change::UserUpdated(_) | Change::MemberJoined(_) | Change::MemberLeft(_) => {
            bit(Entity::User)
        }
        Change::ChannelCreated(_) | Change::ChannelUpdated(_) => bit(Entity::Channel),
        Change::ChannelDeleted(_) => bit(Entity::Channel) | bit(Entity::Message),
        Change::CategoryCreated(_) | Change::CategoryUpdated(_) | Change::CategoryDeleted(_) => bit(Entity::Category),
        Change::MessageCreated(_) | Change::MessageUpdated(_) | Change::MessageDeleted { .. } => bit(Entity::Message),
        Change::SessionDeleted(_) => 0,
    }
}

fn bit(kind: Entity) -> u8 {
    1 << kind as u8
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

    fn held(pages: &RecentPages, channel_id: ChannelId, limit: u32) -> Option<Vec<Message>> {
        pages.held(channel_id, Bounds { messages: limit, bytes: usize::MAX }).map(|page| page.messages)
    }

    fn is_held(pages: &RecentPages, channel_id: ChannelId, limit: u32) -> bool {
        held(pages, channel_id, limit).is_some()
    }

    fn load(pages: &RecentPages, channel_id: ChannelId, limit: u32) -> Load<'_> {
        assert_eq!(held(pages, channel_id, limit), None);
        pages.load(channel_id, limit + 1).unwrap()
    }

    /// All the messages of a channel, as the backend answers them.
    fn whole(messages: &[Message]) -> MessagePage {
        MessagePage { messages: messages.to_vec(), has_more: false }
    }

    fn hold(pages: &RecentPages, limit: u32, messages: &[Message]) {
        load(pages, messages[0].channel_id, limit).fill(&whole(messages));
    }

    #[test]
    fn until_a_commit_can_have_been_seen_its_channels_are_as_they_were() {
        let (pages, one, two) =
            (RecentPages::default(), message(10, channel(0), "one"), message(11, channel(0), "two"));
        hold(&pages, 50, std::slice::from_ref(&one));
        pages.begin(&[posted(&two)]);
        for shown in [Shown::Records(Entity::User), Shown::Page(channel(1))] {
            pages.seen(shown);
            assert_eq!(held(&pages, channel(0), 50).unwrap(), std::slice::from_ref(&one));
        }
        pages.seen(Shown::Records(Entity::Message));
        assert!(!is_held(&pages, channel(0), 50));
        pages.end(&[posted(&two)]);
        assert!(is_held(&pages, channel(0), 50));

        pages.begin(&[Change::ChannelDeleted(channel(0))]);
        assert!(is_held(&pages, channel(0), 50));
        pages.seen(Shown::Records(Entity::Message));
        assert!(!is_held(&pages, channel(0), 50));
    }

    #[test]
    fn a_page_that_is_filled_in_has_what_changed_while_it_was_read() {
        let pages = RecentPages::default();
        let [one, two, three] =
            [(10, "one"), (11, "two"), (12, "three")].map(|(id, text)| message(id, channel(0), text));
        let slow = load(&pages, channel(0), 50);
        let slower = load(&pages, channel(0), 50);
        pages.begin(&[posted(&two)]);
        pages.end(&[posted(&two)]);
        slow.fill(&whole(std::slice::from_ref(&one)));
        assert_eq!(held(&pages, channel(0), 50).unwrap(), &[two.clone(), one.clone()]);

        let gone = Change::MessageDeleted { id: one.id, channel_id: channel(0) };
        pages.begin(&[posted(&three), gone.clone()]);
        pages.end(&[posted(&three), gone]);
        slower.fill(&whole(&[two.clone(), one])); // it began before all of this, and saw half of it
        assert_eq!(held(&pages, channel(0), 50).unwrap(), &[three, two]);
        assert!(pages.lock().loading.is_empty());
    }

    #[test]
    fn whoever_reads_for_too_long_or_across_a_failed_commit_fills_in_nothing() {
        let (pages, one) = (RecentPages::default(), message(10, channel(0), "one"));
        let slow = load(&pages, channel(0), 50);
        let changes = |count: u128, content: &str| -> Vec<_> {
            (0..count).map(|id| posted(&message(20 + id, channel(0), content))).collect()
        };
        let many = changes(MAX_CHANGES as u128 + 1, "");
        pages.begin(&many);
        pages.end(&many);
        slow.fill(&whole(std::slice::from_ref(&one)));
        assert!(!is_held(&pages, channel(0), 1));

        let slow = load(&pages, channel(0), 50);
        // They are small again in the end, but each change was kept until then.
        let mut large = changes(3, &"x".repeat(MAX_PAGE_BYTES / 2));
        large.extend((0..3).map(|id| Change::MessageUpdated(Arc::new(message(20 + id, channel(0), "")))));
        pages.begin(&large);
        pages.end(&large);
        slow.fill(&whole(std::slice::from_ref(&one)));
        assert!(!is_held(&pages, channel(0), 1));

        let slow = load(&pages, channel(0), 50);
        pages.begin(&[posted(&one)]);
        pages.abort();
        slow.fill(&whole(std::slice::from_ref(&one)));
        assert!(!is_held(&pages, channel(0), 1));
    }

    #[test]
    fn after_a_failed_commit_the_store_is_asked() {
        let (pages, one) = (RecentPages::default(), message(10, channel(0), "one"));
        hold(&pages, 50, std::slice::from_ref(&one));
        pages.begin(&[posted(&message(11, channel(0), "two"))]);
        pages.abort();
        assert!(!is_held(&pages, channel(0), 50));
        hold(&pages, 50, &[one]);
    }

    #[test]
    fn memory_is_bounded_and_the_least_read_pages_go_first() {
        let pages = RecentPages::default();
        let text = "x".repeat(100_000);
        for number in 0..200 {
            hold(&pages, 1, &[message(1000 + u128::from(number), channel(number), &text)]);
            assert!(is_held(&pages, channel(0), 1), "{number}");
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
            meanwhile: Vec<Read>,
        },
        Read(Read),
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
        let commit = (
            prop::collection::vec((0..3_u8, edit), 1..5),
            prop::bool::weighted(0.2),
            prop::collection::vec(read(), 0..3),
        );
        let commit = commit.prop_map(|(changes, fails, meanwhile)| Step::Commit { changes, fails, meanwhile });
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

    /// Reads as [`Front`](super::super::Front) does, from a store that shows one thing while `seen` is the newest that a
    /// call has answered: a hit must not be older.
    fn make<'a>(
        read: Read,
        pages: &'a RecentPages,
        shown: &Channels,
        seen: &mut Channels,
        slow: &mut Option<(Load<'a>, MessagePage)>,
    ) {
        let Read { channel: number, bounds, is_slow } = read;
        if let Some(held) = pages.held(channel(number), bounds) {
            assert_eq!(held, newest(seen, number, bounds));
            return;
        }
        let deeper = Bounds { messages: bounds.messages + 1, ..bounds };
        let load = pages.load(channel(number), deeper.messages);
        let answer = newest(shown, number, deeper);
        pages.seen(Shown::Page(channel(number)));
        if answer != newest(seen, number, deeper) {
            seen.clone_from(shown);
        }
        let filled = if is_slow {
            std::mem::replace(slow, load.map(|load| (load, answer)))
        } else {
            load.map(|load| (load, answer))
        };
        if let Some((load, answer)) = filled {
            load.fill(&answer);
        }
    }

    proptest! {
        #[test]
        fn a_hit_is_always_what_the_store_has(steps in steps()) {
            let pages = RecentPages::default();
            let mut stored = Channels::default();
            let mut next_id = 100;
            let mut slow = None;
            for step in steps {
                match step {
                    Step::Read(read) => make(read, &pages, &stored, &mut stored.clone(), &mut slow),
                    Step::Commit { changes, fails, meanwhile } => {
                        let mut after = stored.clone();
                        let changes: Vec<_> = changes
                            .iter()
                            .filter_map(|(number, edit)| change(&mut after, &mut next_id, *number, edit))
                            .collect();
                        pages.begin(&changes);
                        let mut seen = stored.clone();
                        for (at, read) in meanwhile.into_iter().enumerate() {
                            // The store shows the commit at some moment that the cache does not know of.
                            let shown = if at == 0 || fails { &stored } else { &after };
                            make(read, &pages, shown, &mut seen, &mut slow);
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
