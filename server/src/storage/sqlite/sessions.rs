//! Sessions and used challenges: the queries that are this backend's own. The column `token` holds the SHA-256 of the
//! token, in hexadecimal.

use std::sync::LazyLock;

use sqlx::SqliteConnection;

use super::{
    error::storage_error,
    rows::{APPLIED, made, view},
    sql::{Reading, bad_value, key_list, rows_by_keys},
};
use crate::storage::{
    Challenge, SessionDigest, StorageError, Timestamp, UsedChallenge,
    port::{Rows, View, Wants},
};

/// What is wanted otherwise than by key.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    wants: &Wants,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for (user, at_most) in &wants.sessions_of {
        let found = sqlx::query("SELECT token FROM sessions WHERE user_id = ? LIMIT ?")
            .bind(user.to_string())
            .bind(limit(*at_most))
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| storage_error("find the sessions of a user", error))?;
        let digests = found.iter().map(|row| Reading { table: "sessions", row }.parse::<SessionDigest>("token"));
        rows.sessions_of.insert(*user, digests.collect::<Result<_, _>>()?);
    }
    if let Some((expired_at, at_most)) = wants.expired {
        load_expired(connection, expired_at, at_most, rows).await?;
    }
    if let Some((expired_at, at_most)) = wants.expired_challenges {
        load_expired_challenges(connection, expired_at, at_most, rows).await?;
    }
    Ok(())
}

fn limit(at_most: usize) -> i64 {
    i64::try_from(at_most).unwrap_or(i64::MAX)
}

/// The earliest sessions that end no later than `expired_at`.
async fn load_expired(
    connection: &mut SqliteConnection,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    // What has no digest logs nobody in; it must not keep the sweep from what comes after it.
    let statement = "SELECT token, expires_at FROM sessions WHERE expires_at <= ? AND typeof(token) = 'text'
        AND length(token) = 64 AND token NOT GLOB '*[^0-9a-f]*' ORDER BY expires_at LIMIT ?";
    let found = sqlx::query(statement)
        .bind(expired_at.to_string())
        .bind(limit(at_most))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error("find expired sessions", error))?;
    for row in &found {
        let row = Reading { table: "sessions", row };
        // A time that is none has passed all the same.
        rows.expired.push((row.parse("expires_at").unwrap_or(expired_at), row.parse("token")?));
    }
    Ok(())
}

/// The earliest used challenges that have expired; the table is in the order of their expiry.
async fn load_expired_challenges(
    connection: &mut SqliteConnection,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let Some(last) = Challenge::last_expired_slot(expired_at) else { return Ok(()) };
    let found = sqlx::query("SELECT challenge FROM used_challenges WHERE challenge < ? ORDER BY challenge LIMIT ?")
        .bind(format!("{:016x}", last + 1))
        .bind(limit(at_most))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error("find expired challenges", error))?;
    for row in &found {
        rows.expired_challenges.push(Reading { table: "used_challenges", row }.parse("challenge")?);
    }
    Ok(())
}

/// The largest number of a key's used challenges in each slot: a seek each, and one statement.
pub(super) async fn newest_challenges(
    connection: &mut SqliteConnection,
    key_digest: [u8; 32],
    slots: &[u64],
) -> Result<View<Vec<Option<u32>>>, StorageError> {
    static STATEMENT: LazyLock<&str> = LazyLock::new(|| {
        let newest = "SELECT max(challenge) FROM used_challenges
             WHERE challenge >= value AND challenge <= value || 'ffffffff'";
        made(format!("SELECT ({newest}) AS newest, {APPLIED} FROM json_each(?) ORDER BY key"))
    });
    let prefixes = key_list(slots.iter().map(|slot| UsedChallenge::prefix(*slot, &key_digest)));
    let found = rows_by_keys(connection, "look for used challenges", *STATEMENT, prefixes).await?;
    let number = |row| {
        let newest: Option<String> = Reading { table: "used_challenges", row }.get("newest")?;
        let parse = |text: String| {
            let wrong = || bad_value("read a row of used_challenges", "used_challenges.challenge", &text);
            UsedChallenge::from_hex(&text).map(|used| used.number).ok_or_else(wrong)
        };
        newest.map(parse).transpose()
    };
    let numbers = found.iter().map(number).collect::<Result<_, _>>()?;
    view(connection, &found, numbers).await
}
