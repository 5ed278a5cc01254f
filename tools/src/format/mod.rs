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

use std::io::Cursor;

use decentcom_server::storage::Entity;

use self::{reader::Reader, rules::Rules};
use crate::Failure;

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// The table of facts about the store; its lines come first.
pub(crate) const META: &str = "meta";

/// Every table, in the order of a dump.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    std::iter::once(META).chain(Entity::ALL.map(Entity::table))
}

/// Reads a dump, compressed or not, as `load` does before it changes anything: how many records it has, or the first
/// thing that is wrong with it. Memory grows with users and channels, not with messages.
pub fn check_dump(bytes: Vec<u8>) -> Result<u64, Failure> {
    let mut reader = Reader::over(Cursor::new(bytes), Failure::from)?;
    let mut rules = Rules::of_a_whole_store();
    let mut records = 0;
    while let Some(row) = reader.next()? {
        rules.check_form(&row).and_then(|()| rules.admit(&row)).map_err(|problem| reader.refuse(&problem))?;
        records += 1;
    }
    Ok(records)
}
