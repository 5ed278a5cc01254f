//! Checking a store: what its engine checks of files, pages and indexes, and what is the same for every backend.

use std::{panic::resume_unwind, path::Path, thread};

use super::{CellValue, Direction, Finding, Inspection, Level, Moment, RawRange, Rules, Scan, Stored, open};
use crate::storage::{Backend, Entity, OpenError, StorageError};

/// The table of facts about the store, and the name in it of the largest id ever given out.
const HIGH_WATER: (&str, &str) = ("meta", "high_water_id");

/// Checks the store in the file at `path`, which must exist and stays as it is. What was found before an error is reported too.
/// Waits for the end, on a thread of its own, so that it can be called from within a runtime.
pub fn verify_file(backend: Backend, path: &Path, mut report: impl FnMut(Finding) + Send) -> Result<(), OpenError> {
    let check = || {
        let mut store = open(backend, path, Moment::One, &mut |_| Ok(()))?;
        Ok(verify(&mut *store, &mut report, &mut |_| Ok(()))?)
    };
    thread::scope(|scope| scope.spawn(check).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Checks everything, in memory that grows only with users and channels. Each thing found wrong goes to `report`;
/// `progress` is told the records checked so far and may stop the check with an error.
pub fn verify(
    store: &mut dyn Inspection,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    progress(0)?;
    store.check_tables()?;
    let checked = store.verify_engine(report, progress).map(Some);
    or_report(checked, "file", report)?;
    progress(0)?;
    verify_records(store, report, progress)
}

/// What a call answered; `Some(None)` where damage kept it from answering, which is reported.
#[allow(clippy::option_option)] // the outer one is the call's own
fn or_report<T>(
    answer: Result<Option<T>, StorageError>,
    table: &str,
    report: &mut dyn FnMut(Finding),
) -> Result<Option<Option<T>>, StorageError> {
    match answer {
        Ok(answer) => Ok(answer.map(Some)),
        Err(StorageError::Corrupt { problem, .. }) => {
            report(Finding { level: Level::Pages, table: table.into(), key: String::new(), problem });
            Ok(Some(None))
        }
        Err(error) => Err(error),
    }
}

fn verify_records(
    store: &mut dyn Inspection,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut rules = Rules::default();
    let mut checked = 0;
    // Channels being purged are there too: their messages may still refer to them.
    let mut purges = Scan::new("purges", RawRange::ALL, Direction::Forward);
    while let Some(stored) = or_report(purges.next(store), "purges", report)? {
        let Some(stored) = stored else {
            rules.cannot_know(Entity::Channel);
            break;
        };
        rules.remember_named(Entity::Channel, &key_of("purges", store, &stored));
    }
    for entity in Entity::dumped() {
        let table = entity.table();
        let mut rows = Scan::new(table, RawRange::ALL, Direction::Forward);
        while let Some(stored) = or_report(rows.next(store), table, report)? {
            let Some(stored) = stored else {
                rules.cannot_know(entity);
                break;
            };
            let key = key_of(table, store, &stored);
            let mut found = |level, problem: String| {
                report(Finding { level, table: table.into(), key: key.clone(), problem });
            };
            match store.decode(table, &stored) {
                Ok(Some(row)) => {
                    let own = row.key().to_string();
                    if own != key {
                        found(Level::Records, format!("its key should be written {own}; look-ups do not find it"));
                    }
                    rules.check(&row, &mut found);
                    rules.admit(&row, &mut found);
                }
                Ok(None) => {}
                Err(StorageError::Corrupt { problem, .. }) => {
                    // It is there all the same: what refers to it does not refer to nothing.
                    rules.remember_named(entity, &key);
                    found(Level::Records, problem);
                }
                Err(error) => return Err(error),
            }
            checked += 1;
            progress(checked)?;
        }
    }
    verify_high_water(store, &rules, report)
}

fn verify_high_water(
    store: &mut dyn Inspection,
    rules: &Rules,
    report: &mut dyn FnMut(Finding),
) -> Result<(), StorageError> {
    let (table, key) = HIGH_WATER;
    let Some(facts) = or_report(store.facts().map(Some), table, report)?.flatten() else { return Ok(()) };
    if facts.format != facts.current_format {
        return Ok(()); // it may be older than the record of the largest id; the next start makes one
    }
    let mut found = |level, problem| report(Finding { level, table: table.into(), key: key.into(), problem });
    let is_recorded = match store.range_of(table, key) {
        Some(range) => {
            let rows = store.read(table, &range.into(), Direction::Forward, 1)?;
            rows.first().is_some_and(|row| row.key == key.as_bytes())
        }
        None => false,
    };
    if is_recorded && facts.high_water.is_none() {
        found(Level::Times, "what is recorded is no id".into());
    } else {
        rules.check_high_water(facts.high_water, &mut found);
    }
    Ok(())
}

/// A row's key as people write it.
pub(super) fn key_of(table: &str, store: &dyn Inspection, stored: &Stored) -> String {
    let explained = store.explain(table, stored);
    match explained.own_key().first().map(|cell| &cell.value) {
        Some(CellValue::Text(text)) => text.clone(),
        _ => decentcom_kvstore::hex(&stored.key),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{self, Backend, RedbOptions, StorageOptions, SystemClock, inspect};

    #[test]
    fn a_check_can_be_stopped_at_every_row() {
        let directory = tempfile::tempdir().unwrap();
        for backend in [Backend::Sqlite, Backend::Redb] {
            let path = directory.path().join(backend.name());
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let options = StorageOptions {
                    backend,
                    path: path.clone(),
                    redb: RedbOptions::default(),
                    min_free: Default::default(),
                };
                let store = storage::open(&options, Arc::new(SystemClock)).await.unwrap();
                store.create_user("one", None).await.unwrap();
                store.create_user("two", None).await.unwrap();
                store.close().await.unwrap();
            });
            let mut store = inspect::open(backend, &path, inspect::Moment::One, &mut |_| Ok(())).unwrap();
            let mut stopped_at = |call: usize| {
                let mut calls = 0;
                let result = verify(&mut *store, &mut |finding| panic!("{finding}"), &mut |_| {
                    calls += 1;
                    if calls == call { Err(StorageError::unavailable("enough")) } else { Ok(()) }
                });
                result.is_err_and(|error| error.to_string().contains("enough"))
            };
            let stops = (1..100).take_while(|call| stopped_at(*call)).count();
            // Before, after the engine's check, after each record; of redb also at each row and index entry.
            assert_eq!(stops, if backend == Backend::Redb { 2 + 2 + 2 + 2 + 2 } else { 3 + 2 });
        }
    }
}
