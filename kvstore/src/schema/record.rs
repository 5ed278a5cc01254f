//! Records: the versions a row has had, and how an old one becomes the latest.

use super::{
    codec::{self, DecodeError, EncodeError},
    part::{FieldType, Part},
};

/// A field of a record, for people and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in Rust, which says how bincode writes it.
    pub kind: &'static str,
    /// What it holds, with its unit.
    pub meaning: &'static str,
}

/// What a table keeps under a key. Read in any version ever shipped, always written as the latest.
///
/// Declare one with [`record!`](crate::record). Once shipped, a version's fields never change: a change is a new
/// version, and old ones are read for ever.
pub trait Record: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The version that is written.
    const VERSION: u8;
    /// What it is, for people and tools.
    const ABOUT: &'static str;

    /// The fields of that version, in the order they are written.
    fn fields() -> Vec<Field>;

    /// Appends the fields to a payload.
    fn encode(&self, payload: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The record that lies under `key`, from its payload in any version.
    fn decode(key: &[u8], version: u8, payload: &[u8]) -> Result<Self, DecodeError>;

    /// Takes the fields of a payload of the latest version from the front of `rest`, as far as they can be read.
    fn explain(rest: &mut &[u8]) -> Vec<Part>;

    /// The bytes to store under `key`.
    fn to_bytes(&self, key: &[u8]) -> Result<Vec<u8>, EncodeError> {
        codec::sealed(key, Self::VERSION, |payload| self.encode(payload))
    }

    /// The record that `bytes` are, when they lie under `key`.
    fn from_bytes(key: &[u8], bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, payload) = codec::open(key, bytes)?;
        Self::decode(key, version, payload)
    }
}

/// Reads one field from the front of `rest`.
#[doc(hidden)]
pub fn take_field<F: FieldType>(field: &Field, rest: &mut &[u8]) -> Option<Part> {
    let (value, bytes) = codec::decode_prefix::<F>(rest).ok()?;
    *rest = rest.get(bytes..)?;
    Some(Part { name: field.name, layout: field.kind, bytes, value: value.value() })
}

/// Declares a record: a struct with its version and the meaning of each field.
///
/// ```
/// use decentcom_kvstore::record;
///
/// record! {
///     /// A book on a shelf.
///     pub struct Book: version 1 {
///         /// The title.
///         pub title: String,
///         /// The year of the first edition.
///         pub year: u64,
///     }
/// }
/// ```
///
/// A record with a past names the function that reads its older versions:
///
/// ```
/// use decentcom_kvstore::{DecodeError, decode_payload, record};
///
/// record! {
///     /// A book on a shelf, as it was written before 2.0.
///     pub struct BookV1: version 1 {
///         /// The title.
///         pub title: String,
///     }
/// }
/// record! {
///     /// A book on a shelf.
///     pub struct Book: version 2, older with upgrade {
///         /// The title.
///         pub title: String,
///         /// Whether somebody has it at home.
///         pub lent: bool,
///     }
/// }
/// fn upgrade(version: u8, payload: &[u8]) -> Result<Book, DecodeError> {
///     match version {
///         1 => decode_payload::<BookV1>(payload).map(|old| Book { title: old.title, lent: false }),
///         other => Err(DecodeError::UnknownVersion(other)),
///     }
/// }
/// ```
#[macro_export]
macro_rules! record {
    (
        $(#[doc = $about:literal])+
        $visibility:vis struct $name:ident: version $version:literal $(, older with $upgrade:path)? {
            $(
                $(#[doc = $meaning:literal])+
                $field_visibility:vis $field:ident: $kind:ty,
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $(
                $(#[doc = $meaning])+
                $field_visibility $field: $kind,
            )+
        }

        // What bincode's derive would write: the fields, one after the other.
        impl $crate::bincode::Encode for $name {
            fn encode<E: $crate::bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), $crate::bincode::error::EncodeError> {
                $($crate::bincode::Encode::encode(&self.$field, encoder)?;)+
                Ok(())
            }
        }

        impl<Context> $crate::bincode::Decode<Context> for $name {
            fn decode<D: $crate::bincode::de::Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, $crate::bincode::error::DecodeError> {
                Ok(Self { $($field: $crate::bincode::Decode::decode(decoder)?,)+ })
            }
        }

        impl $crate::Record for $name {
            const VERSION: u8 = $version;
            const ABOUT: &'static str = concat!($($about),+);

            fn fields() -> Vec<$crate::Field> {
                vec![$(
                    $crate::Field {
                        name: stringify!($field),
                        kind: stringify!($kind),
                        meaning: concat!($($meaning),+),
                    },
                )+]
            }

            fn encode(&self, payload: &mut Vec<u8>) -> Result<(), $crate::EncodeError> {
                $crate::encode_payload(self, payload)
            }

            fn decode(_key: &[u8], version: u8, payload: &[u8]) -> Result<Self, $crate::DecodeError> {
                match version {
                    $version => $crate::decode_payload(payload),
                    $(other => $upgrade(other, payload),)?
                    #[allow(unreachable_patterns)] // of a record with a past
                    other => Err($crate::DecodeError::UnknownVersion(other)),
                }
            }

            fn explain(rest: &mut &[u8]) -> Vec<$crate::Part> {
                let take = [$($crate::take_field::<$kind>),+];
                take.iter().zip(Self::fields()).map_while(|(take, field)| take(&field, rest)).collect()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{MAX_PAYLOAD_BYTES, decode_payload, encode_payload};

    record! {
        /// A note as first shipped.
        struct NoteV1: version 1 {
            /// The text.
            text: String,
        }
    }

    record! {
        /// A note.
        struct Note: version 2, older with upgrade {
            /// The text.
            text: String,
            /// Stars given.
            stars: Option<u64>,
        }
    }

    fn upgrade(version: u8, payload: &[u8]) -> Result<Note, DecodeError> {
        match version {
            1 => decode_payload::<NoteV1>(payload).map(|old| Note { text: old.text, stars: None }),
            other => Err(DecodeError::UnknownVersion(other)),
        }
    }

    /// The checksums were computed by another program.
    #[test]
    fn golden_bytes_of_each_version() {
        let old = NoteV1 { text: "hi".into() }.to_bytes(b"key").unwrap();
        assert_eq!(old, [1, 0x1b, 0xfb, 0xb4, 0x14, 2, b'h', b'i']);
        let new = Note { text: "hi".into(), stars: Some(300) }.to_bytes(b"key").unwrap();
        assert_eq!(new, [2, 0x47, 0x26, 0xd9, 0x4f, 2, b'h', b'i', 1, 251, 44, 1]);
    }

    #[test]
    fn an_old_version_is_read_as_the_latest() {
        let old = NoteV1 { text: "hi".into() }.to_bytes(b"key").unwrap();
        assert_eq!(Note::from_bytes(b"key", &old), Ok(Note { text: "hi".into(), stars: None }));
    }

    #[test]
    fn versions_from_the_future_are_refused() {
        let bytes = codec::sealed(b"key", 3, |_| Ok(())).unwrap();
        assert_eq!(Note::from_bytes(b"key", &bytes), Err(DecodeError::UnknownVersion(3)));
    }

    #[test]
    fn a_value_under_another_key_is_refused() {
        let bytes = Note { text: "hi".into(), stars: None }.to_bytes(b"key").unwrap();
        assert_eq!(Note::from_bytes(b"kez", &bytes), Err(DecodeError::Checksum));
    }

    #[test]
    fn bytes_after_the_last_field_are_refused() {
        let mut payload = Vec::new();
        encode_payload(&NoteV1 { text: "hi".into() }, &mut payload).unwrap();
        payload.push(0);
        let append = |bytes: &mut Vec<u8>| {
            bytes.extend(&payload);
            Ok(())
        };
        let bytes = codec::sealed(b"key", 1, append).unwrap();
        assert!(matches!(NoteV1::from_bytes(b"key", &bytes), Err(DecodeError::Payload(_))));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_without_memory_for_it() {
        let mut payload = vec![253];
        payload.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        assert!(matches!(decode_payload::<NoteV1>(&payload), Err(DecodeError::Payload(_))));
        assert!(NoteV1 { text: "x".repeat(MAX_PAYLOAD_BYTES) }.to_bytes(b"key").is_err());
    }

    proptest! {
        #[test]
        fn every_record_comes_back(text in any::<String>(), stars in any::<Option<u64>>(), key in any::<Vec<u8>>()) {
            let note = Note { text: text.clone(), stars };
            prop_assert_eq!(Note::from_bytes(&key, &note.to_bytes(&key).unwrap()), Ok(note));
            let old = NoteV1 { text: text.clone() }.to_bytes(&key).unwrap();
            prop_assert_eq!(Note::from_bytes(&key, &old), Ok(Note { text, stars: None }));
        }

        #[test]
        fn every_bit_flip_and_truncation_is_noticed(text in any::<String>(), stars in any::<Option<u64>>()) {
            let bytes = Note { text, stars }.to_bytes(b"key").unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(Note::from_bytes(b"key", &damaged).is_err(), "bit {}", bit);
            }
            for length in 0..bytes.len() {
                prop_assert!(Note::from_bytes(b"key", &bytes[..length]).is_err(), "length {}", length);
            }
        }

        #[test]
        fn any_payload_decodes_or_is_refused(payload in any::<Vec<u8>>()) {
            let _ = decode_payload::<Note>(&payload);
        }
    }
}
