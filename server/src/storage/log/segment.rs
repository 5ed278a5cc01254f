//! A segment: one file of the log.

use std::fmt;

use super::{
    BLOCK, LogError,
    folder::{Directory, File},
    header::{COPIES, Header},
    record::{self, Record},
};

/// Where the records begin.
pub(super) const START: u64 = (COPIES * BLOCK) as u64;

/// A file of the log that is one of its segments.
pub(super) struct Segment {
    pub(super) header: Header,
    file: Box<dyn File>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

/// What a segment with this sequence is called.
pub(super) fn name_of(sequence: u64) -> String {
    format!("{sequence:016x}.segment")
}

/// The sequence of the segment that is called so.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// An error of the operating system about a file of the log.
pub(super) fn failed(attempt: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> LogError {
    let name = name.to_owned();
    move |source| LogError::Io { attempt, name, source }
}

impl Segment {
    /// Makes a file a segment, whose first record may be there from the beginning; that it is one is durable when this
    /// returns, but for its name. The record is durable before the header is written, which makes what older segments have of
    /// its number void; and one copy of the header is written after the other is durable: a crash leaves at most one that is
    /// neither this header nor what was there before.
    pub(super) fn begin(
        name: &str,
        file: Box<dyn File>,
        header: Header,
        record: Option<&[u8]>,
    ) -> Result<Self, LogError> {
        let copies = header.encode();
        let copies = copies.chunks(BLOCK).enumerate().map(|(number, copy)| ((number * BLOCK) as u64, copy));
        for (at, bytes) in record.map(|record| (START, record)).into_iter().chain(copies) {
            file.write(at, bytes).and_then(|()| file.sync()).map_err(failed("begin", name))?;
        }
        Ok(Self { header, file })
    }

    /// Opens the file with this name, if it is the segment it is called; one that was never begun is none.
    pub(super) fn open(directory: &dyn Directory, name: &str) -> Result<Option<Self>, LogError> {
        let Some(sequence) = sequence_of(name) else { return Ok(None) };
        let file = directory.open(name).map_err(failed("open", name))?;
        let mut blocks = [0; COPIES * BLOCK];
        let bytes = file.bytes().map_err(failed("read", name))?;
        if bytes < blocks.len() as u64 {
            return Ok(None); // a crash cut its making short
        }
        file.read(0, &mut blocks).map_err(failed("read", name))?;
        match Header::decode(&blocks, sequence) {
            Ok(header) => Ok(header.map(|header| Self { header, file })),
            Err(problem) => Err(LogError::Header { name: name.to_owned(), problem }),
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        name_of(self.header.sequence)
    }

    /// Whether a record that takes so much has room there.
    pub(super) fn has_room(&self, at: u64, room: u64) -> bool {
        at.checked_add(room).is_some_and(|end| end <= self.header.bytes)
    }

    /// Writes a record and makes it durable.
    pub(super) fn write(&self, at: u64, record: &[u8]) -> Result<(), LogError> {
        let written = self.file.write(at, record).and_then(|()| self.file.sync());
        written.map_err(failed("write to", &self.name()))
    }

    /// The record that lies there, if there is a valid one, whatever its number.
    pub(super) fn read(&self, at: u64) -> Result<Option<Record>, LogError> {
        if !self.has_room(at, BLOCK as u64) {
            return Ok(None);
        }
        let mut bytes = vec![0; BLOCK];
        self.file.read(at, &mut bytes).map_err(failed("read", &self.name()))?;
        let Some(length) = record::length(&bytes, self.header.bytes - at) else { return Ok(None) };
        if length > BLOCK {
            bytes.resize(length, 0);
            self.file.read(at, &mut bytes).map_err(failed("read", &self.name()))?;
        }
        bytes.truncate(length);
        Ok(record::decode(&bytes, self.header.salt).ok())
    }

    /// The first valid record from there on with a larger number than `number`, and where it lies.
    pub(super) fn find_above(&self, mut at: u64, number: u64) -> Result<Option<(u64, Record)>, LogError> {
        while self.has_room(at, BLOCK as u64) {
            if let Some(record) = self.read(at)?.filter(|record| record.number > number) {
                return Ok(Some((at, record)));
            }
            at += BLOCK as u64;
        }
        Ok(None)
    }
}
