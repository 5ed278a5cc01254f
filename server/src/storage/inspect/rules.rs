//! What the records of a store must be, by themselves and together. Written once: what a check finds in a store is what keeps
//! a record from being brought into one.

use std::collections::{HashMap, HashSet};

use ulid::Ulid;

use super::{Level, Row};
use crate::storage::{
    Entity, Key,
    contract::field::{Field, Kind, Order, Role, Value},
    id::{parse_ulid, successor},
};

/// The field that says when a record was created, in records that have one.
const CREATED_AT: &str = "created_at";

/// The rules, and what of the records so far they need to know. Memory grows with users and channels only.
///
/// Not among them, as each has a place of its own: the order of records and that keys are there once (a store's tree, a
/// dump's order), and that public keys are unique (a store's index, whoever fills one). Nor is an id of times to come a fault:
/// a clock that ran ahead made it, and what was posted then must be moved and backed up like the rest.
pub struct Rules {
    /// Ids of records that others may refer to.
    known: HashMap<Entity, HashSet<Ulid>>,
    /// Kinds of which some records are not known, so that nobody can say that one does not exist.
    incomplete: Vec<Entity>,
    largest_id: Option<Ulid>,
}

impl Default for Rules {
    /// Rules for records of which none has come yet.
    fn default() -> Self {
        let known = Entity::EVERY.iter().filter(|entity| is_referred_to(**entity));
        let known = known.map(|entity| (*entity, HashSet::new())).collect();
        Self { known, incomplete: Vec::new(), largest_id: None }
    }
}

impl Rules {
    /// From now on nobody can say that a record of this kind does not exist.
    pub fn cannot_know(&mut self, entity: Entity) {
        self.incomplete.push(entity);
    }

    /// Takes it that there is a record with this key, as people write it, though it cannot be read.
    pub fn remember_named(&mut self, entity: Entity, key: &str) {
        if let (Some(known), Some(id)) = (self.known.get_mut(&entity), parse_ulid(key)) {
            known.insert(id);
        }
    }

    fn remember(&mut self, key: Key) {
        if let (Some(known), Value::Id(id)) = (self.known.get_mut(&key.entity()), key.value()) {
            known.insert(id);
        }
    }

    /// What is wrong with a record by itself.
    pub fn check(&mut self, row: &Row, found: &mut dyn FnMut(Level, String)) {
        let (mut key, mut created_at) = (None, None);
        row.visit(&mut |field, value| match (field.role, field.kind, value) {
            (Role::Key, _, Value::Id(id)) => key = Some(id),
            (_, Kind::Time, Value::Time(time)) if field.name == CREATED_AT => created_at = Some(time),
            _ => {}
        });
        if let (Some(id), Some(created_at)) = (key, created_at) {
            self.largest_id = self.largest_id.max(Some(id));
            if created_at.as_millis() != id.timestamp_ms() {
                found(Level::Times, format!("its created_at is {created_at}, which is not the time within its id"));
            }
        }
        row.visit(&mut |field, value| {
            let (Field { name, least, most, order, .. }, created_at) = (field, created_at.unwrap_or_default());
            match value {
                Value::Text(text) if !(*least..=*most).contains(&text.len()) => {
                    let bytes = text.len();
                    found(Level::Records, format!("its {name} has {bytes} bytes; {least} to {most} are allowed"));
                }
                Value::Time(time) if *order == Order::NotBefore && time < created_at => {
                    found(Level::Times, format!("its {name} is {time}, before it was created"));
                }
                Value::Time(time) if *order == Order::After && time <= created_at => {
                    found(Level::Times, format!("its {name} is {time}, not after it was created"));
                }
                _ => {}
            }
        });
    }

    /// Takes a record in among those before it; what it refers to must be there.
    pub fn admit(&mut self, row: &Row, found: &mut dyn FnMut(Level, String)) {
        self.remember(row.key());
        row.visit(&mut |field, value| {
            let (Some(entity), Value::Id(id)) = (field.refers_to, value) else { return };
            let is_known = self.known.get(&entity).is_some_and(|known| known.contains(&id));
            if !is_known && !self.incomplete.contains(&entity) {
                // The field is named for what it refers to: `author_id`.
                let what = field.name.trim_end_matches("_id");
                found(Level::References, format!("its {what} {id} does not exist"));
            }
        });
    }

    /// What is wrong with the recorded largest id, once all records were checked: what is given out next must be above
    /// everything there is, and there must be something above it.
    pub fn check_high_water(&self, recorded: Option<Ulid>, found: &mut dyn FnMut(Level, String)) {
        if let Some(largest) = self.largest_id.filter(|largest| recorded.is_none_or(|recorded| recorded < *largest)) {
            found(Level::Times, format!("the largest id in the store is {largest}, which is not the one recorded"));
        }
        if let Some(last) = self.largest_id.max(recorded).filter(|last| successor(*last).is_none()) {
            let remedy = "`dcstore dump --exclude meta --skip-damaged` and `dcstore load` make one that goes on after its \
                          largest record";
            let problem =
                "is the last one there is: no larger id can be given out, so nothing can ever be written again";
            found(Level::File, format!("{last} {problem}; {remedy}"));
        }
    }
}

/// Whether any record refers to records of this kind.
fn is_referred_to(entity: Entity) -> bool {
    Entity::EVERY.iter().any(|other| other.fields().iter().any(|field| field.refers_to == Some(entity)))
}
