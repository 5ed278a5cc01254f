//! Looking into a store without changing it: a file that nobody writes to, a server that has it open, a copy of what the
//! server has.
//!
//! ```text
//!  inspect ──> overlay: the file; what the engine would write stays in memory
//!  live    ──> spool:   a server, by a socket beside the file; a copy of one moment, as a flat file
//! ```

mod inspect;
pub mod live;
mod overlay;
pub mod spool;
