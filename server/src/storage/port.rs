//! The port between meaning and rows: what a backend is. All meaning is in front of it; behind it are rows, kept safely and
//! found quickly.
//!
//! A backend has a [`Writer`], driven by one thread, and a [`Reader`], used by everybody. Adding one means
//! implementing these two, which know nothing of limits, refusals, clocks or events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::Future,
    sync::Arc,
};

use ulid::Ulid;

pub use super::files::Presence;
use super::{
    Backend, Category, CategoryId, Change, Channel, ChannelId, Entity, Key, LoginKey, MessageId, MessagePage, Row,
    SessionDigest, StorageError, Timestamp, UsedChallenge, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
};

/// Commits are numbered from 1, in order; 0 is a store before its first. A number whose commit failed is not used again, as
/// nobody may know what became of it.
pub type CommitNumber = u64;

/// What was true right after a commit, and after which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<T> {
    /// The newest commit in it: all up to this one are, none after it.
    pub commit: CommitNumber,
    /// What was true then.
    pub shows: T,
}

impl<T> View<T> {
    /// Another part of what was true then.
    pub fn map<U>(self, part: impl FnOnce(T) -> U) -> View<U> {
        View { commit: self.commit, shows: part(self.shows) }
    }
}

/// What a store remembers of its past when it is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// The largest id it has ever given out.
    pub high_water: Ulid,
    /// When it was last closed, or found to take changes.
    pub last_seen: Option<Timestamp>,
    /// The number of its newest commit.
    pub commit: CommitNumber,
}

impl Past {
    /// When the newest commit that is known of was made. `None` for a store that never gave out an id.
    pub(super) fn newest_commit(&self) -> Option<Timestamp> {
        let newest_id = Timestamp::from_millis(self.high_water.timestamp_ms());
        if self.high_water.is_nil() { None } else { newest_id.max(self.last_seen) }
    }
}

/// A backend that was opened.
pub struct Opened<R> {
    /// Which one.
    pub backend: Backend,
    /// The one that writes.
    pub writer: Box<dyn Writer>,
    /// Those that read.
    pub reader: R,
    /// What it remembers.
    pub past: Past,
    /// The secret that challenges are made with.
    pub login_key: LoginKey,
}

/// The records a batch needs to see before it can be decided, each named once.
#[derive(Debug, Default)]
pub struct Wants {
    /// Records that are only referred to: whether they exist is all that matters.
    pub references: BTreeSet<Key>,
    /// Records by key. As for references, channels being purged do not exist, nor does what goes with them.
    pub records: BTreeSet<Key>,
    /// Users by public key; those found are among the records too.
    pub pubkeys: BTreeSet<String>,
    /// All categories: to find one by its name.
    pub all_categories: bool,
    /// Channels whose `category_id` is one of these, in either case.
    pub channels_of: BTreeSet<CategoryId>,
    /// At most so many sessions of each of these users, any of them.
    pub sessions_of: BTreeMap<UserId, usize>,
    /// At most this many sessions with `expires_at` no later than this, the earliest first.
    pub expired: Option<(Timestamp, usize)>,
    /// At most this many used challenges that have expired by this time, the earliest first.
    pub expired_challenges: Option<(Timestamp, usize)>,
    /// Some messages of one channel being purged.
    pub reclaim: Option<ReclaimStep>,
}

impl Wants {
    /// The keys of this kind among some, such as the [`references`](Self::references).
    pub fn of(keys: &BTreeSet<Key>, entity: Entity) -> Vec<Key> {
        keys.iter().copied().filter(|key| key.entity() == entity).collect()
    }
}

/// Which of the channels being purged is looked at, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReclaimStep {
    /// Messages at most.
    pub at_most: usize,
    /// Channels to pass over, in the order of their ids: those that a step failed for.
    pub skipped: usize,
}

/// What is left of a channel being purged.
#[derive(Clone, Debug)]
pub struct ReclaimSlice {
    /// The channel.
    pub channel_id: ChannelId,
    /// Some of its messages, live or soft-deleted; fewer than asked for means there are no others.
    pub messages: Vec<MessageId>,
    /// How many channels are being purged, this one among them.
    pub channels: u64,
}

/// The records asked for by [`Wants`], as of the batch's own transaction. What is absent does not exist.
#[derive(Debug, Default)]
pub struct Rows {
    /// Which of the records referred to exist.
    pub known: HashSet<Key>,
    /// Records by key: those asked for by key, by public key, by category, by being one.
    pub records: HashMap<Key, Row>,
    /// Who holds a public key.
    pub pubkeys: HashMap<String, UserId>,
    /// The sessions of users that were asked for.
    pub sessions_of: HashMap<UserId, Vec<SessionDigest>>,
    /// Expired sessions, the earliest first.
    pub expired: Vec<(Timestamp, SessionDigest)>,
    /// Expired used challenges, the earliest first.
    pub expired_challenges: Vec<UsedChallenge>,
    /// The channel being purged that is next, if there is one.
    pub reclaim: Option<ReclaimSlice>,
}

impl Rows {
    /// The record with this key.
    pub fn get<M: Model>(&self, key: M::Key) -> Option<&Arc<M>> {
        self.records.get(&key.into()).and_then(M::of_row)
    }

    /// All records of a kind that were asked for, in no order.
    pub fn all<M: Model>(&self) -> impl Iterator<Item = &Arc<M>> {
        self.records.values().filter_map(M::of_row)
    }

    /// Takes a record in, in place of the one with its key.
    pub fn put<M: Model>(&mut self, record: Arc<M>) {
        self.records.insert(record.key().into(), record.into_row());
    }
}

/// One staged change, plain data. A batch's writes are applied in order, all or none.
#[derive(Clone, Debug)]
pub enum Write {
    /// Stores a record that does not exist.
    Insert(Row),
    /// Replaces the record with the same key, which exists.
    Replace(Row),
    /// Replaces a user who became a member, or is no longer one.
    ChangeMembership(Arc<User>),
    /// Removes a record, which exists.
    Remove(Key),
    /// Removes what is found of a session that has expired, also if its row is damaged or gone.
    SweepSession {
        /// The session.
        digest: SessionDigest,
        /// When it expired, as it was found.
        expires_at: Timestamp,
    },
    /// Hides a channel and all its messages from every read, and remembers to purge it.
    BeginPurge(ChannelId),
    /// Removes what is found of a message of a channel being purged, also if its row is damaged or gone.
    ReclaimMessage {
        /// The message.
        id: MessageId,
        /// Its channel.
        channel_id: ChannelId,
    },
    /// Forgets a channel whose messages are all purged, and what of its messages nobody could name.
    EndPurge(ChannelId),
    /// Notes in `meta` when it was last tried whether changes can be stored.
    NoteProbe(Timestamp),
}

impl Write {
    /// What is to be announced of it, if anything is: the one place where changes come from.
    pub fn change(&self) -> Option<Change> {
        Some(match self {
            Self::Insert(Row::User(user)) => Change::UserCreated(user.clone()),
            Self::Replace(Row::User(user)) => Change::UserUpdated(user.clone()),
            Self::ChangeMembership(user) if user.is_member => Change::MemberJoined(user.clone()),
            Self::ChangeMembership(user) => Change::MemberLeft(user.clone()),
            Self::Insert(Row::Channel(channel)) => Change::ChannelCreated(channel.clone()),
            Self::Replace(Row::Channel(channel)) => Change::ChannelUpdated(channel.clone()),
            Self::BeginPurge(channel_id) => Change::ChannelDeleted(*channel_id),
            Self::Insert(Row::Category(category)) => Change::CategoryCreated(category.clone()),
            Self::Replace(Row::Category(category)) => Change::CategoryUpdated(category.clone()),
            Self::Remove(Key::Category(id)) => Change::CategoryDeleted(*id),
            Self::Insert(Row::Message(message)) => Change::MessageCreated(message.clone()),
            Self::Replace(Row::Message(message)) if message.deleted => {
                Change::MessageDeleted { id: message.id, channel_id: message.channel_id }
            }
            Self::Replace(Row::Message(message)) => Change::MessageUpdated(message.clone()),
            Self::Remove(Key::Session(digest)) => Change::SessionDeleted(*digest),
            // Sessions that begin or expire, challenges, what is reclaimed and noted: nobody is told.
            Self::Insert(Row::Session(_) | Row::Challenge(_))
            | Self::Replace(Row::Session(_) | Row::Challenge(_))
            | Self::Remove(Key::User(_) | Key::Channel(_) | Key::Message(_) | Key::Challenge(_))
            | Self::SweepSession { .. }
            | Self::ReclaimMessage { .. }
            | Self::EndPurge(_)
            | Self::NoteProbe(_) => return None,
        })
    }
}

/// What a decided batch leaves to be stored.
#[derive(Debug, Default)]
pub struct Staged {
    /// The changes; when there are none, nothing is committed.
    pub writes: Vec<Write>,
    /// The largest id given out so far, if it moved; stored in the same commit.
    pub high_water: Option<Ulid>,
    /// The number of this commit, stored with it.
    pub commit: CommitNumber,
}

/// The one that writes. It is owned by the commit thread, so calls never overlap.
pub trait Writer: Send {
    /// Runs one transaction: loads the rows `wants` names, hands them to `decide`, and stores what that answers in
    /// one durable commit. When this returns `Ok` the commit survives power loss and every [`Reader`] call that starts
    /// afterwards sees it. On an error, or a panic in `decide`, nothing was stored and the writer can be used again.
    fn transact(&mut self, wants: &Wants, decide: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError>;

    /// Told again and again how many bytes the disk has free, so that what would need room later is done while there is some.
    fn note_free(&mut self, _free: u64) {}

    /// Called when the disk has become full, with some room made if any could be: gives back what is not needed, and mends
    /// what a commit without room has broken, so that reads and small changes go on.
    fn settle(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Stores the largest id ever given out, in a durable commit of its own.
    fn store_high_water(&mut self, id: Ulid) -> Result<(), StorageError>;

    /// The store's files, where it has any: whether they are still in their place.
    fn presence(&self) -> Arc<Presence> {
        Arc::default()
    }

    /// Called while a file is away, before nothing more is done: puts what was committed where it survives this process best.
    fn rescue(&mut self) {}

    /// Told every now and then how far ids have come; what is committed has this one.
    fn note_newest(&mut self, _newest: Ulid) {}

    /// Notes the time and closes the database in good order.
    fn close(self: Box<Self>) -> Result<(), StorageError>;
}

/// Which messages of a channel a page shows.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    /// The newest, newest first.
    Newest,
    /// Those with smaller ids, newest first.
    Before(MessageId),
    /// Those with larger ids, oldest first.
    After(MessageId),
}

/// How much of a history a page takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most messages; at least one.
    pub messages: u32,
    /// Most bytes of their contents together; the first message is answered whatever its length.
    pub bytes: usize,
}

impl Bounds {
    /// How many of the first messages are within these bounds, by the lengths of their contents.
    pub fn hold(self, lengths: impl IntoIterator<Item = usize>) -> usize {
        let mut bytes = 0_usize;
        let within = |(number, length): &(usize, usize)| {
            bytes = bytes.saturating_add(*length);
            *number < self.messages as usize && (*number == 0 || bytes <= self.bytes)
        };
        lengths.into_iter().enumerate().take_while(within).count()
    }

    /// What of a page is within these bounds.
    pub fn cut(self, mut page: MessagePage) -> MessagePage {
        let held = self.hold(page.messages.iter().map(|message| message.content.len()));
        page.has_more |= held < page.messages.len();
        page.messages.truncate(held);
        page
    }
}

/// Those that read: each call has one [`View`], no older than what was committed before it began, and never waits for the
/// writer.
pub trait Reader: Send + Sync + 'static {
    /// The record with this key, unless it went with a channel being purged.
    fn get<M: Model>(&self, key: M::Key) -> impl Future<Output = Result<View<Option<M>>, StorageError>> + Send;
    /// Records of a kind with keys above `after`, by key; all of them when there is no limit. What went with a channel being
    /// purged is not among them.
    fn list<M: Model>(
        &self,
        after: Option<M::Key>,
        limit: Option<u32>,
    ) -> impl Future<Output = Result<View<Vec<M>>, StorageError>> + Send;
    /// At most so many of the records that an index of theirs finds by this value, by key.
    fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> impl Future<Output = Result<View<Vec<M>>, StorageError>> + Send;
    /// Users who are members with ids above `after`, by id.
    fn members(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> impl Future<Output = Result<View<Vec<User>>, StorageError>> + Send;
    /// All channels not being purged, by (position, id).
    fn channels(&self) -> impl Future<Output = Result<View<Vec<Channel>>, StorageError>> + Send;
    /// All categories, by (position, id).
    fn categories(&self) -> impl Future<Output = Result<View<Vec<Category>>, StorageError>> + Send;
    /// Live messages of a channel, as many as are within the bounds, and whether there are others; none while it is being
    /// purged. What is beyond the bounds is not loaded, save one message or as little of each as is no burden.
    fn page(
        &self,
        channel_id: ChannelId,
        page: Page,
        bounds: Bounds,
    ) -> impl Future<Output = Result<View<MessagePage>, StorageError>> + Send;
    /// The largest number of the used challenges of the key with this digest, in each of these slots.
    fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> impl Future<Output = Result<View<Vec<Option<u32>>>, StorageError>> + Send;
    /// Reads something from the database itself.
    fn ping(&self) -> impl Future<Output = Result<(), StorageError>> + Send;
    /// Releases what reading holds; calls in flight finish first.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
