//! The records of a store, in the order of a dump.

use std::vec;

use decentcom_server::storage::{
    Entity, StorageError,
    inspect::{CellValue, DamagedRow, Direction, Inspection, RawRange, Records, Row},
};
use ulid::Ulid;

use crate::{
    format::sums::{Sum, Sums},
    outcome::{Code, Failure},
    session::Progress,
};

/// A store opened to be looked at.
pub(crate) type Store = dyn Inspection;

/// Records in the order of a dump, from wherever.
pub(crate) trait Rows {
    /// `None` at the end. A row that does not decode is an error.
    fn next(&mut self) -> Result<Option<Row>, Failure>;
}

/// The records of a store.
pub(crate) struct Contents<'a> {
    store: &'a mut Store,
    entities: vec::IntoIter<Entity>,
    records: Option<Records>,
}

impl<'a> Contents<'a> {
    /// All of them.
    pub(crate) fn all(store: &'a mut Store) -> Self {
        Self::of(store, Entity::dumped().collect())
    }

    /// Those of some kinds.
    pub(crate) fn of(store: &'a mut Store, entities: Vec<Entity>) -> Self {
        Self { store, entities: entities.into_iter(), records: None }
    }

    /// The next record, or the next row that does not decode.
    pub(crate) fn next_or_damaged(&mut self) -> Result<Option<Result<Row, DamagedRow>>, Failure> {
        loop {
            let records = match &mut self.records {
                Some(records) => records,
                None => match self.entities.next() {
                    None => return Ok(None),
                    Some(entity) => self.records.insert(Records::new(entity, self.store)?),
                },
            };
            if let Some(row) = records.next_or_damaged(self.store)? {
                return Ok(Some(row));
            }
            self.records = None;
        }
    }
}

impl Rows for Contents<'_> {
    fn next(&mut self) -> Result<Option<Row>, Failure> {
        match self.next_or_damaged()? {
            None => Ok(None),
            Some(Ok(row)) => Ok(Some(row)),
            Some(Err(damaged)) => Err(Failure::new(Code::Corrupt, describe(&damaged))),
        }
    }
}

pub(crate) fn describe(damaged: &DamagedRow) -> String {
    let problem = match &damaged.error {
        StorageError::Corrupt { problem, .. } => problem.clone(),
        other => other.to_string(),
    };
    format!("the row {} of {} is damaged: {problem}", damaged.key, damaged.table)
}

/// How many rows there are, those of channels being purged among them.
pub(crate) fn count(store: &mut Store, entities: &[Entity]) -> Result<u64, Failure> {
    let mut rows = 0;
    for entity in entities {
        rows += store.count(entity.table())?;
    }
    Ok(rows)
}

/// Whether there is any record.
pub(crate) fn is_empty(store: &mut Store) -> Result<bool, Failure> {
    Ok(Contents::all(store).next_or_damaged()?.is_none())
}

/// The largest id ever given out: as recorded, or as found, should a tool have added rows.
pub(crate) fn high_water(store: &mut Store) -> Result<Option<Ulid>, Failure> {
    let mut highest = store.facts()?.high_water;
    for entity in Entity::with_ids() {
        let table = entity.table();
        let last = store.read(table, &RawRange::ALL, Direction::Reverse, 1)?;
        let key = last.first().and_then(|row| store.explain(table, row).own_key().first().cloned());
        if let Some(CellValue::Text(id)) = key.map(|cell| cell.value) {
            let id = decentcom_server::storage::MessageId::parse(&id); // ids of all kinds look alike
            highest = highest.max(id.map(|id| id.ulid()));
        }
    }
    Ok(highest.filter(|id| *id != Ulid::nil()))
}

/// Rows and hash of every table.
pub(crate) fn sums(store: &mut Store, progress: &Progress<'_>) -> Result<Vec<Sum>, Failure> {
    let mut sums = Sums::new(high_water(store)?)?;
    let mut contents = Contents::all(store);
    while let Some(row) = contents.next()? {
        sums.add(&row)?;
        progress.step()?;
    }
    Ok(sums.finish())
}
