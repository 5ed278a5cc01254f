//! Channels and categories: the queries that are this backend's own.

use std::sync::Arc;

use decentcom_kvstore::{Direction, Error, Key as _, RawRange, Snapshot, Table as _, WriteBatch, hex};

use super::{
    error::{corrupt, storage_error},
    messages,
    place::Place,
    record::KeyOf,
    rows,
    schema::{PurgeRecord, Purges},
    table::Of,
};
use crate::storage::{
    Category, Channel, ChannelId, Message, StorageError,
    port::{ReclaimSlice, ReclaimStep, Rows, Wants},
};

/// All channels, by (position, id). There are few enough to be sorted at each call.
pub(super) fn list(snapshot: &Snapshot) -> Result<Vec<Channel>, StorageError> {
    let mut channels = rows::list::<Channel>(snapshot, None, None)?;
    channels.sort_by_key(|channel| (channel.position, channel.id));
    Ok(channels)
}

/// All categories, by (position, id).
pub(super) fn list_categories(snapshot: &Snapshot) -> Result<Vec<Category>, StorageError> {
    let mut categories = rows::list::<Category>(snapshot, None, None)?;
    categories.sort_by_key(|category| (category.position, category.id));
    Ok(categories)
}

/// The channels of categories, and all categories.
pub(super) fn load(snapshot: &Snapshot, wants: &Wants, rows: &mut Rows) -> Result<(), StorageError> {
    if !wants.channels_of.is_empty() {
        for channel in list(snapshot)? {
            if channel.category().is_some_and(|category| wants.channels_of.contains(&category)) {
                rows.put(Arc::new(channel));
            }
        }
    }
    if wants.all_categories {
        list_categories(snapshot)?.into_iter().for_each(|category| rows.put(Arc::new(category)));
    }
    if let Some(step) = wants.reclaim {
        load_reclaim(snapshot, step, rows)?;
    }
    Ok(())
}

/// Some messages of the channel that is to be purged next. What the record says of it does not matter, nor whether it
/// decodes.
fn load_reclaim(snapshot: &Snapshot, step: ReclaimStep, rows: &mut Rows) -> Result<(), StorageError> {
    let attempt = "find what is left of a deleted channel";
    let mut purges = snapshot.scan(Purges::NAME, RawRange::ALL, Direction::Forward).map_err(storage_error(attempt))?;
    let Some(purge) = purges.nth(step.skipped) else { return Ok(()) };
    let (key, _) = purge.map_err(storage_error(attempt))?;
    let no_id = || corrupt(Purges::NAME, &hex(&key), "the key is no channel's id");
    let channel = KeyOf::<ChannelId>::decode(&key).ok_or_else(no_id)?;
    let find = || -> Result<ReclaimSlice, Error> {
        let places = snapshot.keys_in::<Of<Message>>(messages::of_channel(channel.0), Direction::Forward)?;
        // A key that does not decode stays: `verify` names it.
        let ids = places.filter_map(|place| match place {
            Err(Error::Corrupt { .. }) => None,
            place => place.map(|place| place.key()).transpose(),
        });
        let messages = ids.take(step.at_most).collect::<Result<_, _>>()?;
        Ok(ReclaimSlice { channel_id: channel.0, messages, channels: snapshot.len::<Purges>()? })
    };
    rows.reclaim = Some(find().map_err(storage_error(attempt))?);
    Ok(())
}

pub(super) fn begin_purge(batch: &mut WriteBatch, id: ChannelId) -> Result<(), Error> {
    let place = Place::with(&[], id);
    let channel = batch.get::<Of<Channel>>(&place)?;
    let name = channel.map(|channel| channel.0.name).unwrap_or_default();
    batch.remove::<Of<Channel>>(&place)?;
    batch.insert::<Purges>(&id.ulid(), &PurgeRecord { name })
}

pub(super) fn end_purge(batch: &mut WriteBatch, id: ChannelId) -> Result<(), Error> {
    batch.discard::<Purges>(&id.ulid())
}
