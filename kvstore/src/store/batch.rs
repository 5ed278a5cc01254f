//! Writing: a batch stages, then one durable commit stores what it staged.
//!
//! What is staged is plain data, `(table, key) → value or removal`, and reads of the batch see it. Every call checks all
//! that it has to check before it stages anything, so one that fails leaves the batch as it was. Nothing reaches redb
//! before the whole batch stands; then it is applied table by table in key order, so that neighbouring keys share pages.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    ops::Bound,
    sync::Arc,
};

use redb::WriteTransaction;

use crate::{
    engine::database::{Bytes, definition},
    error::{Error, hex},
    schema::{
        key::Key,
        record::Record,
        table::{Entry, Index, PrimaryKey, Table, decode_pointer, decode_record},
    },
};

use super::{meta::META, numbers::TableNumbers, snapshot::Snapshot};

/// What will lie under a key.
struct Pending {
    /// `None`: nothing.
    value: Option<Vec<u8>>,
    /// Whether the committed state is taken to have nothing there. Finding something ends the batch.
    is_new: bool,
}

impl Pending {
    /// The value of a row whose key is known to be new.
    fn new_value(&self) -> Option<&[u8]> {
        self.value.as_deref().filter(|_| self.is_new)
    }
}

/// Rows in key order, each looked at before it is taken.
type Staged<'a> = Peekable<btree_map::Iter<'a, Vec<u8>, Pending>>;

/// Inserts a new row, and those after it that are new, too, and belong into the same gap between rows that are there. redb then
/// packs its pages as full as they go, where rows that come one by one leave behind pages that are half full.
fn insert_run(
    name: &'static str,
    table: &mut redb::Table<'_, Bytes, Bytes>,
    first: (&Vec<u8>, &Pending),
    rows: &mut Staged<'_>,
) -> Result<(), Error> {
    let mut cursor = table.lower_bound_mut(Bound::Included(first.0.as_slice()))?;
    let next = cursor.peek_next()?.map(|(key, _)| key.value().to_vec());
    let belongs = |key: &[u8]| next.as_ref().is_none_or(|next| key < next.as_slice());
    if !belongs(first.0) {
        return Err(Error::exists(name, first.0));
    }
    let mut row = Some(first);
    while let Some((key, pending)) = row {
        cursor.insert_before(key.as_slice(), pending.new_value().unwrap_or_default())?;
        row = rows.next_if(|(key, pending)| pending.new_value().is_some() && belongs(key));
    }
    cursor.close().map_err(Error::from)
}

/// What will be stored together. Made by [`Store::write`](crate::Store::write); reads see the committed state and
/// everything staged so far.
pub struct WriteBatch {
    base: Arc<Snapshot>,
    numbers: Arc<TableNumbers>,
    /// By the table's number, then by key.
    pending: BTreeMap<usize, BTreeMap<Vec<u8>, Pending>>,
}

impl WriteBatch {
    pub(super) fn on(base: Arc<Snapshot>, numbers: Arc<TableNumbers>) -> Self {
        Self { base, numbers, pending: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Applies what is staged to `transaction`, each table opened once.
    pub(super) fn apply(&self, transaction: &WriteTransaction) -> Result<(), Error> {
        for (number, rows) in &self.pending {
            let name = self.numbers.name(*number);
            let mut table = transaction.open_table(definition(name))?;
            let mut rows = rows.iter().peekable();
            while let Some((key, pending)) = rows.next() {
                if pending.new_value().is_some() && rows.peek().is_some_and(|(_, next)| next.new_value().is_some()) {
                    insert_run(name, &mut table, (key, pending), &mut rows)?;
                    continue;
                }
                let old = match &pending.value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
                // redb answers the old value anyway: this check reads nothing.
                if pending.is_new && old.is_some() {
                    return Err(Error::exists(name, key));
                }
            }
        }
        Ok(())
    }

    /// The record under `key`.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, Error> {
        self.record::<T>(&key.to_bytes())
    }

    /// The primary key of the row that a unique index has for `fields`.
    pub fn find<I: Index>(&self, fields: &I::Fields) -> Result<Option<PrimaryKey<I>>, Error> {
        const { assert!(I::UNIQUE, "only a unique index has one row for its fields") };
        let fields = fields.to_bytes();
        self.read(I::NAME, &fields, |value| decode_pointer::<I>(&fields, value))
    }

    /// Stages a row whose key is known to be new, such as one just given out: the store is not asked for an old one.
    /// A unique index that has its fields already is [`Error::Duplicate`].
    ///
    /// A key that has a row after all is [`Error::Exists`]: of this call if the row was staged in the same batch, else of
    /// the whole batch when it is committed. Nothing is overwritten, as the old row's index entries would stay.
    pub fn insert<T: Table>(&mut self, key: &T::Key, record: &T::Record) -> Result<(), Error> {
        let bytes = key.to_bytes();
        if self.pending(T::NAME, &bytes)?.is_some_and(|pending| pending.value.is_some()) {
            return Err(Error::exists(T::NAME, &bytes));
        }
        let mut entries = Vec::with_capacity(T::INDEXES.len());
        for index in T::INDEXES {
            if let Some(entry) = index.entry(key, record) {
                self.check_free(index.name, index.unique, &entry)?;
                entries.push((index.name, entry));
            }
        }
        let value = encoded::<T>(&bytes, record)?;
        for (index, entry) in entries {
            self.stage(index, entry.key, Some(entry.value))?;
        }
        self.stage_as(T::NAME, bytes, Pending { value: Some(value), is_new: true })
    }

    /// Stages a row in place of the one with the same key, which must exist.
    pub fn replace<T: Table>(&mut self, key: &T::Key, record: &T::Record) -> Result<(), Error> {
        let bytes = key.to_bytes();
        let old = self.existing::<T>(&bytes)?;
        let mut changes = Vec::with_capacity(T::INDEXES.len());
        for index in T::INDEXES {
            let (before, after) = (index.entry(key, &old), index.entry(key, record));
            if before == after {
                continue;
            }
            if let Some(entry) = &after {
                self.check_free(index.name, index.unique, entry)?;
            }
            changes.push((index.name, before, after));
        }
        let value = encoded::<T>(&bytes, record)?;
        for (index, before, after) in changes {
            if let Some(entry) = before {
                self.stage(index, entry.key, None)?;
            }
            if let Some(entry) = after {
                self.stage(index, entry.key, Some(entry.value))?;
            }
        }
        self.stage(T::NAME, bytes, Some(value))
    }

    /// Stages the removal of a row, which must exist.
    pub fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), Error> {
        let bytes = key.to_bytes();
        let old = self.existing::<T>(&bytes)?;
        for index in T::INDEXES {
            if let Some(entry) = index.entry(key, &old) {
                self.stage(index.name, entry.key, None)?;
            }
        }
        self.stage(T::NAME, bytes, None)
    }

    /// Stages the removal of whatever lies under a key, without reading it: for a row that does not decode, or is gone
    /// while an index still has it. Its index entries stay; those that are known [go one by one](Self::discard_entry).
    pub fn discard<T: Table>(&mut self, key: &T::Key) -> Result<(), Error> {
        self.stage(T::NAME, key.to_bytes(), None)
    }

    /// Stages the removal of the entry that an index, which is not unique, has for `fields` and the row with `key`.
    pub fn discard_entry<I: Index>(&mut self, fields: &I::Fields, key: &PrimaryKey<I>) -> Result<(), Error> {
        const { assert!(!I::UNIQUE, "the entry of a unique index may be another row's") };
        let mut entry = fields.to_bytes();
        key.append_to(&mut entry);
        self.stage(I::NAME, entry, None)
    }

    /// Stages the removal of what a unique index has for `fields`, whichever row that is.
    pub fn discard_unique_entry<I: Index>(&mut self, fields: &I::Fields) -> Result<(), Error> {
        const { assert!(I::UNIQUE, "the entry of an index that is not unique has the row's key, too") };
        self.stage(I::NAME, fields.to_bytes(), None)
    }

    /// Stages a fact about the store, by name, in its `meta` table.
    pub fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.stage(META, name.as_bytes().to_vec(), Some(value.to_vec()))
    }

    /// Stages that a fact about the store is forgotten; one that is not there is no error.
    pub fn clear_meta(&mut self, name: &str) -> Result<(), Error> {
        self.stage(META, name.as_bytes().to_vec(), None)
    }

    fn record<T: Table>(&self, key: &[u8]) -> Result<Option<T::Record>, Error> {
        self.read(T::NAME, key, |value| decode_record::<T>(key, value))
    }

    fn existing<T: Table>(&self, key: &[u8]) -> Result<T::Record, Error> {
        self.record::<T>(key)?.ok_or_else(|| Error::Missing { table: T::NAME, key: hex(key) })
    }

    /// Refuses an entry that a unique index has for another row.
    fn check_free(&self, index: &'static str, is_unique: bool, entry: &Entry) -> Result<(), Error> {
        if is_unique && self.read(index, &entry.key, |_| Ok(()))?.is_some() {
            return Err(Error::Duplicate { index });
        }
        Ok(())
    }

    /// What `read` makes of the bytes under a key: those staged, else those committed.
    fn read<R>(
        &self,
        table: &str,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        match self.pending(table, key)? {
            Some(pending) => pending.value.as_deref().map(read).transpose(),
            None => self.base.read(table, key, read),
        }
    }

    fn pending(&self, table: &str, key: &[u8]) -> Result<Option<&Pending>, Error> {
        let number = self.numbers.number(table)?;
        Ok(self.pending.get(&number).and_then(|rows| rows.get(key)))
    }

    fn stage(&mut self, table: &str, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Error> {
        self.stage_as(table, key, Pending { value, is_new: false })
    }

    fn stage_as(&mut self, table: &str, key: Vec<u8>, pending: Pending) -> Result<(), Error> {
        let number = self.numbers.number(table)?;
        match self.pending.entry(number).or_default().entry(key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(pending);
            }
            // What was taken for granted about the committed state at first still is.
            btree_map::Entry::Occupied(mut occupied) => occupied.get_mut().value = pending.value,
        }
        Ok(())
    }
}

fn encoded<T: Table>(key: &[u8], record: &T::Record) -> Result<Vec<u8>, Error> {
    record.to_bytes(key).map_err(|error| Error::too_large(T::NAME, error))
}
