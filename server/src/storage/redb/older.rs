//! Files of formats 1 and 2, and how they become today's.
//!
//! ```text
//!  format 2                                         today
//!  messages               id ─> record              messages        channel ‖ deleted ‖ id ─> record
//!  messages_by_channel    channel ‖ id of a live    messages_by_id  id ─> channel ‖ deleted ‖ id
//!  tombstones_by_channel  channel ‖ id of a deleted
//! ```
//!
//! A page of history was 50 look-ups all over the file, and is now one walk along neighbours.

use decentcom_kvstore::{
    Catalogue, Direction, Error, Index, Key as _, OlderShape, RawRange, RawRow, Record as _, Rewriting, Snapshot,
    Table as _, catalogue,
};

use super::{
    place::{ByKey, Place},
    record::{KeyOf, Stored},
    schema::Purges,
    table::{Of, Unclustered},
};
use crate::storage::{AnsweredChallenge, Category, Channel, ChannelId, Message, StoredSession, User};

/// How tables were laid out.
pub(super) const SHAPE: OlderShape =
    OlderShape { newest_format: 2, catalogue: CATALOGUE, rewrite, rewritten: &[Of::<Message>::NAME] };

const CATALOGUE: Catalogue = catalogue![
    Of<User>,
    Of<Channel>,
    Of<Category>,
    Unclustered<Message>,
    Purges,
    Of<StoredSession>,
    Of<AnsweredChallenge>,
];

/// The messages of a channel, live or soft-deleted.
macro_rules! by_channel {
    ($($index:ident = $declared:ident;)*) => {$(
        enum $index {}

        impl Index for $index {
            type Table = Unclustered<Message>;
            type Fields = KeyOf<ChannelId>;
            const NAME: &'static str = Message::$declared.name;
            const UNIQUE: bool = false;
        }
    )*};
}

by_channel! {
    Live = LIVE_BY_CHANNEL;
    Deleted = DELETED_BY_CHANNEL;
}

/// Writes messages in the order in which they now lie, then the index that leads to them in its own. The old indexes say
/// which message is next; where they have not every message, they are made anew first.
fn rewrite(rewriting: &mut Rewriting<'_>) -> Result<(), Error> {
    if has_every_message(rewriting)? {
        return Ok(());
    }
    tracing::warn!("the indexes of the old file do not have its messages; they are made anew");
    rewriting.rebuild_old_indexes()?;
    rewriting.clear(&[Of::<Message>::NAME, ByKey::<Message>::NAME])?;
    match has_every_message(rewriting)? {
        true => Ok(()),
        false => Err(Error::Damaged("messages are not where its indexes, made anew, say".into())),
    }
}

/// Whether as many messages were found by the old indexes, which had each of them once at most, as there are.
fn has_every_message(rewriting: &mut Rewriting<'_>) -> Result<bool, Error> {
    let old = rewriting.old()?;
    let found = rewriting.fill(Of::<Message>::NAME, clustered(&old)?)?;
    let there_are = rewriting.fill(ByKey::<Message>::NAME, by_id(&old)?)?;
    Ok(found == there_are)
}

/// The messages, channel by channel, the live before the deleted. What no entry leads to, or does not decode, is left out.
fn clustered(old: &Snapshot) -> Result<impl Iterator<Item = Result<RawRow, Error>> + '_, Error> {
    let mut live = old.entries::<Live>(RawRange::ALL, Direction::Forward)?.peekable();
    let mut deleted = old.entries::<Deleted>(RawRange::ALL, Direction::Forward)?.peekable();
    let places = std::iter::from_fn(move || {
        let is_deleted = match (live.peek(), deleted.peek()) {
            (Some(Ok((live, _))), Some(Ok((deleted, _)))) => deleted < live,
            (live, _) => live.is_none(),
        };
        let entry = if is_deleted { deleted.next() } else { live.next() };
        entry.map(|entry| entry.map(|(channel, id)| (channel, is_deleted, id)))
    });
    Ok(places.filter_map(|place| {
        let row = place.and_then(|(KeyOf(channel), is_deleted, id)| {
            let message = match old.get::<Unclustered<Message>>(&id) {
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::warn!(id = %id.0, %error, "a message does not decode; it stays in the copy that is kept");
                    None
                }
                message => message?,
            };
            let is_there = |it: &Stored<Message>| it.0.channel_id == channel && it.0.deleted == is_deleted;
            let Some(message) = message.filter(is_there) else { return Ok(None) };
            let place = Place::of(&message.0).to_bytes();
            let bytes = message.to_bytes(&place).map_err(|error| Error::Damaged(error.to_string()))?;
            Ok(Some((place, bytes)))
        });
        row.transpose()
    }))
}

/// Where each message that decodes lies, by id.
fn by_id(old: &Snapshot) -> Result<impl Iterator<Item = Result<RawRow, Error>> + '_, Error> {
    let rows = old.rows::<Unclustered<Message>>(None, Direction::Forward)?;
    Ok(rows.filter_map(|row| match row {
        Ok((id, Stored(message))) => Some(Ok((id.to_bytes(), Place::of(&message).to_bytes()))),
        Err(Error::Corrupt { .. }) => None,
        Err(error) => Some(Err(error)),
    }))
}
