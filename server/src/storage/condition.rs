//! How a store is, apart from any single call.

use std::fmt;

/// What stands in the way of a store's work; nothing, as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Each thing that is wrong, the gravest first.
    pub troubles: Vec<Trouble>,
}

impl Condition {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.troubles.is_empty()
    }
}

/// One thing that is wrong with a store; it may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The disk is full, or nearly: changes are refused, all but those that free room. Ends by itself.
    Full {
        /// Bytes that can still be written, as far as the system tells.
        free: Option<u64>,
        /// Bytes that are to stay free.
        min_free: Option<u64>,
    },
    /// A file of the store was moved, replaced or deleted: no change is taken. Ends when it is back in its place.
    Away {
        /// Which, and what became of it.
        problem: String,
    },
}

impl Trouble {
    /// Its name in snake case, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Away { .. } => "away",
        }
    }
}

/// In words, with what to do about it.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { free: Some(free), min_free: Some(min_free) } => write!(
                f,
                "the disk is full ({} free, {} are to stay free); free some space",
                in_words(*free),
                in_words(*min_free)
            ),
            Self::Full { .. } => f.write_str("the disk is full; free some space"),
            Self::Away { problem } => f.write_str(problem),
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// Bytes for people.
pub(super) fn in_words(bytes: u64) -> String {
    match bytes {
        0..MIB => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / MIB),
    }
}
