//! The speed that is promised, as figures of a run: one declaration, read by the table, the page and the documentation.

use super::results::Results;

/// A promise, and what a run says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What is promised, in words, with the bound: `redb, 64 callers, 1,000 channels: posts at 2.3 F or more`.
    pub(crate) promise: String,
    /// What was measured, in words: `3.1 F`; `None` where the run has no such lines.
    pub(crate) measured: Option<String>,
    /// Whether it is kept; `None` where the run has no such lines.
    pub(crate) kept: Option<bool>,
}

/// What a run says of every promise.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let _ = results;
    Vec::new()
}
