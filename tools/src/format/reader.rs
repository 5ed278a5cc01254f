//! Reading NDJSON, compressed or not: everything that is not exactly the format is refused, with its line.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read as _},
};

use decentcom_kvstore::hex;
use decentcom_server::storage::{
    inspect::Row,
    limits::{MAX_CONTENT_BYTES, MAX_TEXT_BYTES},
};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::{
    META,
    frame::{Header, Tail, Trailer},
    record::{Line, parse},
    tables,
};
use crate::outcome::{Code, Failure};

/// Longest line, in bytes. A message whose every byte is escaped as `\u0000` has 6 times its content, and the rest of its
/// record; a channel has three texts.
const MAX_LINE_BYTES: usize = 8 * MAX_CONTENT_BYTES;
const _: () = assert!(MAX_LINE_BYTES > 6 * MAX_CONTENT_BYTES + 6 * 3 * MAX_TEXT_BYTES + 4096);
/// Longest first and last line: they name tables, of which there are few, and are read into trees.
const MAX_FRAME_BYTES: usize = 16 * 1024;
/// Memory that decompression may take: 2 to this power. Any level of `zstd` up to 20 takes less.
const MAX_WINDOW_LOG: u32 = 25;
/// Characters of a problem that are told; a line can be quoted in it.
const MAX_PROBLEM: usize = 400;
/// The first bytes of a zstd frame, RFC 8878.
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

/// A dump being read.
pub(crate) struct Reader {
    input: Box<dyn BufRead>,
    header: Header,
    high_water: Option<Ulid>,
    /// The record after the high-water line, read to look for that.
    first: Option<Row>,
    line: Vec<u8>,
    number: u64,
    records: BTreeMap<String, u64>,
    hash: Sha256,
    trailer: Option<Trailer>,
}

impl Reader {
    /// Reads the header and the facts of a dump, compressed or not.
    pub(crate) fn over(
        mut plain: impl BufRead + 'static,
        failed: impl Fn(io::Error) -> Failure,
    ) -> Result<Self, Failure> {
        let is_compressed = plain.fill_buf().map_err(&failed)?.starts_with(ZSTD_MAGIC);
        if is_compressed {
            let mut decoder = zstd::Decoder::with_buffer(plain).map_err(&failed)?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(&failed)?;
            return Self::new(Box::new(BufReader::new(decoder)));
        }
        Self::new(Box::new(plain))
    }

    fn new(input: Box<dyn BufRead>) -> Result<Self, Failure> {
        let header = Header {
            format: 0,
            tool: String::new(),
            backend: String::new(),
            schema: String::new(),
            time: Default::default(),
            tables: Vec::new(),
            redacted: false,
        };
        let mut reader = Self {
            input,
            header,
            high_water: None,
            first: None,
            line: Vec::new(),
            number: 0,
            records: BTreeMap::new(),
            hash: Sha256::new(),
            trailer: None,
        };
        if !reader.read_line()? {
            return Err(Failure::new(Code::Corrupt, "the dump is empty"));
        }
        reader.header = Header::parse(reader.frame()?)?;
        reader.check_tables()?;
        match reader.read()? {
            Some(Line::HighWater(id)) => reader.high_water = Some(id),
            Some(Line::Row(row)) => reader.first = Some(row),
            None => {}
        }
        Ok(reader)
    }

    /// Tables are known ones, each at most once, in their order.
    fn check_tables(&mut self) -> Result<(), Failure> {
        let mut known = tables();
        for table in self.header.tables.clone() {
            if !known.any(|known| known == table) {
                let all = tables().collect::<Vec<_>>().join(", ");
                return Err(self.refuse(&format!("`{table:.40}` is unknown or out of order among the tables: {all}")));
            }
            self.records.insert(table, 0);
        }
        Ok(())
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn high_water(&self) -> Option<Ulid> {
        self.high_water
    }

    /// What the last line said, once it was read.
    pub(crate) fn trailer(&self) -> Option<&Trailer> {
        self.trailer.as_ref()
    }

    /// The next record; `None` after the last one, once the trailer was found to be right.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, Failure> {
        if let Some(row) = self.first.take() {
            return Ok(Some(row));
        }
        match self.read()? {
            None => Ok(None),
            Some(Line::Row(row)) => Ok(Some(row)),
            Some(Line::HighWater(_)) => Err(self.refuse("facts come first, each once")),
        }
    }

    /// A failure that names the line read last.
    pub(crate) fn refuse(&self, problem: &str) -> Failure {
        let number = self.number;
        Failure::new(Code::Corrupt, format!("line {number} of the dump: {}", clipped(problem)))
    }

    fn read(&mut self) -> Result<Option<Line>, Failure> {
        if self.trailer.is_some() {
            return Ok(None);
        }
        if !self.read_line()? {
            return Err(self.truncated());
        }
        if self.line.starts_with(b"{\"trailer\"") {
            self.read_trailer()?;
            return Ok(None);
        }
        let line = parse(self.text()?).map_err(|problem| self.refuse(&problem))?;
        let table = match &line {
            Line::HighWater(_) => META,
            Line::Row(row) => row.entity().table(),
        };
        match self.records.get_mut(table) {
            Some(records) => *records += 1,
            None => return Err(self.refuse(&format!("the header names no table `{table}`"))),
        }
        self.hash.update(&self.line);
        Ok(Some(line))
    }

    fn read_trailer(&mut self) -> Result<(), Failure> {
        let tail: Result<Tail, _> = serde_json::from_str(self.frame()?);
        let trailer = tail.map_err(|error| self.refuse(&error.to_string()))?.trailer;
        if trailer.records != self.records {
            let (said, found) = (&trailer.records, &self.records);
            return Err(self.refuse(&format!("the trailer counts {said:?}, the dump has {found:?}: it was altered")));
        }
        if trailer.sha256 != hex(&self.hash.clone().finalize()) {
            return Err(self.refuse("the trailer has another SHA-256 than the lines before it: the dump was altered"));
        }
        if self.read_line()? {
            return Err(self.refuse("there is something after the trailer"));
        }
        self.trailer = Some(trailer);
        Ok(())
    }

    /// Reads a line with its end; `false` where there is none.
    fn read_line(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES as u64);
        let read = limited.read_until(b'\n', &mut self.line);
        read.map_err(|error| match error.raw_os_error() {
            Some(_) => Failure::from(error),
            None => Failure::new(
                Code::Corrupt,
                format!(
                    "after line {} of the dump: it cannot be decompressed ({error}); it is damaged or truncated",
                    self.number
                ),
            ),
        })?;
        if self.line.is_empty() {
            return Ok(false);
        }
        self.number += 1;
        if !self.line.ends_with(b"\n") {
            let is_too_long = self.line.len() >= MAX_LINE_BYTES;
            return Err(if is_too_long {
                self.refuse(&format!("it is longer than {MAX_LINE_BYTES} bytes, which no record is"))
            } else {
                self.truncated()
            });
        }
        Ok(true)
    }

    fn truncated(&self) -> Failure {
        Failure::new(
            Code::Corrupt,
            format!("the dump ends after line {} without a trailer: it is truncated", self.number),
        )
    }

    /// The first or the last line.
    fn frame(&self) -> Result<&str, Failure> {
        if self.line.len() > MAX_FRAME_BYTES {
            return Err(
                self.refuse(&format!("it is longer than {MAX_FRAME_BYTES} bytes, which no header or trailer is"))
            );
        }
        self.text()
    }

    fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.line).map_err(|error| self.refuse(&format!("it is not UTF-8: {error}")))
    }
}

/// What is wrong, in a sentence that can be read.
fn clipped(problem: &str) -> String {
    let mut characters = problem.chars();
    let shown: String = characters.by_ref().take(MAX_PROBLEM).collect();
    if characters.next().is_some() { shown + "…" } else { shown }
}
