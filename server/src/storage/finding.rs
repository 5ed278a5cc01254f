//! What verification reports.

use std::fmt;

use serde::Serialize;

/// What a check looks at, from the file inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file as a whole: that it opens, its format, its `meta`.
    File,
    /// The engine's pages.
    Pages,
    /// That every record decodes and keeps to the limits of the contract.
    Records,
    /// That indexes and records agree, both ways.
    Indexes,
    /// That what is referred to exists.
    References,
    /// That ids and times are in order.
    Times,
}

/// Something found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was being looked at.
    pub level: Level,
    /// The table or index; `file` for the file as a whole.
    pub table: String,
    /// The key of the row or index entry: an id, or hexadecimal; empty for the whole table.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.key, self.problem)
    }
}
