//! Dumps for others: one JSON document, CSV, tables for people. None of them can be loaded.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{frame::Header, record::Record, record::columns, writer::Sink};
use crate::outcome::Failure;

/// One JSON document: `{"dcstore": …, "records": [ … ]}`.
pub(crate) struct Json<W> {
    out: W,
    separator: &'static str,
}

impl<W: Write> Json<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> Result<Self, Failure> {
        out.write_all(b"{\"dcstore\":")?;
        serde_json::to_writer(&mut out, header).map_err(std::io::Error::from)?;
        out.write_all(b",\"records\":[")?;
        Ok(Self { out, separator: "\n" })
    }
}

impl<W: Write> Sink for Json<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        self.out.write_all(self.separator.as_bytes())?;
        self.separator = ",\n";
        serde_json::to_writer(&mut self.out, record).map_err(std::io::Error::from)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.write_all(b"\n]}\n")?)
    }
}

/// One table, with a line of names first. Absent values are empty.
pub(crate) struct Csv<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(out: W, table: &str) -> Result<Self, Failure> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(columns(table)).map_err(io_error)?;
        Ok(Self { out })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        let fields = record.fields();
        self.out.write_record(fields.iter().map(|(_, value)| plain(value))).map_err(io_error)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

fn io_error(error: csv::Error) -> Failure {
    Failure::from(std::io::Error::from(error))
}

/// A value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Records that share the widths of their columns: memory stays constant.
const TABLE_ROWS: usize = 500;

/// Tables for people, drawn in pieces.
pub(crate) struct Drawn<W> {
    out: W,
    rows: Vec<Record>,
}

impl<W: Write> Drawn<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, rows: Vec::new() }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Some(table) = self.rows.first().map(Record::table) else { return Ok(()) };
        let mut drawn = Table::new();
        drawn.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        drawn.set_header(columns(table));
        for row in self.rows.drain(..) {
            drawn.add_row(row.fields().iter().map(|(_, value)| harmless(&plain(value))));
        }
        Ok(writeln!(self.out, "{table}\n{drawn}\n")?)
    }
}

impl<W: Write> Sink for Drawn<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        let is_of_another = self.rows.first().is_some_and(|first| first.table() != record.table());
        if is_of_another || self.rows.len() >= TABLE_ROWS {
            self.draw()?;
        }
        self.rows.push(record.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.draw()
    }
}

/// Text that cannot move a terminal's cursor.
fn harmless(text: &str) -> String {
    let shown = |char: char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() };
    text.chars().map(shown).collect()
}
