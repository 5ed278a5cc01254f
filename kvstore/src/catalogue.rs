//! The catalogue: every table of a store, without their types, for whatever works on all of them.

use std::{fmt::Write as _, marker::PhantomData};

use crate::{
    codec,
    error::Error,
    explain::{self, ByteRange, Explanation, KeyKind},
    key::Key,
    record::{Field, Record},
    snapshot::decode_row,
    source::RawSource,
    store::Store,
    table::Table,
    verify::{self, Finding},
};

/// The tables of a store. Made by [`catalogue!`](crate::catalogue).
pub type Catalogue = &'static [&'static dyn AnyTable];

/// What is known of a table by its declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// How its keys are to be read.
    pub key: &'static str,
    /// What a record is, and what its key.
    pub record: &'static str,
    /// The record version that is written.
    pub version: u8,
    /// The record's fields.
    pub fields: Vec<Field>,
    /// Its indexes.
    pub indexes: Vec<IndexInfo>,
}

/// What is known of an index by its declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// Whether at most one row has the same fields.
    pub unique: bool,
    /// How the fields are to be read; the primary key follows them unless the index is unique.
    pub fields: &'static str,
}

/// A table of any type.
pub trait AnyTable: Send + Sync {
    /// What its declaration says.
    fn describe(&self) -> TableInfo;
    /// Checks every row and index entry; each thing found wrong goes to `report`.
    fn verify(&self, source: &dyn RawSource, report: &mut dyn FnMut(Finding)) -> Result<(), Error>;
    /// The bytes that this program writes for the row that `value` is under `key`: of an old record version, the latest.
    fn rewrite(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error>;
    /// Makes every index anew from the records, in bounded commits. Answers how many rows it read.
    fn rebuild_indexes(&self, store: &Store) -> Result<u64, Error>;
    /// What each byte of a row means, or of an entry of its index `name`; `None` where it has no such index.
    fn explain(&self, name: &str, key: &[u8], value: &[u8]) -> Option<Explanation>;
    /// Whether a row decodes, in any record version that was ever shipped.
    fn read(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// The keys of the table, or of its index `name`, that begin with `text`; see [`Key::range_of`].
    fn range_of(&self, name: &str, text: &str) -> Option<ByteRange>;
}

/// A declared table as [`AnyTable`].
pub struct Declared<T>(PhantomData<fn() -> T>);

impl<T: Table> Declared<T> {
    /// The only value.
    pub const NEW: Self = Self(PhantomData);
}

impl<T: Table> AnyTable for Declared<T> {
    fn describe(&self) -> TableInfo {
        let indexes = T::INDEXES.iter().map(|index| IndexInfo {
            name: index.name,
            purpose: index.purpose.trim(),
            unique: index.unique,
            fields: index.fields_kind.layout,
        });
        TableInfo {
            name: T::NAME,
            purpose: T::PURPOSE.trim(),
            key: T::Key::LAYOUT,
            record: T::Record::ABOUT.trim(),
            version: T::Record::VERSION,
            fields: T::Record::fields(),
            indexes: indexes.collect(),
        }
    }

    fn verify(&self, source: &dyn RawSource, report: &mut dyn FnMut(Finding)) -> Result<(), Error> {
        verify::table::<T>(source, report)
    }

    fn rewrite(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
        let (_, record) = decode_row::<T>(key, value)?;
        record.to_bytes(key).map_err(Error::too_large(T::NAME))
    }

    fn rebuild_indexes(&self, store: &Store) -> Result<u64, Error> {
        verify::rebuild::<T>(store)
    }

    fn explain(&self, name: &str, key: &[u8], value: &[u8]) -> Option<Explanation> {
        if name == T::NAME {
            return Some(explain::row::<T>(key, value));
        }
        let index = T::INDEXES.iter().find(|index| index.name == name)?;
        Some(explain::entry(index, key, value))
    }

    fn read(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        decode_row::<T>(key, value).map(drop)
    }

    fn range_of(&self, name: &str, text: &str) -> Option<ByteRange> {
        if name == T::NAME {
            return T::Key::range_of(text);
        }
        let index = T::INDEXES.iter().find(|index| index.name == name)?;
        match index.unique {
            true => (index.fields_kind.range_of)(text),
            false => index.fields_kind.range_with(&KeyKind::of::<T::Key>(), text),
        }
    }
}

/// Lists the tables of a store.
#[macro_export]
macro_rules! catalogue {
    ($($table:ty),* $(,)?) => {
        &[$(&$crate::Declared::<$table>::NEW as &dyn $crate::AnyTable),*]
    };
}

/// A short text that changes whenever a table, a key, a record version or an index changes: eight hexadecimal digits.
pub fn fingerprint(catalogue: Catalogue) -> String {
    let mut text = String::new();
    for table in catalogue {
        let info = table.describe();
        let _ = write!(text, "{} {} {} {}", info.name, info.key, info.version, codec::HEADER_BYTES);
        for field in info.fields {
            let _ = write!(text, " {}:{}", field.name, field.kind);
        }
        for index in info.indexes {
            let _ = write!(text, " [{} {} {}]", index.name, index.unique, index.fields);
        }
        text.push('\n');
    }
    checksum_text(&text)
}

/// The CRC-32C of a text, as eight hexadecimal digits.
pub fn checksum_text(text: &str) -> String {
    format!("{:08x}", crc32c::crc32c(text.as_bytes()))
}
