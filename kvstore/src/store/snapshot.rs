//! Reading: one committed state, seen whole, for as long as it is held.

use std::{
    marker::PhantomData,
    ops::Bound,
    sync::{Arc, OnceLock},
};

use redb::{ReadTransaction, ReadableTableMetadata};

use crate::{
    engine::{
        contained::{Contained, guarded},
        database::{Bytes, RawTable, definition},
    },
    error::Error,
    schema::{
        key::Key,
        range::{Direction, KeyRange, RawRange, after_prefix},
        table::{DecodedRow, Index, PrimaryKey, Table, decode_entry, decode_pointer, decode_record, decode_row},
    },
};

use super::{
    meta::META,
    numbers::TableNumbers,
    source::{RawRow, RawRows, RawSource, Tree},
};

/// A committed state of the store. Reads do not wait for the writer and do not block it.
///
/// While a snapshot is held, the pages it shows cannot be reused and the file grows: drop it when a request is done.
pub struct Snapshot {
    reading: Contained<Reading>,
    numbers: Arc<TableNumbers>,
}

/// What redb holds for it.
struct Reading {
    tables: Box<[OnceLock<RawTable>]>,
    transaction: ReadTransaction,
}

impl Snapshot {
    pub(crate) fn new(transaction: ReadTransaction, numbers: Arc<TableNumbers>) -> Self {
        let tables = numbers.names().iter().map(|_| OnceLock::new()).collect();
        Self { reading: Contained::new(Reading { tables, transaction }), numbers }
    }

    /// Every table and index, and `meta`, in the catalogue's order.
    pub(crate) fn names(&self) -> &[&'static str] {
        self.numbers.names()
    }

    /// A table, opened at its first use in this snapshot.
    fn table(&self, name: &str) -> Result<&RawTable, Error> {
        let number = self.numbers.number(name)?;
        let reading = self.reading.get()?;
        let opened = reading.tables.get(number).ok_or_else(|| Error::undeclared(name))?;
        if let Some(table) = opened.get() {
            return Ok(table);
        }
        let table = guarded(|| reading.transaction.open_table(definition(name)))?;
        Ok(opened.get_or_init(|| table))
    }

    /// What `read` makes of the bytes under `key`.
    pub(super) fn read<R>(
        &self,
        table: &str,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        let table = self.table(table)?;
        guarded(|| match table.get(key)? {
            Some(value) => read(value.value()).map(Some),
            None => Ok::<_, Error>(None),
        })
    }

    /// A fact about the store, by name.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read(META, name.as_bytes(), |value| Ok(value.to_vec()))
    }

    /// The record under `key`.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, Error> {
        let key = key.to_bytes();
        self.read(T::NAME, &key, |value| decode_record::<T>(&key, value))
    }

    /// Whether there is a row with `key`.
    pub fn contains<T: Table>(&self, key: &T::Key) -> Result<bool, Error> {
        Ok(self.read(T::NAME, &key.to_bytes(), |_| Ok(()))?.is_some())
    }

    /// The primary key of the row that a unique index has for `fields`.
    pub fn find<I: Index>(&self, fields: &I::Fields) -> Result<Option<PrimaryKey<I>>, Error> {
        const { assert!(I::UNIQUE, "only a unique index has one row for its fields; see `keys_of`") };
        let fields = fields.to_bytes();
        self.read(I::NAME, &fields, |value| decode_pointer::<I>(&fields, value))
    }

    /// How many rows a table has.
    pub fn len<T: Table>(&self) -> Result<u64, Error> {
        RawSource::count(self, T::NAME)
    }

    /// Whether a table has no rows.
    pub fn is_empty<T: Table>(&self) -> Result<bool, Error> {
        let table = self.table(T::NAME)?;
        guarded(|| table.is_empty())
    }

    /// The rows of a table with keys strictly above `after`, or all, in this direction.
    pub fn rows<T: Table>(&self, after: Option<&T::Key>, direction: Direction) -> Result<Rows<T>, Error> {
        self.rows_in::<T>(after.map_or(RawRange::ALL, |key| RawRange::above(key.to_bytes())), direction)
    }

    /// The rows of a table whose keys, as they lie in the file, are in a range.
    pub fn rows_in<T: Table>(&self, range: RawRange, direction: Direction) -> Result<Rows<T>, Error> {
        Ok(Rows { raw: self.scan(T::NAME, range, direction)?, table: PhantomData })
    }

    /// The keys of a table that are in a range, as they lie in the file; what lies under them is not read. One that does not
    /// decode is an item that is an error, and the next one follows.
    pub fn keys_in<T: Table>(
        &self,
        range: RawRange,
        direction: Direction,
    ) -> Result<impl Iterator<Item = Result<T::Key, Error>>, Error> {
        let mut raw = self.scan(T::NAME, range, direction)?;
        let undecodable = |key: &[u8]| Error::corrupt(T::NAME, key, "the key does not decode");
        let keys = std::iter::from_fn(move || raw.next_with(|key, _| Ok(key.to_vec())));
        Ok(keys.map(move |key| key.and_then(|key| T::Key::decode(&key).ok_or_else(|| undecodable(&key)))))
    }

    /// The largest key of a table.
    pub fn last_key<T: Table>(&self) -> Result<Option<T::Key>, Error> {
        match self.scan(T::NAME, RawRange::ALL, Direction::Reverse)?.next() {
            None => Ok(None),
            Some(row) => {
                let (key, _) = row?;
                T::Key::decode(&key).map(Some).ok_or_else(|| Error::corrupt(T::NAME, &key, "the key does not decode"))
            }
        }
    }

    /// The primary keys that an index has for exactly `fields`, in their order, of those within `range`.
    pub fn keys_of<I: Index>(
        &self,
        fields: &I::Fields,
        range: KeyRange<'_, PrimaryKey<I>>,
        direction: Direction,
    ) -> Result<Keys<I>, Error> {
        const { assert!(!I::UNIQUE, "a unique index has one row at most for its fields; see `find`") };
        let prefix = fields.to_bytes();
        let with = |key: &PrimaryKey<I>| Bound::Excluded([prefix.clone(), key.to_bytes()].concat());
        let start = range.above.map_or_else(|| Bound::Included(prefix.clone()), with);
        let end = range.below.map_or_else(
            || after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
            |key| Bound::Excluded([prefix.clone(), key.to_bytes()].concat()),
        );
        Ok(Keys { raw: self.scan(I::NAME, RawRange { start, end }, direction)?, index: PhantomData })
    }

    /// The entries of an index whose keys, as they lie in the file, are in a range.
    pub fn entries<I: Index>(&self, range: RawRange, direction: Direction) -> Result<Keys<I>, Error> {
        Ok(Keys { raw: self.scan(I::NAME, range, direction)?, index: PhantomData })
    }

    /// The entries of an index with fields up to and including `last`, from the smallest on.
    pub fn entries_up_to<I: Index>(&self, last: &I::Fields) -> Result<Keys<I>, Error> {
        let last = last.to_bytes();
        let end = if I::UNIQUE {
            Bound::Included(last) // the fields are all of the key, and may be of any length
        } else {
            after_prefix(&last).map_or(Bound::Unbounded, Bound::Excluded)
        };
        let range = RawRange { start: Bound::Unbounded, end };
        Ok(Keys { raw: self.scan(I::NAME, range, Direction::Forward)?, index: PhantomData })
    }

    /// Raw rows of any table or index of the catalogue, or of `meta`.
    pub fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<Scan, Error> {
        if range.is_empty() {
            return Ok(Scan { range: Contained::none(), direction });
        }
        let bounds = (range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice));
        let table = self.table(table)?;
        Ok(Scan { range: Contained::new(guarded(|| table.range::<&[u8]>(bounds))?), direction })
    }
}

impl RawSource for Snapshot {
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(table, key, |value| Ok(value.to_vec()))
    }

    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error> {
        Ok(Box::new(Self::scan(self, table, range, direction)?))
    }

    fn count(&self, table: &str) -> Result<u64, Error> {
        let table = self.table(table)?;
        guarded(|| table.len())
    }

    fn tree(&self, table: &str) -> Result<Option<Tree>, Error> {
        let table = self.table(table)?;
        let stats = guarded(|| table.stats())?;
        Ok(Some(Tree {
            height: stats.tree_height(),
            leaf_pages: stats.leaf_pages(),
            branch_pages: stats.branch_pages(),
            stored_bytes: stats.stored_bytes(),
            metadata_bytes: stats.metadata_bytes(),
            fragmented_bytes: stats.fragmented_bytes(),
        }))
    }
}

/// Raw rows in key order. An error is the last item.
pub struct Scan {
    range: Contained<redb::Range<'static, Bytes, Bytes>>,
    direction: Direction,
}

impl Scan {
    /// The next row, as `read` makes it of its bytes.
    fn next_with<T>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> Result<T, Error>) -> Option<Result<T, Error>> {
        let range = self.range.get_mut().ok()?;
        let direction = self.direction;
        let row = guarded(|| {
            let row = match direction {
                Direction::Forward => range.next(),
                Direction::Reverse => range.next_back(),
            };
            let Some(row) = row else { return Ok::<_, Error>(None) };
            let (key, value) = row?;
            Ok(Some(read(key.value(), value.value())))
        });
        match row {
            Ok(row) => row,
            Err(error) => {
                self.range = Contained::none(); // what follows an error cannot be trusted
                Some(Err(error))
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|key, value| Ok((key.to_vec(), value.to_vec())))
    }
}

/// Rows of a table, decoded.
pub struct Rows<T> {
    raw: Scan,
    table: PhantomData<fn() -> T>,
}

impl<T: Table> Iterator for Rows<T> {
    type Item = DecodedRow<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.raw.next_with(decode_row::<T>)
    }
}

/// Index entries: fields and primary key.
pub struct Keys<I> {
    raw: Scan,
    index: PhantomData<fn() -> I>,
}

impl<I: Index> Iterator for Keys<I> {
    type Item = Result<(I::Fields, PrimaryKey<I>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.raw.next_with(decode_entry::<I>)
    }
}
