//! Tables and their secondary indexes, each declared once.

use crate::error::Error;

use super::{
    codec::DecodeError,
    key::{Key, KeyKind},
    record::Record,
};

/// A table: records by primary key, with the indexes derived from them. Declare it with [`table!`](crate::table).
pub trait Table: Sized + 'static {
    /// The primary key.
    type Key: Key;
    /// What lies under it.
    type Record: Record;
    /// Its name in the file; never reused for anything else.
    const NAME: &'static str;
    /// What it is for, in a line.
    const PURPOSE: &'static str;
    /// Its indexes.
    const INDEXES: &'static [IndexDefinition<Self>];
}

/// An index of a table, for typed look-ups.
pub trait Index: 'static {
    /// The table it serves.
    type Table: Table;
    /// What it finds rows by.
    type Fields: Key;
    /// Its name in the file.
    const NAME: &'static str;
    /// Whether at most one row has the same fields.
    const UNIQUE: bool;
}

/// How an index follows its table, without its types: what upkeep, verification and rebuilding run on.
pub struct IndexDefinition<T: Table> {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// Whether at most one row has the same fields.
    pub unique: bool,
    /// What is known of the fields by their type.
    pub fields_kind: KeyKind,
    /// The encoded fields of a row; `None` for a row that is not in the index.
    pub fields: fn(&T::Key, &T::Record) -> Option<Vec<u8>>,
}

/// The primary key of the rows that an index finds.
pub type PrimaryKey<I> = <<I as Index>::Table as Table>::Key;

/// A row of a table, decoded.
pub type DecodedRow<T> = Result<(<T as Table>::Key, <T as Table>::Record), Error>;

/// An index entry as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The fields; of an index that is not unique the primary key follows them.
    pub key: Vec<u8>,
    /// The primary key, of a unique index; else empty.
    pub value: Vec<u8>,
}

impl<T: Table> IndexDefinition<T> {
    /// The entry of a row; `None` if the index leaves it out.
    pub(crate) fn entry(&self, key: &T::Key, record: &T::Record) -> Option<Entry> {
        let mut fields = (self.fields)(key, record)?;
        if self.unique {
            return Some(Entry { key: fields, value: key.to_bytes() });
        }
        key.append_to(&mut fields);
        Some(Entry { key: fields, value: Vec::new() })
    }

    /// The primary key that an entry points to; `None` if the entry has an impossible shape.
    pub(crate) fn primary_key(&self, key: &[u8], value: &[u8]) -> Option<T::Key> {
        if self.unique {
            return T::Key::decode(value);
        }
        let (_, primary) = key.split_at_checked(self.fields_kind.width?)?;
        value.is_empty().then(|| T::Key::decode(primary)).flatten()
    }
}

/// Why the bytes of a row are none of its table's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The key is no key of the table.
    #[error("the key does not decode")]
    Key,
    /// The value is no record of the table, or not the one that was stored under this key.
    #[error(transparent)]
    Record(#[from] DecodeError),
}

/// Key and record of a raw row, or what keeps it from being one.
pub(super) fn typed_row<T: Table>(key: &[u8], value: &[u8]) -> Result<(T::Key, T::Record), Undecodable> {
    let decoded = T::Key::decode(key).ok_or(Undecodable::Key)?;
    Ok((decoded, T::Record::from_bytes(key, value)?))
}

/// Key and record of a raw row.
pub fn decode_row<T: Table>(key: &[u8], value: &[u8]) -> DecodedRow<T> {
    typed_row::<T>(key, value).map_err(|error| Error::corrupt(T::NAME, key, error))
}

/// The record that lies under a key.
pub(crate) fn decode_record<T: Table>(key: &[u8], value: &[u8]) -> Result<T::Record, Error> {
    T::Record::from_bytes(key, value).map_err(|error| Error::corrupt(T::NAME, key, error))
}

/// Fields and primary key of an index entry.
pub(crate) fn decode_entry<I: Index>(key: &[u8], value: &[u8]) -> Result<(I::Fields, PrimaryKey<I>), Error> {
    let decoded = || {
        if I::UNIQUE {
            return Some((I::Fields::decode(key)?, Key::decode(value)?));
        }
        let (fields, primary) = key.split_at_checked(I::Fields::WIDTH?)?;
        Some((I::Fields::decode(fields)?, Key::decode(primary)?))
    };
    decoded().ok_or_else(|| Error::corrupt(I::NAME, key, "the entry does not decode"))
}

/// The primary key that a unique index has under `fields`.
pub(crate) fn decode_pointer<I: Index>(fields: &[u8], value: &[u8]) -> Result<PrimaryKey<I>, Error> {
    Key::decode(value).ok_or_else(|| Error::corrupt(I::NAME, fields, "it points to no key"))
}

/// Declares a table with its indexes. See the crate's example.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $purpose:literal])+
        $visibility:vis table $table:ident($name:literal): $key:ty => $record:ty;
        $(
            $(#[doc = $index_purpose:literal])+
            $uniqueness:ident $index:ident($index_name:literal): $fields:ty = $extract:expr;
        )*
    ) => {
        $(#[doc = $purpose])+
        $visibility enum $table {}

        impl $crate::Table for $table {
            type Key = $key;
            type Record = $record;
            const NAME: &'static str = $name;
            const PURPOSE: &'static str = concat!($($purpose),+);
            const INDEXES: &'static [$crate::IndexDefinition<Self>] = &[$(
                $crate::IndexDefinition {
                    name: $index_name,
                    purpose: concat!($($index_purpose),+),
                    unique: $crate::table!(@unique $uniqueness $fields),
                    fields_kind: $crate::KeyKind::of::<$fields>(),
                    fields: |key, record| {
                        let extract: fn(&$key, &$record) -> Option<$fields> = $extract;
                        extract(key, record).map(|fields| $crate::Key::to_bytes(&fields))
                    },
                },
            )*];
        }

        $(
            $(#[doc = $index_purpose])+
            $visibility enum $index {}

            impl $crate::Index for $index {
                type Table = $table;
                type Fields = $fields;
                const NAME: &'static str = $index_name;
                const UNIQUE: bool = $crate::table!(@unique $uniqueness $fields);
            }
        )*
    };
    (@unique unique $fields:ty) => { true };
    // The primary key follows the fields, so these must have a fixed width.
    (@unique index $fields:ty) => {
        match <$fields as $crate::Key>::WIDTH {
            Some(_) => false,
            None => panic!("the fields of an index that is not unique need a fixed width"),
        }
    };
}
