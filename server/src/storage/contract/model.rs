//! Records, each declared once: `entities!` makes of the declarations the structs and all that generic code needs to know of
//! them.
//!
//! ```text
//!  entities! { … }  models.rs  ─┬─> Entity, Key, Row: one of all the kinds there are; Entity::with calls generic code
//!                  model! each ─┴─> struct, Model: fields, indexes, a walk over its values, and back
//!                    ids! each ───> the type of its ids (id.rs)
//! ```

use std::{fmt::Debug, hash::Hash, sync::Arc};

use super::field::{Cluster, Field, FieldType, Index, Value};
use crate::storage::{Entity, Key, Row};

/// Who may see records of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Everybody who may see the store: in dumps, checksums, comparisons, feed, backups.
    Kept,
    /// Nobody who does not ask for it, and never the feed.
    Secret,
    /// Only the store itself, and its log.
    Transient,
}

/// A kind of record. Made by `entities!`.
pub trait Model: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// Which kind.
    const ENTITY: Entity;
    /// Who may see it.
    const CLASS: Class;
    /// The table that holds it, in every backend and in dumps.
    const TABLE: &'static str;
    /// What the table holds.
    const PURPOSE: &'static str;
    /// What a record is.
    const ABOUT: &'static str;
    /// Its fields, the key first.
    const FIELDS: &'static [Field];
    /// Its indexes.
    const INDEXES: &'static [Index];
    /// How they lie together, if otherwise than by their keys.
    const CLUSTER: Option<&'static Cluster>;
    /// The version in which it is written by backends that have versions of records.
    const VERSION: u8 = newest(Self::FIELDS, Self::CLUSTER);
    /// The field that names what it goes with, if it goes with anything.
    const GOES_WITH: Option<&'static Field> = goes_with(Self::FIELDS);
    /// What finds one.
    type Key: FieldType + Copy + Debug + Ord + Hash + Into<Key> + Send + Sync;

    /// What finds this one.
    fn key(&self) -> Self::Key;

    /// One with this key in which all else is blank: for whoever makes records that say only what matters to them.
    fn blank(key: Self::Key) -> Self;

    /// Shows every field and its value, in order.
    fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static Field, Value<'a>));

    /// The record with the values of a source, which is asked for them in order.
    fn from_source<S: Source>(source: &mut S) -> Result<Self, S::Error>;

    /// As one of all kinds.
    fn into_row(self: Arc<Self>) -> Row;

    /// If it is of this kind.
    fn of_row(row: &Row) -> Option<&Arc<Self>>;

    /// The value of the field with this name.
    fn value_of(&self, name: &str) -> Option<Value<'_>> {
        let mut found = None;
        self.visit(&mut |field, value| {
            if field.name == name {
                found = Some(value);
            }
        });
        found
    }
}

/// The newest version that any field is of, or the order in which records lie.
const fn newest(mut fields: &[Field], cluster: Option<&Cluster>) -> u8 {
    let mut version = match cluster {
        Some(cluster) => cluster.since,
        None => 1,
    };
    while let [field, rest @ ..] = fields {
        if field.since > version {
            version = field.since;
        }
        fields = rest;
    }
    version
}

const fn goes_with(mut fields: &'static [Field]) -> Option<&'static Field> {
    while let [field, rest @ ..] = fields {
        if field.goes_with_it {
            return Some(field);
        }
        fields = rest;
    }
    None
}

/// Where the values of a record come from.
pub trait Source {
    /// Why there is none.
    type Error;

    /// The value of a field.
    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, Self::Error>;
}

/// Something that is done with a kind of record, whichever it is; see [`Entity::with`].
pub trait ForModel {
    /// What comes of it.
    type Answer;

    /// Does it with this kind.
    fn run<M: Model>(self) -> Self::Answer;
}

/// A constant that there is one of for each kind of record; see [`Entity::each`].
pub trait Each<M: Model, T> {
    /// That of this kind.
    const OF: T;
}

/// Declares a kind of record: its table and class, the struct, with what each field means and [is](super::field), its
/// indexes. The first field is the key. `clustered by` says how records [lie together](super::field::Cluster).
macro_rules! model {
    (
        $entity:ident
        $(#[doc = $purpose:literal])+
        table $table:literal, $class:ident
            $(, clustered by $($cluster_by:ident),+ (since $since:literal, by key $by_key:literal))?;
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(#[doc = $key_meaning:literal])+
            pub $key:ident: $key_type:ty = $key_is:expr,
            $(
                $(#[doc = $meaning:literal])+
                pub $field:ident: $type:ty = $is:expr,
            )*
        }
        $(
            $(#[doc = $index_purpose:literal])+
            $uniqueness:ident $index:ident($index_name:literal): $by:ident $(where $flag:ident = $set:literal)?;
        )*
    ) => {
        $crate::storage::contract::model::model! { @struct $class
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name {
                $(#[doc = $key_meaning])+
                pub $key: $key_type,
                $(
                    $(#[doc = $meaning])+
                    pub $field: $type,
                )*
            }
        }

        impl $name {
            $(
                $(#[doc = $index_purpose])+
                pub const $index: $crate::storage::contract::field::Index = $crate::storage::contract::field::Index {
                    name: $index_name,
                    purpose: concat!($($index_purpose),+),
                    is_unique: $crate::storage::contract::model::model!(@is_unique $uniqueness),
                    field: stringify!($by),
                    only: $crate::storage::contract::model::model!(@only $($flag = $set)?),
                };
            )*
            const CLUSTERED: Option<&'static $crate::storage::contract::field::Cluster> =
                $crate::storage::contract::model::model!(@cluster $(&$crate::storage::contract::field::Cluster {
                    by: &[$(stringify!($cluster_by)),+],
                    by_key: $by_key,
                    since: $since,
                })?);
            const COUNT: usize = [stringify!($key), $(stringify!($field)),*].len();
            const ALL_FIELDS: &'static [$crate::storage::contract::field::Field; Self::COUNT] = {
                use $crate::storage::contract::field::*;
                &numbered(
                [
                    $key_is.named(
                        stringify!($key), concat!($($key_meaning),+), <$key_type as FieldType>::KIND, false,
                    ),
                    $($is.named(
                        stringify!($field), concat!($($meaning),+), <$type as FieldType>::KIND,
                        <$type as FieldType>::IS_OPTIONAL,
                    ),)*
                ],
                Self::CLUSTERED,
                )
            };
        }

        impl $crate::storage::contract::model::Model for $name {
            const ENTITY: $crate::storage::Entity = $crate::storage::Entity::$entity;
            const CLASS: $crate::storage::contract::model::Class = $crate::storage::contract::model::Class::$class;
            const TABLE: &'static str = $table;
            const PURPOSE: &'static str = concat!($($purpose),+);
            const ABOUT: &'static str = concat!($($about),+);
            const FIELDS: &'static [$crate::storage::contract::field::Field] = Self::ALL_FIELDS;
            const INDEXES: &'static [$crate::storage::contract::field::Index] = &[$(Self::$index),*];
            const CLUSTER: Option<&'static $crate::storage::contract::field::Cluster> = Self::CLUSTERED;
            type Key = $key_type;

            fn key(&self) -> $key_type {
                self.$key
            }

            fn blank(key: $key_type) -> Self {
                use $crate::storage::contract::field::FieldType as _;
                Self { $key: key, $($field: <$type>::blank()),* }
            }

            fn visit<'a>(
                &'a self,
                see: &mut dyn FnMut(
                    &'static $crate::storage::contract::field::Field,
                    $crate::storage::contract::field::Value<'a>,
                ),
            ) {
                use $crate::storage::contract::field::FieldType as _;
                let [$key, $($field),*] = Self::ALL_FIELDS;
                see($key, self.$key.value());
                $(see($field, self.$field.value());)*
            }

            fn from_source<S: $crate::storage::contract::model::Source>(source: &mut S) -> Result<Self, S::Error> {
                let [$key, $($field),*] = Self::ALL_FIELDS;
                Ok(Self { $key: source.take($key)?, $($field: source.take($field)?),* })
            }

            fn into_row(self: std::sync::Arc<Self>) -> $crate::storage::Row {
                $crate::storage::Row::$entity(self)
            }

            fn of_row(row: &$crate::storage::Row) -> Option<&std::sync::Arc<Self>> {
                if let $crate::storage::Row::$entity(record) = row { Some(record) } else { None }
            }
        }
    };
    // What everybody may see, programs may write out.
    (@struct Kept $item:item) => {
        #[derive(serde::Serialize)]
        $item
    };
    (@struct $class:ident $item:item) => { $item };
    (@cluster) => { None };
    (@cluster $cluster:expr) => { Some($cluster) };
    (@is_unique unique) => { true };
    (@is_unique index) => { false };
    (@only) => { None };
    (@only $flag:ident = $set:literal) => { Some((stringify!($flag), $set)) };
}
pub(in crate::storage) use model;

/// Declares the kinds of records, in the order in which they may refer to each other. The head of each says what people call
/// one and what finds it: `new UserId`, an id, whose type is made here; `key SessionDigest`, a type that there is. Its body is
/// `model!`'s.
macro_rules! entities {
    ($(
        $(#[$doc:meta])*
        $entity:ident($model:ident) = $name:literal, $new_or_key:ident $key:ident { $($declaration:tt)+ }
    )+) => {
        $(
            entities! { @$new_or_key $key, $name }
            $crate::storage::contract::model::model! { $entity $($declaration)+ }
        )+

        /// The kinds of record the store holds; names what a [`StorageError`](super::StorageError) is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Entity {
            $($(#[$doc])* $entity,)+
        }

        impl Entity {
            /// Every kind, in the order in which they may refer to each other.
            pub const EVERY: &'static [Self] = &[$(Self::$entity),+];

            /// Does something with this kind.
            pub fn with<F: ForModel>(self, then: F) -> F::Answer {
                match self {
                    $(Self::$entity => then.run::<$model>(),)+
                }
            }

            /// A constant of each kind, in the order of [`EVERY`](Self::EVERY).
            pub const fn each<F: $(Each<$model, T> +)+, T: Copy>() -> [T; Self::EVERY.len()] {
                [$(<F as Each<$model, T>>::OF),+]
            }

            /// The table that holds records of this kind, in every backend and in dumps.
            pub const fn table(self) -> &'static str {
                match self {
                    $(Self::$entity => <$model as Model>::TABLE,)+
                }
            }

            /// Who may see records of this kind.
            pub const fn class(self) -> Class {
                match self {
                    $(Self::$entity => <$model as Model>::CLASS,)+
                }
            }

            /// What is known of their fields, the key first.
            pub const fn fields(self) -> &'static [Field] {
                match self {
                    $(Self::$entity => <$model as Model>::FIELDS,)+
                }
            }
        }

        impl Entity {
            /// The version of a record that is written.
            pub const fn version(self) -> u8 {
                match self {
                    $(Self::$entity => <$model as Model>::VERSION,)+
                }
            }

            /// How they lie together, if they do.
            pub const fn cluster(self) -> Option<&'static Cluster> {
                match self {
                    $(Self::$entity => <$model as Model>::CLUSTER,)+
                }
            }

            /// Their indexes.
            pub const fn indexes(self) -> &'static [Index] {
                match self {
                    $(Self::$entity => <$model as Model>::INDEXES,)+
                }
            }
        }

        impl std::fmt::Display for Entity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$entity => $name,)+
                })
            }
        }

        /// A record of any kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Row {
            $($(#[$doc])* $entity(std::sync::Arc<$model>),)+
        }

        impl Row {
            /// What kind it is of.
            pub fn entity(&self) -> Entity {
                match self {
                    $(Self::$entity(_) => Entity::$entity,)+
                }
            }

            /// What finds it.
            pub fn key(&self) -> Key {
                match self {
                    $(Self::$entity(record) => Key::$entity(Model::key(&**record)),)+
                }
            }

            /// Shows every field and its value, in order.
            pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static Field, Value<'a>)) {
                match self {
                    $(Self::$entity(record) => record.visit(see),)+
                }
            }
        }

        /// What finds a record of any kind. Keys of a kind sort like their texts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $($(#[$doc])* $entity($key),)+
        }

        impl Key {
            /// The kind of the record.
            pub fn entity(&self) -> Entity {
                match self {
                    $(Self::$entity(_) => Entity::$entity,)+
                }
            }

            /// As a value.
            pub fn value(&self) -> Value<'_> {
                match self {
                    $(Self::$entity(key) => FieldType::value(key),)+
                }
            }
        }

        $(
            impl From<$key> for Key {
                fn from(key: $key) -> Self {
                    Self::$entity(key)
                }
            }
        )+
    };
    (@key $key:ident, $name:literal) => {};
    (@new $id:ident, $name:literal) => {
        $crate::storage::id::ids! {
            #[doc = concat!("Names a ", $name, ".")]
            $id
        }
    };
}
pub(in crate::storage) use entities;
