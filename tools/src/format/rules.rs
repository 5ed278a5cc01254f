//! What a dump must be beyond its lines: its records in order, each once, and what the records of a store must be (the
//! server's `inspect/rules.rs`). A dump never holds what a load would refuse, and a store never what a check would find.

use std::collections::HashSet;

use decentcom_server::storage::{
    Entity, Key,
    inspect::{self, Row},
};
use ulid::Ulid;

/// Where a record stands in a dump.
pub(crate) type Position = Key;

/// Where a record stands: by table, then by key.
pub(crate) fn position(row: &Row) -> Position {
    row.key()
}

/// Checks records as they come. Memory grows with users and channels only.
pub(crate) struct Rules {
    last: Option<Position>,
    /// A store has an index for that.
    pubkeys: HashSet<String>,
    of_records: inspect::Rules,
}

impl Rules {
    /// For records of these tables.
    pub(crate) fn new(tables: &[&str]) -> Self {
        let mut of_records = inspect::Rules::default();
        for entity in Entity::dumped().filter(|entity| !tables.contains(&entity.table())) {
            of_records.cannot_know(entity);
        }
        Self { last: None, pubkeys: HashSet::new(), of_records }
    }

    /// For records of a store by itself.
    pub(crate) fn of_a_whole_store() -> Self {
        Self::new(&Entity::dumped().map(Entity::table).collect::<Vec<_>>())
    }

    /// Whether a record by itself is what the contract allows, and in its place.
    pub(crate) fn check_form(&mut self, row: &Row) -> Result<(), String> {
        let position = position(row);
        if let Some(last) = self.last.filter(|last| *last >= position) {
            return Err(if last == position {
                "there is another one with the same key".into()
            } else {
                format!("it is out of order, after {last}: tables come in a fixed order, records by key")
            });
        }
        self.last = Some(position);
        first(|found| self.of_records.check(row, &mut |_, problem| found(problem)))
    }

    /// Takes a record in among those before it, if it can be there.
    pub(crate) fn admit(&mut self, row: &Row) -> Result<(), String> {
        if let Row::User(user) = row
            && !self.pubkeys.insert(user.pubkey.clone())
        {
            return Err("another user has its pubkey".into());
        }
        first(|found| self.of_records.admit(row, &mut |_, problem| found(problem)))
    }

    /// Whether the largest id that is said to have been given out can be that, after the records whose form was checked.
    pub(crate) fn check_high_water(&self, id: Ulid) -> Result<(), String> {
        first(|found| self.of_records.check_high_water(Some(id), &mut |_, problem| found(problem)))
    }
}

/// The first of the problems that are found.
fn first(check: impl FnOnce(&mut dyn FnMut(String))) -> Result<(), String> {
    let mut first = None;
    check(&mut |problem| {
        first.get_or_insert(problem);
    });
    first.map_or(Ok(()), Err)
}
