//! Where records lie: under their key, or, where a kind is [clustered](Cluster), under the fields that it is clustered by and
//! then the key, so that those that are read together are neighbours. An index leads from the key to the place.
//!
//! ```text
//!  users             key                              ─> record
//!  messages          channel_id ‖ deleted ‖ key       ─> record
//!  messages_by_id    key                              ─> channel_id ‖ deleted ‖ key
//! ```

use std::{cmp::Ordering, fmt, marker::PhantomData};

use decentcom_kvstore::{ByteRange, Index, Key as KvKey, Part, RawRange};

use super::{
    record::{KeyOf, by_kind},
    table::Of,
};
use crate::storage::{
    bytes::{append_value, key_value},
    contract::{
        field::{self, Cluster, Field, FieldType as _, Kind, Value, position_of},
        model::Model,
    },
};

/// Most fields that a kind may be clustered by.
const MOST_COMPONENTS: usize = 3;

/// A field that is part of places.
#[derive(Clone, Copy)]
struct Component {
    position: usize,
    kind: Kind,
    at: usize,
    width: usize,
}

/// How the places of a kind are made up.
struct Parts<M>(PhantomData<M>);

impl<M: Model> Parts<M> {
    /// The fields before the key.
    #[allow(clippy::indexing_slicing, clippy::panic)] // while compiling
    const COMPONENTS: [Option<Component>; MOST_COMPONENTS] = {
        let mut components = [None; MOST_COMPONENTS];
        let (mut number, mut at) = (0, 0);
        if let Some(Cluster { by, .. }) = M::CLUSTER {
            while number < by.len() {
                let position = position_of(M::FIELDS, by[number]);
                let kind = M::FIELDS[position].kind;
                let Some(width) = width_of(kind) else { panic!("records are clustered by fields of a fixed width") };
                components[number] = Some(Component { position, kind, at, width });
                (number, at) = (number + 1, at + width);
            }
        }
        components
    };

    /// Bytes before the key.
    #[allow(clippy::indexing_slicing)] // while compiling
    const KEY_AT: usize = {
        let (mut number, mut bytes) = (0, 0);
        while number < MOST_COMPONENTS {
            if let Some(component) = Self::COMPONENTS[number] {
                bytes += component.width;
            }
            number += 1;
        }
        bytes
    };

    fn components() -> impl Iterator<Item = &'static Component> {
        Self::COMPONENTS.iter().flatten()
    }
}

/// Bytes of every value of a kind, in a key.
#[allow(clippy::panic)] // while compiling
const fn width_of(kind: Kind) -> Option<usize> {
    by_kind!(kind, T => T::WIDTH)
}

/// The bytes of a record's own key, at the end of those it lies under. Before a kind was clustered they were all there is.
pub(super) fn key_in<M: Model>(place: &[u8]) -> &[u8] {
    match (M::CLUSTER, width_of(M::Key::KIND)) {
        (Some(_), Some(width)) => place.len().checked_sub(width).and_then(|at| place.get(at..)).unwrap_or(place),
        _ => place,
    }
}

/// The value of a field that the record is clustered by.
pub(super) fn value_in<'a, M: Model>(place: &'a [u8], field: &Field) -> Option<Value<'a>> {
    let component = Parts::<M>::components().find(|it| it.position == field.position)?;
    key_value(component.kind, place.get(component.at..component.at + component.width)?)
}

/// Where a record lies: the bytes of its place.
pub(super) struct Place<M> {
    bytes: Vec<u8>,
    model: PhantomData<fn() -> M>,
}

impl<M: Model> Place<M> {
    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, model: PhantomData }
    }

    /// That of a record.
    pub(super) fn of(record: &M) -> Self {
        let mut bytes = Vec::with_capacity(Self::WIDTH.unwrap_or(32));
        for component in Parts::<M>::components() {
            record.visit(&mut |field, value| {
                if field.position == component.position {
                    append_value(&value, &mut bytes);
                }
            });
        }
        append_value(&record.key().value(), &mut bytes);
        Self::from_bytes(bytes)
    }

    /// That of the record with this key, where these are the values of the fields that it is clustered by.
    pub(super) fn with(values: &[Value<'_>], key: M::Key) -> Self {
        let mut bytes = prefix(values);
        append_value(&key.value(), &mut bytes);
        Self::from_bytes(bytes)
    }

    /// The key of what lies there.
    pub(super) fn key(&self) -> Option<M::Key> {
        key_value(M::Key::KIND, key_in::<M>(&self.bytes)).and_then(M::Key::from_value)
    }
}

/// What all places with these values of the first fields begin with.
pub(super) fn prefix(values: &[Value<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    values.iter().for_each(|value| append_value(value, &mut bytes));
    bytes
}

/// Where the records lie that an index has for this value, if they lie together.
pub(super) fn served<M: Model>(index: &field::Index, value: &Value<'_>) -> Option<RawRange> {
    M::CLUSTER.filter(|cluster| cluster.serves(index))?;
    let flag = index.only.map(|(_, set)| Value::Flag(set));
    let values: Vec<_> = [Some(value.clone()), flag].into_iter().flatten().collect();
    Some(RawRange::beginning_with(prefix(&values)))
}

/// The index that leads from keys to places.
pub(super) struct ByKey<M>(PhantomData<fn() -> M>);

impl<M: Model> Index for ByKey<M> {
    type Table = Of<M>;
    type Fields = KeyOf<M::Key>;
    const NAME: &'static str = match M::CLUSTER {
        Some(cluster) => cluster.by_key,
        None => "",
    };
    const UNIQUE: bool = true;
}

impl<M: Model> KvKey for Place<M> {
    const WIDTH: Option<usize> = match width_of(M::Key::KIND) {
        Some(width) => Some(Parts::<M>::KEY_AT + width),
        None => None,
    };
    const LAYOUT: &'static str = match M::CLUSTER {
        Some(_) => "components, one after the other",
        None => KeyOf::<M::Key>::LAYOUT,
    };
    const COMPONENTS: usize = match M::CLUSTER {
        Some(cluster) => cluster.by.len() + KeyOf::<M::Key>::COMPONENTS,
        None => KeyOf::<M::Key>::COMPONENTS,
    };

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        for component in Parts::<M>::components() {
            key_value(component.kind, bytes.get(component.at..component.at + component.width)?)?;
        }
        KeyOf::<M::Key>::decode(bytes.get(Parts::<M>::KEY_AT..)?)?;
        Some(Self::from_bytes(bytes.to_vec()))
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for Component { position, kind, at, width } in Parts::<M>::components() {
            let name = M::FIELDS.get(*position).map_or("field", |field| field.name);
            let bytes = self.bytes.get(*at..at + width).unwrap_or_default();
            let own = by_kind!(*kind, T => T::decode(bytes).map(|value| value.parts())).unwrap_or_default();
            parts.extend(own.into_iter().map(|part| Part { name, ..part }));
        }
        let key = self.bytes.get(Parts::<M>::KEY_AT..).and_then(KeyOf::<M::Key>::decode);
        parts.extend(key.map(|key| key.parts()).unwrap_or_default());
        parts
    }

    /// Clustered records are looked for by their keys, in the index that leads from there.
    fn range_of(text: &str) -> Option<ByteRange> {
        if M::CLUSTER.is_some() { None } else { KeyOf::<M::Key>::range_of(text) }
    }
}

impl<M> Clone for Place<M> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), model: PhantomData }
    }
}

impl<M> fmt::Debug for Place<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decentcom_kvstore::hex(&self.bytes))
    }
}

impl<M> PartialEq for Place<M> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<M> Eq for Place<M> {}

impl<M> PartialOrd for Place<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Place<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Message;

    #[test]
    fn bytes_that_no_record_can_lie_under_are_no_place() {
        let place = Place::of(&Message::blank(ulid::Ulid(1).into())).to_bytes();
        assert_eq!(Place::<Message>::decode(&place).unwrap().to_bytes(), place);
        let flag = place.len() - 17;
        assert_eq!(place[flag], 0);
        for (at, byte) in [(flag, 2), (0, 0xff), (flag + 1, 0xff)] {
            let mut wrong = place.clone();
            wrong[at] = byte;
            let is_place = Place::<Message>::decode(&wrong).is_some();
            assert_eq!(is_place, at != flag, "every 16 bytes are an id, and a flag is 0 or 1");
        }
        assert!(Place::<Message>::decode(&place[1..]).is_none());
    }
}
