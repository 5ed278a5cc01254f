//! Holding indexes to their records, and making them anew.

use std::fmt;

use redb::ReadableTable;

use crate::{
    error::{Error, hex},
    key::Key,
    record::Record,
    snapshot::{Direction, decode_row, definition},
    source::{RawRange, RawSource},
    store::Store,
    table::{IndexDefinition, Table},
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

/// Something found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table or index.
    pub table: &'static str,
    /// The key of the row or entry, in hexadecimal.
    pub key: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Finding {
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

pub(crate) fn table<T: Table>(source: &dyn RawSource, report: &mut dyn FnMut(Finding)) -> Result<(), Error> {
    let mut found = |table, key: &[u8], problem| report(Finding { table, key: hex(key), problem });
    for row in source.scan(T::NAME, RawRange::ALL, Direction::Forward)? {
        let (raw_key, value) = row?;
        let Some(key) = T::Key::decode(&raw_key) else {
            found(T::NAME, &raw_key, Problem::Key);
            continue;
        };
        let record = match T::Record::from_bytes(&raw_key, &value) {
            Ok(record) => record,
            Err(error) => {
                found(T::NAME, &raw_key, Problem::Record(error.to_string()));
                continue;
            }
        };
        for index in T::INDEXES {
            let Some(entry) = index.entry(&key, &record) else { continue };
            match source.raw(index.name, &entry.key)? {
                None => found(index.name, &entry.key, Problem::MissingEntry),
                Some(value) if value != entry.value => found(index.name, &entry.key, Problem::WrongEntry),
                Some(_) => {}
            }
        }
    }
    for index in T::INDEXES {
        for entry in source.scan(index.name, RawRange::ALL, Direction::Forward)? {
            let (raw_key, value) = entry?;
            if let Some(problem) = problem_of_entry(source, index, &raw_key, &value)? {
                found(index.name, &raw_key, problem);
            }
        }
    }
    Ok(())
}

fn problem_of_entry<T: Table>(
    source: &dyn RawSource,
    index: &IndexDefinition<T>,
    raw_key: &[u8],
    value: &[u8],
) -> Result<Option<Problem>, Error> {
    let Some(key) = index.primary_key(raw_key, value) else { return Ok(Some(Problem::Key)) };
    let primary = key.to_bytes();
    let Some(row) = source.raw(T::NAME, &primary)? else { return Ok(Some(Problem::DanglingEntry)) };
    // A record that does not decode was reported with its table.
    let Ok(record) = T::Record::from_bytes(&primary, &row) else { return Ok(None) };
    let is_right = index.entry(&key, &record).is_some_and(|entry| entry.key == raw_key && entry.value == value);
    Ok((!is_right).then_some(Problem::WrongEntry))
}

/// Rows that do not decode are passed over: they cannot be indexed, and verification names them.
pub(crate) fn rebuild<T: Table>(store: &Store) -> Result<u64, Error> {
    store.with_transaction(|transaction| {
        for index in T::INDEXES {
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
        store.with_transaction(|transaction| {
            let rows = transaction.open_table(definition(T::NAME))?;
            let mut indexes = Vec::new();
            for index in T::INDEXES {
                indexes.push((index, transaction.open_table(definition(index.name))?));
            }
            for (done, row) in rows.range(start.as_slice()..)?.enumerate() {
                let (raw_key, value) = row?;
                if done == REBUILD_ROWS {
                    next = Some(raw_key.value().to_vec());
                    break;
                }
                read += 1;
                let Ok((key, record)) = decode_row::<T>(raw_key.value(), value.value()) else { continue };
                for (index, table) in &mut indexes {
                    let Some(entry) = index.entry(&key, &record) else { continue };
                    // Of two rows that a unique index cannot both have, the first keeps its entry.
                    if !index.unique || table.get(entry.key.as_slice())?.is_none() {
                        table.insert(entry.key.as_slice(), entry.value.as_slice())?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(read)
}
