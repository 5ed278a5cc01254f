//! Every table of the key-value layout: those of the contract's records, and what only this backend has.
//!
//! **A record version that was shipped is never edited**, as files in the field hold it: a new field says since which
//! version it is there (`models.rs`). `shipped.txt` has every version's fields and bytes; a test fails when one changes.

use decentcom_kvstore::{AnyTable, Catalogue, Declared, Index, Record as _, Schema, record, table};
use ulid::Ulid;

use super::{older, record::KeyOf, table::Of};
use crate::storage::{
    Entity, StoredSession, User, UserId,
    contract::model::{Each, Model},
};

/// What this program writes, and what older ones wrote that it can read.
pub(super) const SCHEMA: Schema =
    Schema { format: FORMAT, oldest_reader: FORMAT, older: &[older::SHAPE], ..Schema::new(CATALOGUE) };

/// The number of the format. Each new version of a record makes another, as programs that do not know it cannot read it.
pub(in crate::storage) const FORMAT: u32 = 1 + newer(PurgeRecord::VERSION) + newer_of(Entity::EVERY);

/// How many versions a record has had since the first.
const fn newer(version: u8) -> u32 {
    version as u32 - 1
}

const fn newer_of(mut entities: &[Entity]) -> u32 {
    let mut sum = 0;
    while let [entity, rest @ ..] = entities {
        sum += newer(entity.version());
        entities = rest;
    }
    sum
}

/// All tables, in the order in which a dump lists them: those of the contract's records, and the purges behind the messages.
pub(in crate::storage) const CATALOGUE: Catalogue = &TABLES;

const TABLES: [&dyn AnyTable; Entity::EVERY.len() + 1] = {
    let mut tables = [&Declared::<Purges>::NEW as &dyn AnyTable; _];
    let of_records = Entity::each::<Tables, _>();
    let mut at = 0;
    #[allow(clippy::indexing_slicing)] // while compiling
    while at < of_records.len() {
        let is_behind = at > Entity::Message as usize;
        tables[at + is_behind as usize] = of_records[at];
        at += 1;
    }
    tables
};

/// The table of each kind of record.
struct Tables;

impl<M: Model> Each<M, &'static dyn AnyTable> for Tables {
    const OF: &'static dyn AnyTable = &Declared::<Of<M>>::NEW;
}

/// The name in `meta` of the largest id ever given out: 16 bytes.
pub(super) const HIGH_WATER: &str = "high_water_id";
/// The name in `meta` of when it was last tried whether changes can be stored: milliseconds since 1970, a decimal number.
pub(super) const PROBED_AT: &str = "probed_at";
/// The name in `meta` of the number of the newest commit in the file: a decimal number.
pub(super) const APPLIED: &str = "applied";
/// The name in `meta` of the secret that challenges are made with: 32 bytes, shown to nobody.
pub(super) const LOGIN_KEY: &str = "login_key";

record! {
    /// A deleted channel whose messages are still being reclaimed. The key is the channel's id. How far that has come
    /// shows in the indexes: what was reclaimed is no longer there.
    pub(super) struct PurgeRecord: version 1 {
        /// The name the channel had, for whoever looks into the store.
        pub(super) name: String,
    }
}

table! {
    /// Deleted channels that still have messages in the file; those are invisible.
    pub(super) table Purges("purges"): Ulid => PurgeRecord;
}

/// Names indexes that this backend reads by itself.
macro_rules! indexes {
    ($($(#[$doc:meta])* $name:ident: $fields:ty = $model:ident::$index:ident;)*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl Index for $name {
            type Table = Of<$model>;
            type Fields = $fields;
            const NAME: &'static str = $model::$index.name;
            const UNIQUE: bool = $model::$index.is_unique;
        }
    )*};
}

indexes! {
    /// Members, by id.
    MembersById: KeyOf<UserId> = User::MEMBERS;
    /// The sessions of a user.
    SessionsByUser: KeyOf<UserId> = StoredSession::BY_USER;
    /// Sessions in the order in which they expire, in milliseconds since 1970.
    SessionsByExpiry: u64 = StoredSession::BY_EXPIRY;
}
