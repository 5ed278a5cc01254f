//! What the channels, authors and categories are called that records refer to by their ids.

use std::collections::HashMap;

use decentcom_server::storage::{
    Entity,
    inspect::{CellValue, Direction, Explained, Inspection, Row},
};

/// Names kept in memory; with one more, it begins anew.
const KEPT: usize = 10_000;

/// Names, looked up as they are needed.
#[derive(Default)]
pub(crate) struct Names(HashMap<(Entity, String), Option<String>>);

/// What a field refers to by id.
fn referred_to(field: &str) -> Option<Entity> {
    match field {
        "channel_id" => Some(Entity::Channel),
        "author_id" | "user_id" => Some(Entity::User),
        "category_id" => Some(Entity::Category),
        _ => None,
    }
}

impl Names {
    /// The names that go with the ids in a row, by field. Where nothing has the id, or it cannot be read, there is none.
    pub(crate) fn of(&mut self, row: &Explained, store: &mut dyn Inspection) -> HashMap<String, String> {
        let mut names = HashMap::new();
        for cell in row.cluster().iter().chain(&row.value) {
            if let (Some(entity), CellValue::Text(id)) = (referred_to(&cell.name), &cell.value)
                && let Some(name) = self.name(entity, id, store)
            {
                names.insert(cell.name.clone(), name);
            }
        }
        names
    }

    fn name(&mut self, entity: Entity, id: &str, store: &mut dyn Inspection) -> Option<String> {
        let key = (entity, id.to_owned());
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        let found = look_up(entity, id, store);
        self.0.insert(key, found.clone());
        found
    }
}

/// A name is a help to whoever reads; what cannot be read is for `verify` to name.
fn look_up(entity: Entity, id: &str, store: &mut dyn Inspection) -> Option<String> {
    let table = entity.table();
    let range = store.range_of(table, id)?;
    let row = store.read(table, &range.clone().into(), Direction::Forward, 1).ok()?.pop()?;
    if row.key != range.start {
        return None; // what was given is only the beginning of an id
    }
    match store.decode(table, &row).ok()?? {
        Row::User(user) => Some(user.display_name.clone().unwrap_or_else(|| user.pubkey.clone())),
        Row::Channel(channel) => Some(channel.name.clone()),
        Row::Category(category) => Some(category.name.clone()),
        _ => None,
    }
}
