//! Writing NDJSON: what `load` reads.

use std::{collections::BTreeMap, io::Write};

use decentcom_kvstore::hex;
use sha2::{Digest as _, Sha256};

use super::{
    frame::{Head, Header, Tail, Trailer},
    record::Record,
    sums::write_line,
};
use crate::outcome::Failure;

/// Takes the records of a dump, in order.
pub(crate) trait Sink {
    /// Takes one.
    fn take(&mut self, record: &Record) -> Result<(), Failure>;

    /// Writes what comes after the last one.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// A header, a record a line, a trailer.
pub(crate) struct Ndjson<W> {
    out: W,
    line: Vec<u8>,
    records: BTreeMap<String, u64>,
    hash: Sha256,
}

impl<W: Write> Ndjson<W> {
    pub(crate) fn new(mut out: W, header: Header) -> Result<Self, Failure> {
        let records = header.tables.iter().map(|table| (table.clone(), 0)).collect();
        let mut line = Vec::new();
        write_line(&mut line, &Head { dcstore: header })?;
        out.write_all(&line)?;
        Ok(Self { out, line, records, hash: Sha256::new() })
    }
}

impl<W: Write> Sink for Ndjson<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        write_line(&mut self.line, record)?;
        self.hash.update(&self.line);
        self.out.write_all(&self.line)?;
        *self.records.entry(record.table().into()).or_default() += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let trailer = Trailer { records: self.records.clone(), sha256: hex(&self.hash.clone().finalize()) };
        write_line(&mut self.line, &Tail { trailer })?;
        self.out.write_all(&self.line)?;
        Ok(())
    }
}
