//! Users: the queries that are this backend's own.

use std::sync::Arc;

use decentcom_kvstore::{Direction, Key as _, RawRange, Snapshot};

use super::{
    error::{corrupt, storage_error},
    record::KeyOf,
    rows,
    schema::MembersById,
};
use crate::storage::{
    StorageError, User, UserId,
    contract::field::FieldType as _,
    port::{Rows, Wants},
};

/// Members above `after`, by id.
pub(super) fn members(snapshot: &Snapshot, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StorageError> {
    let attempt = "list members";
    let range = after.map_or(RawRange::ALL, |after| RawRange::above(KeyOf(after).to_bytes()));
    let entries = snapshot.entries::<MembersById>(range, Direction::Forward).map_err(storage_error(attempt))?;
    entries
        .take(limit as usize)
        .map(|entry| {
            let (KeyOf(id), _) = entry.map_err(storage_error(attempt))?;
            // Entries have no checksum, records have.
            match rows::get::<User>(snapshot, id)? {
                Some(user) if user.is_member => Ok(user),
                _ => Err(corrupt(User::MEMBERS.name, &id.text(), "the entry is not what its user makes of it")),
            }
        })
        .collect()
}

/// Users by public key.
pub(super) fn load(snapshot: &Snapshot, wants: &Wants, rows: &mut Rows) -> Result<(), StorageError> {
    for pubkey in &wants.pubkeys {
        if let Some(user) = rows::find::<User>(snapshot, &User::BY_PUBKEY, &pubkey.value(), 1)?.pop() {
            rows.pubkeys.insert(user.pubkey.clone(), user.id);
            rows.put(Arc::new(user));
        }
    }
    Ok(())
}
