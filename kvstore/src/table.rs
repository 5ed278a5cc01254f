//! Tables and their secondary indexes, each declared once.

use crate::{explain::KeyKind, key::Key, record::Record};

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

/// An index entry as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl<T: Table> IndexDefinition<T> {
    /// The entry of a row: a unique index maps fields to primary key, another one has `fields ‖ primary key` as its
    /// key and no value.
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
