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
//! let schema = Schema::new(catalogue![Books]);
//! let store = Options::default().open_over(redb::backends::InMemoryBackend::new(), &schema)?;
//!
//! // A batch is one durable commit. One that fails, here by its second call, leaves no trace.
//! let book = |title: &str| Book { title: title.into(), shelf: 7, signature: format!("sig {title}") };
//! store.write(|batch| batch.insert::<Books>(&1, &book("Dune")))?;
//! let refused = store.write(|batch| {
//!     batch.insert::<Books>(&2, &book("Emma"))?;
//!     batch.insert::<Books>(&3, &book("Dune"))
//! });
//! assert!(refused.is_err());
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
//! # The rooms
//!
//! ```text
//!  look ──> store ──┬──> schema        bytes and what they mean; names neither redb nor a file
//!                   └──> engine        redb, and what it takes to live with it
//! ```
//!
//! Each names those it points to, and everybody names `error.rs`; `tests/architecture.rs` holds them to it.
//!
//! # In the file
//!
//! ```text
//!  table             key                         value
//!  TABLE             primary key                 version ‖ CRC-32C ‖ bincode      (schema/codec.rs)
//!  unique INDEX      fields                      primary key
//!  other INDEX       fields ‖ primary key        (empty)
//!  meta              name                        text or bytes                    (store/meta.rs)
//! ```
//!
//! Keys sort as bytes (`schema/encodings.rs`). Records have versions (`schema/record.rs`), files have formats
//! (`store/format.rs`).
//!
//! # Writing
//!
//! One batch at a time: it validates and stages, then everything staged is one commit, synced to disk
//! (`store/batch.rs`). Whoever calls decides what shares a batch; this crate has no queue, and no threads but those that
//! answer whoever looks into an open store (`look/live/`).

#[doc(hidden)]
pub use bincode;
pub use redb;

mod engine;
mod error;
mod look;
mod schema;
mod store;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use schema::record::take_field;
pub use {
    engine::{
        header::was_closed,
        options::{Options, Progress},
    },
    error::{CannotOpen, Error, hex},
    look::{live, spool},
    schema::{
        catalogue::{AnyTable, Catalogue, Declared, IndexInfo, TableInfo, checksum_text, fingerprint},
        codec::{
            DecodeError, EncodeError, HEADER_BYTES, MAX_PAYLOAD_BYTES, decode_field, decode_payload, encode_field,
            encode_payload, end_of_payload,
        },
        explain::Explanation,
        key::{Key, KeyKind},
        part::{FieldType, Part, Value},
        range::{ByteRange, Direction, KeyRange, RawRange},
        record::{Field, Record},
        table::{DecodedRow, Entry, Index, IndexDefinition, PrimaryKey, Table, Undecodable, decode_row},
    },
    store::{
        Store,
        batch::WriteBatch,
        format::{Migration, Schema},
        indexes::{Mismatch, Problem, verify_table},
        rewrite::{OlderShape, Rewriting},
        snapshot::{Keys, Rows, Scan, Snapshot},
        source::{RawRow, RawRows, RawSource, Tree},
    },
};
