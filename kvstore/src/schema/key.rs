//! Keys: values whose encodings sort, as bytes, like the values themselves. The types that are keys are in
//! `encodings.rs`.

use super::{
    part::{Part, Value},
    range::{ByteRange, after_prefix},
};

/// A value that can be a key: for all `a` and `b`, `a < b` exactly if `a`'s bytes sort before `b`'s.
pub trait Key: Sized + Clone + Ord + std::fmt::Debug + Send + Sync + 'static {
    /// Bytes that every encoding has; `None` if that varies.
    const WIDTH: Option<usize>;
    /// How the bytes are to be read, for people.
    const LAYOUT: &'static str;
    /// Of how many values it is made.
    const COMPONENTS: usize = 1;

    /// Appends the encoding to `bytes`.
    fn append_to(&self, bytes: &mut Vec<u8>);

    /// The value that `bytes`, all of them, encode; `None` if they encode none.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// The encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::WIDTH.unwrap_or(32));
        self.append_to(&mut bytes);
        bytes
    }

    /// The components, for people.
    fn parts(&self) -> Vec<Part>;

    /// The encodings of the keys whose text begins with `text`, as people write them: ULIDs in Crockford's letters, bytes
    /// in hexadecimal, numbers in full, `/` between components. `None` where no key's text does.
    fn range_of(text: &str) -> Option<ByteRange>;
}

/// The only part of a key that has one component.
pub(super) fn sole<K: Key>(key: &K, value: Value) -> Vec<Part> {
    vec![Part { name: "key", layout: K::LAYOUT, bytes: key.to_bytes().len(), value }]
}

/// The width of a key that something follows. A variable one there would break the order, and does not compile.
#[allow(clippy::panic)] // while compiling
pub(super) const fn fixed_width<K: Key>() -> usize {
    match K::WIDTH {
        Some(width) => width,
        None => panic!("only the last component of a key may vary in length"),
    }
}

/// What is known of a key by its type, as plain functions for whatever works on all tables.
#[derive(Clone, Copy, Debug)]
pub struct KeyKind {
    /// How the bytes are to be read.
    pub layout: &'static str,
    /// Bytes of every encoding, if that is fixed.
    pub width: Option<usize>,
    /// The components of an encoding; `None` where the bytes are none.
    pub parts: fn(&[u8]) -> Option<Vec<Part>>,
    /// See [`Key::range_of`].
    pub range_of: fn(&str) -> Option<ByteRange>,
    components: usize,
}

impl KeyKind {
    /// The kind of `K`.
    pub const fn of<K: Key>() -> Self {
        Self {
            layout: K::LAYOUT,
            width: K::WIDTH,
            parts: |bytes| K::decode(bytes).map(|key| key.parts()),
            range_of: K::range_of,
            components: K::COMPONENTS,
        }
    }

    /// The keys that begin with `text`, where a key of this kind is followed by one of `next`; `/` stands between them.
    pub(crate) fn range_with(&self, next: &Self, text: &str) -> Option<ByteRange> {
        let mut slashes = text.match_indices('/').map(|(at, _)| at);
        let Some((first, rest)) = slashes.nth(self.components - 1).and_then(|at| text.split_at_checked(at)) else {
            return (self.range_of)(text);
        };
        let first = (self.range_of)(first)?;
        if self.width != Some(first.start.len()) || first.end != after_prefix(&first.start) {
            return None; // only the beginning of a component, and yet something after it
        }
        let rest = (next.range_of)(rest.get(1..)?)?;
        let end = match rest.end {
            Some(end) => Some([first.start.as_slice(), &end].concat()),
            None => first.end,
        };
        Some(ByteRange { start: [first.start, rest.start].concat(), end })
    }
}
