//! Messages: the queries that are this backend's own. They lie channel by channel, the live apart from the deleted, by id.

use std::ops::Bound;

use decentcom_kvstore::{Direction, Error, Key as _, RawRange, Snapshot, Table as _, WriteBatch};

use super::{
    error::storage_error,
    place::{ByKey, Place, prefix},
    record::{KeyOf, Stored},
    rows::{is_purged, wrong_entry},
    table::Of,
};
use crate::storage::{
    ChannelId, Message, MessageId, MessagePage, StorageError,
    contract::field::Value,
    port::{Bounds, Page},
};

/// Where a message of a channel lies.
fn place(channel_id: ChannelId, deleted: bool, id: MessageId) -> Place<Message> {
    Place::with(&[Value::Id(channel_id.ulid()), Value::Flag(deleted)], id)
}

/// Where all messages of a channel lie.
pub(super) fn of_channel(channel_id: ChannelId) -> RawRange {
    RawRange::beginning_with(prefix(&[Value::Id(channel_id.ulid())]))
}

/// Where those of a channel lie, live or deleted, whose ids are in a range; and at which byte of a place the id begins.
pub(super) fn within(channel_id: ChannelId, deleted: bool, ids: &RawRange) -> (RawRange, usize) {
    let before = prefix(&[Value::Id(channel_id.ulid()), Value::Flag(deleted)]);
    let all = RawRange::beginning_with(before.clone());
    let with = |id: &Vec<u8>| [before.as_slice(), id].concat();
    let or = |bound: &Bound<Vec<u8>>, all: Bound<Vec<u8>>| match bound {
        Bound::Unbounded => all,
        bound => bound.as_ref().map(with),
    };
    (RawRange { start: or(&ids.start, all.start), end: or(&ids.end, all.end) }, before.len())
}

/// One walk along neighbouring rows, which ends with the first message beyond the bounds. Deleted ones lie elsewhere.
pub(super) fn page(
    snapshot: &Snapshot,
    channel_id: ChannelId,
    page: Page,
    bounds: Bounds,
) -> Result<MessagePage, StorageError> {
    read_page(snapshot, channel_id, page, bounds).map_err(storage_error("read a page of messages"))
}

fn read_page(snapshot: &Snapshot, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<MessagePage, Error> {
    if is_purged(snapshot, channel_id)? {
        return Ok(MessagePage::default());
    }
    let live = RawRange::beginning_with(prefix(&[Value::Id(channel_id.ulid()), Value::Flag(false)]));
    let (range, direction) = match page {
        Page::Newest => (live, Direction::Reverse),
        Page::Before(id) => {
            (live.past(place(channel_id, false, id).to_bytes(), Direction::Reverse), Direction::Reverse)
        }
        Page::After(id) => (live.past(place(channel_id, false, id).to_bytes(), Direction::Forward), Direction::Forward),
    };
    let mut last = match page {
        Page::Newest => None,
        Page::Before(id) | Page::After(id) => Some(id),
    };
    let mut messages = Vec::new();
    let mut bytes = 0_usize;
    for row in snapshot.rows_in::<Of<Message>>(range, direction)? {
        let (_, Stored(message)) = row?;
        // A record is what was stored under its key; that it belongs here, the engine only says: its pages have no checksum.
        let follows = last.is_none_or(|last| match direction {
            Direction::Forward => message.id > last,
            Direction::Reverse => message.id < last,
        });
        if message.channel_id != channel_id || message.deleted || !follows {
            return Err(wrong_entry(Of::<Message>::NAME, &Place::of(&message).to_bytes()));
        }
        last = Some(message.id);
        bytes = bytes.saturating_add(message.content.len());
        let is_full = messages.len() == bounds.messages as usize;
        if is_full || (bytes > bounds.bytes && !messages.is_empty()) {
            return Ok(MessagePage { messages, has_more: true });
        }
        messages.push(message);
    }
    Ok(MessagePage { messages, has_more: false })
}

/// Removes what there is of a message of a channel that is no more. Nothing that is wrong with it may keep it there: neither
/// that its record does not decode, nor that there is none.
pub(super) fn reclaim(batch: &mut WriteBatch, channel_id: ChannelId, id: MessageId) -> Result<(), Error> {
    let places = [place(channel_id, false, id), place(channel_id, true, id)];
    for place in &places {
        batch.discard::<Of<Message>>(place)?;
    }
    match batch.find::<ByKey<Message>>(&KeyOf(id)) {
        Ok(Some(found)) if found.key() == Some(id) && !places.contains(&found) => {
            tracing::warn!(%id, "a message of a deleted channel lies in another one as well; that one stays");
            Ok(())
        }
        Ok(_) | Err(Error::Corrupt { .. }) => batch.discard_unique_entry::<ByKey<Message>>(&KeyOf(id)),
        Err(error) => Err(error),
    }
}
