//! Reading raw rows, wherever they lie: in a snapshot of an open store, in a spooled copy of one, at the other end of a
//! socket. Verification and whatever shows rows to people run on this, so that they work on all three.

use crate::{
    error::Error,
    schema::{
        key::Key as _,
        range::{Direction, RawRange},
        table::{DecodedRow, Table, decode_record, decode_row},
    },
};

/// A raw row: key and value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Raw rows in key order. An error is the last item.
pub type RawRows<'a> = Box<dyn Iterator<Item = Result<RawRow, Error>> + 'a>;

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

impl dyn RawSource + '_ {
    /// The record under `key`.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Record>, Error> {
        let key = key.to_bytes();
        let Some(value) = self.raw(T::NAME, &key)? else { return Ok(None) };
        decode_record::<T>(&key, &value).map(Some)
    }

    /// Whether there is a row with `key`.
    pub fn contains<T: Table>(&self, key: &T::Key) -> Result<bool, Error> {
        Ok(self.raw(T::NAME, &key.to_bytes())?.is_some())
    }

    /// The rows of a table with keys above `after`, or all. A row that does not decode is an item that is an error, and
    /// the next one follows.
    pub fn rows<T: Table>(&self, after: Option<&T::Key>) -> Result<impl Iterator<Item = DecodedRow<T>> + '_, Error> {
        let range = after.map_or(RawRange::ALL, |key| RawRange::above(key.to_bytes()));
        let rows = self.scan(T::NAME, range, Direction::Forward)?;
        Ok(rows.map(|row| row.and_then(|(key, value)| decode_row::<T>(&key, &value))))
    }
}
