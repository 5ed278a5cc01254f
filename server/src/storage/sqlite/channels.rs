//! The tables `channels`, `categories` and `purges`.

use std::{collections::BTreeSet, sync::Arc};

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    sql::{Reading, execute, key_list, rows_by_keys},
};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, StorageError,
    front::engine::{PurgeSlice, PurgeStep, Rows},
};

pub(super) fn decode(row: &SqliteRow) -> Result<Channel, StorageError> {
    let row = Reading { table: "channels", row };
    Ok(Channel {
        id: row.parse("id")?,
        name: row.get("name")?,
        topic: row.get("topic")?,
        category_id: row.get("category_id")?,
        position: row.get("position")?,
        created_at: row.parse("created_at")?,
        updated_at: row.parse("updated_at")?,
    })
}

pub(super) fn decode_category(row: &SqliteRow) -> Result<Category, StorageError> {
    let row = Reading { table: "categories", row };
    Ok(Category {
        id: row.parse("id")?,
        name: row.get("name")?,
        position: row.get("position")?,
        created_at: row.parse("created_at")?,
    })
}

/// A channel listed in `purges` does not exist for any reader.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, topic, category_id, position, created_at, updated_at FROM channels ",
            "WHERE id NOT IN (SELECT channel_id FROM purges) ",
            $rest
        )
    };
}

macro_rules! select_category {
    ($rest:literal) => {
        concat!("SELECT id, name, position, created_at FROM categories ", $rest)
    };
}

pub(super) async fn by_id(connection: &mut SqliteConnection, id: ChannelId) -> Result<Option<Channel>, StorageError> {
    let row = sqlx::query(select!("AND id = ?")).bind(id.as_str()).fetch_optional(connection).await;
    row.map_err(|error| storage_error("read a channel", error))?.as_ref().map(decode).transpose()
}

pub(super) async fn list(connection: &mut SqliteConnection) -> Result<Vec<Channel>, StorageError> {
    let rows = sqlx::query(select!("ORDER BY position, id")).fetch_all(connection).await;
    rows.map_err(|error| storage_error("list channels", error))?.iter().map(decode).collect()
}

pub(super) async fn category_by_id(
    connection: &mut SqliteConnection,
    id: CategoryId,
) -> Result<Option<Category>, StorageError> {
    let row = sqlx::query(select_category!("WHERE id = ?")).bind(id.as_str()).fetch_optional(connection).await;
    row.map_err(|error| storage_error("read a category", error))?.as_ref().map(decode_category).transpose()
}

pub(super) async fn list_categories(connection: &mut SqliteConnection) -> Result<Vec<Category>, StorageError> {
    let rows = sqlx::query(select_category!("ORDER BY position, id")).fetch_all(connection).await;
    rows.map_err(|error| storage_error("list categories", error))?.iter().map(decode_category).collect()
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<ChannelId>,
    of: &BTreeSet<CategoryId>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let mut found = Vec::new();
    if !ids.is_empty() {
        let statement = select!("AND id IN (SELECT value FROM json_each(?))");
        found.extend(rows_by_keys(connection, "load channels", statement, key_list(ids)).await?);
    }
    if !of.is_empty() {
        let statement = select!("AND upper(category_id) IN (SELECT value FROM json_each(?))");
        found.extend(rows_by_keys(connection, "load the channels of a category", statement, key_list(of)).await?);
    }
    for row in &found {
        let channel = decode(row)?;
        rows.channels.insert(channel.id, Arc::new(channel));
    }
    Ok(())
}

pub(super) async fn load_categories(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<CategoryId>,
    all: bool,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if all {
        rows.categories.extend(list_categories(connection).await?.into_iter().map(|it| (it.id, Arc::new(it))));
        return Ok(());
    }
    if ids.is_empty() {
        return Ok(());
    }
    let statement = select_category!("WHERE id IN (SELECT value FROM json_each(?))");
    for row in &rows_by_keys(connection, "load categories", statement, key_list(ids)).await? {
        let category = decode_category(row)?;
        rows.categories.insert(category.id, Arc::new(category));
    }
    Ok(())
}

/// Some messages of the channel that is to be purged next.
pub(super) async fn load_purge(
    connection: &mut SqliteConnection,
    step: PurgeStep,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find what is left of a deleted channel";
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let statement = "SELECT channel_id, (SELECT count(*) FROM purges) AS channels
        FROM purges ORDER BY channel_id LIMIT 1 OFFSET ?";
    let purge = sqlx::query(statement)
        .bind(number(step.skipped))
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| storage_error(attempt, error))?;
    let Some(purge) = purge else { return Ok(()) };
    let purge = Reading { table: "purges", row: &purge };
    let (channel_id, channels): (ChannelId, i64) = (purge.parse("channel_id")?, purge.get("channels")?);
    // What has no id of ours cannot be named, and goes with the channel itself.
    let statement = concat!("SELECT id FROM messages WHERE channel_id = ? AND ", is_id!(), " LIMIT ?");
    let messages = sqlx::query(statement)
        .bind(channel_id.as_str())
        .bind(number(step.at_most))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error(attempt, error))?
        .iter()
        .map(|row| Reading { table: "messages", row }.parse("id"))
        .collect::<Result<_, _>>()?;
    rows.purge = Some(PurgeSlice { channel_id, messages, channels: u64::try_from(channels).unwrap_or_default() });
    Ok(())
}

pub(super) async fn put(connection: &mut SqliteConnection, channel: &Channel) -> Result<(), StorageError> {
    let query = sqlx::query(
        "INSERT INTO channels (id, name, topic, category_id, position, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, topic = excluded.topic,
             category_id = excluded.category_id, position = excluded.position, updated_at = excluded.updated_at",
    )
    .bind(channel.id.as_str())
    .bind(&channel.name)
    .bind(&channel.topic)
    .bind(&channel.category_id)
    .bind(channel.position)
    .bind(channel.created_at.to_string())
    .bind(channel.updated_at.to_string());
    execute(connection, "store a channel", query).await
}

pub(super) async fn put_category(connection: &mut SqliteConnection, category: &Category) -> Result<(), StorageError> {
    let query = sqlx::query(
        "INSERT INTO categories (id, name, position, created_at) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, position = excluded.position",
    )
    .bind(category.id.as_str())
    .bind(&category.name)
    .bind(category.position)
    .bind(category.created_at.to_string());
    execute(connection, "store a category", query).await
}

pub(super) async fn remove_category(connection: &mut SqliteConnection, id: CategoryId) -> Result<(), StorageError> {
    let query = sqlx::query("DELETE FROM categories WHERE id = ?").bind(id.as_str());
    execute(connection, "remove a category", query).await
}

pub(super) async fn begin_purge(connection: &mut SqliteConnection, id: ChannelId) -> Result<(), StorageError> {
    let query = sqlx::query("INSERT INTO purges (channel_id) VALUES (?)").bind(id.as_str());
    execute(connection, "delete a channel", query).await
}

pub(super) async fn end_purge(connection: &mut SqliteConnection, id: ChannelId) -> Result<(), StorageError> {
    let unnamed = sqlx::query("DELETE FROM messages WHERE channel_id = ?").bind(id.as_str());
    execute(connection, "reclaim what is left of a deleted channel", unnamed).await?;
    let channel = sqlx::query("DELETE FROM channels WHERE id = ?").bind(id.as_str());
    execute(connection, "forget a deleted channel", channel).await?;
    let purge = sqlx::query("DELETE FROM purges WHERE channel_id = ?").bind(id.as_str());
    execute(connection, "forget a deleted channel", purge).await
}
