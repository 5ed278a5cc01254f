//! Every table of the key-value layout, each declared once. Format 2: users have `is_bot` and `is_member`, which programs
//! of format 1 cannot read.
//!
//! **A record version that was shipped is never edited**, as files in the field hold it: declare version N+1 instead
//! (CONTRIBUTING.md, "Change a record"). `shipped.rs` has every version's fields and bytes, and fails when one changes.

use decentcom_kvstore::{Catalogue, DecodeError, Schema, catalogue, decode_payload, record, table};
use ulid::Ulid;

/// A SHA-256: of a session token, of a public key.
pub(super) type Digest = [u8; 32];

/// What this program writes, and what older ones wrote that it can read.
pub(super) const SCHEMA: Schema = Schema { catalogue: CATALOGUE, format: 2, oldest_reader: 2, migrations: &[] };

/// All tables, in the order in which a dump lists them.
pub(in crate::storage) const CATALOGUE: Catalogue =
    catalogue![Users, Channels, Categories, Messages, Purges, Sessions, UsedChallenges];

/// The name in `meta` of the largest id ever given out: 16 bytes.
pub(super) const HIGH_WATER: &str = "high_water_id";
/// The name in `meta` of when it was last tried whether changes can be stored: milliseconds since 1970, a decimal number.
pub(super) const PROBED_AT: &str = "probed_at";
/// The name in `meta` of the secret that challenges are made with: 32 bytes, shown to nobody.
pub(super) const LOGIN_KEY: &str = "login_key";

record! {
    /// A user, as format 1 wrote it.
    pub(super) struct UserRecordV1: version 1 {
        /// The public key, 1 to 256 bytes of UTF-8, unique.
        pub(super) pubkey: String,
        /// The name shown to others, up to 1024 bytes.
        pub(super) display_name: Option<String>,
        /// The hash of the picture in the media store, up to 1024 bytes.
        pub(super) avatar_hash: Option<String>,
        /// When a field last changed, in milliseconds since 1970.
        pub(super) updated_at: u64,
    }
}

record! {
    /// A user. The key is the id, whose time is when the user was created.
    pub(super) struct UserRecord: version 2, older with upgrade_user {
        /// The public key, 1 to 256 bytes of UTF-8, unique.
        pub(super) pubkey: String,
        /// The name shown to others, up to 1024 bytes.
        pub(super) display_name: Option<String>,
        /// The hash of the picture in the media store, up to 1024 bytes.
        pub(super) avatar_hash: Option<String>,
        /// When a field last changed, in milliseconds since 1970.
        pub(super) updated_at: u64,
        /// Whether a program, not a person, first logged in. Version 1: no.
        pub(super) is_bot: bool,
        /// Whether the user belongs to the community now. Version 1: yes.
        pub(super) is_member: bool,
    }
}

fn upgrade_user(version: u8, payload: &[u8]) -> Result<UserRecord, DecodeError> {
    match version {
        1 => decode_payload::<UserRecordV1>(payload).map(|old| UserRecord {
            pubkey: old.pubkey,
            display_name: old.display_name,
            avatar_hash: old.avatar_hash,
            updated_at: old.updated_at,
            is_bot: false,
            is_member: true,
        }),
        other => Err(DecodeError::UnknownVersion(other)),
    }
}

table! {
    /// Everybody who ever logged in.
    pub(super) table Users("users"): Ulid => UserRecord;
    /// Finds the user who logs in with a key; keeps keys unique.
    unique UsersByPubkey("users_by_pubkey"): String = |_, user| Some(user.pubkey.clone());
    /// Lists the members, past those who are none.
    unique MembersById("members_by_id"): Ulid = |id, user| user.is_member.then_some(*id);
}

record! {
    /// A channel. The key is the id, whose time is when the channel was created.
    pub(super) struct ChannelRecord: version 1 {
        /// The name, 1 to 1024 bytes of UTF-8.
        pub(super) name: String,
        /// What it is about, up to 1024 bytes.
        pub(super) topic: Option<String>,
        /// The category it stands under, kept as given, up to 1024 bytes.
        pub(super) category_id: Option<String>,
        /// Where it stands among its neighbours.
        pub(super) position: i32,
        /// When a field last changed, in milliseconds since 1970.
        pub(super) updated_at: u64,
    }
}

table! {
    /// The channels. A deleted one leaves at once; its messages follow (see purges).
    pub(super) table Channels("channels"): Ulid => ChannelRecord;
}

record! {
    /// A category. The key is the id, whose time is when the category was created.
    pub(super) struct CategoryRecord: version 1 {
        /// The name, 1 to 1024 bytes of UTF-8.
        pub(super) name: String,
        /// Where it stands among its neighbours.
        pub(super) position: i32,
    }
}

table! {
    /// The headings that group channels.
    pub(super) table Categories("categories"): Ulid => CategoryRecord;
}

record! {
    /// A message. The key is the id, whose time is when the message was posted.
    pub(super) struct MessageRecord: version 1 {
        /// The id of its channel.
        pub(super) channel_id: [u8; 16],
        /// The id of its author.
        pub(super) author_id: [u8; 16],
        /// The text, up to 1 MiB of UTF-8; kept after a soft delete.
        pub(super) content: String,
        /// When the text last changed, in milliseconds since 1970.
        pub(super) edited_at: Option<u64>,
        /// Whether it was soft-deleted.
        pub(super) deleted: bool,
    }
}

table! {
    /// The messages, live and soft-deleted.
    pub(super) table Messages("messages"): Ulid => MessageRecord;
    /// Pages of a channel's history: live messages only, so a page never steps over deleted ones.
    index MessagesByChannel("messages_by_channel"): Ulid =
        |_, message| (!message.deleted).then(|| Ulid::from_bytes(message.channel_id));
    /// Soft-deleted messages of a channel, so that the deletion of the channel finds them too.
    index TombstonesByChannel("tombstones_by_channel"): Ulid =
        |_, message| message.deleted.then(|| Ulid::from_bytes(message.channel_id));
}

record! {
    /// A deleted channel whose messages are still being reclaimed. The key is the channel's id. How far that has come
    /// shows in the indexes: what was reclaimed is no longer there.
    pub(super) struct PurgeRecord: version 1 {
        /// The name the channel had, for whoever looks into the store.
        pub(super) name: String,
    }
}

table! {
    /// Deleted channels that still have messages in the file; those are invisible.
    pub(super) table Purges("purges"): Ulid => PurgeRecord;
}

record! {
    /// A log-in. The key is the SHA-256 of its token, which is kept nowhere.
    pub(super) struct SessionRecord: version 1 {
        /// The id of the user.
        pub(super) user_id: [u8; 16],
        /// When it was created, in milliseconds since 1970.
        pub(super) created_at: u64,
        /// The first instant at which it is gone, in milliseconds since 1970.
        pub(super) expires_at: u64,
    }
}

table! {
    /// The log-ins.
    pub(super) table Sessions("sessions"): Digest => SessionRecord;
    /// The log-ins of a user.
    index SessionsByUser("sessions_by_user"): Ulid = |_, session| Some(Ulid::from_bytes(session.user_id));
    /// Which log-ins expire next, in milliseconds since 1970; read by the sweep.
    index SessionsByExpiry("sessions_by_expiry"): u64 = |_, session| Some(session.expires_at);
}

record! {
    /// A challenge that was answered. The key is its slot (a minute, counted from 1970), the SHA-256 of the public key and
    /// its number.
    pub(super) struct UsedChallengeRecord: version 1 {
        /// From when on it is of no more use, in milliseconds since 1970.
        pub(super) expires_at: u64,
    }
}

table! {
    /// Challenges that were answered, so that none is answered twice. Transient: in no dump; swept when they expire.
    pub(super) table UsedChallenges("used_challenges"): (u64, (Digest, u32)) => UsedChallengeRecord;
}
