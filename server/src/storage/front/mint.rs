//! Ids, given out where writes are ordered.

use ulid::Ulid;

use crate::storage::{StorageError, Timestamp, id::successor};

/// Bits of a ULID below its time.
const RANDOM_BITS: u32 = 80;

/// Gives out strictly increasing ULIDs, each above every id this store has ever committed.
///
/// The monotonic rule of the ULID specification: within a millisecond, or while the clock is behind, the next id is
/// the last plus one; in a new millisecond the random part is fresh. Overflow of the random part carries into the time.
#[derive(Debug)]
pub(super) struct Mint {
    high_water: Ulid,
}

impl Mint {
    /// Continues after `high_water`, the largest id stored so far.
    pub(super) fn after(high_water: Ulid) -> Self {
        Self { high_water }
    }

    /// The largest id given out so far.
    pub(super) fn high_water(&self) -> Ulid {
        self.high_water
    }

    /// A new id and the time within it, which is `now` or, if ids are already ahead of that, later.
    pub(super) fn next(&mut self, now: Timestamp) -> Result<(Ulid, Timestamp), StorageError> {
        let id = if now.as_millis() > self.high_water.timestamp_ms() {
            Ulid::from_parts(now.as_millis(), random()?)
        } else {
            successor(self.high_water).ok_or_else(exhausted)?
        };
        let created_at = Timestamp::from_millis(id.timestamp_ms()).ok_or_else(exhausted)?;
        self.high_water = id;
        Ok((id, created_at))
    }
}

fn random() -> Result<u128, StorageError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StorageError::internal("draw a random id", error))?;
    Ok(u128::from_ne_bytes(bytes) >> (u128::BITS - RANDOM_BITS))
}

fn exhausted() -> StorageError {
    StorageError::Corrupt {
        place: "the store's high-water id".into(),
        problem: "it lies past the year 9999, so no larger id can be given out".into(),
        remedy: "Restore a backup, or dump the store and load it into a new one without the offending rows",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn ids_increase_within_a_millisecond_and_while_the_clock_is_behind() {
        let mut mint = Mint::after(Ulid::nil());
        let mut last = Ulid::nil();
        for now in [5, 5, 5, 4, 0, 6, 5, 1000] {
            let (id, created_at) = mint.next(at(now)).unwrap();
            assert!(id > last);
            assert_eq!(id.timestamp_ms(), created_at.as_millis());
            assert!(created_at >= at(now));
            last = id;
        }
        assert_eq!(last.timestamp_ms(), 1000);
    }

    #[test]
    fn an_overflow_of_the_random_part_carries_into_the_time() {
        let mut mint = Mint::after(Ulid::from_parts(7, u128::MAX));
        assert_eq!(mint.next(at(7)).unwrap(), (Ulid::from_parts(8, 0), at(8)));
    }

    #[test]
    fn ids_past_the_year_9999_are_refused_and_nothing_moves() {
        for high_water in [Ulid::max(), Ulid::from_parts(Timestamp::MAX.as_millis(), u128::MAX)] {
            let mut mint = Mint::after(high_water);
            assert!(matches!(mint.next(at(1)), Err(StorageError::Corrupt { .. })));
            assert_eq!(mint.high_water(), high_water);
        }
    }
}
