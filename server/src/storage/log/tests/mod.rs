//! The journal over a disk that loses power, fails at any call, or forgets what it had.

mod damage;
mod disk;
mod power;
mod voids;

use super::{Identity, Sizes};
use crate::storage::Timestamp;

const IDENTITY: Identity = Identity { log: *b"the log of a te.", timeline: 7 };
/// So small that a segment has a handful of records.
const SIZES: Sizes = Sizes { smallest: 6 * 4096, largest: 20 * 4096 };

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}
