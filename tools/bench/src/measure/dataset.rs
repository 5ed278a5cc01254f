//! The prepared community that most lines without a size are measured on: one with a past, and with a large channel. Every id follows from its number, so that
//! whoever reads, by whichever way, knows what there is without asking.

use std::sync::Arc;

use decentcom_server::storage::{
    Channel, ChannelId, Message, MessageId, SessionDigest, Timestamp, User, UserId,
    contract::model::Model as _,
    inspect::{Row, StoredSession},
};
use ulid::Ulid;

/// When its first message was posted, in milliseconds since 1970: 2026-01-01. A message a millisecond follows.
const BEGAN: u64 = 1_767_225_600_000;
/// Channels of ordinary size, besides those of [`Dataset::BIG`] and its like.
pub(super) const ORDINARY_CHANNELS: u64 = 1_000;
/// Messages in each: two pages.
const ORDINARY_MESSAGES: u64 = 100;
pub(super) const USERS: u64 = 10_000;

const TEXT: &str = "people write to each other in a channel on some evening, and what they write has about this length";

/// How much there is.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dataset {
    /// Messages in the largest channel.
    pub(crate) largest: u64,
}

impl Dataset {
    /// The channel with most messages.
    pub(super) const BIG: u64 = 0;

    /// Messages in all.
    pub(crate) fn messages(self) -> u64 {
        self.largest + self.second() + Self::third() + ORDINARY_CHANNELS * ORDINARY_MESSAGES
    }

    /// About how many messages the channel with this number has; a draw for each message decides.
    pub(super) fn size(self, channel: u64) -> u64 {
        match channel {
            0 => self.largest,
            1 => self.second(),
            2 => Self::third(),
            _ => ORDINARY_MESSAGES,
        }
    }

    fn second(self) -> u64 {
        self.largest / 10
    }

    fn third() -> u64 {
        1_000
    }

    /// The channel, of those with about so many messages.
    pub(super) fn channel_with(self, rows: u64) -> ChannelId {
        channel((0..3).find(|number| self.size(*number) == rows).unwrap_or(Self::BIG))
    }

    /// Its messages, in order.
    pub(super) fn posts(self) -> impl Iterator<Item = Row> {
        (0..self.messages()).map(move |number| Row::Message(Arc::new(self.a_message(number))))
    }

    pub(super) fn a_message(self, number: u64) -> Message {
        let id = message(number);
        Message {
            channel_id: channel(self.channel_of(number)),
            author_id: user(mix(number ^ 1) % USERS),
            content: text(number).into(),
            created_at: time(id.ulid()),
            ..Message::blank(id)
        }
    }

    /// A place anywhere in the history of a large channel. Below it there is a tenth of the channel at least, so a page is full.
    pub(super) fn cursor(self, random: u64) -> MessageId {
        let messages = self.messages();
        message(messages / 10 + random % (messages - messages / 10))
    }

    fn channel_of(self, number: u64) -> u64 {
        let draw = mix(number) % self.messages();
        let (first, second, third) =
            (self.largest, self.largest + self.second(), self.largest + self.second() + Self::third());
        match draw {
            _ if draw < first => 0,
            _ if draw < second => 1,
            _ if draw < third => 2,
            _ => 3 + draw % ORDINARY_CHANNELS,
        }
    }
}

/// Its users and channels, the same for towns of any size.
pub(super) fn people_and_places() -> impl Iterator<Item = Row> {
    let users = (0..USERS).map(|number| Row::User(Arc::new(a_user(number))));
    users.chain((0..ORDINARY_CHANNELS + 3).map(|number| Row::Channel(Arc::new(a_channel(number)))))
}

pub(super) fn user(number: u64) -> UserId {
    id(BEGAN - 10_000_000 + number, number).into()
}

/// The public key of the user with this number, as long as real ones are.
pub(super) fn pubkey(number: u64) -> String {
    format!("{:022}{:022}", mix(number), mix(number ^ 2))
}

pub(super) fn channel(number: u64) -> ChannelId {
    id(BEGAN - 20_000_000 + number, number).into()
}

/// The id of an ordinary channel.
pub(super) fn ordinary_channel(number: u64) -> ChannelId {
    channel(3 + number % ORDINARY_CHANNELS)
}

/// A channel whose rank is r with a probability of about 1/r (Zipf's law).
pub(super) fn popular_channel(number: u64) -> ChannelId {
    ordinary_channel(zipf(ORDINARY_CHANNELS, number))
}

/// A number below `count`: the r-th of them, from 1 on, with a probability of about 1/r.
pub(super) fn zipf(count: u64, number: u64) -> u64 {
    let uniform = mix(number ^ 3) as f64 / u64::MAX as f64;
    let rank = ((count + 1) as f64).powf(uniform) as u64;
    rank.clamp(1, count) - 1
}

pub(super) fn message(number: u64) -> MessageId {
    id(BEGAN + number, number).into()
}

/// The session with this number; it ended with the year 2025.
pub(super) fn expired_session(number: u64) -> StoredSession {
    let expires_at = Timestamp::from_millis(BEGAN - 1 - mix(number) % 1_000_000_000).unwrap_or(Timestamp::MIN);
    StoredSession {
        digest: SessionDigest::of(&number.to_string()),
        user_id: user(number % USERS),
        created_at: time(user(number % USERS).ulid()).min(expires_at),
        expires_at,
    }
}

/// A text of about a hundred bytes, always as long, different a hundred million times.
pub(crate) fn text(number: u64) -> String {
    format!("{:08} {TEXT}", number % 100_000_000)
}

/// Bytes in a [`text`].
pub(crate) const TEXT_BYTES: u64 = 9 + TEXT.len() as u64;

/// Bytes of a message as the contract has it: its text, three ids of 16 bytes, a time and a flag.
pub(crate) const MESSAGE_BYTES: u64 = TEXT_BYTES + 3 * 16 + 8 + 1;

/// Spreads numbers over all there are: a round of SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn id(millis: u64, number: u64) -> Ulid {
    Ulid::from_parts(millis, u128::from(mix(number)) << 8)
}

pub(super) fn time(id: Ulid) -> Timestamp {
    Timestamp::from_millis(id.timestamp_ms()).unwrap_or(Timestamp::MIN)
}

fn a_user(number: u64) -> User {
    let id = user(number);
    let created_at = time(id.ulid());
    let display_name = Some(format!("user {number}"));
    let (pubkey, updated_at) = (pubkey(number), created_at);
    User { pubkey, display_name, is_member: true, created_at, updated_at, ..User::blank(id) }
}

fn a_channel(number: u64) -> Channel {
    let id = channel(number);
    let created_at = time(id.ulid());
    let (name, position) = (format!("channel {number}"), i32::try_from(number).unwrap_or(i32::MAX));
    Channel { name, position, created_at, updated_at: created_at, ..Channel::blank(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_its_channels_in_about_the_sizes_it_says() {
        let dataset = Dataset { largest: 100_000 };
        let mut counts = vec![0_u64; 1_003];
        for number in 0..dataset.messages() {
            counts[usize::try_from(dataset.channel_of(number)).unwrap()] += 1;
        }
        for channel in 0..3 {
            let (said, counted) = (dataset.size(channel) as f64, counts[usize::try_from(channel).unwrap()] as f64);
            assert!((counted / said - 1.0).abs() < 0.15, "channel {channel}: {counted} of {said}");
        }
        assert!(counts[3..].iter().all(|count| *count > 0));
    }

    #[test]
    fn ids_increase_with_their_numbers() {
        assert!((1..1000).all(|number| message(number - 1) < message(number) && user(number - 1) < user(number)));
        assert!(channel(0).ulid() < user(0).ulid() && user(USERS - 1).ulid() < message(0).ulid());
    }
}
