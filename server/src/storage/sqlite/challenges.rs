//! The table `used_challenges`.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::{
    error::storage_error,
    sql::{Reading, bad_value, execute, key_list, rows_by_keys},
};
use crate::storage::{Challenge, StorageError, Timestamp, UsedChallenge, front::engine::Rows};

fn used(row: &Reading<'_>) -> Result<UsedChallenge, StorageError> {
    parse(row.get("challenge")?)
}

fn parse(text: &str) -> Result<UsedChallenge, StorageError> {
    UsedChallenge::from_hex(text)
        .ok_or_else(|| bad_value("read a row of used_challenges", "used_challenges.challenge", text))
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    wanted: &BTreeSet<UsedChallenge>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let statement = "SELECT challenge FROM used_challenges WHERE challenge IN (SELECT value FROM json_each(?))";
    let keys = key_list(wanted.iter().map(UsedChallenge::to_hex));
    for row in &rows_by_keys(connection, "look for used challenges", statement, keys).await? {
        rows.challenges.insert(used(&Reading { table: "used_challenges", row })?);
    }
    Ok(())
}

/// The earliest used challenges that have expired; the table is in the order of their expiry.
pub(super) async fn load_expired(
    connection: &mut SqliteConnection,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let Some(last) = Challenge::last_expired_slot(expired_at) else { return Ok(()) };
    let found = sqlx::query("SELECT challenge FROM used_challenges WHERE challenge < ? ORDER BY challenge LIMIT ?")
        .bind(format!("{:016x}", last + 1))
        .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error("find expired challenges", error))?;
    for row in &found {
        rows.expired_challenges.push(used(&Reading { table: "used_challenges", row })?);
    }
    Ok(())
}

/// The largest number of a key's used challenges in each slot: a seek each, and one statement.
pub(super) async fn newest(
    connection: &mut SqliteConnection,
    key_digest: [u8; 32],
    slots: &[u64],
) -> Result<Vec<Option<u32>>, StorageError> {
    let statement = "SELECT (SELECT max(challenge) FROM used_challenges
             WHERE challenge >= value AND challenge <= value || 'ffffffff') AS newest FROM json_each(?) ORDER BY key";
    let prefixes = key_list(slots.iter().map(|slot| UsedChallenge::prefix(*slot, &key_digest)));
    let found = rows_by_keys(connection, "look for used challenges", statement, prefixes).await?;
    let number = |row| {
        let newest: Option<String> = Reading { table: "used_challenges", row }.get("newest")?;
        newest.map(|text| parse(&text).map(|used| used.number)).transpose()
    };
    found.iter().map(number).collect()
}

pub(super) async fn put(connection: &mut SqliteConnection, used: &UsedChallenge) -> Result<(), StorageError> {
    let query = sqlx::query("INSERT INTO used_challenges (challenge, expires_at) VALUES (?, ?)")
        .bind(used.to_hex())
        .bind(used.expires_at().to_string());
    execute(connection, "store a used challenge", query).await
}

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    used: impl IntoIterator<Item = UsedChallenge>,
) -> Result<(), StorageError> {
    let query = sqlx::query("DELETE FROM used_challenges WHERE challenge IN (SELECT value FROM json_each(?))")
        .bind(key_list(used.into_iter().map(|used| used.to_hex())));
    execute(connection, "forget used challenges", query).await
}
