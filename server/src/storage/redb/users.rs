//! The table `users`.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use decentcom_kvstore::{Direction, Error, Index, Key as _, Operation, RawRange, Snapshot, decode_row};
use ulid::Ulid;

use super::{
    error::{corrupt, storage_error},
    existing,
    schema::{MembersById, UserRecord, Users, UsersByPubkey},
    time_of, timestamp,
};
use crate::storage::{StorageError, User, UserId, front::engine::Rows};

fn decode(id: Ulid, record: UserRecord) -> Result<User, StorageError> {
    let UserRecord { pubkey, display_name, avatar_hash, updated_at, is_bot, is_member } = record;
    Ok(User {
        id: id.into(),
        pubkey,
        display_name,
        avatar_hash,
        is_bot,
        is_member,
        created_at: time_of("users", id)?,
        updated_at: timestamp("users", id, updated_at)?,
    })
}

fn encode(user: &User) -> UserRecord {
    UserRecord {
        pubkey: user.pubkey.clone(),
        display_name: user.display_name.clone(),
        avatar_hash: user.avatar_hash.clone(),
        updated_at: user.updated_at.as_millis(),
        is_bot: user.is_bot,
        is_member: user.is_member,
    }
}

pub(super) fn by_id(snapshot: &Snapshot, id: UserId) -> Result<Option<User>, StorageError> {
    let record = snapshot.get::<Users>(&id.ulid()).map_err(storage_error("read a user"))?;
    record.map(|record| decode(id.ulid(), record)).transpose()
}

pub(super) fn by_pubkey(snapshot: &Snapshot, pubkey: &str) -> Result<Option<User>, StorageError> {
    let id = snapshot.find::<UsersByPubkey>(&pubkey.to_owned());
    let Some(id) = id.map_err(storage_error("read a user by public key"))? else { return Ok(None) };
    // Entries have no checksum, records have: nobody is taken for somebody else.
    match by_id(snapshot, id.into())? {
        Some(user) if user.pubkey == pubkey => Ok(Some(user)),
        _ => Err(corrupt("users_by_pubkey", &id.to_string(), "the entry is not what its user makes of it")),
    }
}

/// Users above `after`, by id; all of them without a limit.
pub(super) fn list(snapshot: &Snapshot, after: Option<UserId>, limit: Option<u32>) -> Result<Vec<User>, StorageError> {
    let after = after.map(|id| id.ulid());
    let rows = snapshot.rows::<Users>(after.as_ref(), Direction::Forward).map_err(storage_error("list users"))?;
    rows.take(limit.map_or(usize::MAX, |limit| limit as usize))
        .map(|row| row.map_err(storage_error("list users")).and_then(|(id, record)| decode(id, record)))
        .collect()
}

/// Members above `after`, by id.
pub(super) fn members(snapshot: &Snapshot, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StorageError> {
    let attempt = "list members";
    let range = after.map_or(RawRange::ALL, |after| RawRange::above(after.ulid().to_bytes().to_vec()));
    let entries = snapshot.scan(MembersById::NAME, range, Direction::Forward).map_err(storage_error(attempt))?;
    entries
        .take(limit as usize)
        .map(|entry| {
            let (key, _) = entry.map_err(storage_error(attempt))?;
            let id = Ulid::decode(&key).ok_or_else(|| corrupt(MembersById::NAME, "", "an entry does not decode"))?;
            // Entries have no checksum, records have.
            match by_id(snapshot, id.into())? {
                Some(user) if user.is_member => Ok(user),
                _ => Err(corrupt(MembersById::NAME, &id.to_string(), "the entry is not what its user makes of it")),
            }
        })
        .collect()
}

/// The user that a raw row is.
pub(super) fn from_raw(key: &[u8], value: &[u8]) -> Result<User, StorageError> {
    let row = decode_row::<Users>(key, value);
    row.map_err(storage_error("decode a row")).and_then(|(key, record)| decode(key, record))
}

/// Those of `ids` that exist.
pub(super) fn known(snapshot: &Snapshot, ids: &BTreeSet<UserId>) -> Result<HashSet<UserId>, StorageError> {
    existing::<Users, _>(snapshot, ids, UserId::ulid).map_err(storage_error("look for users"))
}

pub(super) fn load(
    snapshot: &Snapshot,
    ids: &BTreeSet<UserId>,
    pubkeys: &BTreeSet<String>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for id in ids {
        if let Some(user) = by_id(snapshot, *id)? {
            rows.users.insert(*id, Arc::new(user));
        }
    }
    for pubkey in pubkeys {
        if let Some(user) = by_pubkey(snapshot, pubkey)? {
            rows.pubkeys.insert(user.pubkey.clone(), user.id);
            rows.users.insert(user.id, Arc::new(user));
        }
    }
    Ok(())
}

pub(super) fn insert(operation: &mut Operation<'_>, user: &User) -> Result<(), Error> {
    operation.insert::<Users>(&user.id.ulid(), &encode(user))
}

pub(super) fn replace(operation: &mut Operation<'_>, user: &User) -> Result<(), Error> {
    operation.replace::<Users>(&user.id.ulid(), &encode(user))
}
