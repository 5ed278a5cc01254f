//! The table `sessions`.

use std::collections::{BTreeMap, BTreeSet};

use decentcom_kvstore::{Direction, Error, KeyRange, Operation, Snapshot, decode_row};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    schema::{SessionRecord, Sessions, SessionsByExpiry, SessionsByUser},
};
use crate::storage::{
    SessionDigest, StorageError, Timestamp, UserId,
    front::engine::{Rows, StoredSession},
};

fn decode(digest: SessionDigest, record: &SessionRecord) -> Result<StoredSession, StorageError> {
    let time = |millis| {
        let past = || corrupt("sessions", &digest.to_hex(), "it has a time past the year 9999");
        Timestamp::from_millis(millis).ok_or_else(past)
    };
    Ok(StoredSession {
        digest,
        user_id: Ulid::from_bytes(record.user_id).into(),
        created_at: time(record.created_at)?,
        expires_at: time(record.expires_at)?,
    })
}

fn encode(session: &StoredSession) -> SessionRecord {
    SessionRecord {
        user_id: session.user_id.ulid().to_bytes(),
        created_at: session.created_at.as_millis(),
        expires_at: session.expires_at.as_millis(),
    }
}

pub(super) fn by_digest(snapshot: &Snapshot, digest: SessionDigest) -> Result<Option<StoredSession>, StorageError> {
    let record = snapshot.get::<Sessions>(digest.as_bytes()).map_err(storage_error("read a session"))?;
    record.map(|record| decode(digest, &record)).transpose()
}

/// The session that a raw row is.
pub(super) fn from_raw(key: &[u8], value: &[u8]) -> Result<StoredSession, StorageError> {
    let row = decode_row::<Sessions>(key, value);
    row.map_err(storage_error("decode a row")).and_then(|(key, record)| decode(SessionDigest::from_bytes(key), &record))
}

pub(super) fn load(
    snapshot: &Snapshot,
    digests: &BTreeSet<SessionDigest>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for digest in digests {
        if snapshot.contains::<Sessions>(digest.as_bytes()).map_err(storage_error("load sessions"))? {
            rows.sessions.insert(*digest);
        }
    }
    Ok(())
}

/// Some sessions of each of these users.
pub(super) fn load_of_users(
    snapshot: &Snapshot,
    users: &BTreeMap<UserId, usize>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find the sessions of a user";
    for (user, at_most) in users {
        let entries = snapshot.keys_of::<SessionsByUser>(&user.ulid(), KeyRange::ALL, Direction::Forward);
        let digests = entries.map_err(storage_error(attempt))?.take(*at_most);
        let digests = digests.map(|entry| entry.map(|(_, digest)| SessionDigest::from_bytes(digest)));
        rows.sessions_of.insert(*user, digests.collect::<Result<_, _>>().map_err(storage_error(attempt))?);
    }
    Ok(())
}

/// The earliest sessions that end no later than `expired_at`.
pub(super) fn load_expired(
    snapshot: &Snapshot,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find expired sessions";
    let entries =
        snapshot.entries_up_to::<SessionsByExpiry>(&expired_at.as_millis()).map_err(storage_error(attempt))?;
    for entry in entries.take(at_most) {
        let (expires_at, digest) = entry.map_err(storage_error(attempt))?;
        let expires_at = Timestamp::from_millis(expires_at).unwrap_or(Timestamp::MAX);
        rows.expired.push((expires_at, SessionDigest::from_bytes(digest)));
    }
    Ok(())
}

pub(super) fn insert(operation: &mut Operation<'_>, session: &StoredSession) -> Result<(), Error> {
    operation.insert::<Sessions>(session.digest.as_bytes(), &encode(session))
}

pub(super) fn replace(operation: &mut Operation<'_>, session: &StoredSession) -> Result<(), Error> {
    operation.replace::<Sessions>(session.digest.as_bytes(), &encode(session))
}

/// Removes what an index names as a session that expired. Nothing that is wrong with it may keep it there: the sweep begins
/// with the earliest, so all that expire later would stay, too.
pub(super) fn sweep(operation: &mut Operation<'_>, digest: SessionDigest, expires_at: Timestamp) -> Result<(), Error> {
    let key = digest.as_bytes();
    match operation.get::<Sessions>(key) {
        Ok(Some(record)) if record.expires_at == expires_at.as_millis() => return operation.remove::<Sessions>(key),
        Ok(Some(_)) => tracing::warn!("an index has another end of a session than its record; the entry is removed"),
        Ok(None) | Err(Error::Corrupt { .. }) => {
            tracing::warn!("an expired session is damaged or missing; what there is of it is removed");
            operation.discard::<Sessions>(key)?;
        }
        Err(error) => return Err(error),
    }
    operation.discard_entry::<SessionsByExpiry>(&expires_at.as_millis(), key)
}

pub(super) fn remove(operation: &mut Operation<'_>, digest: SessionDigest) -> Result<(), Error> {
    operation.remove::<Sessions>(digest.as_bytes())
}
