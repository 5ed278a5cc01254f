//! The table `messages`.

use std::{collections::BTreeSet, sync::Arc};

use decentcom_kvstore::{Direction, Error, KeyRange, Operation, Snapshot, decode_row};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    schema::{MessageRecord, Messages, MessagesByChannel, Purges, TombstonesByChannel},
    time_of, timestamp,
};
use crate::storage::{
    ChannelId, Message, MessageId, MessagePage, StorageError,
    front::engine::{Bounds, Page, Rows},
};

fn decode(id: Ulid, record: MessageRecord) -> Result<Message, StorageError> {
    let channel_id = Ulid::from_bytes(record.channel_id).into();
    decode_in(channel_id, id, record)
}

/// Decodes a message whose channel is known: its id as text is made once for a whole page.
fn decode_in(channel_id: ChannelId, id: Ulid, record: MessageRecord) -> Result<Message, StorageError> {
    let MessageRecord { channel_id: _, author_id, content, edited_at, deleted } = record;
    Ok(Message {
        id: id.into(),
        channel_id,
        author_id: Ulid::from_bytes(author_id).into(),
        content,
        edited_at: edited_at.map(|millis| timestamp("messages", id, millis)).transpose()?,
        deleted,
        created_at: time_of("messages", id)?,
    })
}

fn encode(message: &Message) -> MessageRecord {
    MessageRecord {
        channel_id: message.channel_id.ulid().to_bytes(),
        author_id: message.author_id.ulid().to_bytes(),
        content: message.content.clone(),
        edited_at: message.edited_at.map(|time| time.as_millis()),
        deleted: message.deleted,
    }
}

/// The message, unless its channel is being purged.
pub(super) fn by_id(snapshot: &Snapshot, id: MessageId) -> Result<Option<Message>, StorageError> {
    let attempt = "read a message";
    let Some(record) = snapshot.get::<Messages>(&id.ulid()).map_err(storage_error(attempt))? else { return Ok(None) };
    let channel = Ulid::from_bytes(record.channel_id);
    if is_purged(snapshot, &channel).map_err(storage_error(attempt))? {
        return Ok(None);
    }
    decode(id.ulid(), record).map(Some)
}

/// Whether the channel is being purged. Nearly always none is, which costs less to know.
fn is_purged(snapshot: &Snapshot, channel: &Ulid) -> Result<bool, Error> {
    Ok(!snapshot.is_empty::<Purges>()? && snapshot.contains::<Purges>(channel)?)
}

/// One walk along the index and a look-up per message. It ends with the first message beyond the bounds.
pub(super) fn page(
    snapshot: &Snapshot,
    channel_id: ChannelId,
    page: Page,
    bounds: Bounds,
) -> Result<MessagePage, StorageError> {
    let attempt = "read a page of messages";
    let channel = channel_id.ulid();
    if is_purged(snapshot, &channel).map_err(storage_error(attempt))? {
        return Ok(MessagePage::default());
    }
    let cursor = match page {
        Page::Newest => None,
        Page::Before(id) | Page::After(id) => Some(id.ulid()),
    };
    let (range, direction) = match page {
        Page::Newest => (KeyRange::ALL, Direction::Reverse),
        Page::Before(_) => (KeyRange { above: None, below: cursor.as_ref() }, Direction::Reverse),
        Page::After(_) => (KeyRange { above: cursor.as_ref(), below: None }, Direction::Forward),
    };
    let entries = snapshot.keys_of::<MessagesByChannel>(&channel, range, direction).map_err(storage_error(attempt))?;
    let mut messages = Vec::new();
    let mut bytes = 0_usize;
    for entry in entries {
        let (_, id) = entry.map_err(storage_error(attempt))?;
        if messages.len() == bounds.messages as usize {
            return Ok(MessagePage { messages, has_more: true });
        }
        let record = snapshot.get::<Messages>(&id).map_err(storage_error(attempt))?;
        let wrong = |problem| corrupt("messages_by_channel", &id.to_string(), problem);
        let record = record.ok_or_else(|| wrong("the entry belongs to no message"))?;
        // Entries have no checksum, records have.
        if record.channel_id != channel.to_bytes() || record.deleted {
            return Err(wrong("the entry is not what its message makes of it"));
        }
        bytes = bytes.saturating_add(record.content.len());
        if bytes > bounds.bytes && !messages.is_empty() {
            return Ok(MessagePage { messages, has_more: true });
        }
        messages.push(decode_in(channel_id, id, record)?);
    }
    Ok(MessagePage { messages, has_more: false })
}

/// The message that a raw row is.
pub(super) fn from_raw(key: &[u8], value: &[u8]) -> Result<Message, StorageError> {
    let row = decode_row::<Messages>(key, value);
    row.map_err(storage_error("decode a row")).and_then(|(key, record)| decode(key, record))
}

pub(super) fn load(snapshot: &Snapshot, ids: &BTreeSet<MessageId>, rows: &mut Rows) -> Result<(), StorageError> {
    for id in ids {
        if let Some(message) = by_id(snapshot, *id)? {
            rows.messages.insert(*id, Arc::new(message));
        }
    }
    Ok(())
}

pub(super) fn insert(operation: &mut Operation<'_>, message: &Message) -> Result<(), Error> {
    operation.insert::<Messages>(&message.id.ulid(), &encode(message))
}

pub(super) fn replace(operation: &mut Operation<'_>, message: &Message) -> Result<(), Error> {
    operation.replace::<Messages>(&message.id.ulid(), &encode(message))
}

/// Removes what an index names as a message of a channel that is no more. Nothing that is wrong with it may keep it there,
/// as everything behind it would stay, too: neither that its record does not decode, nor that there is none.
pub(super) fn purge(operation: &mut Operation<'_>, channel: ChannelId, id: MessageId) -> Result<(), Error> {
    let (channel, id) = (channel.ulid(), id.ulid());
    match operation.get::<Messages>(&id) {
        Ok(Some(record)) if record.channel_id == channel.to_bytes() => return operation.remove::<Messages>(&id),
        Ok(Some(_)) => tracing::warn!(%id, "an index names a message of another channel; the entry is removed"),
        Ok(None) | Err(Error::Corrupt { .. }) => {
            tracing::warn!(%id, "a message of a deleted channel is damaged or missing; what there is of it is removed");
            operation.discard::<Messages>(&id)?;
        }
        Err(error) => return Err(error),
    }
    operation.discard_entry::<MessagesByChannel>(&channel, &id)?;
    operation.discard_entry::<TombstonesByChannel>(&channel, &id)
}
