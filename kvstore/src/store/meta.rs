//! The table `meta`: facts about a store, by name.
//!
//! ```text
//!  meta                    value (text unless said otherwise)
//!  format                  the format of the records, a decimal number
//!  oldest_reader           the oldest format whose programs may read this file
//!  catalogue               fingerprint of the declared tables whose indexes every write so far kept, which is that of
//!                          whoever wrote last; `unfinished` while indexes are made
//!  created_at              milliseconds since 1970, a decimal number
//!  migration:NAME          when the migration ran, the same; for those older than the file, when it was created
//!  closed_at               when the store was last closed in good order, the same
//!  migrating               there while migrations run, so that a second attempt keeps the first one's copy
//! ```
//!
//! Everything else in `meta` belongs to the application.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const META: &str = "meta";

pub(super) const FORMAT: &str = "format";
pub(super) const OLDEST_READER: &str = "oldest_reader";
pub(super) const FINGERPRINT: &str = "catalogue";
/// What stands under [`FINGERPRINT`] while indexes are being made.
pub(super) const UNFINISHED: &[u8] = b"unfinished";
pub(super) const CREATED_AT: &str = "created_at";
pub(super) const CLOSED_AT: &str = "closed_at";
pub(super) const MIGRATING: &str = "migrating";

/// The name of the fact that a migration ran.
pub(super) fn mark(migration: &str) -> String {
    format!("migration:{migration}")
}

/// Milliseconds since 1970.
pub(super) fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string()
}
