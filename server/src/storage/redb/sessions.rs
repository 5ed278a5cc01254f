//! Sessions and used challenges: the queries that are this backend's own.

use decentcom_kvstore::{Direction, Error, Key as _, KeyRange, RawRange, Snapshot, Table as _, WriteBatch};

use super::{
    error::{corrupt, storage_error},
    place::Place,
    record::KeyOf,
    schema::{SessionsByExpiry, SessionsByUser},
    table::Of,
};
use crate::storage::{
    AnsweredChallenge, Challenge, SessionDigest, StorageError, StoredSession, Timestamp, UsedChallenge,
    port::{Rows, Wants},
};

/// What is wanted otherwise than by key.
pub(super) fn load(snapshot: &Snapshot, wants: &Wants, rows: &mut Rows) -> Result<(), StorageError> {
    let attempt = "find the sessions of a user";
    for (user, at_most) in &wants.sessions_of {
        let entries = snapshot.keys_of::<SessionsByUser>(&KeyOf(*user), KeyRange::ALL, Direction::Forward);
        let digests = entries.map_err(storage_error(attempt))?.take(*at_most);
        let digests = digests.filter_map(|entry| entry.map(|(_, place)| place.key()).transpose());
        rows.sessions_of.insert(*user, digests.collect::<Result<_, _>>().map_err(storage_error(attempt))?);
    }
    if let Some((expired_at, at_most)) = wants.expired {
        load_expired(snapshot, expired_at, at_most, rows)?;
    }
    if let Some((expired_at, at_most)) = wants.expired_challenges {
        load_expired_challenges(snapshot, expired_at, at_most, rows)?;
    }
    Ok(())
}

/// The earliest sessions that end no later than `expired_at`.
fn load_expired(
    snapshot: &Snapshot,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find expired sessions";
    let entries =
        snapshot.entries_up_to::<SessionsByExpiry>(&expired_at.as_millis()).map_err(storage_error(attempt))?;
    for entry in entries.take(at_most) {
        let (expires_at, place) = entry.map_err(storage_error(attempt))?;
        let Some(digest) = place.key() else { continue };
        rows.expired.push((Timestamp::from_millis(expires_at).unwrap_or(Timestamp::MAX), digest));
    }
    Ok(())
}

/// The earliest used challenges that have expired; the table is in the order of their expiry.
fn load_expired_challenges(
    snapshot: &Snapshot,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find expired challenges";
    let Some(last) = Challenge::last_expired_slot(expired_at) else { return Ok(()) };
    let table = Of::<AnsweredChallenge>::NAME;
    let found = snapshot.scan(table, RawRange::ALL, Direction::Forward).map_err(storage_error(attempt))?;
    for row in found.take(at_most) {
        let (key, _) = row.map_err(storage_error(attempt))?; // all there is to a row is in its key
        let Some(KeyOf(used)) = KeyOf::<UsedChallenge>::decode(&key) else { continue };
        if used.slot > last {
            break;
        }
        rows.expired_challenges.push(used);
    }
    Ok(())
}

/// The largest number of a key's used challenges in each slot: a seek each.
pub(super) fn newest_challenges(
    snapshot: &Snapshot,
    key_digest: [u8; 32],
    slots: &[u64],
) -> Result<Vec<Option<u32>>, StorageError> {
    let attempt = "look for used challenges";
    let table = Of::<AnsweredChallenge>::NAME;
    let newest = |slot: &u64| {
        let of_slot = RawRange::beginning_with((*slot, key_digest).to_bytes());
        let found = snapshot.scan(table, of_slot, Direction::Reverse).map_err(storage_error(attempt))?;
        let Some(row) = found.into_iter().next() else { return Ok(None) };
        let (key, _) = row.map_err(storage_error(attempt))?;
        let undecodable = || corrupt(table, &slot.to_string(), "a key does not decode");
        KeyOf::<UsedChallenge>::decode(&key).map(|KeyOf(used)| Some(used.number)).ok_or_else(undecodable)
    };
    slots.iter().map(newest).collect()
}

/// Removes what an index names as a session that expired. Nothing that is wrong with it may keep it there: the sweep begins
/// with the earliest, so all that expire later would stay, too.
pub(super) fn sweep(batch: &mut WriteBatch, digest: SessionDigest, expires_at: Timestamp) -> Result<(), Error> {
    let key = Place::with(&[], digest);
    match batch.get::<Of<StoredSession>>(&key) {
        Ok(Some(stored)) if stored.0.expires_at == expires_at => return batch.remove::<Of<StoredSession>>(&key),
        Ok(Some(_)) => tracing::warn!("an index has another end of a session than its record; the entry is removed"),
        Ok(None) | Err(Error::Corrupt { .. }) => {
            tracing::warn!("an expired session is damaged or missing; what there is of it is removed");
            batch.discard::<Of<StoredSession>>(&key)?;
        }
        Err(error) => return Err(error),
    }
    batch.discard_entry::<SessionsByExpiry>(&expires_at.as_millis(), &key)
}
