//! How values lie in bytes, the same in redb's file and in the log: in keys, where bytes sort like values, and in payloads.

use std::borrow::Cow;

use decentcom_kvstore::{DecodeError, EncodeError, Key as _, decode_field, encode_field};
use ulid::Ulid;

use super::{
    Timestamp,
    contract::field::{Field, Kind, Value},
};

/// The value that a key is, or a part of one.
pub(super) fn key_value(kind: Kind, key: &[u8]) -> Option<Value<'_>> {
    match kind {
        Kind::Id => Ulid::decode(key).map(Value::Id),
        Kind::Digest | Kind::Challenge => Some(Value::Bytes(key.into())),
        Kind::Flag => bool::decode(key).map(Value::Flag),
        _ => None,
    }
}

/// Appends a value as keys and index entries have it.
pub(super) fn append_value(value: &Value<'_>, bytes: &mut Vec<u8>) {
    match value {
        Value::Id(id) => id.append_to(bytes),
        Value::Time(time) => time.as_millis().append_to(bytes),
        Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Value::Bytes(value) => bytes.extend_from_slice(value),
        Value::Flag(flag) => flag.append_to(bytes),
        Value::Nothing | Value::Number(_) => {} // no key and no index is of these kinds
    }
}

/// A value as index entries have it.
pub(super) fn value_bytes(value: &Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    append_value(value, &mut bytes);
    bytes
}

/// The time within the id that a key is.
pub(super) fn time_of(key: &[u8]) -> Result<Timestamp, DecodeError> {
    timestamp(Ulid::decode(key).map_or(u64::MAX, |id| id.timestamp_ms()))
}

fn timestamp(millis: u64) -> Result<Timestamp, DecodeError> {
    Timestamp::from_millis(millis).ok_or_else(|| DecodeError::Payload("it has a time past the year 9999".into()))
}

/// Appends a value to a payload: one that may be absent after a byte that says whether it is there.
pub(super) fn write(field: &Field, value: &Value<'_>, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
    if field.is_optional {
        encode_field(&(*value != Value::Nothing), payload)?;
    }
    match value {
        Value::Nothing => Ok(()),
        Value::Flag(flag) => encode_field(flag, payload),
        Value::Number(number) => encode_field(number, payload),
        Value::Time(time) => encode_field(&time.as_millis(), payload),
        Value::Text(text) => encode_field(&text.as_ref(), payload),
        Value::Id(id) => {
            payload.extend_from_slice(&id.to_bytes());
            Ok(())
        }
        Value::Bytes(bytes) => {
            payload.extend_from_slice(bytes);
            Ok(())
        }
    }
}

/// Takes a value from the front of a payload, which lends it.
pub(super) fn read<'a>(kind: Kind, is_optional: bool, payload: &mut &'a [u8]) -> Result<Value<'a>, DecodeError> {
    if is_optional && !decode_field::<bool>(payload)? {
        return Ok(Value::Nothing);
    }
    Ok(match kind {
        Kind::Flag => Value::Flag(decode_field(payload)?),
        Kind::Number => Value::Number(decode_field(payload)?),
        Kind::Time => Value::Time(timestamp(decode_field(payload)?)?),
        Kind::Text => Value::Text(Cow::Borrowed(decode_field(payload)?)),
        Kind::Id => Value::Id(Ulid::from_bytes(*take_bytes(payload)?)),
        Kind::Digest => Value::Bytes(Cow::Borrowed(take_bytes::<32>(payload)?)),
        Kind::Challenge => Value::Bytes(Cow::Borrowed(take_bytes::<44>(payload)?)),
    })
}

/// Takes so many bytes from the front of a payload.
pub(super) fn take_bytes<'a, const N: usize>(payload: &mut &'a [u8]) -> Result<&'a [u8; N], DecodeError> {
    let too_few = || DecodeError::Payload(format!("{} bytes are left of {N}", payload.len()));
    let (bytes, rest) = payload.split_first_chunk().ok_or_else(too_few)?;
    *payload = rest;
    Ok(bytes)
}
