//! redb, and what it takes to live with it: panics that stay inside, a file that is kept while databases over it come and
//! go, headers that are read without it. What lies in the tables is no concern of this room.
//!
//! ```text
//!  database ──> medium, contained, options            header: a file before redb opens it
//! ```

pub(crate) mod contained;
pub(crate) mod database;
pub(crate) mod header;
pub(crate) mod medium;
pub(crate) mod options;
