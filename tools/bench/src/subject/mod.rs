//! Who is measured: decentcom's stores, the engines used directly, and what one would otherwise write.

pub(super) mod community;
#[cfg(feature = "engines")]
pub(super) mod engines;
pub(super) mod per_call;
pub(super) mod raw_redb;
pub(super) mod raw_sqlite;
