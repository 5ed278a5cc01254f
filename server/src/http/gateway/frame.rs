//! What the gateway says: `{"op": …, "d": …, "t": <unix seconds>}`.

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use serde_json::json;

use super::directory::Directory;
use crate::{
    http::{admins::Admins, wire},
    storage::{Change, ChannelId, SessionDigest, Timestamp, User, UserId},
};

/// An event on its way to the sockets.
pub(super) enum Event {
    /// A frame for everybody.
    Everyone(Utf8Bytes),
    /// A frame for those subscribed to the channel.
    Channel(ChannelId, Utf8Bytes),
    /// A frame for everybody; the channel has no subscribers any more.
    ChannelGone(ChannelId, Utf8Bytes),
    /// A frame for everybody; the sockets of this user, who is no member any more, close.
    MemberGone(UserId, Utf8Bytes),
    /// A session ended: the sockets it opened close.
    SessionEnded(SessionDigest),
    /// Events were lost on the way: every socket closes, so that none has a gap.
    Gap,
}

#[derive(Serialize)]
struct Frame<'a, P> {
    op: &'a str,
    d: &'a P,
    t: u64,
}

/// The text of a frame: `op`, its payload `d`, and `t` in seconds.
pub(super) fn frame(op: &str, payload: &impl Serialize, now: Timestamp) -> Utf8Bytes {
    let frame = serde_json::to_string(&Frame { op, d: payload, t: now.as_millis() / 1000 });
    frame.unwrap_or_else(|error| unreachable!("only a map whose keys are no texts is no JSON: {error}")).into()
}

impl Event {
    /// Bytes of its frame.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Everyone(frame)
            | Self::Channel(_, frame)
            | Self::ChannelGone(_, frame)
            | Self::MemberGone(_, frame) => frame.len(),
            Self::SessionEnded(_) | Self::Gap => 0,
        }
    }

    /// What a change is to the sockets, once the directory has followed it; those of users who are no members are nothing to
    /// them.
    pub(super) fn of(change: Change, directory: &Directory, now: Timestamp) -> Option<Self> {
        let everyone = |op, payload: serde_json::Value| Self::Everyone(frame(op, &payload, now));
        Some(match change {
            Change::MessageCreated(message) => {
                let channel = message.channel_id;
                Self::Channel(channel, frame("MESSAGE_CREATE", &wire::Message::from((*message).clone()), now))
            }
            Change::MessageUpdated(message) => {
                let channel = message.channel_id;
                Self::Channel(channel, frame("MESSAGE_UPDATE", &wire::Message::from((*message).clone()), now))
            }
            Change::MessageDeleted { id, channel_id } => {
                let payload = json!({ "id": id, "channel_id": channel_id });
                Self::Channel(channel_id, frame("MESSAGE_DELETE", &payload, now))
            }
            Change::ChannelCreated(channel) => Self::Everyone(frame("CHANNEL_CREATE", &directory.shown(&channel), now)),
            Change::ChannelUpdated(channel) => Self::Everyone(frame("CHANNEL_UPDATE", &directory.shown(&channel), now)),
            Change::ChannelDeleted(id) => Self::ChannelGone(id, frame("CHANNEL_DELETE", &json!({ "id": id }), now)),
            Change::CategoryCreated(category) => {
                Self::Everyone(frame("CATEGORY_CREATE", &wire::Category::from((*category).clone()), now))
            }
            Change::CategoryUpdated(category) => {
                Self::Everyone(frame("CATEGORY_UPDATE", &wire::Category::from((*category).clone()), now))
            }
            Change::CategoryDeleted(id) => everyone("CATEGORY_DELETE", json!({ "id": id })),
            Change::UserCreated(user) | Change::UserUpdated(user) if !user.is_member => return None,
            Change::UserCreated(user) | Change::MemberJoined(user) => {
                // Without roles: two generations of clients disagree about them here, and none is wrong for both.
                let mut member = json!(wire::Member::new((*user).clone(), &Admins::Earliest(None)));
                if let Some(roles) = member.get_mut("roles") {
                    *roles = json!([]);
                }
                everyone("MEMBER_JOIN", member)
            }
            Change::UserUpdated(user) => everyone("MEMBER_UPDATE", updated(&user)),
            Change::MemberLeft(user) => Self::MemberGone(user.id, frame("MEMBER_LEAVE", &left(&user), now)),
            Change::SessionDeleted(digest) => Self::SessionEnded(digest),
        })
    }
}

fn updated(user: &User) -> serde_json::Value {
    json!({
        "user_id": user.id, "pubkey": user.pubkey, "display_name": user.display_name, "avatar_hash": user.avatar_hash,
        "is_bot": user.is_bot, "joined_at": user.created_at,
    })
}

fn left(user: &User) -> serde_json::Value {
    json!({
        "user_id": user.id, "pubkey": user.pubkey, "left_at": user.updated_at, "is_bot": user.is_bot,
        "joined_at": user.created_at,
    })
}
