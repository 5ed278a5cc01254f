//! The types that are keys, and how they are encoded.
//!
//! ```text
//!  u64          8 bytes, big-endian
//!  u32          4 bytes, big-endian
//!  bool         1 byte, 0 or 1
//!  Ulid        16 bytes, big-endian
//!  [u8; N]      N bytes
//!  String       UTF-8, as long as it is; only alone or last
//!  (A, B)       A ‖ B, where A has a fixed width
//! ```
//!
//! Keys are compared by redb as plain byte strings. (redb's own integer keys are little-endian on disk, so they are not
//! used.) This is the plain-table encoding of TiDB and CockroachDB, without their escapes: none is needed as long as
//! only the last component varies in length.

use ulid::Ulid;

use super::{
    key::{Key, KeyKind, fixed_width, sole},
    part::{Part, Value},
    range::{ByteRange, after_prefix},
};

impl Key for u64 {
    const WIDTH: Option<usize> = Some(8);
    const LAYOUT: &'static str = "u64, 8 bytes big-endian";

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Unsigned(*self))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        text.parse().ok().map(|number: Self| ByteRange::beginning_with(number.to_bytes()))
    }
}

impl Key for u32 {
    const WIDTH: Option<usize> = Some(4);
    const LAYOUT: &'static str = "u32, 4 bytes big-endian";

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Unsigned((*self).into()))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        text.parse().ok().map(|number: Self| ByteRange::beginning_with(number.to_bytes()))
    }
}

impl Key for bool {
    const WIDTH: Option<usize> = Some(1);
    const LAYOUT: &'static str = "bool, 1 byte";

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.push((*self).into());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Bool(*self))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        let all = [(Self::to_bytes(&false), "false"), (Self::to_bytes(&true), "true")];
        let mut found = all.into_iter().filter(|(_, name)| name.starts_with(text)).map(|(bytes, _)| bytes);
        let first = found.next()?;
        let last = found.next().unwrap_or_else(|| first.clone());
        Some(ByteRange { start: first, end: after_prefix(&last) })
    }
}

impl Key for Ulid {
    const WIDTH: Option<usize> = Some(16);
    const LAYOUT: &'static str = "ULID, 16 bytes big-endian";

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Ulid(*self))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        if text.is_empty() {
            return Some(ByteRange { start: Self::nil().to_bytes().to_vec(), end: None });
        }
        // The ulid crate lets a first letter above 7 wrap around.
        if !text.is_ascii() || !text.starts_with(|first| ('0'..='7').contains(&first)) {
            return None;
        }
        let padded = |fill: &str| {
            let missing = ulid::ULID_LEN.checked_sub(text.len())?;
            Self::from_string(&(text.to_ascii_uppercase() + &fill.repeat(missing))).ok()
        };
        let (start, last) = (padded("0")?, padded("Z")?);
        Some(ByteRange { start: start.to_bytes().to_vec(), end: after_prefix(&last.to_bytes()) })
    }
}

impl<const N: usize> Key for [u8; N] {
    const WIDTH: Option<usize> = Some(N);
    const LAYOUT: &'static str = match N {
        32 => "32 bytes",
        _ => "bytes",
    };

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Bytes(self.to_vec()))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) || text.len() > 2 * N {
            return None;
        }
        let padded = |fill: &str| {
            let digits = text.to_owned() + &fill.repeat(2 * N - text.len());
            (0..N)
                .map(|byte| u8::from_str_radix(digits.get(2 * byte..2 * byte + 2)?, 16).ok())
                .collect::<Option<Vec<_>>>()
        };
        Some(ByteRange { start: padded("0")?, end: after_prefix(&padded("f")?) })
    }
}

impl Key for String {
    const WIDTH: Option<usize> = None;
    const LAYOUT: &'static str = "UTF-8 text";

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }

    fn parts(&self) -> Vec<Part> {
        sole(self, Value::Text(self.clone()))
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        Some(ByteRange::beginning_with(text.as_bytes().to_vec()))
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const WIDTH: Option<usize> = match (fixed_width::<A>(), B::WIDTH) {
        (first, Some(second)) => Some(first + second),
        (_, None) => None,
    };
    const LAYOUT: &'static str = "two components, one after the other";
    const COMPONENTS: usize = A::COMPONENTS + B::COMPONENTS;

    fn append_to(&self, bytes: &mut Vec<u8>) {
        self.0.append_to(bytes);
        self.1.append_to(bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.split_at_checked(fixed_width::<A>())?;
        Some((A::decode(first)?, B::decode(second)?))
    }

    fn parts(&self) -> Vec<Part> {
        [self.0.parts(), self.1.parts()].concat()
    }

    fn range_of(text: &str) -> Option<ByteRange> {
        KeyKind::of::<A>().range_with(&KeyKind::of::<B>(), text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees<K: Key>(one: &K, other: &K) {
        assert_eq!(one.cmp(other), one.to_bytes().cmp(&other.to_bytes()), "{one:?} {other:?}");
        assert_eq!(K::decode(&one.to_bytes()).as_ref(), Some(one));
        if let Some(width) = K::WIDTH {
            assert_eq!(one.to_bytes().len(), width);
            assert_eq!(K::decode(&one.to_bytes()[..width - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn key_order_is_value_order(
            a in any::<(u64, u128, [u8; 5], String)>(),
            b in any::<(u64, u128, [u8; 5], String)>(),
            same_first in any::<bool>(),
        ) {
            let b_first = if same_first { a.0 } else { b.0 };
            agrees(&a.0, &b.0);
            agrees(&Ulid(a.1), &Ulid(b.1));
            agrees(&a.2, &b.2);
            agrees(&a.3, &b.3);
            agrees(&a.2[0].is_multiple_of(2), &b.2[0].is_multiple_of(2));
            agrees(&(a.0, a.2), &(b_first, b.2));
            agrees(&(a.0, a.3.clone()), &(b_first, b.3.clone()));
            agrees(&((a.0, Ulid(a.1)), a.3), &((b_first, Ulid(b.1)), b.3));
        }
    }

    /// Whether the range of `text` holds the encoding of `key`.
    fn finds<K: Key>(text: &str, key: &K) -> bool {
        let Some(ByteRange { start, end }) = K::range_of(text) else { return false };
        let bytes = key.to_bytes();
        bytes >= start && end.is_none_or(|end| bytes < end)
    }

    #[test]
    fn the_beginning_of_a_keys_text_finds_exactly_the_keys_that_begin_so() {
        let id = Ulid::from_string("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        for length in 0..=26 {
            assert!(finds(&id.to_string()[..length], &id), "{length}");
            assert!(finds(&id.to_string()[..length].to_lowercase(), &id), "{length}");
        }
        for other in ["01ARZ3NDEKTSV4RRFFQ69G5FAW", "01AS", "02", "8", "U", "01ARZ3NDEKTSV4RRFFQ69G5FAVV", "é"] {
            assert!(!finds(other, &id), "{other}");
        }
        assert!(finds("0a0", &[0x0A_u8, 0x0F]) && !finds("0a1", &[0x0A_u8, 0x0F]) && !finds("xy", &[0_u8]));
        assert!(finds("", &[0xFF_u8]) && finds("ff", &[0xFF_u8]) && !finds("fff", &[0xFF_u8]));
        assert!(finds("7", &7_u64) && !finds("7", &70_u64) && finds("18446744073709551615", &u64::MAX));
        assert!(
            finds("", &false)
                && finds("", &true)
                && finds("tr", &true)
                && !finds("true", &false)
                && !finds("yes", &true)
        );
        assert!(finds("ké", &"kéy".to_owned()) && !finds("kez", &"key".to_owned()));
        let pair = (7_u64, id);
        assert!(finds("7", &pair) && finds("7/", &pair) && finds("7/01ARZ", &pair) && finds(&format!("7/{id}"), &pair));
        assert!(!finds("7/01AS", &pair) && !finds("8/01ARZ", &pair) && !finds("/01ARZ", &pair));
        assert!(
            finds("01ARZ", &(id, 7_u64)) && !finds("01ARZ/7", &(id, 7_u64)) && finds(&format!("{id}/7"), &(id, 7_u64))
        );
        assert!(finds(&format!("1/{id}/a/b"), &((1_u64, id), "a/bc".to_owned())));
        assert!(finds("ff/", &([0xFF_u8], "x".to_owned())));
    }

    #[test]
    fn golden_bytes_of_every_kind_of_key() {
        assert_eq!(0x0102_u64.to_bytes(), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(0x0102_u32.to_bytes(), [0, 0, 1, 2]);
        assert_eq!(Ulid(0x0102).to_bytes()[14..], [1, 2]);
        assert_eq!([7_u8, 8].to_bytes(), [7, 8]);
        assert_eq!(Key::to_bytes(&"hé".to_owned()), [b'h', 0xC3, 0xA9]);
        assert_eq!((1_u64, "a".to_owned()).to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1, b'a']);
        assert_eq!(String::decode(&[0xFF]), None);
    }
}
