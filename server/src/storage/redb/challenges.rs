//! The table `used_challenges`.

use std::collections::BTreeSet;

use decentcom_kvstore::{Direction, Error, Key as _, Operation, RawRange, Snapshot, Table};

use super::{
    error::{corrupt, storage_error},
    schema::{UsedChallengeRecord, UsedChallenges},
};
use crate::storage::{Challenge, StorageError, Timestamp, UsedChallenge, front::engine::Rows};

/// The key of a row of `used_challenges`.
type ChallengeKey = <UsedChallenges as Table>::Key;

fn challenge_key(used: &UsedChallenge) -> ChallengeKey {
    (used.slot, (used.key_digest, used.number))
}

fn used_challenge((slot, (key_digest, number)): ChallengeKey) -> UsedChallenge {
    UsedChallenge { slot, key_digest, number }
}

pub(super) fn load(snapshot: &Snapshot, wanted: &BTreeSet<UsedChallenge>, rows: &mut Rows) -> Result<(), StorageError> {
    for used in wanted {
        let exists = snapshot.contains::<UsedChallenges>(&challenge_key(used));
        if exists.map_err(storage_error("look for a used challenge"))? {
            rows.challenges.insert(*used);
        }
    }
    Ok(())
}

/// The earliest used challenges that have expired; the table is in the order of their expiry.
pub(super) fn load_expired(
    snapshot: &Snapshot,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let attempt = "find expired challenges";
    let Some(last) = Challenge::last_expired_slot(expired_at) else { return Ok(()) };
    let found =
        snapshot.scan(UsedChallenges::NAME, RawRange::ALL, Direction::Forward).map_err(storage_error(attempt))?;
    for row in found.take(at_most) {
        let (key, _) = row.map_err(storage_error(attempt))?; // all there is to a row is in its key
        let Some(key) = ChallengeKey::decode(&key) else { continue };
        if key.0 > last {
            break;
        }
        rows.expired_challenges.push(used_challenge(key));
    }
    Ok(())
}

/// The largest number of a key's used challenges in each slot: a seek each.
pub(super) fn newest(
    snapshot: &Snapshot,
    key_digest: [u8; 32],
    slots: &[u64],
) -> Result<Vec<Option<u32>>, StorageError> {
    let attempt = "look for used challenges";
    let newest = |slot: &u64| {
        let of_slot = RawRange::beginning_with((*slot, key_digest).to_bytes());
        let found = snapshot.scan(UsedChallenges::NAME, of_slot, Direction::Reverse).map_err(storage_error(attempt))?;
        let Some(row) = found.into_iter().next() else { return Ok(None) };
        let (key, _) = row.map_err(storage_error(attempt))?;
        let key = ChallengeKey::decode(&key);
        let undecodable = || corrupt(UsedChallenges::NAME, &slot.to_string(), "a key does not decode");
        key.map(|key| Some(used_challenge(key).number)).ok_or_else(undecodable)
    };
    slots.iter().map(newest).collect()
}

pub(super) fn put(operation: &mut Operation<'_>, used: &UsedChallenge) -> Result<(), Error> {
    let record = UsedChallengeRecord { expires_at: used.expires_at().as_millis() };
    operation.insert::<UsedChallenges>(&challenge_key(used), &record)
}

/// Removes a used challenge without reading its row: one that is damaged must not keep the others from being swept.
pub(super) fn forget(operation: &mut Operation<'_>, used: &UsedChallenge) -> Result<(), Error> {
    operation.discard::<UsedChallenges>(&challenge_key(used))
}
