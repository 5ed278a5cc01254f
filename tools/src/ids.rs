//! `dcstore ids`.

use std::io::Write;

use decentcom_server::storage::{
    Clock as _, Entity, SystemClock, Timestamp,
    inspect::{CellValue, Direction, Inspection, Moment, RawRange, maintain},
};
use ulid::Ulid;

use crate::{Failure, Outcome, Session, cli, outcome::Code};

pub(crate) fn run(options: &cli::Ids, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let address = &options.store;
    let mut store = session.open(address, Moment::Steps)?;
    if let Some(holder) = store.holder().filter(|_| options.lower) {
        let message =
            format!("{address} is in use by {holder}: taking ids back needs the store to itself. Stop it first");
        return Err(Failure::new(Code::InUse, message));
    }
    let recorded = store.facts()?.high_water.filter(|id| !id.is_nil());
    let in_use = largest_in_use(&mut *store)?;
    drop(store);
    let now = SystemClock.now();
    writeln!(out, "given out      {}", shown(recorded))?;
    writeln!(out, "in use         {}", shown(in_use))?;
    writeln!(out, "this computer  {now}")?;
    if !options.lower {
        return Ok(Outcome::Fine);
    }
    if recorded <= in_use {
        writeln!(out, "\nNothing to lower: the largest id ever given out is in use.")?;
        if time_of(in_use).is_some_and(|time| time > now) {
            writeln!(
                out,
                "It is ahead of this computer's clock. New ids keep its time until the clock gets there, unless the rows with \
                 such ids are left out of a dump (`dcstore dump`), which is then loaded into a new store."
            )?;
        }
        return Ok(Outcome::Fine);
    }
    if !options.yes {
        writeln!(
            out,
            "\n--lower --yes would have new ids follow the largest in use. Ids between the two would be given out again: whoever \
             remembers one, such as a client that goes on reading after it, or a copy or backup of this store, takes newer \
             messages for older ones. Do it when the clock was wrong, is right again, and nothing refers to the ids in between."
        )?;
        return Ok(Outcome::Findings);
    }
    let lowered = maintain::lower_high_water(address.backend, &address.path)?;
    writeln!(out, "\nLowered: new ids follow {}", shown(lowered))?;
    Ok(Outcome::Fine)
}

/// The largest id of any row, those of soft-deleted messages and of channels being reclaimed among them.
fn largest_in_use(store: &mut dyn Inspection) -> Result<Option<Ulid>, Failure> {
    let mut largest = None;
    for table in Entity::with_ids().map(Entity::table).chain(["purges"]) {
        let last = store.read(table, &RawRange::ALL, Direction::Reverse, 1)?;
        let key = last.first().and_then(|row| store.explain(table, row).own_key().first().cloned());
        if let Some(CellValue::Text(id)) = key.map(|cell| cell.value) {
            largest = largest.max(Ulid::from_string(&id).ok());
        }
    }
    Ok(largest)
}

fn time_of(id: Option<Ulid>) -> Option<Timestamp> {
    id.and_then(|id| Timestamp::from_millis(id.timestamp_ms()))
}

fn shown(id: Option<Ulid>) -> String {
    match (id, time_of(id)) {
        (None, _) => "none".into(),
        (Some(id), Some(time)) => format!("{id}, of {time}"),
        (Some(id), None) => format!("{id}, of a time past the year 9999"),
    }
}
