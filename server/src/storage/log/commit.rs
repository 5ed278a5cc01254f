//! What a commit is in the log: the largest id given out by then, and typed writes, in order. It is the payload of its record.
//!
//! ```text
//!  format      1 byte, 1
//!  high water  1 byte that says whether it moved, then 16 bytes
//!  kinds       a count (1 byte); of each kind of record in it: its table (a text), the version its records have (1 byte)
//!  writes      up to the end, each of them:
//!    1  insert              kind, key, fields
//!    2  replace             kind, key, fields
//!    3  change membership   kind, key, fields
//!    4  remove              kind, key
//!    5  sweep a session     its key, when it expired
//!    6  begin a purge       the channel's id
//!    7  note a probe        when
//! ```
//!
//! A kind is its place among the kinds, 1 byte. Keys have the width of their kind. Fields are those that the version has, but
//! for the key and the time within it, in the order in which they are declared; how each lies there is in `bytes.rs`. A field
//! that comes later says what older records have in its place, so every record that was ever written stays readable.
//!
//! What reclaims the messages of deleted channels is not in the log: whoever applies the end of a channel does that, too.

use std::sync::Arc;

use decentcom_kvstore::{DecodeError, EncodeError, decode_field, encode_field};
use ulid::Ulid;

use crate::storage::{
    ChannelId, Entity, Key, Row, SessionDigest, Timestamp,
    bytes::{append_value, key_value, read, take_bytes, time_of, write},
    contract::{
        field::{Field, FieldType, Kind, Role, Value},
        model::{ForModel, Model, Source},
    },
    port::{Staged, Write},
};

const FORMAT: u8 = 1;

const INSERT: u8 = 1;
const REPLACE: u8 = 2;
const MEMBERSHIP: u8 = 3;
const REMOVE: u8 = 4;
const SWEEP: u8 = 5;
const PURGE: u8 = 6;
const PROBE: u8 = 7;

/// A commit that was read from the log.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The largest id given out by then, if it moved.
    pub high_water: Option<Ulid>,
    /// What was written, in order.
    pub writes: Vec<Write>,
}

/// The payload of a commit, but for writes that are not logged.
pub fn encode(staged: &Staged) -> Result<Vec<u8>, EncodeError> {
    let mut kinds: Vec<Entity> = Vec::new();
    for entity in staged.writes.iter().filter_map(entity_of) {
        if !kinds.contains(&entity) {
            kinds.push(entity);
        }
    }
    let mut payload = vec![FORMAT, staged.high_water.is_some().into()];
    payload.extend(staged.high_water.iter().flat_map(|id| id.to_bytes()));
    payload.push(u8::try_from(kinds.len()).unwrap_or(u8::MAX)); // there are a handful
    for kind in &kinds {
        encode_field(&kind.table(), &mut payload)?;
        payload.push(kind.version());
    }
    for write in &staged.writes {
        append(write, &kinds, &mut payload)?;
    }
    Ok(payload)
}

/// The kind whose record a write stores or removes.
fn entity_of(write: &Write) -> Option<Entity> {
    match write {
        Write::Insert(row) | Write::Replace(row) => Some(row.entity()),
        Write::ChangeMembership(_) => Some(Entity::User),
        Write::Remove(key) => Some(key.entity()),
        Write::SweepSession { .. }
        | Write::BeginPurge(_)
        | Write::ReclaimMessage { .. }
        | Write::EndPurge(_)
        | Write::NoteProbe(_) => None,
    }
}

fn append(write: &Write, kinds: &[Entity], payload: &mut Vec<u8>) -> Result<(), EncodeError> {
    let number = |entity| kinds.iter().position(|kind| *kind == entity).and_then(|at| u8::try_from(at).ok());
    let begin = |payload: &mut Vec<u8>, tag: u8, key: &Key| {
        payload.push(tag);
        payload.extend(number(key.entity()));
        append_value(&key.value(), payload);
    };
    match write {
        Write::Insert(row) => {
            begin(payload, INSERT, &row.key());
            append_fields(row, payload)
        }
        Write::Replace(row) => {
            begin(payload, REPLACE, &row.key());
            append_fields(row, payload)
        }
        Write::ChangeMembership(user) => {
            let row = Row::User(user.clone());
            begin(payload, MEMBERSHIP, &row.key());
            append_fields(&row, payload)
        }
        Write::Remove(key) => {
            begin(payload, REMOVE, key);
            Ok(())
        }
        Write::SweepSession { digest, expires_at } => {
            payload.push(SWEEP);
            payload.extend_from_slice(digest.as_bytes());
            encode_field(&expires_at.as_millis(), payload)
        }
        Write::BeginPurge(channel) => {
            payload.push(PURGE);
            payload.extend_from_slice(&channel.ulid().to_bytes());
            Ok(())
        }
        Write::NoteProbe(at) => {
            payload.push(PROBE);
            encode_field(&at.as_millis(), payload)
        }
        Write::ReclaimMessage { .. } | Write::EndPurge(_) => Ok(()),
    }
}

fn append_fields(row: &Row, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut result = Ok(());
    row.visit(&mut |field, value| {
        if field.role == Role::Content && result.is_ok() {
            result = write(field, &value, payload);
        }
    });
    result
}

fn wrong(problem: impl Into<String>) -> DecodeError {
    DecodeError::Payload(problem.into())
}

/// A kind of record in a commit, and the version of its records there.
#[derive(Clone, Copy)]
struct Written {
    entity: Entity,
    version: u8,
}

/// The commit that this payload is.
pub fn decode(mut payload: &[u8]) -> Result<Commit, DecodeError> {
    let rest = &mut payload;
    match take_byte(rest)? {
        FORMAT => {}
        other => return Err(wrong(format!("it is a commit of format {other}, which this program does not know"))),
    }
    let high_water = match take_byte(rest)? {
        0 => None,
        _ => Some(Ulid::from_bytes(*take_bytes(rest)?)),
    };
    let mut kinds = Vec::new();
    for _ in 0..take_byte(rest)? {
        let table: &str = decode_field(rest)?;
        let known = Entity::EVERY.iter().copied().find(|entity| entity.table() == table);
        let entity =
            known.ok_or_else(|| wrong(format!("it has records of `{table}`, which this program does not know")))?;
        let version = take_byte(rest)?;
        if !(1..=entity.version()).contains(&version) {
            return Err(DecodeError::UnknownVersion(version));
        }
        kinds.push(Written { entity, version });
    }
    let mut writes = Vec::new();
    while !rest.is_empty() {
        writes.push(take_write(rest, &kinds)?);
    }
    Ok(Commit { high_water, writes })
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, DecodeError> {
    take_bytes::<1>(rest).map(|[byte]| *byte)
}

fn take_time(rest: &mut &[u8]) -> Result<Timestamp, DecodeError> {
    Timestamp::from_millis(decode_field(rest)?).ok_or_else(|| wrong("it has a time past the year 9999"))
}

fn take_write(rest: &mut &[u8], kinds: &[Written]) -> Result<Write, DecodeError> {
    Ok(match take_byte(rest)? {
        INSERT => Write::Insert(take_row(rest, kinds)?),
        REPLACE => Write::Replace(take_row(rest, kinds)?),
        MEMBERSHIP => match take_row(rest, kinds)? {
            Row::User(user) => Write::ChangeMembership(user),
            _ => return Err(wrong("a membership is not of a user")),
        },
        REMOVE => {
            let kind = take_kind(rest, kinds)?;
            Write::Remove(kind.entity.with(TakeKey(rest))?)
        }
        SWEEP => {
            let digest = SessionDigest::from_bytes(*take_bytes(rest)?);
            Write::SweepSession { digest, expires_at: take_time(rest)? }
        }
        PURGE => Write::BeginPurge(ChannelId::from(Ulid::from_bytes(*take_bytes(rest)?))),
        PROBE => Write::NoteProbe(take_time(rest)?),
        other => return Err(wrong(format!("it has a write of kind {other}, which this program does not know"))),
    })
}

fn take_kind(rest: &mut &[u8], kinds: &[Written]) -> Result<Written, DecodeError> {
    let number = take_byte(rest)?;
    kinds.get(usize::from(number)).copied().ok_or_else(|| wrong("a record is of a kind that the commit does not name"))
}

fn take_row(rest: &mut &[u8], kinds: &[Written]) -> Result<Row, DecodeError> {
    let Written { entity, version } = take_kind(rest, kinds)?;
    entity.with(TakeRow { rest, version })
}

/// Takes the bytes of a key of this kind from the front.
fn take_key_bytes<'a>(kind: Kind, rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    match kind {
        Kind::Id => take_bytes::<16>(rest).map(|bytes| bytes.as_slice()),
        Kind::Digest => take_bytes::<32>(rest).map(|bytes| bytes.as_slice()),
        Kind::Challenge => take_bytes::<44>(rest).map(|bytes| bytes.as_slice()),
        _ => Err(wrong("no key is of that kind")),
    }
}

struct TakeKey<'a, 'b>(&'a mut &'b [u8]);

impl ForModel for TakeKey<'_, '_> {
    type Answer = Result<Key, DecodeError>;

    fn run<M: Model>(self) -> Self::Answer {
        let key = take_key_bytes(M::Key::KIND, self.0)?;
        let key = key_value(M::Key::KIND, key).and_then(M::Key::from_value);
        key.map(Into::into).ok_or_else(|| wrong("a key does not decode"))
    }
}

struct TakeRow<'a, 'b> {
    rest: &'a mut &'b [u8],
    version: u8,
}

impl ForModel for TakeRow<'_, '_> {
    type Answer = Result<Row, DecodeError>;

    fn run<M: Model>(self) -> Self::Answer {
        let key = take_key_bytes(M::Key::KIND, self.rest)?;
        let mut values = Values { key, version: self.version, rest: self.rest };
        M::from_source(&mut values).map(|record| Arc::new(record).into_row())
    }
}

/// The values of a record, in the order of their declaration.
struct Values<'a, 'b> {
    key: &'b [u8],
    version: u8,
    rest: &'a mut &'b [u8],
}

impl Source for Values<'_, '_> {
    type Error = DecodeError;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, DecodeError> {
        let value = match field.role {
            Role::Key => key_value(T::KIND, self.key),
            Role::CreatedAt => Some(Value::Time(time_of(self.key)?)),
            Role::Content if field.since > self.version => Some(field.before.value()),
            Role::Content => Some(read(T::KIND, T::IS_OPTIONAL, self.rest)?),
        };
        value.and_then(T::from_value).ok_or_else(|| wrong(format!("its {} is no value of that kind", field.name)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{
        AnsweredChallenge, Category, Channel, Message, StoredSession, UsedChallenge, User, contract::model::Model,
    };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    /// A write of each sort, with texts of any sort.
    fn writes(text: &str, number: u128) -> Vec<Write> {
        let id = Ulid(number >> 8);
        let created_at = at(id.timestamp_ms());
        let user = User {
            pubkey: text.into(),
            display_name: number.is_multiple_of(2).then(|| text.into()),
            is_bot: number.is_multiple_of(3),
            updated_at: at(77),
            created_at,
            ..User::blank(id.into())
        };
        let channel =
            Channel { name: text.into(), position: -(number as i32 % 9), created_at, ..Channel::blank(id.into()) };
        let category = Category { name: text.into(), created_at, ..Category::blank(id.into()) };
        let message = Message {
            content: text.into(),
            edited_at: number.is_multiple_of(5).then(|| at(5)),
            deleted: number.is_multiple_of(7),
            created_at,
            ..Message::blank(id.into())
        };
        let digest = SessionDigest::of(text);
        let session = StoredSession { expires_at: at(9), ..StoredSession::blank(digest) };
        let challenge = AnsweredChallenge::of(UsedChallenge { slot: 3, key_digest: [7; 32], number: 4 });
        vec![
            Write::Insert(Arc::new(user.clone()).into_row()),
            Write::ChangeMembership(Arc::new(user)),
            Write::Replace(Arc::new(channel).into_row()),
            Write::Insert(Arc::new(category).into_row()),
            Write::Insert(Arc::new(message.clone()).into_row()),
            Write::Replace(Arc::new(message).into_row()),
            Write::Insert(Arc::new(session).into_row()),
            Write::Insert(Arc::new(challenge.clone()).into_row()),
            Write::Remove(challenge.key().into()),
            Write::Remove(digest.into()),
            Write::SweepSession { digest, expires_at: at(11) },
            Write::BeginPurge(id.into()),
            Write::NoteProbe(at(12)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".{1,40}", number: u128, high_water: Option<u128>) {
            let (writes, high_water) = (writes(&text, number), high_water.map(Ulid));
            let payload = encode(&Staged { writes: writes.clone(), high_water, commit: 1 }).unwrap();
            let commit = decode(&payload).unwrap();
            prop_assert_eq!(commit.high_water, high_water);
            prop_assert_eq!(format!("{:?}", commit.writes), format!("{writes:?}"));
        }

        #[test]
        fn no_bytes_make_reading_panic(mut noise in prop::collection::vec(any::<u8>(), 0..200), cut in 0..600_usize, at in 0..600_usize) {
            let _ = decode(&noise);
            let mut payload = encode(&Staged { writes: writes("text", 1 << 70), high_water: None, commit: 1 }).unwrap();
            payload.truncate(cut);
            let _ = decode(&payload);
            if let (Some(byte), Some(new)) = (payload.get_mut(at), noise.pop()) {
                *byte = new;
            }
            let _ = decode(&payload);
        }
    }

    #[test]
    fn what_reclaims_is_not_in_it() {
        let writes = vec![
            Write::ReclaimMessage { id: Ulid(1).into(), channel_id: Ulid(2).into() },
            Write::EndPurge(Ulid(2).into()),
        ];
        let payload = encode(&Staged { writes, high_water: None, commit: 1 }).unwrap();
        assert!(decode(&payload).unwrap().writes.is_empty());
    }
}
