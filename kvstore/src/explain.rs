//! Bytes for people: what each one of a key, a record or an index entry means, and which keys a person means who types
//! the beginning of one.

use std::ops::Bound;

use bincode::{Decode, Encode};

use crate::{
    codec::{self, HEADER_BYTES},
    key::Key,
    record::{Field, Record},
    source::RawRange,
    table::{IndexDefinition, Table},
};

/// Some neighbouring bytes that mean one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is called: a field, `version`, `checksum`…
    pub name: &'static str,
    /// How its bytes are to be read.
    pub layout: &'static str,
    /// How many bytes it is.
    pub bytes: usize,
    /// What they say.
    pub value: Value,
}

/// A value of any type that keys and records have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An absent optional value.
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A number that may be negative.
    Signed(i64),
    /// A number.
    Unsigned(u64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A ULID.
    Ulid(ulid::Ulid),
    /// Bytes that do not decode; why.
    Unreadable(String),
}

/// A key and what lies under it, in parts that follow each other and leave nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The parts of the key.
    pub key: Vec<Part>,
    /// The parts of the value.
    pub value: Vec<Part>,
}

/// Keys from `start` up to, not including, `end`, which is absent where nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The smallest.
    pub start: Vec<u8>,
    /// The first that is too large.
    pub end: Option<Vec<u8>>,
}

impl From<ByteRange> for RawRange {
    fn from(range: ByteRange) -> Self {
        Self { start: Bound::Included(range.start), end: range.end.map_or(Bound::Unbounded, Bound::Excluded) }
    }
}

/// What is known of a key by its type, as plain functions for whatever works on all tables.
#[derive(Clone, Copy, Debug)]
pub struct KeyKind {
    /// How the bytes are to be read.
    pub layout: &'static str,
    /// Bytes of every encoding, if that is fixed.
    pub width: Option<usize>,
    /// The components of an encoding; `None` where the bytes are none.
    pub parts: fn(&[u8]) -> Option<Vec<Part>>,
    /// See [`Key::range_of`].
    pub range_of: fn(&str) -> Option<ByteRange>,
    components: usize,
}

impl KeyKind {
    /// The kind of `K`.
    pub const fn of<K: Key>() -> Self {
        Self {
            layout: K::LAYOUT,
            width: K::WIDTH,
            parts: |bytes| K::decode(bytes).map(|key| key.parts()),
            range_of: K::range_of,
            components: K::COMPONENTS,
        }
    }

    /// The keys that begin with `text`, where a key of this kind is followed by one of `next`; `/` stands between them.
    pub(crate) fn range_with(&self, next: &Self, text: &str) -> Option<ByteRange> {
        let mut slashes = text.match_indices('/').map(|(at, _)| at);
        let Some((first, rest)) = slashes.nth(self.components - 1).and_then(|at| text.split_at_checked(at)) else {
            return (self.range_of)(text);
        };
        let first = (self.range_of)(first)?;
        if self.width != Some(first.start.len()) || first.end != crate::key::after_prefix(&first.start) {
            return None; // only the beginning of a component, and yet something after it
        }
        let rest = (next.range_of)(rest.get(1..)?)?;
        let end = match rest.end {
            Some(end) => Some([first.start.as_slice(), &end].concat()),
            None => first.end,
        };
        Some(ByteRange { start: [first.start, rest.start].concat(), end })
    }
}

/// A type that a record's field may have.
pub trait FieldType: Encode + Decode<()> {
    /// The value, for people.
    fn value(&self) -> Value;
}

impl FieldType for u64 {
    fn value(&self) -> Value {
        Value::Unsigned(*self)
    }
}

impl FieldType for i32 {
    fn value(&self) -> Value {
        Value::Signed((*self).into())
    }
}

impl FieldType for bool {
    fn value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl FieldType for String {
    fn value(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl<const N: usize> FieldType for [u8; N]
where
    Self: Encode + Decode<()>,
{
    fn value(&self) -> Value {
        Value::Bytes(self.to_vec())
    }
}

impl<T: FieldType> FieldType for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Nothing, FieldType::value)
    }
}

impl<T: FieldType + 'static> FieldType for Vec<T> {
    fn value(&self) -> Value {
        Value::Unsigned(self.len() as u64)
    }
}

/// Reads one field from the front of `rest`.
#[doc(hidden)]
pub fn take_field<F: FieldType>(field: &Field, rest: &mut &[u8]) -> Option<Part> {
    let (value, bytes) = codec::decode_prefix::<F>(rest).ok()?;
    *rest = rest.get(bytes..)?;
    Some(Part { name: field.name, layout: field.kind, bytes, value: value.value() })
}

/// The parts of a record: header, fields, and what cannot be read.
pub(crate) fn record<R: Record>(key: &[u8], bytes: &[u8]) -> Vec<Part> {
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return vec![unreadable(bytes, "too short for a record")];
    };
    let version = header.first().copied().unwrap_or_default();
    let stored = header.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).unwrap_or_default();
    let computed = codec::checksum(key, version, payload);
    let checksum = match stored == computed {
        true => Value::Text("right".into()),
        false => Value::Unreadable(format!("wrong: it should be {}", crate::error::hex(&computed.to_le_bytes()))),
    };
    let mut parts = vec![
        Part { name: "version", layout: "1 byte", bytes: 1, value: Value::Unsigned(version.into()) },
        Part { name: "checksum", layout: "CRC-32C, 4 bytes little-endian", bytes: 4, value: checksum },
    ];
    if version != R::VERSION {
        let upgraded = R::decode(key, version, payload).ok().and_then(|record| {
            let mut payload = Vec::new();
            record.encode(&mut payload).ok().map(|()| payload)
        });
        match upgraded {
            Some(upgraded) => parts.extend(upgraded_fields::<R>(payload, &upgraded)),
            None => parts.push(unreadable(payload, "a payload of another version")),
        }
        return parts;
    }
    let mut rest = payload;
    parts.extend(R::explain(&mut rest));
    if !rest.is_empty() {
        parts.push(unreadable(rest, "these bytes are no field"));
    }
    parts
}

/// The fields that an older payload is read as. They are not its bytes, so these stand before them, in one part.
fn upgraded_fields<R: Record>(payload: &[u8], mut upgraded: &[u8]) -> Vec<Part> {
    let whole = Part { name: "payload", layout: "of an older version", bytes: payload.len(), value: Value::Nothing };
    let fields = R::explain(&mut upgraded).into_iter().map(|field| Part { bytes: 0, ..field });
    [whole].into_iter().chain(fields).collect()
}

/// The parts of a row of a table.
pub(crate) fn row<T: Table>(key: &[u8], value: &[u8]) -> Explanation {
    Explanation { key: key_parts::<T::Key>(key), value: record::<T::Record>(key, value) }
}

/// The parts of an entry of an index.
pub(crate) fn entry<T: Table>(index: &IndexDefinition<T>, key: &[u8], value: &[u8]) -> Explanation {
    if index.unique {
        return Explanation { key: fields_parts(index, key), value: key_parts::<T::Key>(value) };
    }
    let (fields, primary) = index.fields_kind.width.and_then(|width| key.split_at_checked(width)).unwrap_or((key, &[]));
    let mut parts = fields_parts(index, fields);
    parts.extend(key_parts::<T::Key>(primary));
    Explanation {
        key: parts,
        value: if value.is_empty() { Vec::new() } else { vec![unreadable(value, "there should be none")] },
    }
}

fn fields_parts<T: Table>(index: &IndexDefinition<T>, bytes: &[u8]) -> Vec<Part> {
    let mut parts = parts_of(&index.fields_kind, bytes);
    parts.iter_mut().for_each(|part| part.name = "field");
    parts
}

fn key_parts<K: Key>(bytes: &[u8]) -> Vec<Part> {
    parts_of(&KeyKind::of::<K>(), bytes)
}

fn parts_of(kind: &KeyKind, bytes: &[u8]) -> Vec<Part> {
    (kind.parts)(bytes).unwrap_or_else(|| vec![unreadable(bytes, "no such key")])
}

fn unreadable(bytes: &[u8], why: &str) -> Part {
    Part { name: "unreadable", layout: "bytes", bytes: bytes.len(), value: Value::Unreadable(why.into()) }
}
