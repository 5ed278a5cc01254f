//! The tables `channels`, `categories` and `purges`.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use decentcom_kvstore::{
    Direction, Error, Key as _, KeyRange, Operation, RawRange, Snapshot, Table as _, decode_row, hex,
};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    existing,
    schema::{
        Categories, CategoryRecord, ChannelRecord, Channels, MessagesByChannel, PurgeRecord, Purges,
        TombstonesByChannel,
    },
    time_of, timestamp,
};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, MessageId, StorageError,
    front::engine::{PurgeSlice, PurgeStep, Rows},
};

fn decode(id: Ulid, record: ChannelRecord) -> Result<Channel, StorageError> {
    let ChannelRecord { name, topic, category_id, position, updated_at } = record;
    Ok(Channel {
        id: id.into(),
        name,
        topic,
        category_id,
        position,
        created_at: time_of("channels", id)?,
        updated_at: timestamp("channels", id, updated_at)?,
    })
}

fn encode(channel: &Channel) -> ChannelRecord {
    ChannelRecord {
        name: channel.name.clone(),
        topic: channel.topic.clone(),
        category_id: channel.category_id.clone(),
        position: channel.position,
        updated_at: channel.updated_at.as_millis(),
    }
}

fn decode_category(id: Ulid, record: CategoryRecord) -> Result<Category, StorageError> {
    let CategoryRecord { name, position } = record;
    Ok(Category { id: id.into(), name, position, created_at: time_of("categories", id)? })
}

fn encode_category(category: &Category) -> CategoryRecord {
    CategoryRecord { name: category.name.clone(), position: category.position }
}

pub(super) fn by_id(snapshot: &Snapshot, id: ChannelId) -> Result<Option<Channel>, StorageError> {
    let record = snapshot.get::<Channels>(&id.ulid()).map_err(storage_error("read a channel"))?;
    record.map(|record| decode(id.ulid(), record)).transpose()
}

/// All channels, by (position, id). There are few enough to be sorted at each call.
pub(super) fn list(snapshot: &Snapshot) -> Result<Vec<Channel>, StorageError> {
    let rows = snapshot.rows::<Channels>(None, Direction::Forward).map_err(storage_error("list channels"))?;
    let decoded = rows.map(|row| row.map_err(storage_error("list channels")).and_then(|(id, it)| decode(id, it)));
    let mut channels = decoded.collect::<Result<Vec<_>, _>>()?;
    channels.sort_by_key(|channel| (channel.position, channel.id));
    Ok(channels)
}

pub(super) fn category_by_id(snapshot: &Snapshot, id: CategoryId) -> Result<Option<Category>, StorageError> {
    let record = snapshot.get::<Categories>(&id.ulid()).map_err(storage_error("read a category"))?;
    record.map(|record| decode_category(id.ulid(), record)).transpose()
}

pub(super) fn list_categories(snapshot: &Snapshot) -> Result<Vec<Category>, StorageError> {
    let attempt = "list categories";
    let rows = snapshot.rows::<Categories>(None, Direction::Forward).map_err(storage_error(attempt))?;
    let decoded = rows.map(|row| row.map_err(storage_error(attempt)).and_then(|(id, it)| decode_category(id, it)));
    let mut categories = decoded.collect::<Result<Vec<_>, _>>()?;
    categories.sort_by_key(|category| (category.position, category.id));
    Ok(categories)
}

/// The category that a raw row is.
pub(super) fn category_from_raw(key: &[u8], value: &[u8]) -> Result<Category, StorageError> {
    let row = decode_row::<Categories>(key, value);
    row.map_err(storage_error("decode a row")).and_then(|(key, record)| decode_category(key, record))
}

/// The channel that a raw row is.
pub(super) fn from_raw(key: &[u8], value: &[u8]) -> Result<Channel, StorageError> {
    let row = decode_row::<Channels>(key, value);
    row.map_err(storage_error("decode a row")).and_then(|(key, record)| decode(key, record))
}

/// Those of `ids` that exist.
pub(super) fn known(snapshot: &Snapshot, ids: &BTreeSet<ChannelId>) -> Result<HashSet<ChannelId>, StorageError> {
    existing::<Channels, _>(snapshot, ids, ChannelId::ulid).map_err(storage_error("look for channels"))
}

pub(super) fn load(
    snapshot: &Snapshot,
    ids: &BTreeSet<ChannelId>,
    of: &BTreeSet<CategoryId>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for id in ids {
        if let Some(channel) = by_id(snapshot, *id)? {
            rows.channels.insert(*id, Arc::new(channel));
        }
    }
    if !of.is_empty() {
        for channel in list(snapshot)? {
            let category = channel.category_id.as_deref().and_then(CategoryId::parse);
            if category.is_some_and(|category| of.contains(&category)) {
                rows.channels.insert(channel.id, Arc::new(channel));
            }
        }
    }
    Ok(())
}

pub(super) fn load_categories(
    snapshot: &Snapshot,
    ids: &BTreeSet<CategoryId>,
    all: bool,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if all {
        rows.categories.extend(list_categories(snapshot)?.into_iter().map(|it| (it.id, Arc::new(it))));
        return Ok(());
    }
    for id in ids {
        if let Some(category) = category_by_id(snapshot, *id)? {
            rows.categories.insert(*id, Arc::new(category));
        }
    }
    Ok(())
}

/// Some messages of the channel that is to be purged next. What the record says of it does not matter, nor whether it
/// decodes.
pub(super) fn load_purge(snapshot: &Snapshot, step: PurgeStep, rows: &mut Rows) -> Result<(), StorageError> {
    let attempt = "find what is left of a deleted channel";
    let mut purges = snapshot.scan(Purges::NAME, RawRange::ALL, Direction::Forward).map_err(storage_error(attempt))?;
    let Some(purge) = purges.nth(step.skipped) else { return Ok(()) };
    let (key, _) = purge.map_err(storage_error(attempt))?;
    let no_id = || corrupt(Purges::NAME, &hex(&key), "the key is no channel's id");
    let channel = Ulid::decode(&key).ok_or_else(no_id)?;
    let find = || -> Result<PurgeSlice, Error> {
        let live = snapshot.keys_of::<MessagesByChannel>(&channel, KeyRange::ALL, Direction::Forward)?;
        let deleted = snapshot.keys_of::<TombstonesByChannel>(&channel, KeyRange::ALL, Direction::Forward)?;
        let messages = live.chain(deleted).take(step.at_most).map(|entry| entry.map(|(_, id)| MessageId::from(id)));
        let messages = messages.collect::<Result<_, _>>()?;
        Ok(PurgeSlice { channel_id: channel.into(), messages, channels: snapshot.len::<Purges>()? })
    };
    rows.purge = Some(find().map_err(storage_error(attempt))?);
    Ok(())
}

pub(super) fn insert(operation: &mut Operation<'_>, channel: &Channel) -> Result<(), Error> {
    operation.insert::<Channels>(&channel.id.ulid(), &encode(channel))
}

pub(super) fn replace(operation: &mut Operation<'_>, channel: &Channel) -> Result<(), Error> {
    operation.replace::<Channels>(&channel.id.ulid(), &encode(channel))
}

pub(super) fn insert_category(operation: &mut Operation<'_>, category: &Category) -> Result<(), Error> {
    operation.insert::<Categories>(&category.id.ulid(), &encode_category(category))
}

pub(super) fn replace_category(operation: &mut Operation<'_>, category: &Category) -> Result<(), Error> {
    operation.replace::<Categories>(&category.id.ulid(), &encode_category(category))
}

pub(super) fn remove_category(operation: &mut Operation<'_>, id: CategoryId) -> Result<(), Error> {
    operation.remove::<Categories>(&id.ulid())
}

pub(super) fn begin_purge(operation: &mut Operation<'_>, id: ChannelId) -> Result<(), Error> {
    let name = operation.get::<Channels>(&id.ulid())?.map(|channel| channel.name).unwrap_or_default();
    operation.remove::<Channels>(&id.ulid())?;
    operation.insert::<Purges>(&id.ulid(), &PurgeRecord { name })
}

pub(super) fn end_purge(operation: &mut Operation<'_>, id: ChannelId) -> Result<(), Error> {
    operation.discard::<Purges>(&id.ulid())
}
