//! The records of the contract, each declared once, the same for every backend.
//!
//! A declaration says what a record is, what its fields mean and may hold, which indexes find it, and who may see it. The
//! backends, dumps, checks, the pages in `schema-docs/` and the HTTP API all go by it. What was shipped stays: a new field
//! says since which version of the record it is there, and what older records have in its place.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{
    SessionDigest, Timestamp, UsedChallenge,
    contract::{
        field::{Cluster, Field, FieldType, Index, Kind, Value},
        model::{Class, Each, ForModel, Model, entities},
    },
    limits::{MAX_CONTENT_BYTES, MAX_PUBKEY_BYTES, MAX_TEXT_BYTES},
    token::hex,
};

entities! {
    /// A person, known by a public key.
    User(User) = "user", new UserId {
        /// Everybody who ever logged in.
        table "users", Kept;
        /// A person, known by a public key. The key is the id, whose time is when the user was created.
        pub struct User {
            /// The id; its time is `created_at`.
            pub id: UserId = key(),
            /// The public key, unique in the store.
            pub pubkey: String = text(1, MAX_PUBKEY_BYTES).distinct().fixed(),
            /// The name shown to others, if one was chosen.
            pub display_name: Option<String> = text(1, MAX_TEXT_BYTES),
            /// The hash of the picture in the media store, if there is one.
            pub avatar_hash: Option<String> = text(1, MAX_TEXT_BYTES),
            /// Whether a program, not a person, first logged in with the key.
            pub is_bot: bool = plain().fixed().since(2, Before::Flag(false)),
            /// Whether the user belongs to the community now. Who left, or only visits, does not.
            pub is_member: bool = plain().since(2, Before::Flag(true)),
            /// When the user was created.
            pub created_at: Timestamp = time_of_key(),
            /// When a field last changed; never before `created_at`.
            pub updated_at: Timestamp = time_since_creation(),
        }
        /// Finds the user who logs in with a key; keeps keys unique.
        unique BY_PUBKEY("users_by_pubkey"): pubkey;
        /// Lists the members, past those who are none.
        unique MEMBERS("members_by_id"): id where is_member = true;
    }

    /// A place where messages are posted.
    Channel(Channel) = "channel", new ChannelId {
        /// The channels. A deleted one is gone at once; its messages go after it (see purges).
        table "channels", Kept;
        /// A place where messages are posted. The key is the id, whose time is when the channel was created.
        pub struct Channel {
            /// The id; its time is `created_at`.
            pub id: ChannelId = key(),
            /// The name; not empty, not necessarily unique.
            pub name: String = text(1, MAX_TEXT_BYTES),
            /// What the channel is about, if anything was said.
            pub topic: Option<String> = text(1, MAX_TEXT_BYTES),
            /// The category it stands under: its id, or whatever text it was created with.
            pub category_id: Option<String> = text(1, MAX_TEXT_BYTES).reference(),
            /// Where it stands among its neighbours; ties are broken by id.
            pub position: i32 = plain(),
            /// When the channel was created.
            pub created_at: Timestamp = time_of_key(),
            /// When a field last changed; never before `created_at`.
            pub updated_at: Timestamp = time_since_creation(),
        }
    }

    /// A heading that groups channels.
    Category(Category) = "category", new CategoryId {
        /// The headings that group channels.
        table "categories", Kept;
        /// A heading that groups channels. The key is the id, whose time is when the category was created.
        pub struct Category {
            /// The id; its time is `created_at`.
            pub id: CategoryId = key(),
            /// The name; not empty, not necessarily unique.
            pub name: String = text(1, MAX_TEXT_BYTES),
            /// Where it stands among its neighbours; ties are broken by id.
            pub position: i32 = plain(),
            /// When the category was created.
            pub created_at: Timestamp = time_of_key(),
        }
    }

    /// One posted text.
    Message(Message) = "message", new MessageId {
        /// The messages, live and soft-deleted.
        table "messages", Kept, clustered by channel_id, deleted (since 2, by key "messages_by_id");
        /// One posted text. The key is the id, whose time is when the message was posted.
        pub struct Message {
            /// The id; its time is `created_at`.
            pub id: MessageId = key(),
            /// The channel it was posted in.
            pub channel_id: ChannelId = id_of(Entity::Channel).goes_with_it().fixed(),
            /// Who posted it.
            pub author_id: UserId = id_of(Entity::User).fixed(),
            /// The text; still here after a soft delete, so whoever shows it to others looks at `deleted` first.
            pub content: Arc<str> = text(0, MAX_CONTENT_BYTES),
            /// When the text last changed, if ever; never before `created_at`.
            pub edited_at: Option<Timestamp> = time_since_creation(),
            /// Whether it was soft-deleted.
            pub deleted: bool = plain(),
            /// When the message was posted.
            pub created_at: Timestamp = time_of_key(),
        }
        /// Pages of a channel's history: live messages only, so a page never steps over deleted ones.
        index LIVE_BY_CHANNEL("messages_by_channel"): channel_id where deleted = false;
        /// Soft-deleted messages of a channel, so that the deletion of the channel finds them too.
        index DELETED_BY_CHANNEL("tombstones_by_channel"): channel_id where deleted = true;
    }

    /// A log-in.
    Session(StoredSession) = "session", key SessionDigest {
        /// The log-ins.
        table "sessions", Secret;
        /// A log-in as stored. The key is the SHA-256 of its token, which is kept nowhere.
        pub struct StoredSession {
            /// The SHA-256 of the token; the token itself is kept nowhere.
            pub digest: SessionDigest = key().distinct().in_column("token"),
            /// Who is logged in.
            pub user_id: UserId = id_of(Entity::User).fixed(),
            /// When the session was created.
            pub created_at: Timestamp = plain(),
            /// The first instant at which it is gone.
            pub expires_at: Timestamp = time_after_creation(),
        }
        /// The log-ins of a user.
        index BY_USER("sessions_by_user"): user_id;
        /// Which log-ins expire next; read by the sweep.
        index BY_EXPIRY("sessions_by_expiry"): expires_at;
    }

    /// A challenge that was answered.
    Challenge(AnsweredChallenge) = "challenge", key UsedChallenge {
        /// Challenges that were answered, so that none is answered twice. Transient: in no dump; swept when they expire.
        table "used_challenges", Transient;
        /// A challenge that was answered. The key is its slot (a minute, counted from 1970), the SHA-256 of the public key and
        /// its number.
        pub struct AnsweredChallenge {
            /// Its slot (a minute, counted from 1970), the SHA-256 of the public key, its number.
            pub challenge: UsedChallenge = key(),
            /// From when on it is of no more use.
            pub expires_at: Timestamp = plain(),
        }
    }
}

/// As people write it: an id in Crockford's letters, anything else in hexadecimal. Texts sort like keys.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Value::Id(id) => id.fmt(f),
            Value::Bytes(bytes) => f.write_str(&hex(&bytes)),
            other => write!(f, "{other:?}"), // no key is of another kind
        }
    }
}

impl Entity {
    /// Every kind that can be taken out of the store, such as into a dump, in the order in which they may refer to each
    /// other.
    pub fn dumped() -> impl Iterator<Item = Self> {
        Self::EVERY.iter().copied().filter(|entity| entity.class() != Class::Transient)
    }

    /// Every kind whose keys are ids.
    pub fn with_ids() -> impl Iterator<Item = Self> {
        let is_id = |entity: &Self| entity.fields().first().is_some_and(|key| key.kind == Kind::Id);
        Self::EVERY.iter().copied().filter(is_id)
    }

    /// The kind of record that a table holds; `None` for tables that hold none of those that are [dumped](Self::dumped).
    pub fn of_table(table: &str) -> Option<Self> {
        Self::dumped().find(|entity| entity.table() == table)
    }
}

impl Channel {
    /// The category it stands under, where it notes the id of one; whether there is one, it does not know.
    pub fn category(&self) -> Option<CategoryId> {
        self.category_id.as_deref().and_then(CategoryId::parse)
    }
}

impl StoredSession {
    /// The session as the holder of `token` sees it.
    pub(super) fn with_token(&self, token: String) -> Session {
        let Self { user_id, created_at, expires_at, .. } = *self;
        Session { token, user_id, created_at, expires_at }
    }
}

impl AnsweredChallenge {
    /// The record that says that this challenge was answered.
    pub fn of(challenge: UsedChallenge) -> Self {
        Self { challenge, expires_at: challenge.expires_at() }
    }
}

/// A log-in, as the holder of its token sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The secret that proves the log-in: 256 random bits. The store keeps only its SHA-256.
    pub token: String,
    /// Who is logged in.
    pub user_id: UserId,
    /// When the session was created.
    pub created_at: Timestamp,
    /// The first instant at which the session is gone.
    pub expires_at: Timestamp,
}

/// Leaves the token out, so that no log can hold one.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("token", &"(secret)")
            .field("user_id", &self.user_id)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// What is known of a stored blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MediaMetadata {
    /// The lower-case hexadecimal SHA-256 of the bytes; its name in the store.
    pub hash: String,
    /// The media type, such as `image/png`.
    pub mime_type: String,
    /// Length in bytes.
    pub size: u64,
    /// Who uploaded it, if known.
    pub uploaded_by: Option<UserId>,
    /// When it was first put.
    pub created_at: Timestamp,
}
