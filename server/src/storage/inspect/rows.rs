//! Streams over pages.

use std::{collections::HashSet, vec};

use super::{CellValue, Direction, Inspection, RawRange, Row, Stored, verify::key_of};
use crate::storage::{ChannelId, Entity, StorageError, contract::field::FieldType as _};

/// Rows asked for at once.
const PAGE: usize = 1000;

/// The rows of a table as they lie, in key order. An error is the last item.
pub struct Scan {
    table: &'static str,
    /// Of messages, only this channel's.
    channel: Option<ChannelId>,
    range: Option<RawRange>,
    direction: Direction,
    page: vec::IntoIter<Stored>,
}

impl Scan {
    /// Reads a range of a table.
    pub fn new(table: &'static str, range: RawRange, direction: Direction) -> Self {
        Self { table, channel: None, range: Some(range), direction, page: Vec::new().into_iter() }
    }

    /// Reads the messages of a channel whose ids are in a range, of a store that has them together.
    pub fn of_channel(channel: ChannelId, range: RawRange, direction: Direction) -> Self {
        Self { channel: Some(channel), ..Self::new(Entity::Message.table(), range, direction) }
    }

    /// The next row.
    pub fn next(&mut self, store: &mut dyn Inspection) -> Result<Option<Stored>, StorageError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        let Some(range) = self.range.take() else { return Ok(None) };
        let page = match self.channel {
            Some(channel) => store.read_of_channel(channel, &range, self.direction, PAGE)?,
            None => store.read(self.table, &range, self.direction, PAGE)?,
        };
        let follows = |one: &Stored, next: &Stored| match self.direction {
            Direction::Forward => one.key < next.key,
            Direction::Reverse => one.key > next.key,
        };
        // Of rows out of order, the next page might begin before this one, for ever.
        if !page.is_sorted_by(follows) || !page.iter().all(|row| range.contains(&row.key)) {
            return Err(StorageError::Corrupt {
                place: format!("table {}", self.table),
                problem: "its rows are not in the order of their keys".into(),
                remedy: "Stop the server, keep a copy of the file and restore from a backup",
            });
        }
        self.range = page.last().map(|row| range.past(row.key.clone(), self.direction));
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}

/// A row that does not decode.
#[derive(Clone, Debug)]
pub struct DamagedRow {
    /// Its table.
    pub table: &'static str,
    /// Its key, as people write it where it can be read.
    pub key: String,
    /// Why.
    pub error: StorageError,
}

/// The records of one kind that the contract shows, by key: those of a channel being purged are gone.
pub struct Records {
    entity: Entity,
    scan: Scan,
    purged: HashSet<ChannelId>,
}

impl Records {
    /// Reads all records of a kind.
    pub fn new(entity: Entity, store: &mut dyn Inspection) -> Result<Self, StorageError> {
        let mut purged = HashSet::new();
        let mut scan = Scan::new("purges", RawRange::ALL, Direction::Forward);
        while let Some(row) = scan.next(store)? {
            let key = store.explain("purges", &row).key.into_iter().next();
            if let Some(CellValue::Text(id)) = key.map(|cell| cell.value) {
                purged.extend(ChannelId::parse(&id));
            }
        }
        Ok(Self { entity, scan: Scan::new(entity.table(), RawRange::ALL, Direction::Forward), purged })
    }

    /// The next record. A row that does not decode is an error, and the next one can be asked for.
    pub fn next(&mut self, store: &mut dyn Inspection) -> Result<Option<Row>, StorageError> {
        let next = self.next_or_damaged(store)?;
        next.map(|row| row.map_err(|damaged| damaged.error)).transpose()
    }

    /// The next record, or the next row that should be one and does not decode. An error is the last item: what comes
    /// after it cannot be read.
    pub fn next_or_damaged(
        &mut self,
        store: &mut dyn Inspection,
    ) -> Result<Option<Result<Row, DamagedRow>>, StorageError> {
        let table = self.entity.table();
        while let Some(stored) = self.scan.next(store)? {
            match store.decode(table, &stored) {
                Ok(row) => {
                    if let Some(row) = row.filter(|row| self.exists(row)) {
                        return Ok(Some(Ok(row)));
                    }
                }
                Err(error @ StorageError::Corrupt { .. }) => {
                    return Ok(Some(Err(DamagedRow { table, key: key_of(table, store, &stored), error })));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether it is neither being purged nor gone with a channel that is.
    fn exists(&self, row: &Row) -> bool {
        if matches!(row, Row::Channel(channel) if self.purged.contains(&channel.id)) {
            return false;
        }
        let mut is_gone = false;
        row.visit(&mut |field, value| {
            let channel = if field.goes_with_it { ChannelId::from_value(value) } else { None };
            is_gone |= channel.is_some_and(|channel| self.purged.contains(&channel));
        });
        !is_gone
    }
}
