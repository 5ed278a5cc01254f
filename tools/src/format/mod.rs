//! The format of dumps, as `schema-docs/dump-format.md` has it.
//!
//! ```text
//!  redact.rs   the types of what is private, and the one place that decides what a redacted dump shows of it
//!  record.rs   a line ⟷ a record
//!  frame.rs    the first and the last line
//!  sums.rs     rows and hash per table, over the lines of a whole dump
//!  writer.rs   NDJSON; shapes.rs: JSON, CSV, tables for people
//!  reader.rs   NDJSON, refusing everything that is not exactly the format
//!  rules.rs    what the records of a store must be, one by one and together
//! ```

pub(crate) mod frame;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod redact;
pub(crate) mod rules;
pub(crate) mod shapes;
pub(crate) mod sums;
pub(crate) mod writer;

use decentcom_server::storage::Entity;

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// The table of facts about the store; its lines come first.
pub(crate) const META: &str = "meta";

/// Every table, in the order of a dump.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    std::iter::once(META).chain(Entity::ALL.map(Entity::table))
}
