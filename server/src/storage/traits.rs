//! The contract: what the store promises, whatever backend runs.
//!
//! Every sentence here that a store can show by itself is a named test of the conformance suite (`tests/`); `tests/README.md`
//! says which tests check the others. These hold for all calls:
//!
//! **Ids** are [ULIDs](https://github.com/ulid/spec), 26 upper-case Crockford characters, strictly increasing in
//! commit order: a reader who has seen an id never later sees a smaller one appear. That holds across a restart, a
//! clock that steps back and the deletion of the newest rows. Ids are accepted in either case. A malformed id cannot
//! exist: look-ups answer `None` (lists: nothing), mutations [`NotFound`]. A malformed cursor is [`InvalidInput`].
//!
//! **Times** are UTC milliseconds. `created_at` is the id's own time. `updated_at` and `edited_at` are the largest of
//! now, their previous value and `created_at`.
//!
//! **Durable**: when a mutating call returns `Ok`, the change survives `kill -9` and power loss.
//!
//! **Atomic and isolated**: a call happens completely or not at all. A call that is refused ([`InvalidInput`], [`NotFound`],
//! [`Conflict`], [`Full`]) changes nothing, even when it shared a commit with others. After [`Unavailable`] or [`Internal`] the
//! change may have been stored: read, or repeat it. A reader sees one consistent snapshot. The one exception are
//! [`SessionStore::delete_expired_sessions`] and [`SessionStore::delete_sessions_of_user`], which work in several steps.
//!
//! **Refusals** come in one order: [`InvalidInput`], then [`NotFound`], then [`Conflict`]. Every string has a limit
//! (module [`limits`]). An update whose values equal the present ones changes nothing.
//!
//! **Texts** come back as they were given, byte for byte. A *label* (a display name, the name of a channel or category, a
//! topic) that misleads is `InvalidInput`: one with a control character, a line or paragraph separator, a control of the
//! writing direction, a code point that is no character, a combining mark at its beginning, or an invisible character where
//! no script and no emoji needs it; and one in which there is nothing to see. The content of a message holds any
//! characters, of which one at least is visible. Rows that were written before a rule stay readable. Names are compared in
//! Unicode's normalization form C.
//!
//! **Acknowledged is visible**: what a call has returned is seen by every read that starts afterwards. A dropped
//! future may or may not have committed.
//!
//! **A full disk** refuses what needs room with [`Full`], at once and whatever else there is to say of it; reads, log-outs
//! and deletions go on.
//!
//! Any call may also fail with [`Unavailable`], [`Corrupt`] or [`Internal`].
//!
//! [`NotFound`]: StorageError::NotFound
//! [`InvalidInput`]: StorageError::InvalidInput
//! [`Conflict`]: StorageError::Conflict
//! [`Unavailable`]: StorageError::Unavailable
//! [`Full`]: StorageError::Full
//! [`Corrupt`]: StorageError::Corrupt
//! [`Internal`]: StorageError::Internal
//! [`limits`]: super::limits

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Backend, ChangeFeed, Condition, LogIn, LoggedIn, LoginKey, StorageError, Timestamp, contract::around::stores,
    models::*,
};

stores! {
    /// Everything the server needs of a store; handlers hold it as `Arc<dyn Storage>` and never know the backend.
    pub trait Storage: all of these {
        /// Reads from the database itself; `Ok` means the store can answer.
        async fn ping(&self) -> Result<(), StorageError>;

        /// Shows that changes can be stored: `Ok` says when the newest commit was made, which is less than `within` ago, or
        /// was made by this call, with the time in it and nothing else.
        async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError>;

        /// Refuses new calls with `Unavailable`, finishes those already accepted and closes the database. Closing again
        /// is `Ok`.
        async fn close(&self) -> Result<(), StorageError>;

        /// Which backend keeps it: for reports. No call depends on it.
        fn backend(&self) -> Backend;

        /// What is wrong with the store as a whole, if anything is: of a file that was taken away, within a second. Cheap
        /// enough to be asked every second.
        fn condition(&self) -> Condition;

        /// Everything committed from now on, in commit order, each change exactly once, after it is visible to reads and
        /// before its caller is answered.
        fn changes(&self) -> ChangeFeed;
    }

    /// Users, found by id or by public key.
    pub trait UserStore: Send + Sync {
        /// Creates a user, who is a member and no bot. `pubkey` is 1 to 256 bytes, else `InvalidInput`; it is unique, so a
        /// second user with it is `Conflict`, also under a race. `display_name` is a label; an empty one is none.
        async fn create_user(&self, pubkey: &str, display_name: Option<&str>) -> Result<User, StorageError>;

        /// The user with this id; `None` if there is none, also for a text that is no id.
        async fn get_user_by_id(&self, id: &str) -> Result<Option<User>, StorageError>;

        /// The user with exactly this public key.
        async fn get_user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError>;

        /// Changes the given fields: `None` leaves a field as it is, `Some("")` clears it. `updated_at` moves if and only
        /// if a field changed. A missing user is `NotFound`.
        async fn update_user(
            &self,
            id: &str,
            display_name: Option<&str>,
            avatar_hash: Option<&str>,
        ) -> Result<User, StorageError>;

        /// Makes a user a member, or no longer one. `updated_at` moves if and only if that changed, and it is announced
        /// then. A missing user is `NotFound`.
        async fn set_membership(&self, id: &str, is_member: bool) -> Result<User, StorageError>;

        /// All users, by id.
        async fn list_users(&self) -> Result<Vec<User>, StorageError>;

        /// At most `limit` users (never more than 500) with ids above `after`, by id. `after` is any ULID, existing or
        /// not; `None` starts with the earliest user. `limit` 0 answers nothing.
        async fn list_users_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError>;

        /// Like [`list_users_page`](Self::list_users_page), of users who are members. The cost grows with the page, never
        /// with the number of others.
        async fn list_members_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError>;
    }

    /// Messages, in channels, in the order they were posted.
    pub trait MessageStore: Send + Sync {
        /// Posts a message. `content` is at most 1 MiB of UTF-8 and shows something, else `InvalidInput`; channel and
        /// author must exist, else `NotFound` naming which, the channel first.
        async fn create_message(&self, channel_id: &str, author_id: &str, content: &str) -> Result<Message, StorageError>;

        /// The message with this id; a soft-deleted one too, with `deleted` set. Those of a deleted channel are gone.
        async fn get_message(&self, id: &str) -> Result<Option<Message>, StorageError>;

        /// The newest messages of a channel with ids strictly below `before`, newest first. `before` is any ULID,
        /// existing or not. Soft-deleted messages are left out; an unknown channel or `limit` 0 answers nothing; at most
        /// 500. The cost grows with the page, never with the channel.
        async fn list_messages(
            &self,
            channel_id: &str,
            before: Option<&str>,
            limit: u32,
        ) -> Result<Vec<Message>, StorageError>;

        /// The oldest messages of a channel with ids strictly above `after`, oldest first; otherwise like
        /// [`list_messages`](Self::list_messages). For catching up after a lost connection.
        async fn list_messages_after(
            &self,
            channel_id: &str,
            after: &str,
            limit: u32,
        ) -> Result<Vec<Message>, StorageError>;

        /// The messages that [`list_messages`](Self::list_messages) or [`list_messages_after`](Self::list_messages_after)
        /// would answer, cut where their contents together would be more than `max_bytes` of UTF-8; never before the first.
        /// `has_more` says whether the channel has others that way, at this moment; not where nothing is answered. The
        /// memory it takes grows with `max_bytes` and the longest message, not with `limit`.
        async fn page_messages(
            &self,
            channel_id: &str,
            page: PageAt<'_>,
            limit: u32,
            max_bytes: usize,
        ) -> Result<MessagePage, StorageError>;

        /// Replaces the text and sets `edited_at`. At most 1 MiB and not without anything to see, else `InvalidInput`;
        /// missing or soft-deleted is `NotFound`.
        async fn update_message(&self, id: &str, content: &str) -> Result<Message, StorageError>;

        /// Soft-deletes: sets `deleted` and leaves the row. Missing is `NotFound`; deleting again is `Ok`.
        async fn delete_message(&self, id: &str) -> Result<(), StorageError>;
    }

    /// Channels, in which messages are posted.
    pub trait ChannelStore: Send + Sync {
        /// Creates a channel. The name is a label of 1 to 1024 bytes, else `InvalidInput`, and need not be unique.
        /// `category_id` is kept as given, without a look at the categories; empty is none.
        async fn create_channel(
            &self,
            name: &str,
            category_id: Option<&str>,
            position: i32,
        ) -> Result<Channel, StorageError>;

        /// Like [`create_channel`](Self::create_channel), in a category that exists or is made in the same step.
        async fn create_channel_in(
            &self,
            name: &str,
            category: CategoryChoice,
            position: i32,
        ) -> Result<Channel, StorageError>;

        /// The channel with this id; `None` if there is none, also for a text that is no id.
        async fn get_channel(&self, id: &str) -> Result<Option<Channel>, StorageError>;

        /// All channels, by (position, id).
        async fn list_channels(&self) -> Result<Vec<Channel>, StorageError>;

        /// Changes the given fields: `None` leaves a field as it is, `Some("")` clears the topic, an empty name is
        /// `InvalidInput`. `updated_at` moves if and only if a field changed. A missing channel is `NotFound`.
        async fn update_channel(
            &self,
            id: &str,
            name: Option<&str>,
            topic: Option<&str>,
            position: Option<i32>,
        ) -> Result<Channel, StorageError> {
            let edit =
                ChannelEdit { name: name.map(str::to_owned), topic: topic.map(str::to_owned), category: None, position };
            self.edit_channel(id, edit).await
        }

        /// Like [`update_channel`](Self::update_channel), and moves between categories, in one step. Of channel and
        /// category, both missing, the channel is reported.
        async fn edit_channel(&self, id: &str, edit: ChannelEdit) -> Result<Channel, StorageError>;

        /// Removes the channel and all its messages: from the acknowledgement on none of them can be seen, posted to or
        /// brought back by a crash. Their space is reclaimed afterwards, in bounded steps that survive a restart, so that
        /// a large channel does not stall others. Missing is `NotFound`.
        async fn delete_channel(&self, id: &str) -> Result<(), StorageError>;
    }

    /// Categories: headings that group channels.
    pub trait CategoryStore: Send + Sync {
        /// Creates a category. The name is a label of 1 to 1024 bytes, else `InvalidInput`, and need not be unique.
        async fn create_category(&self, name: &str, position: i32) -> Result<Category, StorageError>;

        /// The category with this id; `None` if there is none, also for a text that is no id.
        async fn get_category(&self, id: &str) -> Result<Option<Category>, StorageError>;

        /// All categories, by (position, id).
        async fn list_categories(&self) -> Result<Vec<Category>, StorageError>;

        /// Changes the given fields; `None` leaves a field as it is. Missing is `NotFound`.
        async fn update_category(
            &self,
            id: &str,
            name: Option<&str>,
            position: Option<i32>,
        ) -> Result<Category, StorageError>;

        /// Removes the category; its channels become uncategorised in the same step. Missing is `NotFound`.
        async fn delete_category(&self, id: &str) -> Result<(), StorageError>;
    }

    /// Log-ins.
    pub trait SessionStore: Send + Sync {
        /// Logs a user in for `duration` (rounded up to whole milliseconds). A `duration` of zero or one that ends past
        /// the year 9999 is `InvalidInput`; a missing user is `NotFound`. The token, 256 random bits from the operating
        /// system, is in the answer and nowhere else: the store keeps its SHA-256.
        async fn create_session(&self, user_id: &str, duration: Duration) -> Result<Session, StorageError>;

        /// Logs in whoever answered a challenge: user, membership, session and the used challenge, all in one commit or
        /// none of it. Key and duration have the limits of [`create_user`](UserStore::create_user) and
        /// [`create_session`](Self::create_session), and the challenge expires before the year 10000, else `InvalidInput`.
        /// A user who is not let in is `NotFound`. A challenge that was used before, or that has expired, is `Conflict`,
        /// also under a race, across restarts and for a second server: each logs in once. A call that fails uses none up.
        async fn log_in(&self, log_in: LogIn) -> Result<LoggedIn, StorageError>;

        /// The largest number of this key's used challenges in each of these slots, at most 16, else `InvalidInput`. What a
        /// sweep removed is not found.
        async fn newest_used_challenges(&self, pubkey: &str, slots: &[u64]) -> Result<Vec<Option<u32>>, StorageError>;

        /// The secret that this store's challenges are made with, the same as long as the store exists.
        async fn login_key(&self) -> Result<LoginKey, StorageError>;

        /// The session with this token. Expired is gone: `expires_at <= now` answers `None`, swept or not.
        async fn get_session(&self, token: &str) -> Result<Option<Session>, StorageError>;

        /// Logs out. An unknown token is `Ok`.
        async fn delete_session(&self, token: &str) -> Result<(), StorageError>;

        /// Logs a user out everywhere and answers how many sessions that were. Each is announced. A user who does not exist
        /// has none. Works in bounded transactions, like a sweep; cut short, it leaves some.
        async fn delete_sessions_of_user(&self, user_id: &str) -> Result<u64, StorageError>;

        /// Removes exactly the sessions that are expired when the call starts and answers how many; used challenges that
        /// are expired go too, uncounted. Works in bounded transactions, each atomic, so that a large sweep never stalls
        /// other writers; cut short, it leaves the rest for the next sweep.
        async fn delete_expired_sessions(&self) -> Result<u64, StorageError>;
    }
}

/// Where a page of a channel's history begins, and which way it goes. A cursor is any ULID, existing or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAt<'a> {
    /// With the newest message; newest first.
    Newest,
    /// With the newest message of a smaller id than this; newest first.
    Before(&'a str),
    /// With the oldest message of a larger id than this; oldest first.
    After(&'a str),
}

/// What [`MessageStore::page_messages`] answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages; whoever goes on from the last one's id misses none.
    pub messages: Vec<Message>,
    /// Whether there are others beyond the last one.
    pub has_more: bool,
}

/// Which category a channel is put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CategoryChoice {
    /// None.
    Uncategorised,
    /// The one with this id. Missing is `NotFound`.
    Id(String),
    /// The one of this name, compared in normalization form C: the first as they are listed. Where there is none, but the
    /// text is the id of a category, that one; else it is made in the same step, as the last in position, and announced
    /// before the channel. The name is a label of 1 to 1024 bytes, else `InvalidInput`.
    Name(String),
}

/// What [`ChannelStore::edit_channel`] changes: `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelEdit {
    /// A new name; not empty.
    pub name: Option<String>,
    /// A new topic; empty clears it.
    pub topic: Option<String>,
    /// Another category, or none.
    pub category: Option<CategoryChoice>,
    /// A new position.
    pub position: Option<i32>,
}

/// Content-addressed blobs: avatars and attachments. Defined for backends to come; none implements it yet.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Stores `bytes` and answers what is known of them. The same bytes again answer the first upload's metadata and
    /// change nothing. An empty or over-long `mime_type` is `InvalidInput`.
    async fn put_media(
        &self,
        bytes: &[u8],
        mime_type: &str,
        uploaded_by: Option<&str>,
    ) -> Result<MediaMetadata, StorageError>;

    /// The bytes with this hash, checked against it: a mismatch is `Corrupt`.
    async fn get_media(&self, hash: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// What is known of the blob with this hash.
    async fn get_media_metadata(&self, hash: &str) -> Result<Option<MediaMetadata>, StorageError>;
}
