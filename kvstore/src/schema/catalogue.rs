//! The catalogue: every table of a store, without its types, for whatever works on all of them. All of it is about bytes:
//! where they come from is for others to know.

use std::{fmt::Write as _, marker::PhantomData};

use crate::error::Error;

use super::{
    codec,
    explain::{self, Explanation},
    key::{Key, KeyKind},
    range::ByteRange,
    record::{Field, Record},
    table::{Entry, Table, Undecodable, decode_row, typed_row},
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

/// A table of any type: what its bytes mean.
pub trait AnyTable: Send + Sync {
    /// What its declaration says.
    fn describe(&self) -> TableInfo;
    /// What each index has for a row, in the order of [`TableInfo::indexes`]; `None` for one that leaves the row out.
    fn entries(&self, key: &[u8], value: &[u8]) -> Result<Vec<Option<Entry>>, Undecodable>;
    /// The primary key, as bytes, that an entry of the index `name` points to; `None` if no entry of it looks like that.
    fn primary_key(&self, name: &str, key: &[u8], value: &[u8]) -> Option<Vec<u8>>;
    /// The bytes that this program writes for the row that `value` is under `key`: of an old record version, the latest.
    fn rewrite(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error>;
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

    fn entries(&self, key: &[u8], value: &[u8]) -> Result<Vec<Option<Entry>>, Undecodable> {
        let (key, record) = typed_row::<T>(key, value)?;
        Ok(T::INDEXES.iter().map(|index| index.entry(&key, &record)).collect())
    }

    fn primary_key(&self, name: &str, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let index = T::INDEXES.iter().find(|index| index.name == name)?;
        index.primary_key(key, value).map(|primary| primary.to_bytes())
    }

    fn rewrite(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
        let (_, record) = decode_row::<T>(key, value)?;
        record.to_bytes(key).map_err(|error| Error::too_large(T::NAME, error))
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

/// A short text that changes with what is declared: tables, how their keys are laid out, record versions, fields, indexes.
/// How an index makes its fields from a record is not part of it. Eight hexadecimal digits.
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
