//! Session tokens: shown once, stored as digests.

use std::fmt;

pub(super) use decentcom_kvstore::hex;
use sha2::{Digest, Sha256};

use super::StorageError;

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// The SHA-256 of a session token: what the store keeps, and the session's public name inside the server.
///
/// The token has 256 random bits, so a plain digest cannot be searched through; no salt or slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionDigest([u8; 32]);

impl SessionDigest {
    /// The digest of whatever a caller presents as a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The digest's bytes, as stored by the key-value backends.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest read back from a key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 lower-case hexadecimal digits, as stored by SQL backends.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The digest written as 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self)
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionDigest({})", self.to_hex())
    }
}

/// A new token: 256 bits from the operating system, as 64 hexadecimal digits.
pub(super) fn new_token() -> Result<String, StorageError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StorageError::internal("draw a session token", error))?;
    Ok(hex(&bytes))
}

/// The bytes that exactly so many lower-case hexadecimal digits are.
pub fn bytes_of_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_and_reads_back_from_hex() {
        let digest = SessionDigest::of("abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(SessionDigest::from_hex(hex), Some(digest));
        assert_eq!(SessionDigest::from_hex(&hex.to_uppercase()), None);
        assert_eq!(SessionDigest::from_hex("+a"), None);
        assert_eq!(SessionDigest::from_hex(&"+a".repeat(32)), None);
    }

    #[test]
    fn tokens_differ_and_have_64_digits() {
        let (one, two) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 64);
    }
}
