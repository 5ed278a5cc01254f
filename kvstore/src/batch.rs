//! Writing: operations validate and stage, then one durable commit stores what they staged.
//!
//! Staged writes are plain data, `(table, key) → value or removal`, and reads within a batch see them. An operation that
//! fails takes back what it staged and costs its neighbours nothing. Nothing reaches redb before every operation has
//! run; then the writes are applied table by table in key order, so that neighbouring keys share pages.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use redb::WriteTransaction;

use crate::{
    error::{Error, hex},
    key::Key,
    record::Record,
    slots::{META, Slots},
    snapshot::{PrimaryKey, Snapshot, definition},
    table::{Entry, Index, Table},
};

/// A table's position in the catalogue and a key in it.
type Place = (usize, Vec<u8>);

/// What will lie at a place.
#[derive(Clone)]
enum Staged {
    /// A value where the committed state has none; finding one there aborts the batch.
    New(Vec<u8>),
    /// A value, whatever was there.
    Value(Vec<u8>),
    /// Nothing.
    Nothing,
}

impl Staged {
    fn value(&self) -> Option<&Vec<u8>> {
        match self {
            Self::New(value) | Self::Value(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

/// Operations that will be stored together. Made by [`Store::write`](crate::Store::write).
pub struct Batch {
    base: Arc<Snapshot>,
    slots: Arc<Slots>,
    staged: BTreeMap<Place, Staged>,
}

impl Batch {
    pub(crate) fn new(base: Arc<Snapshot>, slots: Arc<Slots>) -> Self {
        Self { base, slots, staged: BTreeMap::new() }
    }

    /// Runs one operation. If it fails, what it staged is taken back.
    pub fn run<T, E>(&mut self, operation: impl FnOnce(&mut Operation<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut running = Operation { batch: self, undo: Vec::new() };
        let result = operation(&mut running);
        if result.is_err() {
            running.take_back();
        }
        result
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Applies what is staged to `transaction`, each table opened once.
    pub(crate) fn apply(&self, transaction: &WriteTransaction) -> Result<(), Error> {
        let mut writes = self.staged.iter().peekable();
        while let Some(((slot, _), _)) = writes.peek() {
            let slot = *slot;
            let mut table = transaction.open_table(definition(self.slots.name(slot)))?;
            while let Some(((_, key), value)) = writes.next_if(|((other, _), _)| *other == slot) {
                let old = match value.value() {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
                // redb answers the old value anyway: this check reads nothing.
                if matches!(value, Staged::New(_)) && old.is_some() {
                    return Err(Error::exists(self.slots.name(slot), key));
                }
            }
        }
        Ok(())
    }
}

/// One operation of a batch: reads see the committed state and everything staged before.
pub struct Operation<'a> {
    batch: &'a mut Batch,
    /// What was staged at each place before this operation came, in order.
    undo: Vec<(Place, Option<Staged>)>,
}

impl Operation<'_> {
    /// The record under `key`.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, Error> {
        let key = key.to_bytes();
        let Some(value) = self.raw(T::NAME, &key)? else { return Ok(None) };
        T::Record::from_bytes(&key, &value).map(Some).map_err(Error::record(T::NAME, &key))
    }

    /// The primary key of the row that a unique index has for `fields`.
    pub fn find<I: Index>(&self, fields: &I::Fields) -> Result<Option<<I::Table as Table>::Key>, Error> {
        let fields = fields.to_bytes();
        let Some(value) = self.raw(I::NAME, &fields)? else { return Ok(None) };
        Key::decode(&value).map(Some).ok_or_else(|| Error::corrupt(I::NAME, &fields, "it points to no key"))
    }

    /// Stages a row whose key is known to be new, such as one just given out: the store is not asked for an old one.
    /// A unique index that has its fields already is [`Error::Duplicate`].
    ///
    /// A key that has a row after all is [`Error::Exists`]: of this operation if the row was staged in the same batch,
    /// else of the whole batch when it is committed. Nothing is overwritten, as the old row's index entries would stay.
    pub fn insert<T: Table>(&mut self, key: &T::Key, record: &T::Record) -> Result<(), Error> {
        let place = (self.slot(T::NAME)?, key.to_bytes());
        let fate = match self.batch.staged.get(&place) {
            None => Staged::New,
            Some(Staged::Nothing) => Staged::Value, // removed earlier in this batch
            Some(_) => return Err(Error::exists(T::NAME, &place.1)),
        };
        for index in T::INDEXES {
            if let Some(entry) = index.entry(key, record) {
                self.add_entry(index.name, index.unique, entry)?;
            }
        }
        self.stage_record::<T>(key, record, fate)
    }

    /// Stages a row in place of the one with the same key, which must exist.
    pub fn replace<T: Table>(&mut self, key: &T::Key, record: &T::Record) -> Result<(), Error> {
        let old = self.existing::<T>(key)?;
        for index in T::INDEXES {
            let (before, after) = (index.entry(key, &old), index.entry(key, record));
            if before == after {
                continue;
            }
            if let Some(entry) = before {
                self.stage(index.name, entry.key, Staged::Nothing)?;
            }
            if let Some(entry) = after {
                self.add_entry(index.name, index.unique, entry)?;
            }
        }
        self.stage_record::<T>(key, record, Staged::Value)
    }

    /// Stages the removal of a row, which must exist.
    pub fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), Error> {
        let old = self.existing::<T>(key)?;
        for index in T::INDEXES {
            if let Some(entry) = index.entry(key, &old) {
                self.stage(index.name, entry.key, Staged::Nothing)?;
            }
        }
        self.stage(T::NAME, key.to_bytes(), Staged::Nothing)
    }

    /// Stages the removal of whatever lies under a key, without reading it: for a row that does not decode, or is gone
    /// while an index still has it. Its index entries stay; those that are known [go one by one](Self::discard_entry).
    pub fn discard<T: Table>(&mut self, key: &T::Key) -> Result<(), Error> {
        self.stage(T::NAME, key.to_bytes(), Staged::Nothing)
    }

    /// Stages the removal of the entry that an index, which is not unique, has for `fields` and the row with `key`.
    pub fn discard_entry<I: Index>(&mut self, fields: &I::Fields, key: &PrimaryKey<I>) -> Result<(), Error> {
        const { assert!(!I::UNIQUE, "the entry of a unique index may be another row's") };
        let mut entry = fields.to_bytes();
        key.append_to(&mut entry);
        self.stage(I::NAME, entry, Staged::Nothing)
    }

    /// Stages a fact about the store, by name, in its `meta` table.
    pub fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.stage(META, name.as_bytes().to_vec(), Staged::Value(value.to_vec()))
    }

    /// Forgets a fact about the store; one that is not there is no error.
    pub fn clear_meta(&mut self, name: &str) -> Result<(), Error> {
        self.stage(META, name.as_bytes().to_vec(), Staged::Nothing)
    }

    fn existing<T: Table>(&self, key: &T::Key) -> Result<T::Record, Error> {
        self.get::<T>(key)?.ok_or_else(|| Error::Missing { table: T::NAME, key: hex(&key.to_bytes()) })
    }

    fn add_entry(&mut self, index: &'static str, unique: bool, entry: Entry) -> Result<(), Error> {
        if unique && self.raw(index, &entry.key)?.is_some() {
            return Err(Error::Duplicate { index });
        }
        self.stage(index, entry.key, Staged::Value(entry.value))
    }

    fn stage_record<T: Table>(
        &mut self,
        key: &T::Key,
        record: &T::Record,
        fate: fn(Vec<u8>) -> Staged,
    ) -> Result<(), Error> {
        let key = key.to_bytes();
        let value = record.to_bytes(&key).map_err(Error::too_large(T::NAME))?;
        self.stage(T::NAME, key, fate(value))
    }

    fn slot(&self, table: &str) -> Result<usize, Error> {
        let undeclared = || Error::Damaged(format!("table `{table}` is not in the catalogue"));
        self.batch.slots.position(table).ok_or_else(undeclared)
    }

    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.batch.staged.get(&(self.slot(table)?, key.to_vec())) {
            Some(staged) => Ok(staged.value().cloned()),
            None => self.batch.base.raw(table, key),
        }
    }

    fn stage(&mut self, table: &str, key: Vec<u8>, value: Staged) -> Result<(), Error> {
        let place = (self.slot(table)?, key);
        let before = match self.batch.staged.entry(place.clone()) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(value);
                None
            }
            btree_map::Entry::Occupied(mut occupied) => {
                // Replacing a row of this batch does not put one into the committed state.
                let value = match (occupied.get(), value) {
                    (Staged::New(_), Staged::Value(value)) => Staged::New(value),
                    (_, value) => value,
                };
                Some(occupied.insert(value))
            }
        };
        self.undo.push((place, before));
        Ok(())
    }

    fn take_back(self) {
        for (place, before) in self.undo.into_iter().rev() {
            match before {
                Some(before) => self.batch.staged.insert(place, before),
                None => self.batch.staged.remove(&place),
            };
        }
    }
}
