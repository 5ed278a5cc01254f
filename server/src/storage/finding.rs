//! What verification reports.

use std::fmt;

/// Something found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
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
