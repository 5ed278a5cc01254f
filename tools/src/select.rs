//! Which rows a scan is about: its options as key ranges where keys can tell, as filters where only records can.

use decentcom_server::storage::{
    ChannelId, Entity, Message, Timestamp, UserId,
    inspect::{ByteRange, CellValue, Direction, Explained, Inspection, RawRange, Row, Scan},
};
use ulid::Ulid;

use crate::{Failure, cli, phrase::Phrase, show::Looked};

/// The table or index with this name.
pub(crate) fn table_named(store: &dyn Inspection, name: &str) -> Result<&'static str, Failure> {
    let tables = store.tables();
    if let Some(table) = tables.iter().find(|table| table.name == name) {
        return Ok(table.name);
    }
    let names: Vec<_> = tables.iter().map(|table| table.name).collect();
    let backend = store.backend().name();
    Err(Failure::usage(format!("a {backend} store has no table `{name}`; it has {}", names.join(", "))))
}

/// Keys from one up to, not including, another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Keys {
    pub(crate) fn is_all(&self) -> bool {
        self.start.is_empty() && self.end.is_none()
    }

    fn narrow(&mut self, start: Option<Vec<u8>>, end: Option<Vec<u8>>) {
        if let Some(start) = start {
            self.start = std::mem::take(&mut self.start).max(start);
        }
        self.end = match (self.end.take(), end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn raw(&self) -> RawRange {
        ByteRange { start: self.start.clone(), end: self.end.clone() }.into()
    }
}

/// Tables whose keys are ids, and so begin with the time of creation.
fn is_keyed_by_time(table: &str) -> bool {
    table == "purges" || Entity::with_ids().any(|entity| entity.table() == table)
}

/// The keys that `--prefix`, `--from`, `--to`, `--since` and `--until` leave.
pub(crate) fn key_range(options: &cli::Scan, table: &str, store: &dyn Inspection) -> Result<Keys, Failure> {
    let range_of = |text: &str| {
        let form = || format!("`{text}` is not how keys of {table} begin");
        store.range_of(table, text).ok_or_else(|| Failure::usage(form()))
    };
    let mut keys = Keys::default();
    if let Some(prefix) = &options.prefix {
        let range = range_of(prefix)?;
        keys.narrow(Some(range.start), range.end);
    }
    if let Some(from) = &options.from {
        keys.narrow(Some(range_of(from)?.start), None);
    }
    if let Some(to) = &options.to {
        keys.narrow(None, Some(range_of(to)?.start));
    }
    if is_keyed_by_time(table) {
        // The smallest id of a millisecond; ids are accepted as prefixes of keys in every backend.
        let first_id = |text: &str| {
            let id = Ulid::from_parts(options.tz.read(text)?.as_millis(), 0);
            range_of(&id.to_string()).map(|range| range.start)
        };
        keys.narrow(options.since.as_deref().map(first_id).transpose()?, None);
        keys.narrow(None, options.until.as_deref().map(first_id).transpose()?);
    }
    Ok(keys)
}

/// What only a decoded row can tell.
#[derive(Default)]
pub(crate) struct Filter {
    channel: Option<ChannelId>,
    author: Option<UserId>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    search: Option<Phrase>,
}

impl Filter {
    pub(crate) fn new(options: &cli::Scan, table: &str, store: &mut dyn Inspection) -> Result<Self, Failure> {
        let only = |option: &str, tables: &str| Failure::usage(format!("{option} is for {tables}, not for {table}"));
        if options.channel.is_some() && table != "messages" {
            return Err(only("--channel", "messages"));
        }
        if options.author.is_some() && table != "messages" {
            return Err(only("--author", "messages"));
        }
        let has_time = is_keyed_by_time(table) || table == "sessions";
        if (options.since.is_some() || options.until.is_some()) && !has_time {
            return Err(Failure::usage(format!("--since and --until are for tables of records, not for {table}")));
        }
        // Where keys are ids, they tell the time.
        let time = |text: &Option<String>| match text {
            Some(text) if !is_keyed_by_time(table) => options.tz.read(text).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            channel: options.channel.as_deref().map(|name| channel_named(name, store)).transpose()?,
            author: options.author.as_deref().map(|name| author_named(name, store)).transpose()?,
            since: time(&options.since)?,
            until: time(&options.until)?,
            search: options.search.as_deref().map(Phrase::new),
        })
    }

    /// Whether it takes every row.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { channel, author, since, until, search } = self;
        channel.is_none() && author.is_none() && since.is_none() && until.is_none() && search.is_none()
    }

    pub(crate) fn takes(&self, looked: &Looked) -> bool {
        if let Some(Row::Message(message)) = &looked.record {
            let Message { channel_id, author_id, .. } = &**message;
            if self.channel.is_some_and(|it| it != *channel_id) || self.author.is_some_and(|it| it != *author_id) {
                return false;
            }
        }
        if let Some(Row::Session(session)) = &looked.record {
            let created_at = session.created_at;
            if self.since.is_some_and(|since| created_at < since) || self.until.is_some_and(|until| created_at >= until)
            {
                return false;
            }
        }
        self.search.as_ref().is_none_or(|phrase| has(&looked.explained, phrase))
    }
}

fn has(explained: &Explained, phrase: &Phrase) -> bool {
    explained.key.iter().chain(&explained.value).any(|cell| match &cell.value {
        CellValue::Text(text) => phrase.is_in(text),
        _ => false,
    })
}

/// The channel with this id, or the only one with this name.
fn channel_named(name: &str, store: &mut dyn Inspection) -> Result<ChannelId, Failure> {
    if let Some(id) = ChannelId::parse(name) {
        return Ok(id);
    }
    let mut found = Vec::new();
    let mut rows = Scan::new("channels", RawRange::ALL, Direction::Forward);
    while let Some(row) = rows.next(store)? {
        if let Ok(Some(Row::Channel(channel))) = store.decode("channels", &row)
            && channel.name == name
        {
            found.push(channel.id);
        }
    }
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failure::usage(format!("no channel has the id or name `{name}`"))),
        several => {
            let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::usage(format!("several channels are named `{name}`; give the id of one: {}", ids.join(", "))))
        }
    }
}

/// The user with this id or public key.
fn author_named(name: &str, store: &mut dyn Inspection) -> Result<UserId, Failure> {
    let mut rows = Scan::new("users", RawRange::ALL, Direction::Forward);
    while let Some(row) = rows.next(store)? {
        if let Ok(Some(Row::User(user))) = store.decode("users", &row)
            && user.pubkey == name
        {
            return Ok(user.id);
        }
    }
    // Messages may have an author who does not exist; looking for them is a reason to be here.
    UserId::parse(name).ok_or_else(|| Failure::usage(format!("no user has the id or public key `{name}`")))
}

/// The quickest way to the rows of a scan, in key order.
pub(crate) fn rows(
    options: &cli::Scan,
    table: &'static str,
    keys: &Keys,
    filter: &Filter,
    store: &dyn Inspection,
) -> Scan {
    let direction = if options.reverse { Direction::Reverse } else { Direction::Forward };
    match filter.channel {
        Some(channel) if store.has_channels_together() => Scan::of_channel(channel, keys.raw(), direction),
        _ => Scan::new(table, keys.raw(), direction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_narrow_each_other() {
        let mut keys = Keys::default();
        assert!(keys.is_all());
        keys.narrow(Some(vec![2]), Some(vec![9]));
        keys.narrow(Some(vec![1]), Some(vec![7]));
        keys.narrow(None, None);
        assert_eq!(keys, Keys { start: vec![2], end: Some(vec![7]) });
    }
}
