//! Reading raw rows, wherever they lie: in a snapshot of an open store, in a spooled copy of one, at the other end of a
//! socket. Verification and whatever shows rows to people run on this, so that they work on all three.

use std::ops::Bound;

use crate::{
    error::Error,
    key::after_prefix,
    snapshot::{Direction, Snapshot, decode_row},
    table::Table,
};

/// A raw row: key and value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Raw rows in key order. An error is the last item.
pub type RawRows<'a> = Box<dyn Iterator<Item = Result<RawRow, Error>> + 'a>;

/// A row of a table, decoded.
pub type DecodedRow<T> = Result<(<T as Table>::Key, <T as Table>::Record), Error>;

/// Keys between two bounds, compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl RawRange {
    /// Every key.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// This key alone.
    pub fn exactly(key: Vec<u8>) -> Self {
        Self { start: Bound::Included(key.clone()), end: Bound::Included(key) }
    }

    /// Every key above this one.
    pub fn above(key: Vec<u8>) -> Self {
        Self { start: Bound::Excluded(key), ..Self::ALL }
    }

    /// Every key that begins so.
    pub fn beginning_with(prefix: Vec<u8>) -> Self {
        let end = after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { start: Bound::Included(prefix), end }
    }

    /// Whether no key can be in it; redb takes asking for such a range for a mistake.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
            _ => false,
        }
    }

    /// Whether this key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let starts = match &self.start {
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
            Bound::Unbounded => true,
        };
        let ends = match &self.end {
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
            Bound::Unbounded => true,
        };
        starts && ends
    }

    /// What is left of it after `key` was read in this direction.
    pub fn past(self, key: Vec<u8>, direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self { start: Bound::Excluded(key), ..self },
            Direction::Reverse => Self { end: Bound::Excluded(key), ..self },
        }
    }
}

/// Where raw rows of tables and indexes, and of `meta`, can be read.
pub trait RawSource {
    /// The bytes under `key`.
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The rows of a range.
    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error>;

    /// How many rows a table or index has.
    fn count(&self, table: &str) -> Result<u64, Error>;

    /// The shape of a table's tree, where there is one.
    fn tree(&self, table: &str) -> Result<Option<Tree>, Error>;
}

/// The shape of a table's B-tree, as the engine tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Pages from the root to a leaf.
    pub height: u32,
    /// Pages that hold rows.
    pub leaf_pages: u64,
    /// Pages that lead to others.
    pub branch_pages: u64,
    /// Bytes of keys and values.
    pub stored_bytes: u64,
    /// Bytes that keep the tree together.
    pub metadata_bytes: u64,
    /// Bytes of its pages that are unused.
    pub fragmented_bytes: u64,
}

impl RawSource for Snapshot {
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Snapshot::raw(self, table, key)
    }

    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error> {
        Ok(Box::new(Snapshot::scan(self, table, range, direction)?))
    }

    fn count(&self, table: &str) -> Result<u64, Error> {
        self.count(table)
    }

    fn tree(&self, table: &str) -> Result<Option<Tree>, Error> {
        self.tree(table).map(Some)
    }
}

impl dyn RawSource + '_ {
    /// The record under `key`.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, Error> {
        let key = crate::Key::to_bytes(key);
        let Some(value) = self.raw(T::NAME, &key)? else { return Ok(None) };
        decode_row::<T>(&key, &value).map(|(_, record)| Some(record))
    }

    /// Whether there is a row with `key`.
    pub fn contains<T: Table>(&self, key: &T::Key) -> Result<bool, Error> {
        Ok(self.raw(T::NAME, &crate::Key::to_bytes(key))?.is_some())
    }

    /// The rows of a table with keys above `after`, or all. A row that does not decode is an item that is an error, and
    /// the next one follows.
    pub fn rows<T: Table>(&self, after: Option<&T::Key>) -> Result<impl Iterator<Item = DecodedRow<T>> + '_, Error> {
        let range = after.map_or(RawRange::ALL, |key| RawRange::above(crate::Key::to_bytes(key)));
        let rows = self.scan(T::NAME, range, Direction::Forward)?;
        Ok(rows.map(|row| row.and_then(|(key, value)| decode_row::<T>(&key, &value))))
    }
}
