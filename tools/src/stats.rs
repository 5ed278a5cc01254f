//! `dcstore stats`: one pass over every table, in memory that grows with channels and days only.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    io::{self, Write},
};

use comfy_table::{CellAlignment, Table, presets};
use decentcom_server::storage::{
    ChannelId, StorageError,
    inspect::{Direction, Inspection, Moment, RawRange, Row, Scan, Stored},
};
use hdrhistogram::Histogram;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    safe::json_line,
    show::{abbreviated, key_text},
};

pub(crate) fn run(options: &cli::Stats, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::Steps)?;
    let stats = Stats::of(&mut *store, options, session)?;
    match options.format {
        TextOrJson::Json => json_line(&stats, out)?,
        TextOrJson::Text => stats.write(out)?,
    }
    Ok(Outcome::Fine)
}

#[derive(Serialize)]
struct Stats {
    store: String,
    /// Of a redb store that a server has open, tables are read one after the other.
    one_moment: bool,
    tables: Vec<TableStats>,
    largest: Vec<Large>,
    /// The ones with the most messages.
    channels: Vec<ChannelStats>,
    other_channels: usize,
    /// The newest.
    days: Vec<DayStats>,
    other_days: usize,
    damaged_records: u64,
}

#[derive(Serialize)]
struct TableStats {
    name: &'static str,
    index_of: Option<&'static str>,
    rows: u64,
    key_bytes: Spread,
    value_bytes: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<TreeStats>,
}

#[derive(Serialize)]
struct TreeStats {
    height: u32,
    leaf_pages: u64,
    branch_pages: u64,
    fragmented_bytes: u64,
}

/// Percentiles are right to a thousandth, the rest exactly.
#[derive(Clone, Copy, Default, Serialize)]
struct Spread {
    min: u64,
    p50: u64,
    p99: u64,
    max: u64,
    total: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Large {
    bytes: u64,
    table: &'static str,
    key: String,
}

#[derive(Clone, Default, Serialize)]
struct ChannelStats {
    id: String,
    /// Absent where the channel is: deleted and not yet reclaimed, or lost.
    name: Option<String>,
    messages: u64,
    tombstones: u64,
    content_bytes: u64,
}

#[derive(Clone, Default, Serialize)]
struct DayStats {
    day: String,
    messages: u64,
    tombstones: u64,
}

/// Lengths being counted.
struct Lengths {
    histogram: Histogram<u64>,
    min: u64,
    max: u64,
    total: u64,
}

impl Lengths {
    fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new(3).map_err(|error| StorageError::internal("count lengths", error))?;
        Ok(Self { histogram, min: u64::MAX, max: 0, total: 0 })
    }

    fn add(&mut self, length: u64) {
        self.histogram.saturating_record(length);
        self.min = self.min.min(length);
        self.max = self.max.max(length);
        self.total += length;
    }

    fn spread(&self) -> Spread {
        if self.histogram.is_empty() {
            return Spread::default();
        }
        // A bucket of the histogram answers its largest value.
        let at = |quantile| self.histogram.value_at_quantile(quantile).clamp(self.min, self.max);
        Spread { min: self.min, p50: at(0.5), p99: at(0.99), max: self.max, total: self.total }
    }
}

/// What messages are counted by.
#[derive(Default)]
struct Counts {
    names: HashMap<ChannelId, String>,
    channels: HashMap<ChannelId, ChannelStats>,
    days: BTreeMap<String, DayStats>,
    damaged: u64,
}

impl Counts {
    fn take(&mut self, row: &Row) {
        match row {
            Row::Channel(channel) => {
                self.names.insert(channel.id, channel.name.clone());
            }
            Row::Message(message) => {
                let (live, dead) = if message.deleted { (0, 1) } else { (1, 0) };
                let channel = self.channels.entry(message.channel_id).or_default();
                channel.messages += live;
                channel.tombstones += dead;
                channel.content_bytes += message.content.len() as u64;
                let day: String = message.created_at.to_string().chars().take(10).collect();
                let day = self.days.entry(day).or_default();
                day.messages += live;
                day.tombstones += dead;
            }
            _ => {}
        }
    }

    /// Channels with the most messages first; empty ones too.
    fn channels(mut self) -> (Vec<ChannelStats>, Vec<DayStats>) {
        for (id, name) in self.names {
            self.channels.entry(id).or_default().name = Some(name);
        }
        let named = self.channels.into_iter().map(|(id, stats)| ChannelStats { id: id.to_string(), ..stats });
        let mut channels: Vec<_> = named.collect();
        channels.sort_by(|one, other| {
            (other.messages + other.tombstones).cmp(&(one.messages + one.tombstones)).then(one.id.cmp(&other.id))
        });
        let days = self.days.into_iter().rev().map(|(day, stats)| DayStats { day, ..stats }).collect();
        (channels, days)
    }
}

impl Stats {
    fn of(store: &mut dyn Inspection, options: &cli::Stats, session: &Session) -> Result<Self, Failure> {
        let mut total = 0;
        for table in store.tables() {
            total += store.count(table.name)?;
        }
        let progress = session.progress("counting", Some(total));
        let mut counts = Counts::default();
        let mut largest = BinaryHeap::new();
        let mut tables = Vec::new();
        for facts in store.tables() {
            let (name, mut rows) = (facts.name, 0);
            let (mut keys, mut values) = (Lengths::new()?, Lengths::new()?);
            let mut scan = Scan::new(name, RawRange::ALL, Direction::Forward);
            while let Some(stored) = scan.next(store)? {
                progress.step()?;
                rows += 1;
                keys.add(stored.place().len() as u64);
                values.add(stored.value_bytes as u64);
                keep_largest(&mut largest, options.top, &stored, name, store);
                match store.decode(name, &stored) {
                    Ok(row) => row.iter().for_each(|row| counts.take(row)),
                    Err(StorageError::Corrupt { .. }) => counts.damaged += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            let tree = store.tree(name)?.map(|tree| TreeStats {
                height: tree.height,
                leaf_pages: tree.leaf_pages,
                branch_pages: tree.branch_pages,
                fragmented_bytes: tree.fragmented_bytes,
            });
            let (key_bytes, value_bytes) = (keys.spread(), values.spread());
            tables.push(TableStats { name, index_of: facts.index_of, rows, key_bytes, value_bytes, tree });
        }
        let damaged_records = counts.damaged;
        let (mut channels, mut days) = counts.channels();
        let other_channels = channels.len().saturating_sub(options.top);
        let other_days = days.len().saturating_sub(options.top);
        channels.truncate(options.top);
        days.truncate(options.top);
        Ok(Self {
            store: options.store.to_string(),
            one_moment: store.moment() == Moment::One,
            tables,
            largest: largest.into_sorted_vec().into_iter().map(|Reverse(large)| large).collect(),
            channels,
            other_channels,
            days,
            other_days,
            damaged_records,
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows = vec![];
        for table in &self.tables {
            let name = if table.index_of.is_some() { format!("  {}", table.name) } else { table.name.to_owned() };
            let (keys, values) = (&table.key_bytes, &table.value_bytes);
            let mut row = vec![name, table.rows.to_string(), HumanBytes(keys.total + values.total).to_string()];
            row.extend([values.min, values.p50, values.p99, values.max].map(|bytes| bytes.to_string()));
            row.push(keys.max.to_string());
            row.push(table.tree.as_ref().map(|tree| tree.height.to_string()).unwrap_or_default());
            rows.push(row);
        }
        let header = ["table", "rows", "bytes", "value min", "p50", "p99", "max", "key max", "tree height"];
        write_table(&header, &[0], rows, out)?;

        writeln!(out, "\nlargest rows")?;
        let rows =
            self.largest.iter().map(|it| vec![it.table.into(), it.key.clone(), HumanBytes(it.bytes).to_string()]);
        write_table(&["table", "key", "bytes"], &[0, 1], rows.collect(), out)?;

        writeln!(out, "\nmessages per channel{}", others(self.other_channels))?;
        let rows = self.channels.iter().map(|it| {
            let name = it.name.as_deref().map_or("(deleted or lost)".into(), abbreviated);
            let bytes = HumanBytes(it.content_bytes).to_string();
            vec![name, it.id.clone(), it.messages.to_string(), it.tombstones.to_string(), bytes]
        });
        write_table(&["channel", "id", "messages", "soft-deleted", "text"], &[0, 1], rows.collect(), out)?;

        writeln!(out, "\nmessages per day{}", others(self.other_days))?;
        let days = self.days.iter().map(|it| vec![it.day.clone(), it.messages.to_string(), it.tombstones.to_string()]);
        write_table(&["day", "messages", "soft-deleted"], &[0], days.collect(), out)?;
        if self.damaged_records > 0 {
            writeln!(out, "\n{} records are damaged; see `dcstore verify`", self.damaged_records)?;
        }
        if !self.one_moment {
            writeln!(out, "\nThe store was in use: tables were read one after the other, not as of one moment.")?;
        }
        Ok(())
    }
}

fn others(left_out: usize) -> String {
    if left_out == 0 { String::new() } else { format!(" (and {left_out} more; --top shows more)") }
}

fn keep_largest(
    largest: &mut BinaryHeap<Reverse<Large>>,
    top: usize,
    stored: &Stored,
    table: &'static str,
    store: &dyn Inspection,
) {
    let bytes = (stored.place().len() + stored.value_bytes) as u64;
    if largest.len() >= top && largest.peek().is_none_or(|Reverse(least)| least.bytes >= bytes) {
        return;
    }
    let key = key_text(&store.explain(table, stored), stored);
    largest.push(Reverse(Large { bytes, table, key }));
    if largest.len() > top {
        largest.pop();
    }
}

/// Columns that line up: text to the left, numbers to the right.
fn write_table(header: &[&str], left: &[usize], rows: Vec<Vec<String>>, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for (at, _) in header.iter().enumerate().filter(|(at, _)| !left.contains(at)) {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}
