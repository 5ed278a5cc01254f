//! What each byte of a row or an index entry means.

use crate::error::hex;

use super::{
    codec::{self, HEADER_BYTES},
    key::{Key, KeyKind},
    part::{Part, Value},
    record::Record,
    table::{IndexDefinition, Table},
};

/// A key and what lies under it, in parts that follow each other and leave nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The parts of the key.
    pub key: Vec<Part>,
    /// The parts of the value.
    pub value: Vec<Part>,
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
        false => Value::Unreadable(format!("wrong: it should be {}", hex(&computed.to_le_bytes()))),
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
