//! A copy of one snapshot as a flat file of sorted rows: written as fast as the disk or a socket takes it, so that the
//! snapshot can be let go, and then read at leisure.
//!
//! ```text
//!  head      "dcspool1"
//!  row       table, 1 byte: its place in the catalogue's list of names, `meta` first
//!            length of the key, 4 bytes little-endian │ length of the value, the same │ key │ value
//!  end       FF │ number of rows, 8 bytes little-endian │ CRC-32C of everything before it, 4 bytes little-endian
//! ```
//!
//! Rows are ordered by table and key. A reader keeps the place of every 64th row in memory, so a look-up is a binary
//! search and a short walk: the sparse index of an SSTable (Bigtable, <https://research.google/pubs/pub27898/>, 5.3).

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    ops::Bound,
    os::unix::fs::FileExt,
};

use crate::{
    error::Error,
    schema::{
        catalogue::Catalogue,
        codec::MAX_PAYLOAD_BYTES,
        range::{Direction, RawRange},
    },
    store::{
        numbers::TableNumbers,
        snapshot::Snapshot,
        source::{RawRow, RawRows, RawSource, Tree},
    },
};

const HEAD: &[u8; 8] = b"dcspool1";
/// In place of a table: nothing follows but the number of rows and the sum.
const END: u8 = u8::MAX;
/// Rows for which one place is kept in memory.
const BLOCK_ROWS: usize = 64;
/// Bytes that are read or written at once.
const BUFFER: usize = 256 * 1024;
/// Longer keys and values are none: what is read is checked before memory is set aside for it.
const MAX_BYTES: u32 = 2 * MAX_PAYLOAD_BYTES as u32;

/// Writes every row of every table and index of a snapshot, and of `meta`; answers how many. `progress` is told the rows
/// written so far and may stop it.
pub fn write(
    snapshot: &Snapshot,
    output: impl Write,
    progress: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut output = Summing { inner: BufWriter::with_capacity(BUFFER, output), sum: 0 };
    output.write_all(HEAD)?;
    let mut rows = 0_u64;
    for (number, name) in snapshot.names().iter().enumerate() {
        let number = u8::try_from(number).ok().filter(|number| *number != END);
        let number = number.ok_or_else(|| Error::Damaged("the catalogue has too many tables for a spool".into()))?;
        for row in snapshot.scan(name, RawRange::ALL, Direction::Forward)? {
            let (key, value) = row?;
            output.write_all(&[number])?;
            for bytes in [&key, &value] {
                let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                output.write_all(&length.to_le_bytes())?;
            }
            output.write_all(&key)?;
            output.write_all(&value)?;
            rows += 1;
            progress(rows)?;
        }
    }
    output.write_all(&[END])?;
    output.write_all(&rows.to_le_bytes())?;
    let sum = output.sum;
    output.inner.write_all(&sum.to_le_bytes())?;
    output.inner.flush()?;
    Ok(rows)
}

/// A spooled snapshot, complete and in one piece.
pub struct Spool {
    file: File,
    numbers: TableNumbers,
    blocks: Vec<Block>,
    counts: Vec<u64>,
}

/// Up to [`BLOCK_ROWS`] neighbouring rows of one table.
struct Block {
    number: usize,
    first: Vec<u8>,
    offset: u64,
    bytes: usize,
}

impl Spool {
    /// Takes a spool from `input` into `file`, which is empty. An input that ends early or was altered is an error.
    /// `progress` is told the rows taken so far and may stop it.
    pub fn receive(
        catalogue: Catalogue,
        input: impl Read,
        file: File,
        progress: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let numbers = TableNumbers::of(catalogue);
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut spool = Self { counts: vec![0; numbers.names().len()], numbers, blocks: Vec::new(), file };
        let mut output = Summing { inner: BufWriter::with_capacity(BUFFER, spool.file.try_clone()?), sum: 0 };
        let mut head = [0; 8];
        input.read_exact(&mut head)?;
        if head != *HEAD {
            return Err(altered("it does not begin like one"));
        }
        output.write_all(&head)?;
        let (mut offset, mut rows, mut in_block) = (head.len() as u64, 0_u64, 0_usize);
        let mut buffer = Vec::new();
        let mut previous = (0, Vec::new());
        loop {
            let mut number = [0];
            input.read_exact(&mut number)?;
            output.write_all(&number)?;
            if number[0] == END {
                break;
            }
            let number = usize::from(number[0]);
            let mut lengths = [0; 8];
            input.read_exact(&mut lengths)?;
            let (key_bytes, value_bytes) = row_lengths(lengths).ok_or_else(|| altered("a row is too long"))?;
            buffer.resize(key_bytes + value_bytes, 0);
            input.read_exact(&mut buffer)?;
            output.write_all(&lengths)?;
            output.write_all(&buffer)?;
            let count =
                spool.counts.get_mut(number).ok_or_else(|| altered("it has a table that is not in the catalogue"))?;
            *count += 1;
            let key = buffer.get(..key_bytes).unwrap_or_default();
            if rows > 0 && (number, key) <= (previous.0, previous.1.as_slice()) {
                return Err(altered("its rows are not in order"));
            }
            previous.0 = number;
            previous.1.clear();
            previous.1.extend_from_slice(key);
            let bytes = 1 + lengths.len() + buffer.len();
            match spool.blocks.last_mut().filter(|block| block.number == number && in_block < BLOCK_ROWS) {
                Some(block) => block.bytes += bytes,
                None => {
                    spool.blocks.push(Block { number, first: key.to_vec(), offset, bytes });
                    in_block = 0;
                }
            }
            in_block += 1;
            offset += bytes as u64;
            rows += 1;
            progress(rows)?;
        }
        let (mut counted, mut sum) = ([0; 8], [0; 4]);
        input.read_exact(&mut counted)?;
        output.write_all(&counted)?;
        input.read_exact(&mut sum)?;
        if u64::from_le_bytes(counted) != rows || u32::from_le_bytes(sum) != output.sum {
            return Err(altered("its sum is wrong"));
        }
        output.flush()?;
        Ok(spool)
    }

    /// The rows of a block.
    fn read(&self, block: &Block) -> Result<Vec<RawRow>, Error> {
        let mut bytes = vec![0; block.bytes];
        self.file.read_exact_at(&mut bytes, block.offset)?;
        let mut rows = Vec::with_capacity(BLOCK_ROWS);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            rows.push(take_row(&mut rest).ok_or_else(|| altered("a row is not where it was put"))?);
        }
        Ok(rows)
    }
}

fn take_row(rest: &mut &[u8]) -> Option<RawRow> {
    let (lengths, after) = rest.get(1..)?.split_first_chunk::<8>()?;
    let (key_bytes, value_bytes) = row_lengths(*lengths)?;
    let (key, after) = after.split_at_checked(key_bytes)?;
    let (value, after) = after.split_at_checked(value_bytes)?;
    *rest = after;
    Some((key.to_vec(), value.to_vec()))
}

/// The lengths of a row's key and value, if both are possible.
fn row_lengths(bytes: [u8; 8]) -> Option<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let length = |bytes| usize::try_from(u32::from_le_bytes(bytes)).ok().filter(|length| *length <= MAX_BYTES as usize);
    Some((length([a, b, c, d])?, length([e, f, g, h])?))
}

fn altered(problem: &str) -> Error {
    Error::Damaged(format!("the copy of the store is incomplete or was altered: {problem}"))
}

impl RawSource for Spool {
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let number = self.numbers.number(table)?;
        let after = self.blocks.partition_point(|block| (block.number, block.first.as_slice()) <= (number, key));
        let Some(block) =
            after.checked_sub(1).and_then(|at| self.blocks.get(at)).filter(|block| block.number == number)
        else {
            return Ok(None);
        };
        Ok(self.read(block)?.into_iter().find(|(found, _)| found == key).map(|(_, value)| value))
    }

    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error> {
        let number = self.numbers.number(table)?;
        let begin = self.blocks.partition_point(|block| block.number < number);
        let end = self.blocks.partition_point(|block| block.number <= number);
        let blocks = self.blocks.get(begin..end).unwrap_or_default();
        // A block's rows lie from its first key up to the next block's.
        let begun = |key: &Vec<u8>| blocks.partition_point(|block| block.first <= *key);
        let from = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => begun(key).saturating_sub(1),
        };
        let to = match &range.end {
            Bound::Unbounded => blocks.len(),
            Bound::Included(key) | Bound::Excluded(key) => begun(key),
        };
        let blocks = blocks.get(from..to).unwrap_or_default();
        let order: Box<dyn Iterator<Item = &Block>> = match direction {
            Direction::Forward => Box::new(blocks.iter()),
            Direction::Reverse => Box::new(blocks.iter().rev()),
        };
        let rows = order.flat_map(move |block| match self.read(block) {
            Err(error) => vec![Err(error)],
            Ok(mut rows) => {
                if direction == Direction::Reverse {
                    rows.reverse();
                }
                rows.into_iter().filter(|(key, _)| range.contains(key)).map(Ok).collect()
            }
        });
        Ok(Box::new(rows))
    }

    fn count(&self, table: &str) -> Result<u64, Error> {
        Ok(self.counts.get(self.numbers.number(table)?).copied().unwrap_or_default())
    }

    fn tree(&self, _table: &str) -> Result<Option<Tree>, Error> {
        Ok(None)
    }
}

/// Sums up what is written.
struct Summing<W> {
    inner: W,
    sum: u32,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::{Options, Schema, catalogue, record, table};

    record! {
        /// A word.
        struct Word: version 1 {
            /// Its letters.
            letters: String,
        }
    }

    table! {
        /// Words by number.
        table Words("words"): u64 => Word;
        /// Words of a length.
        index _WordsByLength("words_by_length"): u64 = |_, word| Some(word.letters.len() as u64);
    }

    const SCHEMA: Schema = Schema::new(catalogue![Words]);

    fn a_store(words: u64) -> crate::Store {
        let store = Options::default().open_over(InMemoryBackend::new(), &SCHEMA).unwrap();
        store
            .write(|batch| {
                (0..words).try_for_each(|key| {
                    let letters = "x".repeat(usize::try_from(key % 7).unwrap());
                    batch.insert::<Words>(&(key * 10), &Word { letters })
                })
            })
            .unwrap();
        store
    }

    fn spooled(bytes: &[u8]) -> Result<Spool, Error> {
        Spool::receive(SCHEMA.catalogue, bytes, tempfile::tempfile().unwrap(), &mut |_| Ok(()))
    }

    fn bytes_of(snapshot: &Snapshot) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(snapshot, &mut bytes, &mut |_| Ok(())).unwrap();
        bytes
    }

    fn keys(source: &dyn RawSource, table: &str, range: &RawRange, direction: Direction) -> Vec<RawRow> {
        source.scan(table, range.clone(), direction).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn it_reads_like_the_snapshot_it_was_made_from() {
        for words in [0, 1, 63, 64, 65, 200] {
            let store = a_store(words);
            let snapshot = store.snapshot().unwrap();
            let spool = spooled(&bytes_of(&snapshot)).unwrap();
            let bounds = || {
                let keys = (0_u64..=2010).step_by(45).chain([u64::MAX]).map(|key| key.to_be_bytes().to_vec());
                keys.flat_map(|key| [Bound::Included(key.clone()), Bound::Excluded(key)]).chain([Bound::Unbounded])
            };
            for table in ["meta", "words", "words_by_length"] {
                assert_eq!(spool.count(table).unwrap(), snapshot.count(table).unwrap());
                for start in bounds().step_by(3) {
                    for end in bounds().step_by(7) {
                        let range = RawRange { start: start.clone(), end };
                        for direction in [Direction::Forward, Direction::Reverse] {
                            let expected = keys(&*snapshot, table, &range, direction);
                            assert_eq!(keys(&spool, table, &range, direction), expected, "{words} {table} {range:?}");
                        }
                    }
                }
                for (key, value) in keys(&*snapshot, table, &RawRange::ALL, Direction::Forward) {
                    assert_eq!(spool.raw(table, &key).unwrap(), Some(value));
                    assert_eq!(spool.raw(table, &[key, vec![0]].concat()).unwrap(), None);
                }
                assert_eq!(spool.raw(table, &[]).unwrap(), None);
            }
        }
    }

    #[test]
    fn one_that_was_cut_off_or_altered_is_refused() {
        let bytes = bytes_of(&a_store(20).snapshot().unwrap());
        for length in 0..bytes.len() {
            assert!(spooled(&bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x40;
            assert!(spooled(&altered).is_err(), "{at}");
        }
    }
}
