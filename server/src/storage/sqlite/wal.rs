//! The frames of SQLite's write-ahead log, without SQLite: <https://www.sqlite.org/fileformat.html>, 4.1 and 4.2.

use std::io;

use crate::storage::files::descriptor::Descriptor;

/// The log's first four bytes; the last bit says in which order of bytes its checksums are made.
const MAGIC: u32 = 0x377f_0682;
/// Bytes before the first frame.
pub(super) const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const LARGEST_PAGE: usize = 65536;

/// Reads a log's frames in order, those that SQLite would take: the first whose checksum or salt is not right, or that is not
/// there as a whole, ends the log.
pub(super) struct Frames<'a> {
    file: &'a Descriptor,
    salts: [u8; 8],
    sum: Sum,
    /// Where in the file the next one begins.
    at: u64,
    frame: Vec<u8>,
}

/// A page as of one commit.
pub(super) struct Frame<'a> {
    /// The page's number, from 1 on.
    pub(super) page: u32,
    /// Whether it is the last of its commit.
    pub(super) ends_a_commit: bool,
    pub(super) content: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Of a file; `None` where it is none of a log that has begun.
    pub(super) fn of(file: &'a Descriptor) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        if file.read_at(0, &mut header)? < HEADER || number(&header, 0) & !1 != MAGIC {
            return Ok(None);
        }
        let page = number(&header, 8) as usize;
        let mut sum = Sum::new(number(&header, 0) & 1 == 1);
        let (summed, rest) = header.split_at(24);
        sum.add(summed);
        let salts = summed.last_chunk().copied();
        Ok(salts.filter(|_| sum.is(rest) && page.is_power_of_two() && page <= LARGEST_PAGE).map(|salts| Self {
            file,
            salts,
            sum,
            at: HEADER as u64,
            frame: vec![0; FRAME_HEADER + page],
        }))
    }

    /// The next one, if the log goes on.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Frame<'_>>> {
        if self.file.read_at(self.at, &mut self.frame)? < self.frame.len() {
            return Ok(None);
        }
        let (header, content) = self.frame.split_at(FRAME_HEADER);
        let (numbers, checks) = header.split_at(8);
        let (salts, checksum) = checks.split_at(8);
        self.sum.add(numbers);
        self.sum.add(content);
        if salts != self.salts || !self.sum.is(checksum) {
            return Ok(None);
        }
        self.at += self.frame.len() as u64;
        Ok(Some(Frame { page: number(header, 0), ends_a_commit: number(header, 4) > 0, content }))
    }
}

/// Four bytes, big-endian, as all numbers of SQLite's files are.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The checksum of everything so far.
struct Sum {
    is_big_endian: bool,
    sums: (u32, u32),
}

impl Sum {
    fn new(is_big_endian: bool) -> Self {
        Self { is_big_endian, sums: (0, 0) }
    }

    /// Adds pairs of words; there are no other lengths in a log.
    fn add(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<4>();
        let word =
            |bytes: &[u8; 4]| if self.is_big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) };
        let (mut one, mut other) = self.sums;
        for [first, second] in words.as_chunks::<2>().0 {
            one = one.wrapping_add(word(first)).wrapping_add(other);
            other = other.wrapping_add(word(second)).wrapping_add(one);
        }
        self.sums = (one, other);
    }

    fn is(&self, stored: &[u8]) -> bool {
        (number(stored, 0), number(stored, 4)) == self.sums
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    use super::*;

    /// A log as SQLite leaves it: three commits, the third over two pages at least.
    async fn a_log(directory: &Path) -> Vec<u8> {
        let path = directory.join("store");
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        for statement in [
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t (x)",
            "INSERT INTO t VALUES (1)",
            "BEGIN; CREATE TABLE u (x); INSERT INTO t VALUES (zeroblob(9000)); COMMIT",
        ] {
            connection.execute(statement).await.unwrap();
        }
        fs::read(directory.join("store-wal")).unwrap()
    }

    /// The commits that are read of `bytes`, each as the numbers of its pages.
    fn commits(directory: &Path, bytes: &[u8]) -> Vec<Vec<u32>> {
        let path = directory.join("log");
        fs::write(&path, bytes).unwrap();
        let file = Descriptor::read(&path).unwrap();
        let Some(mut frames) = Frames::of(&file).unwrap() else { return Vec::new() };
        let (mut commits, mut pages) = (Vec::new(), Vec::new());
        while let Some(frame) = frames.next_frame().unwrap() {
            pages.push(frame.page);
            if frame.ends_a_commit {
                commits.push(std::mem::take(&mut pages));
            }
        }
        commits
    }

    #[tokio::test]
    async fn the_frames_are_those_that_sqlite_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let log = a_log(directory.path()).await;
        let found = commits(directory.path(), &log);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!((log.len() - HEADER) / (FRAME_HEADER + 4096), found.concat().len());
    }

    #[tokio::test]
    async fn the_log_ends_where_it_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = a_log(directory.path()).await;
        let all = commits(directory.path(), &log).concat().len();
        for lost in (0..all).map(|frame| HEADER + frame * (FRAME_HEADER + 4096)) {
            for (what, range) in [("header", 0..FRAME_HEADER), ("page", FRAME_HEADER..FRAME_HEADER + 4096)] {
                let mut torn = log.clone();
                torn[lost + range.start..lost + range.end].fill(7);
                let found = commits(directory.path(), &torn).concat().len();
                assert!(found <= (lost - HEADER) / (FRAME_HEADER + 4096), "the {what} at {lost} is lost");
            }
            let found = commits(directory.path(), &log[..lost + 100]).concat().len();
            assert!(found <= (lost - HEADER) / (FRAME_HEADER + 4096), "cut at {lost}");
        }
        for byte in 0..HEADER {
            let mut flipped = log.clone();
            flipped[byte] ^= 1;
            assert!(commits(directory.path(), &flipped).is_empty(), "byte {byte} of the header");
        }
        assert!(commits(directory.path(), &log[..HEADER - 1]).is_empty());
    }
}
