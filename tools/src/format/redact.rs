//! What a redacted dump shows of private values: the one place that decides it.
//!
//! Which values are private, the contract's description of each field says; every value of a record goes through a
//! [`Redactor`], so no field can be forgotten.

use std::collections::HashMap;

use decentcom_kvstore::hex;
use decentcom_server::storage::{
    ChannelId,
    contract::field::{Field, Privacy, Value},
};
use serde_json::Value as Json;

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

    /// A value of a record, as a dump shows it.
    pub(crate) fn show(&mut self, field: &Field, value: Value<'_>) -> Json {
        match value {
            Value::Nothing => Json::Null,
            Value::Flag(flag) => flag.into(),
            Value::Number(number) => number.into(),
            Value::Time(time) => time.to_string().into(),
            Value::Id(id) => id.to_string().into(),
            Value::Text(text) => self.text(field.privacy, &text).into(),
            Value::Bytes(bytes) => hex(&self.bytes(field.privacy, &bytes)).into(),
        }
    }

    fn text(&mut self, privacy: Privacy, text: &str) -> String {
        match (self, privacy) {
            (Self::Open, _) | (_, Privacy::Open) => text.into(),
            (_, Privacy::Reference) if ChannelId::parse(text).is_some() => text.into(), // ids of all kinds look alike
            (_, Privacy::Private | Privacy::Reference) => text.chars().map(filler).collect(),
            (Self::Fillers(fillers), Privacy::Distinct) => fillers.distinct_text(text),
        }
    }

    /// Fillers stay different, and in order.
    fn bytes(&mut self, privacy: Privacy, bytes: &[u8]) -> Vec<u8> {
        match (self, privacy) {
            (Self::Open, _) | (_, Privacy::Open) => bytes.to_vec(),
            (Self::Fillers(fillers), _) => {
                fillers.digests += 1;
                let number = fillers.digests.to_be_bytes();
                let mut filler = vec![0; bytes.len().saturating_sub(number.len())];
                filler.extend(number);
                filler
            }
        }
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
    fn distinct_text(&mut self, key: &str) -> String {
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

    use decentcom_server::storage::{Entity, contract::field::Kind};

    use super::*;

    const PRIVACIES: [Privacy; 3] = [Privacy::Private, Privacy::Distinct, Privacy::Reference];

    #[test]
    fn a_filler_has_the_length_of_what_it_stands_for() {
        let mut redactor = Redactor::new(true);
        for text in ["", "a secret", "zwölf", "日本語\n", "👩‍👩‍👧", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}"]
        {
            for filler in PRIVACIES.map(|privacy| redactor.text(privacy, text)) {
                assert_eq!((filler.len(), filler.chars().count()), (text.len(), text.chars().count()), "{text:?}");
            }
        }
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(redactor.text(Privacy::Reference, id), id);
        assert_ne!(redactor.text(Privacy::Private, id), id);
        assert_eq!(redactor.text(Privacy::Open, "a"), "a");
    }

    #[test]
    fn every_text_of_a_record_is_private_unless_its_description_says_otherwise() {
        for field in Entity::dumped().flat_map(|entity| entity.fields()) {
            let is_shown = field.privacy == Privacy::Open;
            assert!(!is_shown || !matches!(field.kind, Kind::Text | Kind::Digest), "{}: is it nobody's?", field.name);
        }
    }

    #[test]
    fn every_key_of_one_character_gets_a_filler_of_its_own() {
        for (first, last) in [('\0', '\u{7f}'), ('\u{80}', '\u{7ff}'), ('\u{800}', '\u{ffff}')] {
            let mut redactor = Redactor::new(true);
            let fillers: HashSet<_> =
                (first..=last).map(|key| redactor.text(Privacy::Distinct, &key.to_string())).collect();
            assert_eq!(fillers.len(), (first..=last).count());
            assert!(fillers.iter().all(|filler| filler.len() == first.len_utf8()));
        }
    }

    #[test]
    fn fillers_of_keys_count() {
        let mut redactor = Redactor::new(true);
        let fillers: Vec<_> = (0..3).map(|_| redactor.text(Privacy::Distinct, "key")).collect();
        assert_eq!(fillers, ["000", "001", "002"]);
    }

    #[test]
    fn digests_stay_different_and_in_order() {
        let mut redactor = Redactor::new(true);
        let digest = [7; 32];
        let (one, two) = (redactor.bytes(Privacy::Distinct, &digest), redactor.bytes(Privacy::Distinct, &digest));
        assert!(one < two && one != digest && one.len() == 32);
    }
}
