//! Messages: the queries that are this backend's own.

use decentcom_kvstore::{Direction, Error, KeyRange, Snapshot, WriteBatch};

use super::{
    error::{corrupt, storage_error},
    record::{KeyOf, Of},
    rows::is_purged,
    schema::{MessagesByChannel, TombstonesByChannel},
};
use crate::storage::{
    ChannelId, Message, MessageId, MessagePage, StorageError,
    port::{Bounds, Page},
};

/// One walk along the index and a look-up per message. It ends with the first message beyond the bounds.
pub(super) fn page(
    snapshot: &Snapshot,
    channel_id: ChannelId,
    page: Page,
    bounds: Bounds,
) -> Result<MessagePage, StorageError> {
    let attempt = "read a page of messages";
    if is_purged(snapshot, channel_id).map_err(storage_error(attempt))? {
        return Ok(MessagePage::default());
    }
    let cursor = match page {
        Page::Newest => None,
        Page::Before(id) | Page::After(id) => Some(KeyOf(id)),
    };
    let (range, direction) = match page {
        Page::Newest => (KeyRange::ALL, Direction::Reverse),
        Page::Before(_) => (KeyRange { above: None, below: cursor.as_ref() }, Direction::Reverse),
        Page::After(_) => (KeyRange { above: cursor.as_ref(), below: None }, Direction::Forward),
    };
    let entries =
        snapshot.keys_of::<MessagesByChannel>(&KeyOf(channel_id), range, direction).map_err(storage_error(attempt))?;
    let mut messages = Vec::new();
    let mut bytes = 0_usize;
    for entry in entries {
        let (_, key) = entry.map_err(storage_error(attempt))?;
        if messages.len() == bounds.messages as usize {
            return Ok(MessagePage { messages, has_more: true });
        }
        let stored = snapshot.get::<Of<Message>>(&key).map_err(storage_error(attempt))?;
        let wrong = |problem| corrupt(Message::LIVE_BY_CHANNEL.name, &key.0.text(), problem);
        let message = stored.ok_or_else(|| wrong("the entry belongs to no message"))?.0;
        // Entries have no checksum, records have.
        if message.channel_id != channel_id || message.deleted {
            return Err(wrong("the entry is not what its message makes of it"));
        }
        bytes = bytes.saturating_add(message.content.len());
        if bytes > bounds.bytes && !messages.is_empty() {
            return Ok(MessagePage { messages, has_more: true });
        }
        messages.push(message);
    }
    Ok(MessagePage { messages, has_more: false })
}

/// Removes what an index names as a message of a channel that is no more. Nothing that is wrong with it may keep it there,
/// as everything behind it would stay, too: neither that its record does not decode, nor that there is none.
pub(super) fn reclaim(batch: &mut WriteBatch, channel_id: ChannelId, id: MessageId) -> Result<(), Error> {
    let (channel, key) = (KeyOf(channel_id), KeyOf(id));
    match batch.get::<Of<Message>>(&key) {
        Ok(Some(stored)) if stored.0.channel_id == channel_id => return batch.remove::<Of<Message>>(&key),
        Ok(Some(_)) => tracing::warn!(%id, "an index names a message of another channel; the entry is removed"),
        Ok(None) | Err(Error::Corrupt { .. }) => {
            tracing::warn!(%id, "a message of a deleted channel is damaged or missing; what there is of it is removed");
            batch.discard::<Of<Message>>(&key)?;
        }
        Err(error) => return Err(error),
    }
    batch.discard_entry::<MessagesByChannel>(&channel, &key)?;
    batch.discard_entry::<TombstonesByChannel>(&channel, &key)
}
