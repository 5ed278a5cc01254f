//! The contract's records as records of the key-value store: one way for all of them.
//!
//! A payload has the fields of a record but its key, the time within that, and those that it is clustered by, which are in the
//! key it lies under (`place.rs`); those of the first version first, in the order in which they are declared, then those that
//! the second added, and so on. So a payload of an old version is the beginning of one of the newest, but for what has moved
//! to the key, and the declaration says what is in place of the rest. How each kind is written is in
//! `bytes.rs`; `shipped.txt` holds every version to its bytes.

use std::marker::PhantomData;

use decentcom_kvstore::{DecodeError, EncodeError, Key as KvKey, Part, Record, end_of_payload, take_field};

use super::place::{key_in, value_in};
use crate::storage::{
    bytes::{append_value, key_value, read, time_of, write},
    contract::{
        field::{Field, FieldType, Kind, Role, Value},
        model::{Model, Source},
    },
};

/// A SHA-256: of a session token, of a public key.
pub(super) type Digest = [u8; 32];
/// The key of a used challenge: slot, digest of the public key, number.
pub(super) type ChallengeKey = (u64, (Digest, u32));

/// A record as the key-value store has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored<M>(pub(super) M);

/// The fields that a version added to a payload, in order.
fn added<M: Model>(since: u8) -> impl Iterator<Item = &'static Field> {
    M::FIELDS.iter().filter(move |it| it.role == Role::Content && it.since == since)
}

/// The fields in a payload of the newest version, in order.
fn written<M: Model>() -> impl Iterator<Item = &'static Field> {
    (1..=M::VERSION).flat_map(added::<M>).filter(|field| !is_in_key(field, M::VERSION))
}

/// Whether records of this version have a field in the key they lie under, not in the payload.
fn is_in_key(field: &Field, version: u8) -> bool {
    field.clustered_since.is_some_and(|since| since <= version)
}

impl<M: Model> Record for Stored<M> {
    const VERSION: u8 = M::VERSION;
    const ABOUT: &'static str = M::ABOUT;

    fn fields() -> Vec<decentcom_kvstore::Field> {
        let described = |field: &Field| decentcom_kvstore::Field {
            name: field.name,
            kind: layout(field.kind, field.is_optional),
            meaning: field.meaning,
        };
        written::<M>().map(described).collect()
    }

    fn encode(&self, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut result = Ok(());
        for since in 1..=M::VERSION {
            self.0.visit(&mut |field, value| {
                let is_written = field.role == Role::Content && field.since == since && !is_in_key(field, M::VERSION);
                if is_written && result.is_ok() {
                    result = write(field, &value, payload);
                }
            });
        }
        result
    }

    fn decode(key: &[u8], version: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        if !(1..=M::VERSION).contains(&version) {
            return Err(DecodeError::UnknownVersion(version));
        }
        let mut values = Values::<M>::of(key, version, payload)?;
        let record = M::from_source(&mut values)?;
        end_of_payload(values.last_part()).map(|()| Self(record))
    }

    fn explain(rest: &mut &[u8]) -> Vec<Part> {
        let fields = written::<M>().zip(Self::fields());
        fields.map_while(|(field, described)| taker(field.kind, field.is_optional)(&described, rest)).collect()
    }
}

/// Most versions that a record may have: the parts of a payload.
const MOST_VERSIONS: usize = 8;

/// A record being read, field by field in the order of their declaration, without a copy. Where a later version added a field
/// before an older one, that is not their order in the payload: then what each version added is a part that is read for itself.
struct Values<'a, M> {
    key: &'a [u8],
    version: u8,
    /// What is left of each part; the first is all there is, where one order is the other.
    parts: [&'a [u8]; MOST_VERSIONS],
    model: PhantomData<M>,
}

impl<'a, M: Model> Values<'a, M> {
    const IS_IN_ORDER: bool = {
        assert!(M::VERSION as usize <= MOST_VERSIONS, "more versions than there is room for");
        is_in_order(M::FIELDS)
    };

    fn of(key: &'a [u8], version: u8, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut values = Self { key, version, parts: [payload; MOST_VERSIONS], model: PhantomData };
        if !Self::IS_IN_ORDER {
            let mut rest = payload;
            for (part, since) in values.parts.iter_mut().zip(1..=version) {
                *part = rest;
                if since < version {
                    let mut fields = added::<M>(since).filter(|field| !is_in_key(field, version));
                    fields.try_for_each(|field| read(field.kind, field.is_optional, &mut rest).map(drop))?;
                }
            }
        }
        Ok(values)
    }

    /// The part with the fields that were added in this version.
    fn part(&mut self, since: u8) -> Option<&mut &'a [u8]> {
        self.parts.get_mut(if Self::IS_IN_ORDER { 0 } else { usize::from(since) - 1 })
    }

    /// What is left of the part that nothing may follow.
    fn last_part(&mut self) -> &'a [u8] {
        self.part(self.version).copied().unwrap_or_default()
    }
}

impl<M: Model> Source for Values<'_, M> {
    type Error = DecodeError;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, DecodeError> {
        let value = match field.role {
            Role::Key => key_value(T::KIND, key_in::<M>(self.key)),
            Role::CreatedAt => Some(Value::Time(time_of(key_in::<M>(self.key))?)),
            Role::Content if is_in_key(field, self.version) => value_in::<M>(self.key, field),
            Role::Content if field.since > self.version => Some(field.before.value()),
            Role::Content => self.part(field.since).map(|part| read(T::KIND, T::IS_OPTIONAL, part)).transpose()?,
        };
        let unsuitable = || DecodeError::Payload(format!("its {} is no value of that kind", field.name));
        value.and_then(T::from_value).ok_or_else(unsuitable)
    }
}

/// Whether fields lie in a payload in the order in which they are declared.
const fn is_in_order(mut fields: &[Field]) -> bool {
    let mut newest = 1;
    while let [field, rest @ ..] = fields {
        if matches!(field.role, Role::Content) {
            if field.since < newest {
                return false;
            }
            newest = field.since;
        }
        fields = rest;
    }
    true
}

/// How a kind lies in a payload, in the words of the pages.
fn layout(kind: Kind, is_optional: bool) -> &'static str {
    match (kind, is_optional) {
        (Kind::Flag, false) => "bool",
        (Kind::Flag, true) => "Option<bool>",
        (Kind::Number, false) => "i32",
        (Kind::Number, true) => "Option<i32>",
        (Kind::Time, false) => "u64",
        (Kind::Time, true) => "Option<u64>",
        (Kind::Text, false) => "String",
        (Kind::Text, true) => "Option<String>",
        (Kind::Id, false) => "[u8; 16]",
        (Kind::Id, true) => "Option<[u8; 16]>",
        (Kind::Digest, false) => "[u8; 32]",
        (Kind::Digest, true) => "Option<[u8; 32]>",
        (Kind::Challenge, false) => "[u8; 44]",
        (Kind::Challenge, true) => "Option<[u8; 44]>",
    }
}

/// What reads a field of that layout for people.
fn taker(kind: Kind, is_optional: bool) -> fn(&decentcom_kvstore::Field, &mut &[u8]) -> Option<Part> {
    match (kind, is_optional) {
        (Kind::Flag, false) => take_field::<bool>,
        (Kind::Flag, true) => take_field::<Option<bool>>,
        (Kind::Number, false) => take_field::<i32>,
        (Kind::Number, true) => take_field::<Option<i32>>,
        (Kind::Time, false) => take_field::<u64>,
        (Kind::Time, true) => take_field::<Option<u64>>,
        (Kind::Text, false) => take_field::<String>,
        (Kind::Text, true) => take_field::<Option<String>>,
        (Kind::Id, false) => take_field::<[u8; 16]>,
        (Kind::Id, true) => take_field::<Option<[u8; 16]>>,
        (Kind::Digest, false) => take_field::<Digest>,
        (Kind::Digest, true) => take_field::<Option<Digest>>,
        (Kind::Challenge, false) => take_field::<[u8; 44]>,
        (Kind::Challenge, true) => take_field::<Option<[u8; 44]>>,
    }
}

/// The key of a record as the key-value store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyOf<K>(pub(super) K);

/// Calls an associated item of the key type that has this kind.
macro_rules! by_kind {
    ($kind:expr, $key:ident => $call:expr) => {
        match $kind {
            Kind::Id => {
                type $key = ::ulid::Ulid;
                $call
            }
            Kind::Digest => {
                type $key = $crate::storage::redb::record::Digest;
                $call
            }
            Kind::Challenge => {
                type $key = $crate::storage::redb::record::ChallengeKey;
                $call
            }
            Kind::Text => {
                type $key = String;
                $call
            }
            Kind::Time => {
                type $key = u64;
                $call
            }
            Kind::Flag => {
                type $key = bool;
                $call
            }
            Kind::Number => panic!("no key and no index is of this kind"),
        }
    };
}
pub(super) use by_kind;

#[allow(clippy::panic)] // in constants, and by a kind that they let through
impl<K: FieldType + Copy + Ord + std::fmt::Debug + Send + Sync + 'static> KvKey for KeyOf<K> {
    const WIDTH: Option<usize> = by_kind!(K::KIND, T => T::WIDTH);
    const LAYOUT: &'static str = by_kind!(K::KIND, T => T::LAYOUT);
    const COMPONENTS: usize = by_kind!(K::KIND, T => T::COMPONENTS);

    fn append_to(&self, bytes: &mut Vec<u8>) {
        append_value(&self.0.value(), bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        key_value(K::KIND, bytes).and_then(K::from_value).map(Self)
    }

    fn parts(&self) -> Vec<Part> {
        let bytes = self.to_bytes();
        by_kind!(K::KIND, T => T::decode(&bytes).map(|key| key.parts())).unwrap_or_default()
    }

    fn range_of(text: &str) -> Option<decentcom_kvstore::ByteRange> {
        by_kind!(K::KIND, T => T::range_of(text))
    }
}
