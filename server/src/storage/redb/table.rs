//! The tables of the contract's records, and their indexes, as the key-value store has them: made from the declarations.

use std::marker::PhantomData;

use decentcom_kvstore::{IndexDefinition, KeyKind, Table};

use super::{
    place::{ByKey, Place},
    record::{KeyOf, Stored, by_kind},
};
use crate::storage::{
    bytes::value_bytes,
    contract::{
        field::{FieldType as _, Kind, Value, position_of},
        model::Model,
    },
};

/// The table of a kind of record.
pub(super) struct Of<M>(PhantomData<fn() -> M>);

impl<M: Model> Table for Of<M> {
    type Key = Place<M>;
    type Record = Stored<M>;
    const NAME: &'static str = M::TABLE;
    const PURPOSE: &'static str = M::PURPOSE;
    #[allow(clippy::panic)] // while compiling
    const INDEXES: &'static [IndexDefinition<Self>] = match (Kept::<M>::COUNT, M::CLUSTER.is_some()) {
        (0, false) => &[],
        (1, false) => &[kept::<M, 0>()],
        (2, false) => &[kept::<M, 0>(), kept::<M, 1>()],
        (3, false) => &[kept::<M, 0>(), kept::<M, 1>(), kept::<M, 2>()],
        (0, true) => &[by_key::<M>()],
        (1, true) => &[by_key::<M>(), kept::<M, 0>()],
        (2, true) => &[by_key::<M>(), kept::<M, 0>(), kept::<M, 1>()],
        _ => panic!("more indexes than there is a line for here"),
    };
}

/// The indexes of a kind that are kept: all but those that the order of its records serves.
struct Kept<M>(PhantomData<M>);

impl<M: Model> Kept<M> {
    #[allow(clippy::indexing_slicing)] // while compiling
    const COUNT: usize = {
        let (mut at, mut count) = (0, 0);
        while at < M::INDEXES.len() {
            count += !is_served::<M>(at) as usize;
            at += 1;
        }
        count
    };

    /// Where the nth of them is among all.
    #[allow(clippy::panic)] // while compiling
    const fn position(nth: usize) -> usize {
        let (mut at, mut seen) = (0, 0);
        while at < M::INDEXES.len() {
            if !is_served::<M>(at) {
                if seen == nth {
                    return at;
                }
                seen += 1;
            }
            at += 1;
        }
        panic!("there are fewer indexes")
    }
}

#[allow(clippy::indexing_slicing)] // while compiling
const fn is_served<M: Model>(index: usize) -> bool {
    match M::CLUSTER {
        Some(cluster) => cluster.serves(&M::INDEXES[index]),
        None => false,
    }
}

/// How the index from keys to places follows a clustered kind.
const fn by_key<M: Model>() -> IndexDefinition<Of<M>> {
    IndexDefinition {
        name: <ByKey<M> as decentcom_kvstore::Index>::NAME,
        purpose: "Where each one lies, by its key.",
        unique: true,
        fields_kind: KeyKind::of::<KeyOf<M::Key>>(),
        fields: |_, record| Some(value_bytes(&record.0.key().value())),
    }
}

/// How the nth index that is kept follows its kind.
const fn kept<M: Model, const N: usize>() -> IndexDefinition<Of<M>> {
    IndexDefinition {
        fields: |_, record| entry(&record.0, const { Condition::of::<M>(Kept::<M>::position(N)) }),
        ..index::<Of<M>, M>(Kept::<M>::position(N))
    }
}

/// What is known of an index by its declaration. It has no entries yet.
#[allow(clippy::indexing_slicing, clippy::panic)] // while compiling
const fn index<T: Table<Record = Stored<M>>, M: Model>(position: usize) -> IndexDefinition<T> {
    let index = &M::INDEXES[position];
    let kind = by_kind!(M::FIELDS[position_of(M::FIELDS, index.field)].kind, K => KeyKind::of::<K>());
    assert!(index.is_unique || kind.width.is_some(), "the field of an index that is not unique needs a fixed width");
    IndexDefinition {
        name: index.name,
        purpose: index.purpose,
        unique: index.is_unique,
        fields_kind: kind,
        fields: |_, _| None,
    }
}

/// What an index has of a record.
fn entry<M: Model>(record: &M, index: Condition) -> Option<Vec<u8>> {
    let mut is_in = true;
    let mut entry = None;
    record.visit(&mut |it, value| {
        if index.only.is_some_and(|(flag, set)| it.position == flag && value != Value::Flag(set)) {
            is_in = false;
        }
        if it.position == index.field {
            entry = Some(value_bytes(&value));
        }
    });
    entry.filter(|_| is_in)
}

/// Where the field of an index is, and its condition.
#[derive(Clone, Copy)]
struct Condition {
    field: usize,
    only: Option<(usize, bool)>,
}

impl Condition {
    #[allow(clippy::indexing_slicing)] // while compiling
    const fn of<M: Model>(index: usize) -> Self {
        let index = &M::INDEXES[index];
        let only = match index.only {
            Some((flag, set)) => Some((position_of(M::FIELDS, flag), set)),
            None => None,
        };
        Self { field: position_of(M::FIELDS, index.field), only }
    }
}

/// The table of a kind of record as it was before its records were clustered: under their keys, with every index kept.
pub(super) struct Unclustered<M>(PhantomData<fn() -> M>);

impl<M: Model> Table for Unclustered<M> {
    type Key = KeyOf<M::Key>;
    type Record = Stored<M>;
    const NAME: &'static str = M::TABLE;
    const PURPOSE: &'static str = M::PURPOSE;
    #[allow(clippy::panic)] // while compiling
    const INDEXES: &'static [IndexDefinition<Self>] = match M::INDEXES.len() {
        2 => &[every::<M, 0>(), every::<M, 1>()],
        _ => panic!("more indexes than there is a line for here"),
    };
}

const fn every<M: Model, const N: usize>() -> IndexDefinition<Unclustered<M>> {
    IndexDefinition {
        fields: |_, record| entry(&record.0, const { Condition::of::<M>(N) }),
        ..index::<Unclustered<M>, M>(N)
    }
}
