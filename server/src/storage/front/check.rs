//! What is checked of a call's arguments before it is queued: everything that needs no record.

use std::sync::Arc;

use crate::storage::{
    Entity, StorageError,
    limits::{MAX_CONTENT_BYTES, MAX_PUBKEY_BYTES, MAX_TEXT_BYTES},
    text::{check_label, shows_something},
};

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), StorageError> {
    if text.len() > max {
        return Err(StorageError::invalid(field, format!("{} bytes; at most {max} are allowed", text.len())));
    }
    Ok(())
}

pub(super) fn pubkey(text: &str) -> Result<String, StorageError> {
    check_length("pubkey", text, MAX_PUBKEY_BYTES)?;
    if text.is_empty() {
        return Err(StorageError::invalid("pubkey", "it is empty; at least 1 byte is needed"));
    }
    Ok(text.to_owned())
}

pub(super) fn optional_text(field: &'static str, text: Option<&str>) -> Result<Option<String>, StorageError> {
    text.map(|text| check_length(field, text, MAX_TEXT_BYTES).map(|()| text.to_owned())).transpose()
}

/// A name, which must be there.
pub(super) fn name(field: &'static str, text: &str) -> Result<String, StorageError> {
    check_length(field, text, MAX_TEXT_BYTES)?;
    if text.is_empty() {
        return Err(StorageError::invalid(field, "it is empty; at least 1 byte is needed"));
    }
    check_label(field, text).map(|()| text.to_owned())
}

/// A label that an empty text clears.
pub(super) fn optional_label(field: &'static str, text: Option<&str>) -> Result<Option<String>, StorageError> {
    match text {
        None | Some("") => Ok(text.map(str::to_owned)),
        Some(text) => name(field, text).map(Some),
    }
}

/// The text of a message, copied once for all who are to hold it: the command, the record, the feed, the newest page, the answer.
pub(super) fn content(text: &str) -> Result<Arc<str>, StorageError> {
    check_length("content", text, MAX_CONTENT_BYTES)?;
    if !shows_something(text) {
        return Err(StorageError::invalid("content", "there is nothing to see in it"));
    }
    Ok(text.into())
}

pub(super) fn cursor<T>(field: &'static str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, StorageError> {
    parse(text).ok_or_else(|| StorageError::invalid(field, "a cursor is an id: 26 characters of a ULID"))
}

/// The id a mutation names; one that is malformed cannot exist.
pub(super) fn existing<T>(entity: Entity, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, StorageError> {
    parse(text).ok_or_else(|| StorageError::not_found(entity, text))
}
