//! Looking into a store that another process has open: it answers on a Unix socket beside the file.
//!
//! ```text
//!  FILE.sock     mode 0600; only its owner may connect
//!  call          length, 4 bytes little-endian │ a Call, as bincode writes it (wire.rs)
//!  answer        the same, an Answer
//!  after Spool   no frame: a spool (spool.rs), then the end of the connection
//! ```
//!
//! A process that has the file locked may replace a socket that a crash left. Reads run on threads of their own, with a
//! lower priority than those that serve people; a spool's snapshot is let go as soon as it is written out, and a reader
//! that does not keep up is cut off.
//!
//! A Unix socket's path may have about 108 bytes. Both ends therefore name it relative to its directory, by way of
//! `/proc/self/fd`, so directories may be as deep as they like (socket.rs).

mod client;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

pub use client::Live;
pub use server::LiveServer;
pub use socket::socket_path;
