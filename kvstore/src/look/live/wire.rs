//! What is said on the socket.

use std::{
    io::{self, Read, Write},
    ops::Bound,
};

use bincode::{Decode, Encode};

use crate::{
    error::Error,
    schema::{
        codec,
        range::{Direction, RawRange},
    },
    store::source::{RawRow, Tree},
};

/// Rows of one answer.
pub(super) const PAGE_ROWS: usize = 1000;
/// Bytes after which an answer takes no further row; one row always fits.
pub(super) const PAGE_BYTES: usize = 1024 * 1024;
/// Bytes of a longer frame are not read.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// What a reader asks for. Each call but the last sees the newest state; two calls may see different ones.
#[derive(Debug, Encode, Decode)]
pub(super) enum Call {
    /// Who answers?
    Hello,
    /// The bytes under a key of a table.
    Raw(String, Vec<u8>),
    /// The first rows of a range of a table; `true` for the last ones, from the end.
    Page(String, Bound<Vec<u8>>, Bound<Vec<u8>>, bool),
    /// How many rows a table has.
    Count(String),
    /// The shape of a table's tree.
    Tree(String),
    /// Every row, from one snapshot.
    Spool,
}

/// What the store says.
#[derive(Debug, Encode, Decode)]
pub(super) enum Answer {
    Hello {
        about: String,
        process: u32,
        fingerprint: String,
    },
    Raw(Option<Vec<u8>>),
    /// Rows, and whether there may be more after them.
    Page(Vec<RawRow>, bool),
    Count(u64),
    Tree([u64; 6]),
    /// A spool follows.
    Spool,
    /// It cannot be answered; why.
    Refused(String),
    /// So many readers are served already.
    Busy(u32),
}

impl Call {
    pub(super) fn page(table: &str, range: RawRange, direction: Direction) -> Self {
        Self::Page(table.into(), range.start, range.end, direction == Direction::Reverse)
    }
}

impl Answer {
    pub(super) fn tree(tree: Tree) -> Self {
        let Tree { height, leaf_pages, branch_pages, stored_bytes, metadata_bytes, fragmented_bytes } = tree;
        Self::Tree([height.into(), leaf_pages, branch_pages, stored_bytes, metadata_bytes, fragmented_bytes])
    }
}

pub(super) fn tree_of(
    [height, leaf_pages, branch_pages, stored_bytes, metadata_bytes, fragmented_bytes]: [u64; 6],
) -> Tree {
    let height = u32::try_from(height).unwrap_or(u32::MAX);
    Tree { height, leaf_pages, branch_pages, stored_bytes, metadata_bytes, fragmented_bytes }
}

pub(super) fn send(stream: &mut impl Write, message: &impl Encode) -> Result<(), Error> {
    let bytes = codec::encode_frame(message).map_err(|error| invalid(&error.to_string()))?;
    let length = u32::try_from(bytes.len()).map_err(|_| invalid("a frame is too long"))?;
    stream.write_all(&[&length.to_le_bytes(), bytes.as_slice()].concat())?;
    Ok(())
}

pub(super) fn receive<M: Decode<()>>(stream: &mut impl Read) -> Result<M, Error> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(invalid("a frame is too long").into());
    }
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    codec::decode_frame(&bytes).map_err(|error| invalid(&error.to_string()).into())
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}
