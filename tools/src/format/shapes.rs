//! Dumps for others: one JSON document, CSV, tables for people. None of them can be loaded.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};

use super::{
    cells::{cell, plain},
    frame::Header,
    record::{Record, columns},
    writer::Sink,
};
use crate::{
    outcome::Failure,
    safe::{json, one_line},
};

/// One JSON document: `{"dcstore": …, "records": [ … ]}`.
pub(crate) struct Json<W> {
    out: W,
    separator: &'static str,
}

impl<W: Write> Json<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> Result<Self, Failure> {
        write!(out, "{{\"dcstore\":{},\"records\":[", json(header)?)?;
        Ok(Self { out, separator: "\n" })
    }
}

impl<W: Write> Sink for Json<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        write!(self.out, "{}{}", self.separator, json(record)?)?;
        self.separator = ",\n";
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.write_all(b"\n]}\n")?)
    }
}

/// One table, with a line of names first. Absent values are empty.
pub(crate) struct Csv<W: Write> {
    out: csv::Writer<W>,
    keeps_formulas: bool,
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(out: W, table: &str, keeps_formulas: bool) -> Result<Self, Failure> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(columns(table)).map_err(io_error)?;
        Ok(Self { out, keeps_formulas })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        let fields = record.fields();
        let cells = fields.iter().map(|(_, value)| cell(value, self.keeps_formulas));
        self.out.write_record(cells).map_err(io_error)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

fn io_error(error: csv::Error) -> Failure {
    Failure::from(std::io::Error::from(error))
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
            drawn.add_row(row.fields().iter().map(|(_, value)| one_line(&plain(value)).into_owned()));
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
