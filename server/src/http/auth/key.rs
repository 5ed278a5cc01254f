//! Public keys and signatures as they travel.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::{config::public_key, http::error::ApiError};

/// A user's Ed25519 public key with its text on the wire: base58 (Bitcoin alphabet) of the 32 raw bytes.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    key: VerifyingKey,
    text: String,
}

impl PublicKey {
    /// The key in `text`, which must be its only spelling. Keys of small order are refused: anybody could sign for
    /// them.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::bad_request("invalid public key format: expected base58 of 32 bytes");
        let key = public_key(text).ok_or_else(invalid)?;
        Ok(Self { key, text: text.to_owned() })
    }

    /// The 32 raw bytes.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The text by which the store knows the key.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `signature` is this key's over `message`, by the strict rules of `verify_strict` (RFC 8032 without
    /// malleability).
    pub(crate) fn has_signed(&self, message: &str, signature: &Signature) -> bool {
        self.key.verify_strict(message.as_bytes(), signature).is_ok()
    }
}

/// A signature in standard base64 with padding.
pub(crate) fn parse_signature(text: &str) -> Result<Signature, ApiError> {
    let invalid = || ApiError::bad_request("invalid signature format: expected standard base64 of 64 bytes");
    let bytes = STANDARD.decode(text).map_err(|_| invalid())?;
    Signature::from_slice(&bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_of_a_sound_key_is_accepted() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let text = bs58::encode(key.as_bytes()).into_string();
        assert_eq!(PublicKey::parse(&text).unwrap().as_str(), text);
        let identity = bs58::encode([1].iter().copied().chain([0; 31]).collect::<Vec<u8>>()).into_string();
        for bad in ["", "0OIl", &text[..40], &format!("1{text}"), &format!("{text} "), &identity, &"1".repeat(5000)] {
            assert!(PublicKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
