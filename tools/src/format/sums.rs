//! Rows and hash per table: the same for every backend.

use decentcom_kvstore::hex;
use decentcom_server::storage::inspect::Row;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::{record::Record, redact::Redactor, tables};
use crate::{outcome::Failure, safe::json_line};

/// How many rows a table has, and the SHA-256 of the lines that a whole dump has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sum {
    pub(crate) table: &'static str,
    pub(crate) rows: u64,
    pub(crate) sha256: String,
}

/// Sums being made.
pub(crate) struct Sums {
    tables: Vec<(&'static str, u64, Sha256)>,
    line: Vec<u8>,
}

impl Sums {
    pub(crate) fn new(high_water: Option<Ulid>) -> Result<Self, Failure> {
        let mut sums = Self { tables: tables().map(|table| (table, 0, Sha256::new())).collect(), line: Vec::new() };
        if let Some(id) = high_water {
            sums.add_record(&Record::high_water(id))?;
        }
        Ok(sums)
    }

    pub(crate) fn add(&mut self, row: &Row) -> Result<(), Failure> {
        self.add_record(&Record::of(row, &mut Redactor::Open))
    }

    fn add_record(&mut self, record: &Record) -> Result<(), Failure> {
        write_line(&mut self.line, record)?;
        if let Some((_, rows, hash)) = self.tables.iter_mut().find(|(table, ..)| *table == record.table()) {
            *rows += 1;
            hash.update(&self.line);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<Sum> {
        let tables = self.tables.into_iter();
        tables.map(|(table, rows, hash)| Sum { table, rows, sha256: hex(&hash.finalize()) }).collect()
    }
}

/// Makes `line` the line of a record.
pub(crate) fn write_line(line: &mut Vec<u8>, record: &impl Serialize) -> Result<(), Failure> {
    line.clear();
    Ok(json_line(record, line)?)
}
