//! Indexes: held to their records, and made anew from them.

use std::fmt;

use redb::ReadableTable;

use crate::{
    engine::database::definition,
    error::{Error, hex},
    schema::{
        catalogue::{AnyTable, TableInfo, fingerprint},
        range::{Direction, RawRange},
        table::Undecodable,
    },
};

use super::{
    Store,
    meta::{FINGERPRINT, UNFINISHED},
    source::RawSource,
};

/// Rows whose index entries are made in one commit of a rebuild; bounds the time others wait.
const REBUILD_ROWS: usize = 10_000;

/// What is wrong with a row or an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The key is none of its table's.
    Key,
    /// The record does not decode; the reason follows.
    Record(String),
    /// The record should have this entry in the index and has not.
    MissingEntry,
    /// The entry belongs to no record.
    DanglingEntry,
    /// The entry is not what its record makes of it.
    WrongEntry,
}

/// A row or an entry with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The table or index.
    pub table: &'static str,
    /// The key of the row or entry, in hexadecimal.
    pub key: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.key, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key does not decode",
            Self::Record(problem) => problem,
            Self::MissingEntry => "the record has no such index entry",
            Self::DanglingEntry => "the index entry belongs to no record",
            Self::WrongEntry => "the index entry is not what its record makes of it",
        })
    }
}

impl From<Undecodable> for Problem {
    fn from(why: Undecodable) -> Self {
        match why {
            Undecodable::Key => Self::Key,
            Undecodable::Record(error) => Self::Record(error.to_string()),
        }
    }
}

/// Checks every row of a table and every entry of its indexes, in constant memory. Each thing found wrong goes to `report`.
pub fn verify_table(
    table: &dyn AnyTable,
    source: &dyn RawSource,
    report: &mut dyn FnMut(Mismatch),
) -> Result<(), Error> {
    let info = table.describe();
    let mut found = |table, key: &[u8], problem| report(Mismatch { table, key: hex(key), problem });
    for row in source.scan(info.name, RawRange::ALL, Direction::Forward)? {
        let (key, value) = row?;
        let entries = match table.entries(&key, &value) {
            Ok(entries) => entries,
            Err(why) => {
                found(info.name, &key, why.into());
                continue;
            }
        };
        for (index, entry) in info.indexes.iter().zip(entries) {
            let Some(entry) = entry else { continue };
            match source.raw(index.name, &entry.key)? {
                None => found(index.name, &entry.key, Problem::MissingEntry),
                Some(value) if value != entry.value => found(index.name, &entry.key, Problem::WrongEntry),
                Some(_) => {}
            }
        }
    }
    for (position, index) in info.indexes.iter().enumerate() {
        for entry in source.scan(index.name, RawRange::ALL, Direction::Forward)? {
            let (key, value) = entry?;
            if let Some(problem) = problem_of_entry(table, &info, position, source, (&key, &value))? {
                found(index.name, &key, problem);
            }
        }
    }
    Ok(())
}

/// What is wrong with an entry of the index at this position.
fn problem_of_entry(
    table: &dyn AnyTable,
    info: &TableInfo,
    position: usize,
    source: &dyn RawSource,
    (key, value): (&[u8], &[u8]),
) -> Result<Option<Problem>, Error> {
    let index = info.indexes.get(position);
    let Some(primary) = index.and_then(|index| table.primary_key(index.name, key, value)) else {
        return Ok(Some(Problem::Key));
    };
    let Some(row) = source.raw(info.name, &primary)? else { return Ok(Some(Problem::DanglingEntry)) };
    // A record that does not decode was reported with its table.
    let Ok(entries) = table.entries(&primary, &row) else { return Ok(None) };
    let expected = entries.into_iter().nth(position).flatten();
    let is_right = expected.is_some_and(|entry| entry.key == key && entry.value == value);
    Ok((!is_right).then_some(Problem::WrongEntry))
}

impl Store {
    /// Checks every record and every index entry of every table against each other, as of one moment, in constant
    /// memory. Each thing found wrong goes to `report`.
    pub fn verify(&self, mut report: impl FnMut(Mismatch)) -> Result<(), Error> {
        let snapshot = self.snapshot()?;
        self.catalogue().iter().try_for_each(|table| verify_table(*table, &*snapshot, &mut report))
    }

    /// Makes every index anew from the records, in bounded commits; answers how many rows it read. Cut short, it is
    /// finished when the store is next opened.
    pub fn rebuild_indexes(&self) -> Result<u64, Error> {
        self.set_meta(FINGERPRINT, UNFINISHED)?;
        let mut rows = 0;
        for table in self.catalogue() {
            rows += self.rebuild_indexes_of(*table)?;
        }
        self.set_meta(FINGERPRINT, fingerprint(self.catalogue()).as_bytes())?;
        Ok(rows)
    }

    /// Rows that do not decode are passed over: they cannot be indexed, and verification names them.
    fn rebuild_indexes_of(&self, table: &dyn AnyTable) -> Result<u64, Error> {
        let info = table.describe();
        self.with_transaction(|transaction| {
            for index in &info.indexes {
                transaction.delete_table(definition(index.name))?;
                transaction.open_table(definition(index.name))?;
            }
            Ok(())
        })?;
        let mut read = 0;
        let mut next: Option<Vec<u8>> = Some(Vec::new());
        while let Some(start) = next.take() {
            // Rows are read in the transaction that indexes them: nobody can change one in between. Each is let go before
            // the next is read, as a record may take megabytes.
            self.with_transaction(|transaction| {
                let rows = transaction.open_table(definition(info.name))?;
                let mut indexes = Vec::new();
                for index in &info.indexes {
                    indexes.push((index.unique, transaction.open_table(definition(index.name))?));
                }
                for (done, row) in rows.range(start.as_slice()..)?.enumerate() {
                    let (key, value) = row?;
                    if done == REBUILD_ROWS {
                        next = Some(key.value().to_vec());
                        break;
                    }
                    read += 1;
                    let Ok(entries) = table.entries(key.value(), value.value()) else { continue };
                    for ((is_unique, index), entry) in indexes.iter_mut().zip(entries) {
                        let Some(entry) = entry else { continue };
                        // Of two rows that a unique index cannot both have, the first keeps its entry.
                        if !*is_unique || index.get(entry.key.as_slice())?.is_none() {
                            index.insert(entry.key.as_slice(), entry.value.as_slice())?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}
