//! Records of any kind: read, listed, found, stored. The queries that are really this backend's own are in the other files.

use std::sync::Arc;

use decentcom_kvstore::{
    DecodedRow, Direction, Error, Index as _, Key as _, RawRange, Record as _, Snapshot, Table as _, WriteBatch,
};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    place::{ByKey, Place, served},
    record::{KeyOf, Stored},
    schema::Purges,
    table::Of,
};
use crate::storage::{
    ChannelId, Entity, Key, Row, StorageError,
    bytes::value_bytes,
    contract::{
        field::{FieldType, Index, Value},
        model::{ForModel, Model},
    },
    port::{Rows, Wants},
};

/// Where the record with this key lies, as `find` says of a kind whose places an index knows.
fn place_of<M: Model>(
    key: M::Key,
    find: impl FnOnce(&KeyOf<M::Key>) -> Result<Option<Place<M>>, Error>,
) -> Result<Option<Place<M>>, Error> {
    if M::CLUSTER.is_none() {
        return Ok(Some(Place::with(&[], key)));
    }
    match find(&KeyOf(key))? {
        // Entries have no checksum, records have: nothing is taken for something else.
        Some(place) if place.key() != Some(key) => Err(wrong_entry(ByKey::<M>::NAME, &KeyOf(key).to_bytes())),
        place => Ok(place),
    }
}

/// What lies in the wrong place, or leads there.
pub(super) fn wrong_entry(table: &'static str, key: &[u8]) -> Error {
    let (key, problem) = (decentcom_kvstore::hex(key), "the entry is not what its record makes of it".into());
    Error::Corrupt { table, key, problem }
}

/// The record with this key, unless it went with a channel that is being purged.
pub(super) fn get<M: Model>(snapshot: &Snapshot, key: M::Key) -> Result<Option<M>, StorageError> {
    stored(snapshot, key).map_err(storage_error("read a record"))
}

fn stored<M: Model>(snapshot: &Snapshot, key: M::Key) -> Result<Option<M>, Error> {
    let Some(place) = place_of(key, |key| snapshot.find::<ByKey<M>>(key))? else { return Ok(None) };
    let stored = snapshot.get::<Of<M>>(&place)?;
    if stored.is_none() && M::CLUSTER.is_some() {
        return Err(wrong_entry(ByKey::<M>::NAME, &KeyOf(key).to_bytes()));
    }
    let Some(Stored(record)) = stored else { return Ok(None) };
    Ok((!is_gone(snapshot, &record)?).then_some(record))
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
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    listed(snapshot, after, limit).map_err(storage_error("list records"))
}

fn listed<M: Model>(snapshot: &Snapshot, after: Option<M::Key>, limit: usize) -> Result<Vec<M>, Error> {
    let range = after.map_or(RawRange::ALL, |key| RawRange::above(KeyOf(key).to_bytes()));
    let mut listed = Vec::new();
    if M::CLUSTER.is_some() {
        for entry in snapshot.entries::<ByKey<M>>(range, Direction::Forward)? {
            if listed.len() >= limit {
                break;
            }
            let (KeyOf(key), _) = entry?;
            listed.extend(stored(snapshot, key)?);
        }
        return Ok(listed);
    }
    for row in snapshot.rows_in::<Of<M>>(range, Direction::Forward)? {
        if listed.len() >= limit {
            break;
        }
        let (_, Stored(record)) = row?;
        if !is_gone(snapshot, &record)? {
            listed.push(record);
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
    if let Some(range) = served::<M>(index, value) {
        let together = || -> Result<Vec<M>, Error> {
            let rows = snapshot.rows_in::<Of<M>>(range, Direction::Forward)?;
            let rows = rows.map(|row: DecodedRow<Of<M>>| {
                let (place, Stored(record)) = row?;
                match has(&record, index, value) {
                    true => Ok(record),
                    false => Err(wrong_entry(M::TABLE, &place.to_bytes())),
                }
            });
            let visible = rows.filter_map(|row| match row.and_then(|it| Ok((!is_gone(snapshot, &it)?, it))) {
                Ok((is_there, record)) => is_there.then_some(Ok(record)),
                Err(error) => Some(Err(error)),
            });
            visible.take(limit as usize).collect()
        };
        return together().map_err(storage_error(attempt));
    }
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
        let record = get::<M>(snapshot, key)?.filter(|record| has(record, index, value));
        found.push(record.ok_or_else(wrong)?);
    }
    Ok(found)
}

/// Whether an index has a record for this value.
fn has<M: Model>(record: &M, index: &Index, value: &Value<'_>) -> bool {
    let is = |name, expected: &Value<'_>| record.value_of(name).as_ref() == Some(expected);
    is(index.field, value) && index.only.is_none_or(|(flag, set)| is(flag, &Value::Flag(set)))
}

/// The record that a raw row is, of any format.
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
        match Stored::<M>::from_bytes(self.key, self.value) {
            Ok(Stored(record)) => Ok(Arc::new(record).into_row()),
            Err(error) => Err(corrupt(M::TABLE, &decentcom_kvstore::hex(self.key), &error.to_string())),
        }
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
        let last = match M::CLUSTER {
            Some(_) => {
                let newest = self.0.entries::<ByKey<M>>(RawRange::ALL, Direction::Reverse)?.next().transpose()?;
                newest.map(|(KeyOf(key), _)| key)
            }
            None => self.0.last_key::<Of<M>>()?.and_then(|place| place.key()),
        };
        Ok(last.and_then(|key| if let Value::Id(id) = key.value() { Some(id) } else { None }))
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
        self.snapshot.contains::<Of<M>>(&Place::with(&[], key)).map_err(storage_error("look for a record"))
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
        let (place, stored) = (Place::of(&**record), Stored(M::clone(record)));
        if let Fate::Insert = self.fate {
            return self.batch.insert::<Of<M>>(&place, &stored);
        }
        match place_of(record.key(), |key| self.batch.find::<ByKey<M>>(key))? {
            // It lies elsewhere from now on.
            Some(old) if old != place => {
                self.batch.remove::<Of<M>>(&old)?;
                self.batch.insert::<Of<M>>(&place, &stored)
            }
            _ => self.batch.replace::<Of<M>>(&place, &stored),
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
        let Some(place) = place_of(key, |key| self.batch.find::<ByKey<M>>(key))? else {
            return Err(Error::Missing { table: M::TABLE, key: decentcom_kvstore::hex(&KeyOf(key).to_bytes()) });
        };
        match Of::<M>::INDEXES {
            [] => self.batch.discard::<Of<M>>(&place),
            _ => self.batch.remove::<Of<M>>(&place),
        }
    }
}
