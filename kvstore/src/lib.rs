//! Typed records with secondary indexes on [redb].
//!
//! A table is declared once: its key, its record, the indexes derived from a record. From that declaration come the
//! upkeep of every index, typed reads, verification, rebuilding and the description that tools and documents read.
//!
//! ```
//! use decentcom_kvstore::{Direction, KeyRange, Options, Schema, catalogue, record, table};
//!
//! record! {
//!     /// A book on a shelf.
//!     pub struct Book: version 1 {
//!         /// The title.
//!         pub title: String,
//!         /// The shelf it stands on.
//!         pub shelf: u64,
//!         /// Its number in the catalogue of the library.
//!         pub signature: String,
//!     }
//! }
//!
//! table! {
//!     /// Every book there is.
//!     pub table Books("books"): u64 => Book;
//!     /// Finds a book by its signature.
//!     unique BooksBySignature("books_by_signature"): String = |_, book| Some(book.signature.clone());
//!     /// Lists the books of a shelf.
//!     index BooksByShelf("books_by_shelf"): u64 = |_, book| Some(book.shelf);
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema { catalogue: catalogue![Books], format: 1, oldest_reader: 1, migrations: &[] };
//! let store = Options::default().open_with_backend(redb::backends::InMemoryBackend::new(), &schema)?;
//!
//! // Operations stage; the batch is one durable commit. The second operation fails and leaves no trace.
//! let book = |title: &str| Book { title: title.into(), shelf: 7, signature: format!("sig {title}") };
//! let (first, second) = store.write(|batch| {
//!     (
//!         batch.run(|operation| operation.insert::<Books>(&1, &book("Dune"))),
//!         batch.run(|operation| operation.insert::<Books>(&2, &book("Dune"))),
//!     )
//! })?;
//! assert!(first.is_ok() && second.is_err());
//!
//! // A snapshot is one committed state; reading does not wait for the writer.
//! let snapshot = store.snapshot()?;
//! assert_eq!(snapshot.get::<Books>(&1)?.map(|book| book.title), Some("Dune".into()));
//! assert_eq!(snapshot.find::<BooksBySignature>(&"sig Dune".into())?, Some(1));
//! let on_shelf = snapshot.keys_of::<BooksByShelf>(&7, KeyRange::ALL, Direction::Reverse)?;
//! assert_eq!(on_shelf.collect::<Result<Vec<_>, _>>()?, [(7, 1)]);
//! # Ok(())
//! # }
//! ```
//!
//! # In the file
//!
//! ```text
//!  table             key                         value
//!  TABLE             primary key                 version ‖ CRC-32C ‖ bincode      (codec.rs)
//!  unique INDEX      fields                      primary key
//!  other INDEX       fields ‖ primary key        (empty)
//!  meta              name                        text                             (open.rs)
//! ```
//!
//! Keys sort as bytes (`key.rs`). Records have versions (`record.rs`), files have formats (`open.rs`).
//!
//! # Writing
//!
//! One batch at a time: operations validate and stage, then everything staged is one commit, synced to disk
//! (`batch.rs`). Whoever calls decides what shares a batch; this crate has no queue and no threads.

#[doc(hidden)]
pub use bincode;

mod batch;
mod catalogue;
mod codec;
mod contained;
mod error;
mod explain;
mod key;
pub mod live;
mod medium;
mod open;
mod overlay;
mod record;
mod slots;
mod snapshot;
mod source;
pub mod spool;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod unfinished;
mod verify;

pub use batch::{Batch, Operation};
pub use catalogue::{AnyTable, Catalogue, Declared, IndexInfo, TableInfo, checksum_text, fingerprint};
pub use codec::{
    DecodeError, EncodeError, HEADER_BYTES, MAX_PAYLOAD_BYTES, decode_field, decode_payload, encode_field,
    encode_payload, end_of_payload,
};
pub use error::{Error, OpenError, hex};
#[doc(hidden)]
pub use explain::take_field;
pub use explain::{ByteRange, Explanation, FieldType, KeyKind, Part, Value};
pub use key::Key;
pub use open::{Migration, Options, Progress, Schema, was_closed};
pub use record::{Field, Record};
pub use redb;
pub use snapshot::{Direction, KeyRange, Keys, PrimaryKey, Rows, Scan, Snapshot, decode_row};
pub use source::{DecodedRow, RawRange, RawRow, RawRows, RawSource, Tree};
pub use store::Store;
pub use table::{Index, IndexDefinition, Table};
pub use verify::{Finding, Problem};
