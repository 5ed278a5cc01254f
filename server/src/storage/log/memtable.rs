//! What is committed and not yet applied: rows by key, each version with the number of its commit, and what finds them.
//!
//! A reader looks here first, for what was committed up to a number, and in the backend for everything else. Rows of commits
//! that the backend turns out to have by then are passed over: each look answers the number of the version it found.
//!
//! ```text
//!  rows      kind, key      ─> (commit, row or nothing), the oldest first
//!  entries   index, value   ─> keys, of every version: whoever finds a key looks at the version that counts
//!  ended     channel        ─> commit that deleted it, and with it all that goes with it
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::size_of,
    ops::{Bound, RangeBounds, RangeInclusive},
};

use ulid::Ulid;

use crate::storage::{
    ChannelId, Entity, Key, Row, Timestamp,
    bytes::value_bytes,
    contract::field::{Index, Kind, Value},
    port::{CommitNumber, Write},
};

/// What a row takes beside its own bytes: its place in the maps, its counters, the allocator's part.
const ROW_BYTES: usize = 200;
/// What an entry of an index takes beside its value.
const ENTRY_BYTES: usize = 100;

/// A table of rows in memory.
#[derive(Default)]
pub struct Memtable {
    rows: BTreeMap<Entity, BTreeMap<Key, Vec<Version>>>,
    entries: BTreeMap<&'static str, BTreeMap<Vec<u8>, BTreeSet<Key>>>,
    ended: BTreeMap<ChannelId, CommitNumber>,
    high_water: Option<Ulid>,
    probed_at: Option<Timestamp>,
    /// The commits in it.
    commits: Option<RangeInclusive<CommitNumber>>,
    bytes: usize,
}

/// A row as one commit left it.
#[derive(Clone, Debug)]
struct Version {
    commit: CommitNumber,
    /// `None`: it was removed.
    row: Option<Row>,
}

/// What was found of a key: as which commit left it, and what that is.
pub type Seen<'a> = (CommitNumber, Option<&'a Row>);

impl Memtable {
    /// Takes in what a commit wrote; its number is larger than all before.
    pub fn insert(&mut self, commit: CommitNumber, writes: &[Write], high_water: Option<Ulid>) {
        for write in writes {
            match write {
                Write::Insert(row) | Write::Replace(row) => self.put(commit, row.key(), Some(row.clone())),
                Write::ChangeMembership(user) => self.put(commit, user.id.into(), Some(Row::User(user.clone()))),
                Write::Remove(key) => self.put(commit, *key, None),
                Write::SweepSession { digest, .. } => self.put(commit, (*digest).into(), None),
                Write::BeginPurge(channel) => {
                    self.put(commit, (*channel).into(), None);
                    self.ended.entry(*channel).or_insert(commit);
                    self.bytes += ENTRY_BYTES;
                }
                Write::NoteProbe(at) => self.probed_at = Some(*at),
                Write::ReclaimMessage { .. } | Write::EndPurge(_) => {} // of the backend's own accord
            }
        }
        self.high_water = self.high_water.max(high_water);
        let first = self.commits.as_ref().map_or(commit, |commits| *commits.start());
        self.commits = Some(first..=commit);
    }

    fn put(&mut self, commit: CommitNumber, key: Key, row: Option<Row>) {
        self.bytes += ROW_BYTES;
        if let Some(row) = &row {
            self.bytes += bytes_of(row);
            for index in key.entity().indexes() {
                let Some(value) = entry(row, index) else { continue };
                let bytes = ENTRY_BYTES + value.len();
                if self.entries.entry(index.name).or_default().entry(value).or_default().insert(key) {
                    self.bytes += bytes;
                }
            }
        }
        let versions = self.rows.entry(key.entity()).or_default().entry(key).or_default();
        match versions.last_mut().filter(|newest| newest.commit == commit) {
            Some(newest) => newest.row = row,
            None => versions.push(Version { commit, row }),
        }
    }

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The commits in it.
    pub fn commits(&self) -> Option<RangeInclusive<CommitNumber>> {
        self.commits.clone()
    }

    /// The largest id given out in these commits, if it moved.
    pub fn high_water(&self) -> Option<Ulid> {
        self.high_water
    }

    /// When it was last tried whether changes can be stored, if these commits noted that.
    pub fn probed_at(&self) -> Option<Timestamp> {
        self.probed_at
    }

    /// What the commits up to this one made of a record; `None` when none of them wrote it.
    pub fn get(&self, key: &Key, up_to: CommitNumber) -> Option<Seen<'_>> {
        newest(self.rows.get(&key.entity())?.get(key)?, up_to)
    }

    /// What these commits made of the records of a kind with keys above one, by key.
    pub fn above(
        &self,
        entity: Entity,
        after: Option<Key>,
        up_to: CommitNumber,
    ) -> impl Iterator<Item = (Key, Seen<'_>)> {
        self.within(entity, (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded), up_to)
    }

    /// What these commits made of the records of a kind with such keys, by key.
    pub fn within(
        &self,
        entity: Entity,
        keys: impl RangeBounds<Key>,
        up_to: CommitNumber,
    ) -> impl Iterator<Item = (Key, Seen<'_>)> {
        let rows = self.rows.get(&entity).map(|rows| rows.range(keys));
        rows.into_iter().flatten().filter_map(move |(key, versions)| Some((*key, newest(versions, up_to)?)))
    }

    /// What these commits made of the records with such keys that an index ever had for this value, by key; whether it still
    /// has them, [`has`] says.
    pub fn found(
        &self,
        index: &Index,
        value: &Value<'_>,
        keys: impl RangeBounds<Key>,
        up_to: CommitNumber,
    ) -> impl DoubleEndedIterator<Item = (Key, Seen<'_>)> {
        let found = self.entries.get(index.name).and_then(|entries| entries.get(&value_bytes(value)));
        let found = found.map(|found| found.range(keys)).into_iter().flatten();
        found.filter_map(move |key| Some((*key, self.get(key, up_to)?)))
    }

    /// The same, for all values up to this one, by value and key.
    pub fn found_up_to(
        &self,
        index: &Index,
        value: &Value<'_>,
        up_to: CommitNumber,
    ) -> impl Iterator<Item = (Key, Seen<'_>)> {
        let range = (Bound::Unbounded, Bound::Included(value_bytes(value)));
        let found = self.entries.get(index.name).map(|entries| entries.range(range));
        let keys = found.into_iter().flatten().flat_map(|(_, keys)| keys);
        keys.filter_map(move |key| Some((*key, self.get(key, up_to)?)))
    }

    /// The commit that deleted a channel, if one of these did.
    pub fn ended(&self, channel: ChannelId, up_to: CommitNumber) -> Option<CommitNumber> {
        self.ended.get(&channel).copied().filter(|commit| *commit <= up_to)
    }

    /// What the backend is to store: the last version of each row, kind by kind in the order in which they may refer to each
    /// other, by key.
    pub fn last(&self) -> impl Iterator<Item = (&Key, Option<&Row>)> {
        let rows = self.rows.values().flatten();
        rows.filter_map(|(key, versions)| Some((key, versions.last()?.row.as_ref())))
    }

    /// The channels that these commits deleted.
    pub fn all_ended(&self) -> impl Iterator<Item = ChannelId> {
        self.ended.keys().copied()
    }
}

fn newest(versions: &[Version], up_to: CommitNumber) -> Option<Seen<'_>> {
    let version = versions.iter().rev().find(|version| version.commit <= up_to)?;
    Some((version.commit, version.row.as_ref()))
}

/// Whether an index has a record for this value.
pub fn has(row: &Row, index: &Index, value: &Value<'_>) -> bool {
    entry(row, index).is_some_and(|entry| entry == value_bytes(value))
}

/// What an index has of a record.
fn entry(row: &Row, index: &Index) -> Option<Vec<u8>> {
    let mut is_in = true;
    let mut entry = None;
    row.visit(&mut |field, value| {
        if index.only.is_some_and(|(flag, set)| field.name == flag && value != Value::Flag(set)) {
            is_in = false;
        }
        if field.name == index.field {
            entry = Some(value_bytes(&value));
        }
    });
    entry.filter(|_| is_in)
}

fn bytes_of(row: &Row) -> usize {
    let mut bytes = size_of::<Row>();
    row.visit(&mut |field, value| {
        bytes += match (field.kind, value) {
            (Kind::Text, Value::Text(text)) => size_of::<String>() + text.len(),
            _ => 16,
        }
    });
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::storage::{Message, MessageId, StoredSession, User, contract::model::Model};

    /// A message of one of a few ids and channels.
    fn message(id: u8, channel: u8, deleted: bool) -> Row {
        let channel_id = Ulid(channel.into()).into();
        Arc::new(Message { channel_id, deleted, ..Message::blank(Ulid(id.into()).into()) }).into_row()
    }

    fn key(id: u8) -> Key {
        MessageId::from(Ulid(id.into())).into()
    }

    /// What the rows would be, had all commits up to each number been applied one by one.
    type States = Vec<BTreeMap<Key, Row>>;

    fn channel_of(row: &Row) -> Option<Value<'_>> {
        if let Row::Message(message) = row { Some(message.channel_id.value()) } else { None }
    }

    use crate::storage::contract::field::FieldType as _;

    proptest! {
        #[test]
        fn every_number_shows_what_was_true_after_its_commit(
            commits in prop::collection::vec(prop::collection::vec((0..12_u8, 0..3_u8, 0..4_u8), 1..4), 1..12),
        ) {
            let mut table = Memtable::default();
            let mut states: States = vec![BTreeMap::new()];
            for (number, writes) in commits.iter().enumerate() {
                let mut state = states[number].clone();
                let writes: Vec<_> = writes.iter().map(|(id, channel, fate)| match fate {
                    0 => {
                        state.remove(&key(*id));
                        Write::Remove(key(*id))
                    }
                    fate => {
                        let row = message(*id, *channel, *fate == 1);
                        state.insert(key(*id), row.clone());
                        Write::Replace(row)
                    }
                }).collect();
                table.insert(number as u64 + 1, &writes, None);
                states.push(state);
            }
            prop_assert_eq!(table.commits(), Some(1..=commits.len() as u64));
            for (number, state) in states.iter().enumerate() {
                let number = number as u64;
                for id in 0..12 {
                    let seen = table.get(&key(id), number).and_then(|(commit, row)| {
                        assert!(commit <= number);
                        row
                    });
                    prop_assert_eq!(seen, state.get(&key(id)));
                }
                let live = |after| {
                    let seen = table.above(Entity::Message, after, number);
                    seen.filter_map(|(key, (_, row))| row.map(|_| key)).collect::<Vec<_>>()
                };
                prop_assert_eq!(live(None), state.keys().copied().collect::<Vec<_>>());
                let above: Vec<_> = state.keys().copied().filter(|it| *it > key(5)).collect();
                prop_assert_eq!(live(Some(key(5))), above);
                for channel in 0..3_u8 {
                    let channel: crate::storage::ChannelId = Ulid(channel.into()).into();
                    let index = &Message::LIVE_BY_CHANNEL;
                    let value = channel.value();
                    let found = table.found(index, &value, .., number);
                    let found = found.filter(|(_, (_, row))| row.is_some_and(|row| has(row, index, &value)));
                    let found: Vec<_> = found.map(|(key, _)| key).collect();
                    let is_live = |row: &Row| matches!(row, Row::Message(message) if !message.deleted);
                    let expected = state.iter().filter(|(_, row)| is_live(row) && channel_of(row) == Some(channel.value()));
                    prop_assert_eq!(found, expected.map(|(key, _)| *key).collect::<Vec<_>>());
                }
            }
            let last: BTreeMap<_, _> =
                table.last().filter_map(|(key, row)| Some((*key, row?.clone()))).collect();
            prop_assert_eq!(&last, states.last().unwrap());
        }
    }

    #[test]
    fn sessions_that_end_first_are_found_first() {
        let mut table = Memtable::default();
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        for (number, end) in [(1, 70), (2, 300), (3, 69), (4, 68)] {
            let digest = crate::storage::SessionDigest::from_bytes([number as u8; 32]);
            let session = StoredSession { expires_at: at(end), ..StoredSession::blank(digest) };
            table.insert(number, &[Write::Insert(Arc::new(session).into_row())], None);
        }
        let last = at(100);
        let found = |up_to| {
            let value = last.value();
            let found = table.found_up_to(&StoredSession::BY_EXPIRY, &value, up_to);
            found.map(|(_, (commit, _))| commit).collect::<Vec<_>>()
        };
        assert_eq!((found(4), found(3)), (vec![4, 3, 1], vec![3, 1]));
    }

    #[test]
    fn a_channel_that_is_deleted_is_gone_from_that_commit_on() {
        let mut table = Memtable::default();
        let channel: ChannelId = Ulid(1).into();
        table.insert(7, &[Write::BeginPurge(channel)], Some(Ulid(9)));
        assert_eq!((table.ended(channel, 6), table.ended(channel, 7)), (None, Some(7)));
        assert!(matches!(table.get(&channel.into(), 7), Some((7, None))));
        assert_eq!(table.all_ended().collect::<Vec<_>>(), [channel]);
        assert_eq!(table.high_water(), Some(Ulid(9)));
    }

    #[test]
    fn what_it_takes_grows_with_what_it_holds() {
        let mut table = Memtable::default();
        let mut before = table.bytes();
        for number in 0..10_u64 {
            let user = User { pubkey: "k".repeat(1000), ..User::blank(Ulid(number.into()).into()) };
            table.insert(number, &[Write::Insert(Arc::new(user).into_row())], None);
            assert!((2000..4000).contains(&(table.bytes() - before)), "the text, and the entry that has it too");
            before = table.bytes();
        }
    }
}
