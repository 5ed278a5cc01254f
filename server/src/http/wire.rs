//! Records as clients see them: the superset of fields that three generations of clients read.

use serde::Serialize;
use utoipa::ToSchema;

use super::admins::Admins;
use crate::storage::{self, CategoryId, ChannelId, MessageId, Timestamp, UserId};

/// A channel. Newer clients read the name of its category, `category`, older ones its id, `category_id`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Channel {
    #[schema(value_type = String)]
    id: ChannelId,
    name: String,
    topic: Option<String>,
    category: Option<String>,
    #[schema(value_type = Option<String>)]
    category_id: Option<CategoryId>,
    position: i32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    r#type: &'static str,
}

impl Channel {
    /// A channel and its category. What it notes of one that does not exist is not shown.
    pub(crate) fn new(channel: storage::Channel, category: Option<&storage::Category>) -> Self {
        let storage::Channel { id, name, topic, category_id: _, position, created_at, updated_at } = channel;
        let (category, category_id) = category.map(|it| (it.name.clone(), it.id)).unzip();
        Self { id, name, topic, category, category_id, position, created_at, updated_at, r#type: "text" }
    }
}

/// A category.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Category {
    #[schema(value_type = String)]
    id: CategoryId,
    name: String,
    position: i32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<storage::Category> for Category {
    fn from(category: storage::Category) -> Self {
        let storage::Category { id, name, position, created_at } = category;
        Self { id, name, position, created_at }
    }
}

/// A message; of a deleted one nothing of the text is left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    #[schema(value_type = String)]
    id: MessageId,
    #[schema(value_type = String)]
    channel_id: ChannelId,
    #[schema(value_type = String)]
    author_id: UserId,
    content: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    edited_at: Option<Timestamp>,
    deleted: bool,
    /// Always empty: this server keeps no attachments.
    #[schema(value_type = Vec<Object>)]
    attachments: [(); 0],
    /// Always empty: this server keeps no reactions.
    #[schema(value_type = Vec<Object>)]
    reactions: [(); 0],
    /// Always null: this server has no threads.
    #[schema(value_type = Option<Object>)]
    thread: Option<()>,
}

impl From<storage::Message> for Message {
    fn from(message: storage::Message) -> Self {
        let storage::Message { id, channel_id, author_id, content, edited_at, deleted, created_at } = message;
        let content = if deleted { String::new() } else { content };
        Self {
            id,
            channel_id,
            author_id,
            content,
            created_at,
            edited_at,
            deleted,
            attachments: [],
            reactions: [],
            thread: None,
        }
    }
}

/// Bytes that a text takes as JSON, without its quotation marks.
pub(crate) fn json_length(text: &str) -> usize {
    let written = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2, // `\n` and the like
        0..0x20 => 6,                                            // `\u0000`
        _ => 1,
    };
    text.bytes().map(written).sum()
}

/// A role as shown with its member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberRole {
    id: &'static str,
    name: &'static str,
    color: Option<String>,
    position: i32,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    #[schema(value_type = String)]
    user_id: UserId,
    pubkey: String,
    display_name: Option<String>,
    avatar_hash: Option<String>,
    is_bot: bool,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
    roles: Vec<MemberRole>,
}

impl Member {
    /// The member that `user` is, with the roles that `admins` give.
    pub(crate) fn new(user: storage::User, admins: &Admins) -> Self {
        let roles = super::roles::of(admins.is_admin(&user))
            .map(|role| MemberRole { id: role.id, name: role.name, color: None, position: role.position })
            .collect();
        let storage::User { id, pubkey, display_name, avatar_hash, is_bot, created_at, .. } = user;
        Self { user_id: id, pubkey, display_name, avatar_hash, is_bot, joined_at: created_at, roles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_text_is_that_of_its_json() {
        for text in ["", "x", "\"\\/", "é\u{1f600}\u{2028}"]
            .map(str::to_owned)
            .into_iter()
            .chain(('\0'..='\u{100}').map(Into::into))
        {
            assert_eq!(json_length(&text) + 2, serde_json::to_string(&text).unwrap().len(), "{text:?}");
        }
    }
}
