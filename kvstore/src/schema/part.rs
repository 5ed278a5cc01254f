//! Bytes for people: parts of keys and records, and the values they say.

use bincode::{Decode, Encode};

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

/// A type that a record's field may have.
pub trait FieldType: Encode + Decode<()> {
    /// The value, for people. Of a list that is how long it is.
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
