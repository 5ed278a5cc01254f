//! Fields: what a record is made of, said once. Backends, dumps, checks and pages read it here.

use std::{borrow::Cow, sync::Arc};

use ulid::Ulid;

use crate::storage::{Entity, SessionDigest, Timestamp, UsedChallenge};

/// What sort of value a field holds. Each backend, and each format of dumps, has one way to write each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Flag,
    /// A whole number of 32 bits.
    Number,
    /// A [`Timestamp`].
    Time,
    /// Text in UTF-8.
    Text,
    /// A ULID.
    Id,
    /// A SHA-256: 32 bytes, as text 64 lower-case hexadecimal digits.
    Digest,
    /// The key of a used challenge: its slot, a SHA-256, its number. 44 bytes, as text 88 lower-case hexadecimal digits.
    Challenge,
}

/// The value of a field, without its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An optional field without a value.
    Nothing,
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Number`].
    Number(i32),
    /// Of [`Kind::Time`].
    Time(Timestamp),
    /// Of [`Kind::Text`].
    Text(Cow<'a, str>),
    /// Of [`Kind::Id`].
    Id(Ulid),
    /// Of [`Kind::Digest`] and [`Kind::Challenge`].
    Bytes(Cow<'a, [u8]>),
}

/// A type that a field may have.
pub trait FieldType: Sized {
    /// Its kind.
    const KIND: Kind;
    /// Whether the field may be without a value.
    const IS_OPTIONAL: bool = false;

    /// What says least: no, zero, nothing.
    fn blank() -> Self;

    /// The value as such.
    fn value(&self) -> Value<'_>;

    /// The value of this type; `None` of another kind, or one that it cannot have.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

/// Implements [`FieldType`] for types: their kind, a blank one, how one is made a value, and what is made of a value of that kind.
macro_rules! field_types {
    ($($type:ty: $kind:ident, $blank:expr, $to:expr, $from:pat => $made:expr;)*) => {$(
        impl $crate::storage::contract::field::FieldType for $type {
            const KIND: $crate::storage::contract::field::Kind = $crate::storage::contract::field::Kind::$kind;

            fn blank() -> Self {
                $blank
            }

            fn value(&self) -> $crate::storage::contract::field::Value<'_> {
                let to: for<'a> fn(&'a $type) -> $crate::storage::contract::field::Value<'a> = $to;
                to(self)
            }

            fn from_value(value: $crate::storage::contract::field::Value<'_>) -> Option<Self> {
                match value {
                    $from => $made,
                    _ => None,
                }
            }
        }
    )*};
}

pub(in crate::storage) use field_types;

field_types! {
    bool: Flag, false, |flag| Value::Flag(*flag), Value::Flag(flag) => Some(flag);
    i32: Number, 0, |number| Value::Number(*number), Value::Number(number) => Some(number);
    Timestamp: Time, Self::MIN, |time| Value::Time(*time), Value::Time(time) => Some(time);
    String: Text, Self::new(), |text| Value::Text(Cow::Borrowed(text)), Value::Text(text) => Some(text.into_owned());
    Arc<str>: Text, Self::default(), |text| Value::Text(Cow::Borrowed(text)), Value::Text(text) => Some(text.into());
    SessionDigest: Digest, Self::from_bytes([0; 32]), |digest| Value::Bytes(Cow::Borrowed(digest.as_bytes())),
        Value::Bytes(bytes) => bytes.as_ref().try_into().ok().map(Self::from_bytes);
    UsedChallenge: Challenge, Self::from_bytes([0; Self::BYTES]), |used| Value::Bytes(Cow::Owned(used.to_bytes().to_vec())),
        Value::Bytes(bytes) => bytes.as_ref().try_into().ok().map(Self::from_bytes);
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
    const IS_OPTIONAL: bool = true;

    fn blank() -> Self {
        None
    }

    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Nothing, T::value)
    }

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Nothing => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// What a field is to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The record's key.
    Key,
    /// When the record was created: the time within its key. A backend need not store it.
    CreatedAt,
    /// Anything else.
    Content,
}

/// How a dump shows a text when it is made with `--redact-content`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// It is nobody's: an id, a number, a time.
    Open,
    /// What somebody wrote: fillers of its length.
    Private,
    /// Who somebody is, or the digest of a secret: fillers that stay different.
    Distinct,
    /// Any text that is meant to name another record: private unless it is an id.
    Reference,
}

/// When a time must be, against the time when its record was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whenever.
    Any,
    /// Not before.
    NotBefore,
    /// After.
    After,
}

/// What a field holds in records that are older than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// No value: it is optional.
    Nothing,
    /// This one.
    Flag(bool),
    /// This one.
    Number(i32),
}

impl Before {
    /// As a value.
    pub fn value(self) -> Value<'static> {
        match self {
            Self::Nothing => Value::Nothing,
            Self::Flag(flag) => Value::Flag(flag),
            Self::Number(number) => Value::Number(number),
        }
    }
}

/// What is known of a field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, the same in every backend and dump, but see [`column`](Self::column).
    pub name: &'static str,
    /// What it holds.
    pub meaning: &'static str,
    /// Its place among the fields of its record.
    pub position: usize,
    /// The kind of its values.
    pub kind: Kind,
    /// Whether it may be without one.
    pub is_optional: bool,
    /// What it is to its record.
    pub role: Role,
    /// Of a text, the fewest bytes it has.
    pub least: usize,
    /// Of a text, the most bytes it has.
    pub most: usize,
    /// The first version of the record that has it.
    pub since: u8,
    /// What a record of an earlier version holds.
    pub before: Before,
    /// How a redacted dump shows it.
    pub privacy: Privacy,
    /// What it must name, if it names a record.
    pub refers_to: Option<Entity>,
    /// Whether the record goes when what it [refers to](Self::refers_to) goes, and is gone for everybody at once.
    pub goes_with_it: bool,
    /// Whether it stays as it was when the record was stored first.
    pub is_fixed: bool,
    /// When it must be, of a time.
    pub order: Order,
    /// The name of its column, where that is another.
    pub other_column: Option<&'static str>,
    /// The first version of the record that is [clustered](Cluster) by it, if one is.
    pub clustered_since: Option<u8>,
}

impl Field {
    /// The name of its column in SQL.
    pub const fn column(&self) -> &'static str {
        match self.other_column {
            Some(column) => column,
            None => self.name,
        }
    }

    /// What it holds, with the limits of a text.
    pub fn described(&self) -> String {
        let meaning = self.meaning.trim();
        match (self.kind, self.least, self.most) {
            (Kind::Text, 0, most) => format!("{meaning} Up to {most} bytes of UTF-8."),
            (Kind::Text, least, most) => format!("{meaning} {least} to {most} bytes of UTF-8."),
            _ => meaning.to_owned(),
        }
    }

    /// What this is of a field named so.
    #[doc(hidden)] // for `entities!`
    pub const fn named(self, name: &'static str, meaning: &'static str, kind: Kind, is_optional: bool) -> Self {
        Self { name, meaning, kind, is_optional, ..self }
    }

    /// It is there since this version of the record; older ones have `before`.
    pub const fn since(self, version: u8, before: Before) -> Self {
        Self { since: version, before, ..self }
    }

    /// A redacted dump keeps its values different.
    pub const fn distinct(self) -> Self {
        Self { privacy: Privacy::Distinct, ..self }
    }

    /// It is meant to name a record, and may hold any text.
    pub const fn reference(self) -> Self {
        Self { privacy: Privacy::Reference, ..self }
    }

    /// The record goes when what it refers to goes.
    pub const fn goes_with_it(self) -> Self {
        Self { goes_with_it: true, ..self }
    }

    /// It stays as it was when the record was stored first.
    pub const fn fixed(self) -> Self {
        Self { is_fixed: true, ..self }
    }

    /// It has this name in SQL.
    pub const fn in_column(self, column: &'static str) -> Self {
        Self { other_column: Some(column), ..self }
    }
}

/// Any value of its type.
pub const fn plain() -> Field {
    Field {
        name: "",
        meaning: "",
        position: 0,
        kind: Kind::Flag,
        is_optional: false,
        role: Role::Content,
        least: 0,
        most: usize::MAX,
        since: 1,
        before: Before::Nothing,
        privacy: Privacy::Open,
        refers_to: None,
        goes_with_it: false,
        is_fixed: false,
        order: Order::Any,
        other_column: None,
        clustered_since: None,
    }
}

/// The record's key.
pub const fn key() -> Field {
    Field { role: Role::Key, ..plain() }
}

/// When the record was created, which is the time within its key.
pub const fn time_of_key() -> Field {
    Field { role: Role::CreatedAt, ..plain() }
}

/// A text of so many bytes, private in a redacted dump.
pub const fn text(least: usize, most: usize) -> Field {
    Field { least, most, privacy: Privacy::Private, ..plain() }
}

/// The id of a record that must exist.
pub const fn id_of(entity: Entity) -> Field {
    Field { refers_to: Some(entity), ..plain() }
}

/// A time that is not before the record was created.
pub const fn time_since_creation() -> Field {
    Field { order: Order::NotBefore, ..plain() }
}

/// A time that is after the record was created.
pub const fn time_after_creation() -> Field {
    Field { order: Order::After, ..plain() }
}

/// An index: how records are found, or listed, other than by their key.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Its name in the key-value layout. In SQL, a migration names it.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether no two records have the same value.
    pub is_unique: bool,
    /// The field that it finds records by.
    pub field: &'static str,
    /// The flag, and its value, of the records that are in it; all are where this is absent.
    pub only: Option<(&'static str, bool)>,
}

impl Index {
    /// Whether it is over this column alone, of the records that this condition holds for.
    pub fn is_on(&self, field: &str, only: Option<(&str, bool)>) -> bool {
        self.field == field && self.only == only
    }
}

/// How records lie together where a backend keeps them in the order of their keys: by these fields, then by their own key. So
/// those that are read together are neighbours. A backend with other means may do without.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// The fields, of a fixed width each. No record has them twice: they are in its key instead.
    pub by: &'static [&'static str],
    /// The name of the index that finds a record by its own key.
    pub by_key: &'static str,
    /// The first version of the record that lies so.
    pub since: u8,
}

impl Cluster {
    /// Whether the order of the records serves an index, which then need not be kept.
    pub const fn serves(&self, index: &Index) -> bool {
        let [field, rest @ ..] = self.by else { return false };
        if !is_same(field, index.field) {
            return false;
        }
        match (index.only, rest) {
            (None, _) => true,
            (Some((flag, _)), [next, ..]) => is_same(flag, next),
            (Some(_), []) => false,
        }
    }
}

/// The position of the field with this name.
#[allow(clippy::panic, clippy::indexing_slicing)] // while compiling
pub const fn position_of(fields: &[Field], name: &str) -> usize {
    let mut at = 0;
    while at < fields.len() {
        if is_same(fields[at].name, name) {
            return at;
        }
        at += 1;
    }
    panic!("there is no field of this name")
}

const fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (one_rest, other_rest);
    }
    one.is_empty() && other.is_empty()
}

/// Gives fields their positions, and says which of them their records are clustered by.
#[doc(hidden)] // for `model!`
#[allow(clippy::indexing_slicing)] // in a constant: it would not compile
pub const fn numbered<const N: usize>(mut fields: [Field; N], cluster: Option<&Cluster>) -> [Field; N] {
    let mut at = 0;
    while at < N {
        fields[at].position = at;
        at += 1;
    }
    if let Some(Cluster { by, since, .. }) = cluster {
        let mut rest = *by;
        while let [name, others @ ..] = rest {
            fields[position_of(&fields, name)].clustered_since = Some(*since);
            rest = others;
        }
    }
    fields
}
