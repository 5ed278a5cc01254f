//! Checking a store: what its engine checks of files, pages and indexes, and what is the same for every backend.

use std::collections::HashSet;

use super::{CellValue, Direction, Finding, Inspection, Level, RawRange, Row, Scan, Stored};
use crate::storage::{
    ChannelId, Clock as _, Entity, StorageError, SystemClock, Timestamp, UserId,
    limits::{MAX_CONTENT_BYTES, MAX_PUBKEY_BYTES, MAX_TEXT_BYTES},
};

/// An id may be this far ahead of the clock before that is worth a finding: clocks differ.
const CLOCK_TOLERANCE_MILLIS: u64 = 24 * 3600 * 1000;

/// Checks everything, in memory that grows only with users and channels. Each thing found wrong goes to `report`;
/// `progress` is told the records checked so far and may stop the check with an error.
pub fn verify(
    store: &mut dyn Inspection,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    progress(0)?;
    let checked = store.verify_engine(report, progress).map(Some);
    or_report(checked, "file", report)?;
    progress(0)?;
    Check::default().run(store, report, progress)
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

/// What has been seen so far.
#[derive(Default)]
struct Check {
    users: HashSet<UserId>,
    /// Those being purged too: their messages may still refer to them.
    channels: HashSet<ChannelId>,
    newest: Option<ulid::Ulid>,
    /// Kinds of which some records could not be read, so that nobody can say that one does not exist.
    incomplete: Vec<Entity>,
}

impl Check {
    fn run(
        mut self,
        store: &mut dyn Inspection,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut checked = 0;
        let mut purges = Scan::new("purges", RawRange::ALL, Direction::Forward);
        while let Some(stored) = or_report(purges.next(store), "purges", report)? {
            let Some(stored) = stored else {
                self.incomplete.push(Entity::Channel);
                break;
            };
            self.channels.extend(ChannelId::parse(&key_of("purges", store, &stored)));
        }
        for entity in Entity::ALL {
            let table = entity.table();
            let mut rows = Scan::new(table, RawRange::ALL, Direction::Forward);
            while let Some(stored) = or_report(rows.next(store), table, report)? {
                let Some(stored) = stored else {
                    self.incomplete.push(entity);
                    break;
                };
                let key = key_of(table, store, &stored);
                let mut found = |level, problem: String| {
                    report(Finding { level, table: table.into(), key: key.clone(), problem });
                };
                match store.decode(table, &stored) {
                    Ok(Some(row)) => self.check(&row, &key, &mut found),
                    Ok(None) => {}
                    Err(StorageError::Corrupt { problem, .. }) => {
                        self.remember_damaged(entity, &key);
                        found(Level::Records, problem);
                    }
                    Err(error) => return Err(error),
                }
                checked += 1;
                progress(checked)?;
            }
        }
        self.check_high_water(store, report)
    }

    /// A record that cannot be read is there all the same: what refers to it does not refer to nothing.
    fn remember_damaged(&mut self, entity: Entity, key: &str) {
        match entity {
            Entity::User => self.users.extend(UserId::parse(key)),
            Entity::Channel => self.channels.extend(ChannelId::parse(key)),
            _ => {}
        }
    }

    fn is_missing(&self, entity: Entity, is_known: bool) -> bool {
        !is_known && !self.incomplete.contains(&entity)
    }

    fn check(&mut self, row: &Row, key: &str, found: &mut dyn FnMut(Level, String)) {
        if row.key() != key {
            found(Level::Records, format!("its key should be written {}; look-ups do not find it", row.key()));
        }
        for (field, text, least, most) in texts(row) {
            if !(least..=most).contains(&text.len()) {
                found(Level::Records, format!("its {field} has {} bytes; {least} to {most} are allowed", text.len()));
            }
        }
        match row {
            Row::User(user) => {
                self.users.insert(user.id);
                self.check_times(user.id.ulid(), user.created_at, Some(("updated_at", user.updated_at)), found);
            }
            Row::Channel(channel) => {
                self.channels.insert(channel.id);
                self.check_times(
                    channel.id.ulid(),
                    channel.created_at,
                    Some(("updated_at", channel.updated_at)),
                    found,
                );
            }
            Row::Category(category) => self.check_times(category.id.ulid(), category.created_at, None, found),
            Row::Message(message) => {
                if self.is_missing(Entity::Channel, self.channels.contains(&message.channel_id)) {
                    found(Level::References, format!("its channel {} does not exist", message.channel_id));
                }
                if self.is_missing(Entity::User, self.users.contains(&message.author_id)) {
                    found(Level::References, format!("its author {} does not exist", message.author_id));
                }
                let edited = message.edited_at.map(|time| ("edited_at", time));
                self.check_times(message.id.ulid(), message.created_at, edited, found);
            }
            Row::Session(session) => {
                if self.is_missing(Entity::User, self.users.contains(&session.user_id)) {
                    found(Level::References, format!("its user {} does not exist", session.user_id));
                }
                if session.expires_at <= session.created_at {
                    found(Level::Times, format!("it expires at {}, not after it was created", session.expires_at));
                }
            }
        }
    }

    fn check_times(
        &mut self,
        id: ulid::Ulid,
        created_at: Timestamp,
        changed: Option<(&str, Timestamp)>,
        found: &mut dyn FnMut(Level, String),
    ) {
        self.newest = self.newest.max(Some(id));
        if created_at.as_millis() != id.timestamp_ms() {
            found(Level::Times, format!("its created_at is {created_at}, which is not the time within its id"));
        }
        if let Some((field, time)) = changed.filter(|(_, time)| *time < created_at) {
            found(Level::Times, format!("its {field} is {time}, before it was created"));
        }
        if id.timestamp_ms() > SystemClock.now().as_millis() + CLOCK_TOLERANCE_MILLIS {
            found(Level::Times, format!("it was created at {created_at}, which is yet to come; ids cannot go back"));
        }
    }

    /// What is given out next must be above everything there is.
    fn check_high_water(
        &self,
        store: &mut dyn Inspection,
        report: &mut dyn FnMut(Finding),
    ) -> Result<(), StorageError> {
        let Some(facts) = or_report(store.facts().map(Some), "meta", report)?.flatten() else { return Ok(()) };
        if facts.format != facts.current_format {
            return Ok(()); // it may be older than the record of the largest id; the next start makes one
        }
        let recorded = facts.high_water;
        if let Some(newest) = self.newest.filter(|newest| recorded.is_none_or(|recorded| recorded < *newest)) {
            let problem = format!("the largest id in the store is {newest}, which is not the one recorded");
            report(Finding { level: Level::Times, table: "meta".into(), key: "high_water_id".into(), problem });
        }
        Ok(())
    }
}

/// The texts of a row, with the fewest and most bytes they may have. Absent ones are left out.
pub fn texts(row: &Row) -> Vec<(&'static str, &str, usize, usize)> {
    let text = |field, text| Some((field, text, 1, MAX_TEXT_BYTES));
    let texts = match row {
        Row::User(user) => [
            Some(("pubkey", user.pubkey.as_str(), 1, MAX_PUBKEY_BYTES)),
            optional("display_name", &user.display_name),
            optional("avatar_hash", &user.avatar_hash),
        ],
        Row::Channel(channel) => [
            text("name", channel.name.as_str()),
            optional("topic", &channel.topic),
            optional("category_id", &channel.category_id),
        ],
        Row::Category(category) => [text("name", category.name.as_str()), None, None],
        Row::Message(message) => [Some(("content", message.content.as_str(), 0, MAX_CONTENT_BYTES)), None, None],
        Row::Session(_) => [None; 3],
    };
    texts.into_iter().flatten().collect()
}

fn optional<'a>(field: &'static str, text: &'a Option<String>) -> Option<(&'static str, &'a str, usize, usize)> {
    text.as_deref().map(|text| (field, text, 1, MAX_TEXT_BYTES))
}

/// A row's key as people write it.
pub(super) fn key_of(table: &str, store: &dyn Inspection, stored: &Stored) -> String {
    let cell = store.explain(table, stored).key.into_iter().next();
    match cell.as_ref().map(|cell| &cell.value) {
        Some(CellValue::Text(text)) => text.clone(),
        _ => decentcom_kvstore::hex(&stored.key),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{self, Backend, RedbOptions, StorageOptions, inspect};

    #[test]
    fn a_check_can_be_stopped_at_every_row() {
        let directory = tempfile::tempdir().unwrap();
        for backend in [Backend::Sqlite, Backend::Redb] {
            let path = directory.path().join(backend.name());
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let options = StorageOptions { backend, path: path.clone(), redb: RedbOptions::default() };
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
