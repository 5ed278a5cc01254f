//! What is private, by type, and the one place that decides how a redacted dump shows it.
//!
//! The fields of a record have these types, and only a [`Redactor`] makes them from what a store holds: no field can
//! forget to be redacted.

use std::collections::HashMap;

use decentcom_server::storage::{ChannelId, SessionDigest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What somebody wrote: texts, names, topics, the hash of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(String);

/// Who somebody is. Redacted keys stay different from each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PublicKey(String);

/// The SHA-256 of a session's token, in hexadecimal. Redacted digests stay different, and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(SessionDigest);

/// A name of a row elsewhere that the store takes as it comes: private unless it is an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reference(String);

impl Text {
    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl PublicKey {
    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl Reference {
    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl Digest {
    pub(crate) fn into_inner(self) -> SessionDigest {
        self.0
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = SessionDigest::from_hex(&text).map(Self);
        digest.ok_or_else(|| serde::de::Error::custom("not 64 lower-case hexadecimal digits"))
    }
}

/// Decides what is shown of private values.
pub(crate) enum Redactor {
    /// All of it.
    Open,
    /// Nothing but the length.
    Fillers(Fillers),
}

/// What makes fillers of things that must stay different.
#[derive(Default)]
pub(crate) struct Fillers {
    /// How many public keys there were so far whose characters take these bytes each.
    keys: HashMap<Vec<u8>, u64>,
    digests: u64,
}

impl Redactor {
    pub(crate) fn new(redact: bool) -> Self {
        if redact { Self::Fillers(Fillers::default()) } else { Self::Open }
    }

    pub(crate) fn text(&mut self, text: &str) -> Text {
        Text(match self {
            Self::Open => text.into(),
            Self::Fillers(_) => text.chars().map(filler).collect(),
        })
    }

    pub(crate) fn reference(&mut self, text: &str) -> Reference {
        let is_id = ChannelId::parse(text).is_some(); // ids of all kinds look alike
        Reference(if is_id { text.into() } else { self.text(text).0 })
    }

    pub(crate) fn public_key(&mut self, key: &str) -> PublicKey {
        PublicKey(match self {
            Self::Open => key.into(),
            Self::Fillers(fillers) => fillers.public_key(key),
        })
    }

    pub(crate) fn digest(&mut self, digest: SessionDigest) -> Digest {
        Digest(match self {
            Self::Open => digest,
            Self::Fillers(fillers) => {
                fillers.digests += 1;
                let mut bytes = [0; 32];
                bytes[24..].copy_from_slice(&fillers.digests.to_be_bytes());
                SessionDigest::from_bytes(bytes)
            }
        })
    }
}

/// A character that says nothing and takes as many bytes in UTF-8.
fn filler(char: char) -> char {
    match char.len_utf8() {
        1 => 'x',
        2 => 'ø',
        3 => '█',
        _ => '🀫',
    }
}

impl Fillers {
    /// A number, padded with zeros to the key's characters and bytes. Each place has as many digits as there are characters
    /// of its width, so there are enough for all keys of a shape.
    fn public_key(&mut self, key: &str) -> String {
        let widths: Vec<u8> = key.chars().map(|char| char.len_utf8() as u8).collect();
        let number = self.keys.entry(widths.clone()).or_default();
        let mut rest = *number;
        *number += 1;
        let mut digits = Vec::new();
        for width in widths.iter().rev() {
            let base = digits_of(*width);
            digits.push(digit(*width, (rest % base) as u32));
            rest /= base;
        }
        digits.iter().rev().collect()
    }
}

/// How many characters take so many bytes.
fn digits_of(width: u8) -> u64 {
    match width {
        1 => 0x80,
        2 => 0x800 - 0x80,
        3 => 0x1_0000 - 0x800 - 0x800, // without the surrogates
        _ => 0x11_0000 - 0x1_0000,
    }
}

/// One of them; those of one byte begin with `0`.
fn digit(width: u8, value: u32) -> char {
    let code = match width {
        1 => (u32::from('0') + value) % 0x80,
        2 => 0x80 + value,
        3 if value < 0xD800 - 0x800 => 0x800 + value,
        3 => 0x1000 + value,
        _ => 0x1_0000 + value,
    };
    char::from_u32(code).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_filler_has_the_length_of_what_it_stands_for() {
        let mut redactor = Redactor::new(true);
        for text in ["", "a secret", "zwölf", "日本語\n", "👩‍👩‍👧", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}"]
        {
            for filler in [redactor.text(text).0, redactor.public_key(text).0, redactor.reference(text).0] {
                assert_eq!((filler.len(), filler.chars().count()), (text.len(), text.chars().count()), "{text:?}");
            }
        }
        assert_eq!(redactor.reference("01ARZ3NDEKTSV4RRFFQ69G5FAV").0, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    }

    #[test]
    fn every_key_of_one_character_gets_a_filler_of_its_own() {
        for (first, last) in [('\0', '\u{7f}'), ('\u{80}', '\u{7ff}'), ('\u{800}', '\u{ffff}')] {
            let mut redactor = Redactor::new(true);
            let fillers: HashSet<_> = (first..=last).map(|key| redactor.public_key(&key.to_string()).0).collect();
            assert_eq!(fillers.len(), (first..=last).count());
            assert!(fillers.iter().all(|filler| filler.len() == first.len_utf8()));
        }
    }

    #[test]
    fn fillers_of_keys_count() {
        let mut redactor = Redactor::new(true);
        let fillers: Vec<_> = (0..3).map(|_| redactor.public_key("key").0).collect();
        assert_eq!(fillers, ["000", "001", "002"]);
    }

    #[test]
    fn digests_stay_different_and_in_order() {
        let mut redactor = Redactor::new(true);
        let digest = SessionDigest::of("secret");
        let (one, two) = (redactor.digest(digest).0, redactor.digest(digest).0);
        assert!(one < two && one != digest);
    }
}
