//! `dcstore info`.

use std::{io::Write, time::Duration};

use decentcom_server::config::{Membership, MembershipMode};
use decentcom_server::storage::{
    Backend, Clock as _, Entity, SystemClock, Timestamp,
    inspect::{Facts, Inspection, Moment, Records, Row, State},
    place_warning,
};
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    safe::{json_line, one_line},
};

/// A clock this far ahead of the newest id is worth a warning, as at a start of the server.
const CLOCK_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);
/// A clock this far behind the newest id is worth a warning.
const CLOCK_BEHIND: Duration = Duration::from_secs(60);

pub(crate) fn run(options: &cli::Info, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::Steps)?;
    let facts = store.facts()?;
    let mut info = Info::of(&facts, store.holder(), SystemClock.now());
    info.admin = admin(&mut *store, options.store.membership.as_ref());
    match options.format {
        TextOrJson::Json => json_line(&info, out)?,
        TextOrJson::Text => info.write(out)?,
    }
    store.check_tables()?; // what is left of a store that was altered is worth seeing all the same
    Ok(Outcome::Fine)
}

/// What is said of a store.
#[derive(Serialize)]
struct Info {
    path: String,
    backend: Backend,
    format: String,
    current_format: String,
    fingerprint: Option<String>,
    current_fingerprint: String,
    store_id: Option<String>,
    created_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
    open_since: Option<Timestamp>,
    state: &'static str,
    open_in: Option<String>,
    file_bytes: u64,
    allocated_bytes: u64,
    reclaimable_bytes: Option<u64>,
    high_water_id: Option<String>,
    high_water_time: Option<Timestamp>,
    next_start: String,
    admin: String,
    warnings: Vec<String>,
}

impl Info {
    fn of(facts: &Facts, holder: Option<&str>, now: Timestamp) -> Self {
        let high_water_time = facts.high_water.and_then(|id| Timestamp::from_millis(id.timestamp_ms()));
        Self {
            path: facts.path.display().to_string(),
            backend: facts.backend,
            format: facts.format.clone(),
            current_format: facts.current_format.clone(),
            fingerprint: facts.fingerprint.clone(),
            current_fingerprint: facts.current_fingerprint.clone(),
            store_id: facts.store_id.clone(),
            created_at: facts.created_at,
            closed_at: facts.closed_at,
            open_since: facts.open_since,
            state: match facts.state {
                State::Closed => "closed",
                State::Crashed => "crashed",
                State::Open => "open",
                State::Doubtful => "doubtful",
            },
            open_in: holder.map(Into::into),
            file_bytes: facts.file_bytes,
            allocated_bytes: facts.allocated_bytes,
            reclaimable_bytes: facts.reclaimable_bytes,
            high_water_id: facts.high_water.map(|id| id.to_string()),
            high_water_time,
            next_start: next_start(facts),
            admin: String::new(),
            warnings: [facts.doubt.clone(), clock_warning(high_water_time, now), place_warning(&facts.path)]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut line = |name: &str, value: &str| writeln!(out, "{name:14} {}", one_line(value));
        let or_unknown = |time: Option<Timestamp>| time.map_or("not recorded".into(), |time| time.to_string());
        let compared = |found: &str, own: &str| match found == own {
            true => format!("{found}, that of this program"),
            false => format!("{found}; this program's is {own}"),
        };
        line("store", &format!("{}:{}", self.backend.name(), self.path))?;
        line("format", &compared(&self.format, &self.current_format))?;
        let fingerprint = self.fingerprint.as_deref().unwrap_or("none");
        line("fingerprint", &compared(fingerprint, &self.current_fingerprint))?;
        line("store id", self.store_id.as_deref().unwrap_or("none; the next start gives it one"))?;
        line("created", &or_unknown(self.created_at))?;
        let state = match (&self.open_in, self.state) {
            (Some(holder), _) => format!("open in {holder}"),
            (None, "crashed") => match self.backend {
                Backend::Sqlite => "left by a crash: not closed in good order; nothing acknowledged is lost".into(),
                // A copy has its own pages' checksums, but who knows when it was made?
                Backend::Redb => "left by a crash: not closed in good order; nothing acknowledged is lost, unless this is a \
                                  copy made while a server had it open: that has what was there at some moment, or is damaged"
                    .into(),
            },
            (None, "doubtful") => "not what it seems; see the warning".into(),
            _ => "closed in good order".into(),
        };
        line("state", &state)?;
        line("last closed", &or_unknown(self.closed_at))?;
        if let Some(since) = self.open_since {
            line("open since", &since.to_string())?;
        }
        line("next start", &self.next_start)?;
        line("size", &sizes(self.file_bytes, self.allocated_bytes))?;
        if let Some(bytes) = self.reclaimable_bytes {
            line("reclaimable", &format!("about {}, with `dcstore compact`", HumanBytes(bytes)))?;
        }
        let newest = match (&self.high_water_id, self.high_water_time) {
            (Some(id), Some(time)) => format!("{id}, given out at {time}"),
            (Some(id), None) => format!("{id}, whose time is past the year 9999"),
            (None, _) => "none was given out yet".into(),
        };
        line("largest id", &newest)?;
        line("admin", &self.admin)?;
        self.warnings.iter().try_for_each(|warning| line("WARNING", warning))
    }
}

/// Who manages the server: the configured keys, or else the member who registered first, of those that are admitted. A
/// store by itself does not know its configuration, so it is said on what condition.
fn admin(store: &mut dyn Inspection, membership: Option<&Membership>) -> String {
    let configured = membership.map(|membership| &membership.admins).filter(|admins| !admins.is_empty());
    if let Some(admins) = configured {
        let keys = admins.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return format!("{keys}, by [membership] admins");
    }
    let condition = if membership.is_some() { "as" } else { "if" };
    let condition = format!("{condition} [membership] admins is empty");
    match earliest_member(store, membership) {
        Ok(Some(user)) => {
            let name = user.display_name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{}{name}, the member who registered first, {condition}", user.pubkey)
        }
        Ok(None) => format!("whoever becomes a member first, {condition}"),
        Err(error) => format!("unknown: {error}"),
    }
}

fn earliest_member(
    store: &mut dyn Inspection,
    membership: Option<&Membership>,
) -> Result<Option<std::sync::Arc<decentcom_server::storage::User>>, decentcom_server::storage::StorageError> {
    let is_admitted =
        |pubkey: &str| membership.is_none_or(|it| it.mode != MembershipMode::Allowlist || it.allowed.contains(pubkey));
    let mut users = Records::new(Entity::User, store)?;
    while let Some(row) = users.next(store)? {
        if let Row::User(user) = row
            && user.is_member
            && is_admitted(&user.pubkey)
        {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Bytes of files and of the disk, for people.
pub(crate) fn sizes(file_bytes: u64, allocated_bytes: u64) -> String {
    format!("{} in files, {} on disk", HumanBytes(file_bytes), HumanBytes(allocated_bytes))
}

/// What the server does first when it opens the store.
fn next_start(facts: &Facts) -> String {
    let number = |format: &str| format.split(' ').next_back().and_then(|number| number.parse::<u64>().ok());
    let (found, own) = (number(&facts.format), number(&facts.current_format));
    let is_same = facts.fingerprint.as_ref() == Some(&facts.current_fingerprint);
    let mut steps = Vec::new();
    match facts.state {
        State::Crashed => steps.push("repairs the file after the crash"),
        State::Doubtful => steps.push("refuses it; see the warning"),
        State::Closed | State::Open => {}
    }
    if found < own {
        steps.push(match facts.backend {
            Backend::Redb => "migrates the store to this program's format, keeping a copy of the file beside it",
            Backend::Sqlite => "runs the migrations that are missing; keep a copy before",
        });
    } else if found > own {
        steps.push("leaves the format of a newer program as it is");
    } else if !is_same {
        steps.push(match facts.backend {
            Backend::Redb => "makes the indexes anew: those in the file are not those of this program",
            Backend::Sqlite => "does not mend that its tables or indexes were altered; see `dcstore verify`",
        });
    }
    match steps.is_empty() {
        true => "just opens it".into(),
        false => steps.join("; "),
    }
}

fn clock_warning(newest: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let newest = newest?;
    if newest.since(now) > CLOCK_BEHIND {
        let by = HumanDuration(newest.since(now));
        return Some(format!(
            "this computer's clock is {by} behind the largest id; new ids keep that id's time until the clock catches up"
        ));
    }
    (now.since(newest) > CLOCK_AHEAD).then(|| {
        let by = HumanDuration(now.since(newest));
        format!(
            "this computer's clock is {by} ahead of the largest id; if the clock is wrong, do not start the server: ids \
             cannot go back"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn facts(backend: Backend, format: &str, fingerprint: &str, state: State) -> Facts {
        Facts {
            path: "p".into(),
            backend,
            format: format.into(),
            current_format: "format 2".into(),
            fingerprint: Some(fingerprint.into()),
            current_fingerprint: "same".into(),
            created_at: None,
            closed_at: None,
            store_id: None,
            open_since: None,
            state,
            doubt: None,
            high_water: None,
            file_bytes: 0,
            allocated_bytes: 0,
            reclaimable_bytes: None,
        }
    }

    #[test]
    fn a_clock_far_from_the_largest_id_is_warned_of() {
        let newest = at("2024-06-01T00:00:00.000Z");
        assert_eq!(clock_warning(Some(newest), at("2024-06-01T00:00:30.000Z")), None);
        assert_eq!(clock_warning(Some(newest), at("2024-05-31T23:59:30.000Z")), None);
        assert_eq!(clock_warning(None, at("2024-06-01T00:00:00.000Z")), None);
        assert!(clock_warning(Some(newest), at("2024-05-31T00:00:00.000Z")).unwrap().contains("24 hours behind"));
        assert!(clock_warning(Some(newest), at("2026-06-01T00:00:00.000Z")).unwrap().contains("2 years ahead"));
    }

    #[test]
    fn the_next_start_is_foretold() {
        for (backend, format, fingerprint, state, said) in [
            (Backend::Redb, "format 2", "same", State::Closed, "just opens it"),
            (Backend::Redb, "format 2", "same", State::Crashed, "repairs the file"),
            (Backend::Sqlite, "format 2", "same", State::Doubtful, "refuses it"),
            (Backend::Redb, "format 2", "other", State::Closed, "makes the indexes anew"),
            (Backend::Redb, "format 1", "other", State::Closed, "migrates the store"),
            (Backend::Redb, "format 10", "other", State::Closed, "newer program"),
            (Backend::Sqlite, "format 1", "other", State::Closed, "runs the migrations"),
            (Backend::Sqlite, "format 2", "other", State::Closed, "does not mend"),
        ] {
            let foretold = next_start(&facts(backend, format, fingerprint, state));
            assert!(foretold.contains(said), "{foretold}");
        }
    }
}
