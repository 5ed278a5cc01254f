//! Channels and categories: the queries that are this backend's own.

use std::sync::{Arc, LazyLock};

use sqlx::SqliteConnection;

use super::{
    error::storage_error,
    rows::{APPLIED, made, records, statements, view_of_records, visible},
    sql::{Reading, execute, key_list},
};
use crate::storage::{
    Category, Channel, ChannelId, StorageError,
    port::{ReclaimSlice, ReclaimStep, Rows, View, Wants},
};

static LIST: LazyLock<&str> = LazyLock::new(|| {
    let columns = &statements::<Channel>().columns;
    let visible = visible::<Channel>();
    made(format!("SELECT {columns}, {APPLIED} FROM channels WHERE {visible} ORDER BY position, id"))
});
static LIST_CATEGORIES: LazyLock<&str> = LazyLock::new(|| {
    let columns = &statements::<Category>().columns;
    made(format!("SELECT {columns}, {APPLIED} FROM categories ORDER BY position, id"))
});
static OF_CATEGORIES: LazyLock<&str> = LazyLock::new(|| {
    let columns = &statements::<Channel>().columns;
    let visible = visible::<Channel>();
    let of_one = "upper(category_id) IN (SELECT value FROM json_each(?))";
    made(format!("SELECT {columns} FROM channels WHERE {visible} AND {of_one}"))
});

/// All channels, by (position, id).
pub(super) async fn list(connection: &mut SqliteConnection) -> Result<View<Vec<Channel>>, StorageError> {
    view_of_records(connection, "list channels", sqlx::query(*LIST)).await
}

/// All categories, by (position, id).
pub(super) async fn list_categories(connection: &mut SqliteConnection) -> Result<View<Vec<Category>>, StorageError> {
    view_of_records(connection, "list categories", sqlx::query(*LIST_CATEGORIES)).await
}

/// The channels of categories, all categories, and what is left of a deleted channel.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    wants: &Wants,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if !wants.channels_of.is_empty() {
        let query = sqlx::query(*OF_CATEGORIES).bind(key_list(&wants.channels_of));
        let found = records::<Channel>(connection, "load the channels of a category", query).await?;
        found.into_iter().for_each(|channel| rows.put(Arc::new(channel)));
    }
    if wants.all_categories {
        list_categories(connection).await?.shows.into_iter().for_each(|category| rows.put(Arc::new(category)));
    }
    if let Some(step) = wants.reclaim {
        load_reclaim(connection, step, rows).await?;
    }
    Ok(())
}

/// Some messages of the channel that is to be purged next.
async fn load_reclaim(
    connection: &mut SqliteConnection,
    step: ReclaimStep,
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
        .bind(channel_id.to_string())
        .bind(number(step.at_most))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error(attempt, error))?
        .iter()
        .map(|row| Reading { table: "messages", row }.parse("id"))
        .collect::<Result<_, _>>()?;
    rows.reclaim = Some(ReclaimSlice { channel_id, messages, channels: u64::try_from(channels).unwrap_or_default() });
    Ok(())
}

pub(super) async fn begin_purge(connection: &mut SqliteConnection, id: ChannelId) -> Result<(), StorageError> {
    let query = sqlx::query("INSERT INTO purges (channel_id) VALUES (?)").bind(id.to_string());
    execute(connection, "delete a channel", query).await
}

pub(super) async fn end_purge(connection: &mut SqliteConnection, id: ChannelId) -> Result<(), StorageError> {
    let unnamed = sqlx::query("DELETE FROM messages WHERE channel_id = ?").bind(id.to_string());
    execute(connection, "reclaim what is left of a deleted channel", unnamed).await?;
    let channel = sqlx::query("DELETE FROM channels WHERE id = ?").bind(id.to_string());
    execute(connection, "forget a deleted channel", channel).await?;
    let purge = sqlx::query("DELETE FROM purges WHERE channel_id = ?").bind(id.to_string());
    execute(connection, "forget a deleted channel", purge).await
}
