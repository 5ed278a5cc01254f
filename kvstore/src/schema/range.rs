//! Ranges of keys, as bytes and as values, and which way to read them.

use std::ops::Bound;

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Reverse,
}

/// Bounds on primary keys, both exclusive.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a, K> {
    /// Only keys above this.
    pub above: Option<&'a K>,
    /// Only keys below this.
    pub below: Option<&'a K>,
}

impl<K> KeyRange<'_, K> {
    /// All keys.
    pub const ALL: Self = Self { above: None, below: None };
}

/// Keys from `start` up to, not including, `end`, which is absent where nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The smallest.
    pub start: Vec<u8>,
    /// The first that is too large.
    pub end: Option<Vec<u8>>,
}

impl ByteRange {
    /// The keys that begin with these bytes.
    pub(crate) fn beginning_with(start: Vec<u8>) -> Self {
        Self { end: after_prefix(&start), start }
    }
}

impl From<ByteRange> for RawRange {
    fn from(range: ByteRange) -> Self {
        Self { start: Bound::Included(range.start), end: range.end.map_or(Bound::Unbounded, Bound::Excluded) }
    }
}

/// Keys between two bounds, compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl RawRange {
    /// Every key.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// This key alone.
    pub fn exactly(key: Vec<u8>) -> Self {
        Self { start: Bound::Included(key.clone()), end: Bound::Included(key) }
    }

    /// Every key above this one.
    pub fn above(key: Vec<u8>) -> Self {
        Self { start: Bound::Excluded(key), ..Self::ALL }
    }

    /// Every key that begins so.
    pub fn beginning_with(prefix: Vec<u8>) -> Self {
        ByteRange::beginning_with(prefix).into()
    }

    /// Whether no key can be in it; redb takes asking for such a range for a mistake.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
            _ => false,
        }
    }

    /// Whether this key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let starts = match &self.start {
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
            Bound::Unbounded => true,
        };
        let ends = match &self.end {
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
            Bound::Unbounded => true,
        };
        starts && ends
    }

    /// What is left of it after `key` was read in this direction.
    pub fn past(self, key: Vec<u8>, direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self { start: Bound::Excluded(key), ..self },
            Direction::Reverse => Self { end: Bound::Excluded(key), ..self },
        }
    }
}

/// The smallest byte string above every one that starts with `prefix`; `None` if there is none.
///
/// Reverse reads start here: `prefix ‖ FF…` of any fixed length would miss longer keys.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bound = prefix.get(..=last)?.to_vec();
    *bound.last_mut()? += 1;
    Some(bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bound_after_a_prefix_is_above_exactly_what_starts_with_it(
            prefix in prop::collection::vec(prop_oneof![Just(0xFF), any::<u8>()], 0..5),
            tail in prop::collection::vec(any::<u8>(), 0..5),
            other in prop::collection::vec(prop_oneof![Just(0xFF), any::<u8>()], 0..6),
        ) {
            let inside = [prefix.clone(), tail].concat();
            let Some(bound) = after_prefix(&prefix) else {
                prop_assert!(prefix.iter().all(|byte| *byte == 0xFF));
                return Ok(());
            };
            prop_assert!(inside < bound);
            if other >= prefix && !other.starts_with(&prefix) {
                prop_assert!(other >= bound);
            }
        }
    }
}
