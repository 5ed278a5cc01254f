//! What the stores of several sizes hold: so many messages, each in one of a thousand channels drawn evenly. As in the
//! prepared community, whose people and channels it has, every id follows from its number.

use std::sync::Arc;

use decentcom_server::storage::{ChannelId, Message, MessageId, contract::model::Model as _, inspect::Row};

use super::dataset::{self, ORDINARY_CHANNELS, USERS, mix, ordinary_channel, zipf};

/// Messages of a store, from its first to its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    pub(crate) stored: u64,
}

impl History {
    /// Which messages these are, for whoever keeps the stores. Other messages are another history.
    pub(crate) const NAME: &'static str = "1,000 channels, drawn evenly, 1";

    /// Its messages, in order.
    pub(super) fn posts(self) -> impl Iterator<Item = Row> {
        (0..self.stored).map(move |number| Row::Message(Arc::new(self.a_message(number))))
    }

    pub(super) fn a_message(self, number: u64) -> Message {
        let id = dataset::message(number);
        Message {
            channel_id: any_channel(number),
            author_id: dataset::user(mix(number ^ 1) % USERS),
            content: dataset::text(number).into(),
            created_at: dataset::time(id.ulid()),
            ..Message::blank(id)
        }
    }

    pub(super) fn any_message(self, random: u64) -> MessageId {
        dataset::message(random % self.stored.max(1))
    }

    /// A channel in which there are messages.
    pub(super) fn channel_in_use(self, random: u64) -> ChannelId {
        any_channel(random % self.stored.max(1))
    }

    /// A channel, and a place in its past with messages below: anywhere but in the first fifth, so that in a store of any size
    /// worth the name there is a page of them.
    pub(super) fn place(self, random: u64) -> (ChannelId, MessageId) {
        let first = self.stored / 5;
        let number = first + random % (self.stored - first).max(1);
        (any_channel(number), dataset::message(number + 1))
    }
}

/// One of the thousand, drawn evenly.
pub(super) fn any_channel(number: u64) -> ChannelId {
    ordinary_channel(mix(number ^ 5))
}

/// Where the post with this number goes: of a thousand channels anywhere; fewer are busy ones, the r-th with a probability
/// of about 1/r, and lie apart.
pub(super) fn destination(channels: u32, number: u64) -> ChannelId {
    match u64::from(channels) {
        ORDINARY_CHANNELS.. => any_channel(number),
        busy => ordinary_channel(zipf(busy, number) * 61),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn counts(draws: impl Iterator<Item = ChannelId>) -> Vec<u64> {
        let mut counts: BTreeMap<ChannelId, u64> = BTreeMap::new();
        draws.for_each(|channel| *counts.entry(channel).or_default() += 1);
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn a_history_is_spread_evenly_over_a_thousand_channels() {
        let history = History { stored: 100_000 };
        let counts = counts((0..history.stored).map(|number| history.a_message(number).channel_id));
        assert_eq!(counts.len(), 1_000);
        assert!(counts[0] > 50 && counts[999] < 150, "{} to {}", counts[0], counts[999]);
    }

    #[test]
    fn posts_go_to_a_thousand_channels_evenly_and_to_few_by_zipf() {
        assert_eq!(counts((0..100_000).map(|number| destination(1000, number))).len(), 1_000);
        let busy = counts((0..100_000).map(|number| destination(16, number)));
        assert_eq!(busy.len(), 16);
        assert!((20_000..30_000).contains(&busy[15]) && busy[0] < 3_000, "{busy:?}");
    }

    #[test]
    fn what_is_asked_for_is_there() {
        for stored in [1, 9, 1_000] {
            let history = History { stored };
            let messages: Vec<_> = (0..stored).map(|number| history.a_message(number)).collect();
            for random in (0..1_000).map(mix) {
                assert!(messages.iter().any(|it| it.id == history.any_message(random)));
                assert!(messages.iter().any(|it| it.channel_id == history.channel_in_use(random)));
                let (channel, place) = history.place(random);
                assert!(messages.iter().any(|it| it.channel_id == channel && it.id < place));
            }
        }
    }
}
