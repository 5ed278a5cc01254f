//! The header of a segment: which log it is of, and which place it has there. It lies in the first two blocks, twice, and is
//! never changed while the segment is in use.
//!
//! ```text
//!   0   8   "dcsegmt" and the version of the format, 1
//!   8   4   CRC-32C of all that follows
//!  12  16   log id
//!  28   8   timeline
//!  36   8   sequence: one more than that of the segment before
//!  44   8   number of its first record; the segments before it have none of this number or above
//!  52  16   hash of the record before that
//!  68   8   time of the record before that, milliseconds since 1970
//!  76   8   salt of its records
//!  84   8   bytes of the segment
//! ```

use super::{
    BLOCK, Identity,
    record::{Hash, number_at},
};
use crate::storage::Timestamp;

const SIGNATURE: &[u8; 8] = b"dcsegmt\x01";
const CHECKED: usize = 12;
const LENGTH: usize = 92;
/// How many copies there are.
pub(super) const COPIES: usize = 2;

/// Which segment a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log: [u8; 16],
    pub(super) timeline: u64,
    pub(super) sequence: u64,
    /// The number of its first record.
    pub(super) first: u64,
    /// The hash and the time of the record before that.
    pub(super) before: Hash,
    pub(super) time: Timestamp,
    pub(super) salt: u64,
    pub(super) bytes: u64,
}

impl Header {
    /// Which log it is of.
    pub(super) fn identity(&self) -> Identity {
        Identity { log: self.log, timeline: self.timeline }
    }

    /// All copies, as they lie in the segment.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::with_capacity(LENGTH);
        checked.extend_from_slice(&self.log);
        for number in [self.timeline, self.sequence, self.first] {
            checked.extend_from_slice(&number.to_le_bytes());
        }
        checked.extend_from_slice(&self.before.0);
        for number in [self.time.as_millis(), self.salt, self.bytes] {
            checked.extend_from_slice(&number.to_le_bytes());
        }
        let mut block = Vec::with_capacity(COPIES * BLOCK);
        block.extend_from_slice(SIGNATURE);
        block.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        block.extend_from_slice(&checked);
        block.resize(BLOCK, 0);
        block.repeat(COPIES)
    }

    /// The header of the segment with this sequence that these blocks have; `None` when it was never begun. A copy that is
    /// neither its header, nor another segment's from a former life, nor blank, was torn while it was written, or is damaged:
    /// with both of them so, it is.
    pub(super) fn decode(blocks: &[u8], sequence: u64) -> Result<Option<Self>, &'static str> {
        let copies: Vec<_> = blocks.chunks(BLOCK).map(Self::of_copy).collect();
        if let Some(own) = copies.iter().flatten().find(|header| header.sequence == sequence) {
            return Ok(Some(*own));
        }
        let is_blank = |block: &[u8]| block.iter().all(|byte| *byte == 0);
        let was_there_before = |(copy, block): (&Option<Self>, &[u8])| copy.is_some() || is_blank(block);
        match copies.iter().zip(blocks.chunks(BLOCK)).any(was_there_before) {
            true => Ok(None),
            false => Err("neither copy of its header is one"),
        }
    }

    fn of_copy(block: &[u8]) -> Option<Self> {
        let sum = number_at::<4>(block, SIGNATURE.len()).map(u32::from_le_bytes)?;
        if !block.starts_with(SIGNATURE) || crc32c::crc32c(block.get(CHECKED..LENGTH)?) != sum {
            return None;
        }
        let number = |at| number_at::<8>(block, at).map(u64::from_le_bytes);
        Some(Self {
            log: number_at(block, 12)?,
            timeline: number(28)?,
            sequence: number(36)?,
            first: number(44)?,
            before: Hash(number_at(block, 52)?),
            time: Timestamp::from_millis(number(68)?)?,
            salt: number(76)?,
            bytes: number(84)?,
        })
    }
}
