//! Who is measured: decentcom's stores, the engines used directly, and what one would otherwise write.

pub(super) mod community;
pub(super) mod per_call;
pub(super) mod raw_redb;
pub(super) mod raw_sqlite;
