//! A record: one commit, as it lies in a segment.
//!
//! ```text
//!   0   4   CRC-32C of the segment's salt and of all that follows, up to the end of the payload
//!   4   4   length of the payload
//!   8   8   number
//!  16   8   time, milliseconds since 1970
//!  24  16   hash of the record before
//!  40       payload
//! ```
//!
//! Numbers are little-endian. The hash of a record is the first half of the SHA-256 of what lies from byte 8 on: so that each
//! record says what all before it were.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::BLOCK;
use crate::storage::Timestamp;

const HEAD: usize = 40;
/// What the checksum is of, beside the salt, begins here.
const CHECKED: usize = 4;
/// What the hash is of begins here.
const HASHED: usize = 8;

/// The largest payload. A batch of commands holds 8 MiB of text at most, and JSON or escapes are not in here.
pub(super) const MAX_PAYLOAD: usize = 48 * 1024 * 1024;

/// What a record is known by: half a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 16]);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One commit of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; each is one more than the one before.
    pub number: u64,
    /// When it was made; never before the one before it.
    pub time: Timestamp,
    /// The hash of the record before it.
    pub before: Hash,
    /// What was committed.
    pub payload: Vec<u8>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRecord;

impl Record {
    /// What it is known by.
    pub fn hash(&self) -> Hash {
        hash(self.number, self.time, self.before, &self.payload)
    }
}

/// What a record with these parts is known by.
pub(super) fn hash(number: u64, time: Timestamp, before: Hash, payload: &[u8]) -> Hash {
    let digest = Sha256::new()
        .chain_update(number.to_le_bytes())
        .chain_update(time.as_millis().to_le_bytes())
        .chain_update(before.0)
        .chain_update(payload)
        .finalize();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    Hash(half)
}

/// Bytes that a record with so long a payload takes in a segment.
pub(super) fn room(payload: usize) -> u64 {
    (HEAD + payload).next_multiple_of(BLOCK) as u64
}

/// Replaces `bytes` by a record as it lies in a segment with this salt, zeros up to the end of its last block included.
pub(super) fn encode(bytes: &mut Vec<u8>, salt: u64, number: u64, time: Timestamp, before: Hash, payload: &[u8]) {
    bytes.clear();
    bytes.extend_from_slice(&[0; CHECKED]);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes()); // at most `MAX_PAYLOAD`
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&time.as_millis().to_le_bytes());
    bytes.extend_from_slice(&before.0);
    bytes.extend_from_slice(payload);
    let sum = checksum(salt, bytes.get(CHECKED..).unwrap_or_default());
    bytes.splice(..CHECKED, sum.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
}

/// What is said of a record in its first block: how long all of it is, if it is one.
pub(super) fn length(block: &[u8], left: u64) -> Option<usize> {
    let payload = number_at::<4>(block, 4).map(u32::from_le_bytes)? as usize;
    let number = number_at::<8>(block, HASHED).map(u64::from_le_bytes)?;
    (number > 0 && payload <= MAX_PAYLOAD && room(payload) <= left).then_some(HEAD + payload)
}

/// The record that these bytes are, of a segment with this salt.
pub(super) fn decode(bytes: &[u8], salt: u64) -> Result<Record, NoRecord> {
    let sum = number_at::<4>(bytes, 0).map(u32::from_le_bytes).ok_or(NoRecord)?;
    if checksum(salt, bytes.get(CHECKED..).ok_or(NoRecord)?) != sum {
        return Err(NoRecord);
    }
    let number = |at| number_at::<8>(bytes, at).map(u64::from_le_bytes).ok_or(NoRecord);
    Ok(Record {
        number: number(HASHED)?,
        time: Timestamp::from_millis(number(16)?).ok_or(NoRecord)?,
        before: Hash(number_at::<16>(bytes, 24).ok_or(NoRecord)?),
        payload: bytes.get(HEAD..).ok_or(NoRecord)?.to_vec(),
    })
}

pub(super) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// The bytes that lie there, as many as there are to be.
pub(super) fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
