//! The records of the contract, the same for every backend.

use std::fmt;

use serde::Serialize;

use super::{CategoryId, ChannelId, MessageId, Timestamp, UserId};

/// A person, known by a public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The id; its time is `created_at`.
    pub id: UserId,
    /// The public key, unique in the store; opaque text of 1 to 256 bytes.
    pub pubkey: String,
    /// The name shown to others, if one was chosen.
    pub display_name: Option<String>,
    /// The hash of the picture in the media store, if there is one.
    pub avatar_hash: Option<String>,
    /// Whether a program, not a person, first logged in with the key.
    pub is_bot: bool,
    /// Whether the user belongs to the community now. Who left, or only visits, does not.
    pub is_member: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When a field last changed; never before `created_at`.
    pub updated_at: Timestamp,
}

/// A place where messages are posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The id; its time is `created_at`.
    pub id: ChannelId,
    /// The name; not empty, not necessarily unique.
    pub name: String,
    /// What the channel is about, if anything was said.
    pub topic: Option<String>,
    /// The category it stands under: its id, or whatever text it was created with.
    pub category_id: Option<String>,
    /// Where it stands among its neighbours; ties are broken by id.
    pub position: i32,
    /// When the channel was created.
    pub created_at: Timestamp,
    /// When a field last changed; never before `created_at`.
    pub updated_at: Timestamp,
}

/// A heading that groups channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Category {
    /// The id; its time is `created_at`.
    pub id: CategoryId,
    /// The name; not empty, not necessarily unique.
    pub name: String,
    /// Where it stands among its neighbours; ties are broken by id.
    pub position: i32,
    /// When the category was created.
    pub created_at: Timestamp,
}

/// One posted text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The id; its time is `created_at`.
    pub id: MessageId,
    /// The channel it was posted in.
    pub channel_id: ChannelId,
    /// Who posted it.
    pub author_id: UserId,
    /// The text; still here after a soft delete, so whoever shows it to others looks at `deleted` first.
    pub content: String,
    /// When the text last changed, if ever; never before `created_at`.
    pub edited_at: Option<Timestamp>,
    /// Whether it was soft-deleted.
    pub deleted: bool,
    /// When the message was posted.
    pub created_at: Timestamp,
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
