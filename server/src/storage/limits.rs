//! The bounds of the contract: nothing can be written that cannot be read back. Which characters a text may hold stands
//! in [`traits`](super::traits).

/// Longest public key, in bytes of UTF-8.
pub const MAX_PUBKEY_BYTES: usize = 256;
/// Longest name, topic, hash or category reference, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Longest message content, in bytes of UTF-8.
pub const MAX_CONTENT_BYTES: usize = 1024 * 1024;
/// Most messages or users one page answers; a larger `limit` is clamped to this.
pub const MAX_PAGE: u32 = 500;
/// Characters of a caller's id that an error message repeats.
pub(super) const ELLIPSIS_AFTER: usize = 64;
