//! What a backend is: rows, kept safely and found quickly. All meaning is in front of it.
//!
//! A backend has a [`Writer`], driven by one thread, and a [`Reader`], used by everybody. Adding one means
//! implementing these two, which know nothing of limits, refusals, clocks or events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::Future,
    sync::Arc,
};

use ulid::Ulid;

pub use crate::storage::files::Presence;
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, Entity, Message, MessageId, MessagePage, Session, SessionDigest,
    StorageError, Timestamp, UsedChallenge, User, UserId,
};

/// A log-in as stored: the token's digest in place of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The SHA-256 of the token; the row's key.
    pub digest: SessionDigest,
    /// Who is logged in.
    pub user_id: UserId,
    /// When the session was created.
    pub created_at: Timestamp,
    /// The first instant at which it is gone.
    pub expires_at: Timestamp,
}

impl StoredSession {
    /// The session as the holder of `token` sees it.
    pub(super) fn with_token(self, token: String) -> Session {
        let Self { user_id, created_at, expires_at, .. } = self;
        Session { token, user_id, created_at, expires_at }
    }
}

/// The rows a batch needs to see before it can be decided, each named once.
#[derive(Debug, Default)]
pub struct Wants {
    /// Users that are only referred to: whether they exist is all that matters.
    pub user_references: BTreeSet<UserId>,
    /// Channels that are only referred to; those being purged do not exist.
    pub channel_references: BTreeSet<ChannelId>,
    /// Users by id.
    pub users: BTreeSet<UserId>,
    /// Users by public key; those found are among the users by id too.
    pub pubkeys: BTreeSet<String>,
    /// Channels by id; those being purged do not exist.
    pub channels: BTreeSet<ChannelId>,
    /// Categories by id.
    pub categories: BTreeSet<CategoryId>,
    /// All categories: to find one by its name.
    pub all_categories: bool,
    /// Channels whose `category_id` is one of these, in either case.
    pub channels_of: BTreeSet<CategoryId>,
    /// Messages by id; those of a channel being purged do not exist.
    pub messages: BTreeSet<MessageId>,
    /// Sessions by digest.
    pub sessions: BTreeSet<SessionDigest>,
    /// At most so many sessions of each of these users, any of them.
    pub sessions_of: BTreeMap<UserId, usize>,
    /// At most this many sessions with `expires_at` no later than this, the earliest first.
    pub expired: Option<(Timestamp, usize)>,
    /// Used challenges by key.
    pub challenges: BTreeSet<UsedChallenge>,
    /// At most this many used challenges that have expired by this time, the earliest first.
    pub expired_challenges: Option<(Timestamp, usize)>,
    /// Some messages of one channel being purged.
    pub purge: Option<PurgeStep>,
}

/// Which of the channels being purged is looked at, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeStep {
    /// Messages at most.
    pub at_most: usize,
    /// Channels to pass over, in the order of their ids: those that a step failed for.
    pub skipped: usize,
}

/// What is left of a channel being purged.
#[derive(Clone, Debug)]
pub struct PurgeSlice {
    /// The channel.
    pub channel_id: ChannelId,
    /// Some of its messages, live or soft-deleted; fewer than asked for means there are no others.
    pub messages: Vec<MessageId>,
    /// How many channels are being purged, this one among them.
    pub channels: u64,
}

/// The rows asked for by [`Wants`], as of the batch's own transaction. What is absent does not exist.
#[derive(Debug, Default)]
pub struct Rows {
    /// Which of the users referred to exist.
    pub known_users: HashSet<UserId>,
    /// Which of the channels referred to exist.
    pub known_channels: HashSet<ChannelId>,
    /// Users by id.
    pub users: HashMap<UserId, Arc<User>>,
    /// Who holds a public key.
    pub pubkeys: HashMap<String, UserId>,
    /// Channels by id: those asked for by id and by category.
    pub channels: HashMap<ChannelId, Arc<Channel>>,
    /// Categories by id.
    pub categories: HashMap<CategoryId, Arc<Category>>,
    /// Messages by id.
    pub messages: HashMap<MessageId, Arc<Message>>,
    /// Which of the wanted sessions exist.
    pub sessions: BTreeSet<SessionDigest>,
    /// The sessions of users that were asked for.
    pub sessions_of: HashMap<UserId, Vec<SessionDigest>>,
    /// Expired sessions, the earliest first.
    pub expired: Vec<(Timestamp, SessionDigest)>,
    /// Which of the wanted challenges were used.
    pub challenges: HashSet<UsedChallenge>,
    /// Expired used challenges, the earliest first.
    pub expired_challenges: Vec<UsedChallenge>,
    /// The channel being purged that is next, if there is one.
    pub purge: Option<PurgeSlice>,
}

/// One row, to store or as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A user; with its entry by public key.
    User(Arc<User>),
    /// A channel.
    Channel(Arc<Channel>),
    /// A category.
    Category(Arc<Category>),
    /// A message; with its entry in the channel's order, among the live or the soft-deleted.
    Message(Arc<Message>),
    /// A session; with its entries by user and by expiry.
    Session(StoredSession),
}

impl Row {
    /// What kind of record it is.
    pub fn entity(&self) -> Entity {
        match self {
            Self::User(_) => Entity::User,
            Self::Channel(_) => Entity::Channel,
            Self::Category(_) => Entity::Category,
            Self::Message(_) => Entity::Message,
            Self::Session(_) => Entity::Session,
        }
    }

    /// Its key as text: an id, or a session's digest in hexadecimal. Texts sort like keys.
    pub fn key(&self) -> String {
        match self {
            Self::User(user) => user.id.to_string(),
            Self::Channel(channel) => channel.id.to_string(),
            Self::Category(category) => category.id.to_string(),
            Self::Message(message) => message.id.to_string(),
            Self::Session(session) => session.digest.to_hex(),
        }
    }
}

/// One staged change, plain data. A batch's writes are applied in order, all or none.
#[derive(Clone, Debug)]
pub enum Write {
    /// Stores a row that does not exist.
    Insert(Row),
    /// Replaces the row with the same key, which exists.
    Replace(Row),
    /// Removes a category.
    RemoveCategory(CategoryId),
    /// Removes a session, which exists.
    RemoveSession(SessionDigest),
    /// Remembers that a challenge was used, which it was not before; with its expiry.
    UseChallenge(UsedChallenge),
    /// Forgets a used challenge, which is remembered.
    ForgetChallenge(UsedChallenge),
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
    PurgeMessage {
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

/// What a decided batch leaves to be stored.
#[derive(Debug, Default)]
pub struct Staged {
    /// The changes; when there are none, nothing is committed.
    pub writes: Vec<Write>,
    /// The largest id given out so far, if it moved; stored in the same commit.
    pub high_water: Option<Ulid>,
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

/// Those that read: each call sees one consistent, committed state and never waits for the writer.
pub trait Reader: Send + Sync + 'static {
    /// The user with this id.
    fn user(&self, id: UserId) -> impl Future<Output = Result<Option<User>, StorageError>> + Send;
    /// The user with this public key.
    fn user_by_pubkey(&self, pubkey: &str) -> impl Future<Output = Result<Option<User>, StorageError>> + Send;
    /// Users with ids above `after`, by id; all of them when there is no limit.
    fn users(
        &self,
        after: Option<UserId>,
        limit: Option<u32>,
    ) -> impl Future<Output = Result<Vec<User>, StorageError>> + Send;
    /// Users who are members with ids above `after`, by id.
    fn members(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, StorageError>> + Send;
    /// The channel with this id, unless it is being purged.
    fn channel(&self, id: ChannelId) -> impl Future<Output = Result<Option<Channel>, StorageError>> + Send;
    /// All channels not being purged, by (position, id).
    fn channels(&self) -> impl Future<Output = Result<Vec<Channel>, StorageError>> + Send;
    /// The category with this id.
    fn category(&self, id: CategoryId) -> impl Future<Output = Result<Option<Category>, StorageError>> + Send;
    /// All categories, by (position, id).
    fn categories(&self) -> impl Future<Output = Result<Vec<Category>, StorageError>> + Send;
    /// The message with this id, unless its channel is being purged.
    fn message(&self, id: MessageId) -> impl Future<Output = Result<Option<Message>, StorageError>> + Send;
    /// Live messages of a channel, as many as are within the bounds, and whether there are others; none while it is being
    /// purged. What is beyond the bounds is not loaded, save one message or as little of each as is no burden.
    fn page(
        &self,
        channel_id: ChannelId,
        page: Page,
        bounds: Bounds,
    ) -> impl Future<Output = Result<MessagePage, StorageError>> + Send;
    /// The session with this digest, expired or not.
    fn session(
        &self,
        digest: SessionDigest,
    ) -> impl Future<Output = Result<Option<StoredSession>, StorageError>> + Send;
    /// The largest number of the used challenges of the key with this digest, in each of these slots.
    fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> impl Future<Output = Result<Vec<Option<u32>>, StorageError>> + Send;
    /// Reads something from the database itself.
    fn ping(&self) -> impl Future<Output = Result<(), StorageError>> + Send;
    /// Releases what reading holds; calls in flight finish first.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
