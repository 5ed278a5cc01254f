//! The format of dumps, as `schema-docs/dump-format.md` has it.
//!
//! ```text
//!  redact.rs   the one place that decides what a redacted dump shows of what is private
//!  record.rs   a line ⟷ a record
//!  frame.rs    the first and the last line
//!  sums.rs     rows and hash per table, over the lines of a whole dump
//!  writer.rs   NDJSON; shapes.rs: JSON, CSV (cells.rs), tables for people
//!  input.rs    a file or a stream, to be read twice
//!  reader.rs   NDJSON, refusing everything that is not exactly the format
//!  rules.rs    the order of records, and what they must be, one by one and together
//! ```

mod cells;
pub(crate) mod frame;
pub(crate) mod input;
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
use crate::{Code, Failure};

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// The table of facts about the store; its lines come first.
pub(crate) const META: &str = "meta";

/// Every table, in the order of a dump.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    std::iter::once(META).chain(Entity::dumped().map(Entity::table))
}

/// The table called `name`, or an error that lists those of a dump.
pub(crate) fn table_named(name: &str) -> Result<&'static str, Failure> {
    tables().find(|table| *table == name).ok_or_else(|| {
        let all = tables().collect::<Vec<_>>().join(", ");
        Failure::usage(format!("there is no table `{name}`; there are {all}"))
    })
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
    check_facts(&reader, &rules)?;
    Ok(records)
}

/// Whether the facts of a dump go with its records, all of which were read and checked.
pub(crate) fn check_facts(reader: &Reader, rules: &Rules) -> Result<(), Failure> {
    let refuse = |problem| Failure::new(Code::Corrupt, format!("the high_water_id of the dump: {problem}"));
    reader.high_water().map_or(Ok(()), |id| rules.check_high_water(id).map_err(refuse))
}

#[cfg(test)]
mod tests;
