//! Records of any kind: read, listed, found, stored. The queries that are really this backend's own are in the other files.

use std::sync::Arc;

use decentcom_kvstore::{Direction, Error, Key as _, RawRange, Snapshot, Table as _, WriteBatch, decode_row};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    record::{KeyOf, Of, Stored, value_bytes},
    schema::Purges,
};
use crate::storage::{
    ChannelId, Entity, Key, Row, StorageError,
    contract::{
        field::{FieldType, Index, Value},
        model::{ForModel, Model},
    },
    port::{Rows, Wants},
};

/// The record with this key, unless it went with a channel that is being purged.
pub(super) fn get<M: Model>(snapshot: &Snapshot, key: M::Key) -> Result<Option<M>, StorageError> {
    let attempt = "read a record";
    let stored = snapshot.get::<Of<M>>(&KeyOf(key)).map_err(storage_error(attempt))?;
    let Some(Stored(record)) = stored else { return Ok(None) };
    Ok((!is_gone(snapshot, &record).map_err(storage_error(attempt))?).then_some(record))
}

/// Whether a record went with a channel that is being purged. Nearly always none is, which costs less to know.
fn is_gone<M: Model>(snapshot: &Snapshot, record: &M) -> Result<bool, Error> {
    let Some(field) = M::GOES_WITH else { return Ok(false) };
    if snapshot.is_empty::<Purges>()? {
        return Ok(false);
    }
    match record.value_of(field.name) {
        Some(Value::Id(channel)) => snapshot.contains::<Purges>(&channel),
        _ => Ok(false),
    }
}

/// Whether the channel is being purged.
pub(super) fn is_purged(snapshot: &Snapshot, channel: ChannelId) -> Result<bool, Error> {
    Ok(!snapshot.is_empty::<Purges>()? && snapshot.contains::<Purges>(&channel.ulid())?)
}

/// Records with keys above `after`, by key; all of them without a limit.
pub(super) fn list<M: Model>(
    snapshot: &Snapshot,
    after: Option<M::Key>,
    limit: Option<u32>,
) -> Result<Vec<M>, StorageError> {
    let attempt = "list records";
    let after = after.map(KeyOf);
    let rows = snapshot.rows::<Of<M>>(after.as_ref(), Direction::Forward).map_err(storage_error(attempt))?;
    let mut listed = Vec::new();
    for row in rows {
        if limit.is_some_and(|limit| listed.len() >= limit as usize) {
            break;
        }
        let (_, stored) = row.map_err(storage_error(attempt))?;
        if !is_gone(snapshot, &stored.0).map_err(storage_error(attempt))? {
            listed.push(stored.0);
        }
    }
    Ok(listed)
}

/// At most so many of the records that an index has for this value, by key.
pub(super) fn find<M: Model>(
    snapshot: &Snapshot,
    index: &'static Index,
    value: &Value<'_>,
    limit: u32,
) -> Result<Vec<M>, StorageError> {
    let attempt = "find records by an index";
    let fields = value_bytes(value);
    let range = match index.is_unique {
        true => RawRange::exactly(fields.clone()),
        false => RawRange::beginning_with(fields.clone()),
    };
    let entries = snapshot.scan(index.name, range, Direction::Forward).map_err(storage_error(attempt))?;
    let mut found = Vec::new();
    for entry in entries {
        if found.len() >= limit as usize {
            break;
        }
        let (entry, pointed_to) = entry.map_err(storage_error(attempt))?;
        let key = if index.is_unique { pointed_to.as_slice() } else { entry.get(fields.len()..).unwrap_or_default() };
        let wrong =
            || corrupt(index.name, &decentcom_kvstore::hex(&entry), "the entry is not what its record makes of it");
        let key = KeyOf::<M::Key>::decode(key).ok_or_else(wrong)?.0;
        // Entries have no checksum, records have: nothing is taken for something else.
        let record = get::<M>(snapshot, key)?.filter(|record| {
            let is = |name, expected: &Value<'_>| record.value_of(name).as_ref() == Some(expected);
            is(index.field, value) && index.only.is_none_or(|(flag, set)| is(flag, &Value::Flag(set)))
        });
        found.push(record.ok_or_else(wrong)?);
    }
    Ok(found)
}

/// The record that a raw row is.
pub(super) fn from_raw(entity: Entity, key: &[u8], value: &[u8]) -> Result<Row, StorageError> {
    entity.with(FromRaw { key, value })
}

struct FromRaw<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl ForModel for FromRaw<'_> {
    type Answer = Result<Row, StorageError>;

    fn run<M: Model>(self) -> Self::Answer {
        let (_, Stored(record)) = decode_row::<Of<M>>(self.key, self.value).map_err(storage_error("decode a row"))?;
        Ok(Arc::new(record).into_row())
    }
}

/// The largest id of the table of a kind of record, where its keys are ids.
pub(super) fn newest_id(snapshot: &Snapshot, entity: Entity) -> Result<Option<Ulid>, Error> {
    entity.with(NewestId(snapshot))
}

struct NewestId<'a>(&'a Snapshot);

impl ForModel for NewestId<'_> {
    type Answer = Result<Option<Ulid>, Error>;

    fn run<M: Model>(self) -> Self::Answer {
        if M::Key::KIND != crate::storage::contract::field::Kind::Id {
            return Ok(None);
        }
        let last = self.0.last_key::<Of<M>>()?;
        Ok(last.and_then(|KeyOf(key)| if let Value::Id(id) = key.value() { Some(id) } else { None }))
    }
}

/// The key as one of this kind of record.
fn typed<M: Model>(key: &Key) -> Option<M::Key> {
    M::Key::from_value(key.value())
}

/// Loads the records that are wanted by key, and looks for those that are only referred to.
pub(super) fn load(snapshot: &Snapshot, wants: &Wants, rows: &mut Rows) -> Result<(), StorageError> {
    for key in &wants.references {
        if key.entity().with(Exists { snapshot, key })? {
            rows.known.insert(*key);
        }
    }
    for key in &wants.records {
        if let Some(row) = key.entity().with(Load { snapshot, key })? {
            rows.records.insert(*key, row);
        }
    }
    Ok(())
}

struct Exists<'a> {
    snapshot: &'a Snapshot,
    key: &'a Key,
}

impl ForModel for Exists<'_> {
    type Answer = Result<bool, StorageError>;

    fn run<M: Model>(self) -> Self::Answer {
        let Some(key) = typed::<M>(self.key) else { return Ok(false) };
        if M::GOES_WITH.is_some() {
            return Ok(get::<M>(self.snapshot, key)?.is_some());
        }
        self.snapshot.contains::<Of<M>>(&KeyOf(key)).map_err(storage_error("look for a record"))
    }
}

struct Load<'a> {
    snapshot: &'a Snapshot,
    key: &'a Key,
}

impl ForModel for Load<'_> {
    type Answer = Result<Option<Row>, StorageError>;

    fn run<M: Model>(self) -> Self::Answer {
        let Some(key) = typed::<M>(self.key) else { return Ok(None) };
        Ok(get::<M>(self.snapshot, key)?.map(|record| Arc::new(record).into_row()))
    }
}

/// What becomes of a record.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Insert,
    Replace,
}

/// Stages a record.
pub(super) fn put(batch: &mut WriteBatch, row: &Row, fate: Fate) -> Result<(), Error> {
    row.entity().with(Put { batch, row, fate })
}

struct Put<'a> {
    batch: &'a mut WriteBatch,
    row: &'a Row,
    fate: Fate,
}

impl ForModel for Put<'_> {
    type Answer = Result<(), Error>;

    fn run<M: Model>(self) -> Self::Answer {
        let Some(record) = M::of_row(self.row) else { return Ok(()) };
        let (key, stored) = (KeyOf(record.key()), Stored(M::clone(record)));
        match self.fate {
            Fate::Insert => self.batch.insert::<Of<M>>(&key, &stored),
            Fate::Replace => self.batch.replace::<Of<M>>(&key, &stored),
        }
    }
}

/// Stages the removal of a record. One that no index has is not read for that: damage does not keep it there.
pub(super) fn remove(batch: &mut WriteBatch, key: &Key) -> Result<(), Error> {
    key.entity().with(Remove { batch, key })
}

struct Remove<'a> {
    batch: &'a mut WriteBatch,
    key: &'a Key,
}

impl ForModel for Remove<'_> {
    type Answer = Result<(), Error>;

    fn run<M: Model>(self) -> Self::Answer {
        let Some(key) = typed::<M>(self.key) else { return Ok(()) };
        match Of::<M>::INDEXES {
            [] => self.batch.discard::<Of<M>>(&KeyOf(key)),
            _ => self.batch.remove::<Of<M>>(&KeyOf(key)),
        }
    }
}
