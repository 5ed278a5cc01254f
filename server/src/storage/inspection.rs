//! What a store looks like from outside: rows as they lie, records, facts. The words between `inspect/`, which knows every
//! backend, and the backends, which know only these.

use std::path::PathBuf;

use decentcom_kvstore::{ByteRange, Direction, RawRange, Tree};
use ulid::Ulid;

use super::{Backend, ChannelId, Row, StorageError, Timestamp, finding::Finding};

/// What is shown in place of a secret that no tool needs.
pub(super) const HIDDEN: &str = "(secret)";

/// How much has to be of one moment, which matters where a server has the store open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Everything that is read. Of a redb store that a server has open, all rows are copied to a temporary file first.
    One,
    /// What one call answers. Later calls may see what was written in between.
    Steps,
}

/// A store opened to be looked at.
pub trait Inspection {
    /// Which backend keeps it.
    fn backend(&self) -> Backend;

    /// The server that has it open, if one has: a program and the number of its process.
    fn holder(&self) -> Option<&str>;

    /// Whether all that is read is of one moment.
    fn moment(&self) -> Moment;

    /// What is wrong with how its files lie together, and what to do: what is read may not be all there was.
    fn doubt(&self) -> Option<String>;

    /// What is known of the store as a whole.
    fn facts(&mut self) -> Result<Facts, StorageError>;

    /// Every table and index that can be read, in the order of a dump.
    fn tables(&self) -> Vec<TableFacts>;

    /// An error that names the first table that is missing, or is something else by now; reading it is the same error. A
    /// file of an older program lacks the newer tables, which is none.
    fn check_tables(&mut self) -> Result<(), StorageError>;

    /// The first rows of a range of a table, or the last ones: at most `limit`, fewer where they are large, none only
    /// where none are left. Keys are compared as bytes.
    fn read(
        &mut self,
        table: &str,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, StorageError>;

    /// Whether the messages of a channel lie together, so that they are read without all others.
    fn has_channels_together(&self) -> bool {
        false
    }

    /// What [`read`](Self::read) answers, of one channel's messages. For stores that have them together.
    fn read_of_channel(
        &mut self,
        _channel: ChannelId,
        _range: &RawRange,
        _direction: Direction,
        _limit: usize,
    ) -> Result<Vec<Stored>, StorageError> {
        Ok(Vec::new())
    }

    /// How many rows a table has.
    fn count(&mut self, table: &str) -> Result<u64, StorageError>;

    /// The shape of a table's tree, where the engine tells.
    fn tree(&mut self, table: &str) -> Result<Option<Tree>, StorageError>;

    /// The keys of a table that begin with `text`, as people write them; `None` where none can.
    fn range_of(&self, table: &str, text: &str) -> Option<ByteRange>;

    /// The record that a row is; `None` for tables that hold no record of the contract. A row that does not decode is
    /// [`StorageError::Corrupt`].
    fn decode(&self, table: &str, stored: &Stored) -> Result<Option<Row>, StorageError>;

    /// What each byte of a row means.
    fn explain(&self, table: &str, stored: &Stored) -> Explained;

    /// Checks what only the engine can: its file, its pages, its indexes against its records. `progress` is told the rows
    /// read so far, where they are read one by one, and may stop the check with an error.
    fn verify_engine(
        &mut self,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError>;
}

/// A row as the engine has it.
pub struct Stored {
    /// The bytes of its key, by which tables are read.
    pub key: Vec<u8>,
    /// Bytes of everything else.
    pub value_bytes: usize,
    pub(in crate::storage) content: Content,
}

impl Stored {
    /// The bytes it lies under: its key, and before that what it lies together with others by.
    pub fn place(&self) -> &[u8] {
        match &self.content {
            Content::KeyValue { place, .. } => place,
            Content::Sql(_) => &self.key,
        }
    }

    /// The bytes under the key, where the engine keeps keys and values.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.content {
            Content::KeyValue { value, .. } => Some(value),
            Content::Sql(_) => None,
        }
    }
}

/// What a backend keeps of a row that was read.
pub(in crate::storage) enum Content {
    /// Where it lies, which is its key but for rows that lie together with others, and the value there.
    KeyValue {
        /// The bytes of the place.
        place: Vec<u8>,
        /// What lies there.
        value: Vec<u8>,
    },
    /// The columns.
    Sql(sqlx::sqlite::SqliteRow),
}

/// A row, byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// The key, from its first byte to its last.
    pub key: Vec<Cell>,
    /// What is stored under it, in the same way.
    pub value: Vec<Cell>,
}

impl Explained {
    /// What of the key the row lies together with others by, before what finds it.
    pub fn cluster(&self) -> &[Cell] {
        let own = self.key.iter().position(|cell| matches!(cell.name.as_str(), "key" | "field"));
        self.key.get(..own.unwrap_or_default()).unwrap_or_default()
    }

    /// What of the key finds the row.
    pub fn own_key(&self) -> &[Cell] {
        self.key.get(self.cluster().len()..).unwrap_or_default()
    }
}

/// Some bytes that mean one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The name of the field or column, or of a part of the encoding.
    pub name: String,
    /// How the bytes encode the value.
    pub layout: String,
    /// As they are stored.
    pub bytes: Vec<u8>,
    /// What they encode.
    pub value: CellValue,
}

/// The value that some bytes encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellValue {
    /// Nothing: an absent value.
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of any width.
    Number(i128),
    /// Milliseconds, or a text that is a time.
    Time(Timestamp),
    /// Text; ids and digests too.
    Text(String),
    /// They cannot be read; why.
    Unreadable(String),
}

/// What a table or an index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name in the file.
    pub name: &'static str,
    /// The table it is an index of, if it is one.
    pub index_of: Option<&'static str>,
    /// What it is for, in a line.
    pub purpose: String,
}

/// What is known of a store as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The file.
    pub path: PathBuf,
    /// Which backend keeps it.
    pub backend: Backend,
    /// The format of its records or its schema's last migration.
    pub format: String,
    /// What this program writes, in the same words.
    pub current_format: String,
    /// Names the tables, keys, records and indexes that the store was made for.
    pub fingerprint: Option<String>,
    /// The same of this program.
    pub current_fingerprint: String,
    /// When the store was created.
    pub created_at: Option<Timestamp>,
    /// When it was last closed in good order.
    pub closed_at: Option<Timestamp>,
    /// The store's own id, made with it.
    pub store_id: Option<String>,
    /// When it was last opened, unless it was closed since.
    pub open_since: Option<Timestamp>,
    /// How it was left.
    pub state: State,
    /// What is wrong with how its files lie together, and what to do.
    pub doubt: Option<String>,
    /// The largest id ever given out.
    pub high_water: Option<Ulid>,
    /// Bytes of the files, as `ls` says.
    pub file_bytes: u64,
    /// Bytes of the disk they take.
    pub allocated_bytes: u64,
    /// Bytes that compacting would about give back, where that is known.
    pub reclaimable_bytes: Option<u64>,
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Closed in good order.
    Closed,
    /// Not closed: its program ended without a chance to. The next start repairs it; nothing acknowledged is lost.
    Crashed,
    /// Open in another process.
    Open,
    /// Its files do not belong together, or one is missing.
    Doubtful,
}
