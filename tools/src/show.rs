//! Rows as people and programs see them.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use decentcom_kvstore::hex;
use decentcom_server::storage::{
    Backend, StorageError, Timestamp,
    contract::field::{Role, Value},
    inspect::{Cell, CellValue, Explained, Inspection, Row, Stored},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    format::redact::Redactor,
    phrase::{Excerpt, Phrase},
    safe::{Results, json_line, one_line},
    times::Zone,
};

/// Characters of a value that a line shows; whoever wants all of them asks for JSON.
const SHOWN_CHARACTERS: usize = 100;
/// Characters of a name that stands beside an id.
const SHOWN_OF_A_NAME: usize = 40;
/// Bytes of a part that `--raw` shows.
const SHOWN_BYTES: usize = 16;

/// How values are shown to people.
#[derive(Default)]
pub(crate) struct View {
    /// On which clocks.
    pub(crate) zone: Zone,
    /// What was looked for: it stays visible in whatever is cut, and stands out.
    pub(crate) phrase: Option<Phrase>,
}

/// A text in one line, safe and not too long.
pub(crate) fn abbreviated(text: &str) -> String {
    cut(text, SHOWN_CHARACTERS)
}

fn cut(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(most).collect();
    let shown = one_line(&shown).into_owned();
    match characters.count() {
        0 => shown,
        more => format!("{shown}… ({more} characters more)"),
    }
}

/// The same, with what was looked for in what is shown of it.
fn write_text(text: &str, view: &View, out: &mut dyn Results) -> io::Result<()> {
    let excerpt = view.phrase.as_ref().and_then(|phrase| phrase.excerpt(text));
    let Some(Excerpt { skipped, before, found, after, more }) = excerpt else {
        return write!(out, "{}", abbreviated(text));
    };
    if skipped > 0 {
        write!(out, "({skipped} characters before) …")?;
    }
    write!(out, "{}", one_line(before))?;
    out.stand_out(true)?;
    write!(out, "{}", one_line(found))?;
    out.stand_out(false)?;
    write!(out, "{}", one_line(after))?;
    if more > 0 {
        write!(out, "… ({more} characters more)")?;
    }
    Ok(())
}

/// A value in one line.
fn value_text(value: &CellValue, view: &View) -> String {
    match value {
        CellValue::Nothing => "(none)".into(),
        CellValue::Bool(value) => value.to_string(),
        CellValue::Number(number) => number.to_string(),
        CellValue::Time(time) => view.zone.show(*time),
        CellValue::Text(text) => abbreviated(text),
        CellValue::Unreadable(why) => format!("(unreadable: {})", one_line(why)),
    }
}

/// A key as people write it, with `/` between its parts.
pub(crate) fn key_text(explained: &Explained, stored: &Stored) -> String {
    let parts: Option<Vec<_>> = explained
        .own_key()
        .iter()
        .map(|cell| match &cell.value {
            CellValue::Text(text) => Some(abbreviated(text)),
            CellValue::Time(_) | CellValue::Unreadable(_) => None,
            value => Some(value_text(value, &View::default())),
        })
        .collect();
    match parts {
        Some(parts) if !parts.is_empty() => parts.join("/"),
        _ => hex(&stored.key),
    }
}

/// What a row turned out to be.
pub(crate) struct Looked {
    /// Its record, in tables of records.
    pub(crate) record: Option<Row>,
    /// Its bytes.
    pub(crate) explained: Explained,
    /// Why it cannot be read.
    pub(crate) damage: Option<String>,
    /// What is called by the ids in it, by field; for whoever wants to show that.
    pub(crate) names: HashMap<String, String>,
}

impl Looked {
    /// When a record was created, where that is kept in its key alone.
    fn time_in_key(&self) -> Option<Timestamp> {
        let mut created_at = None;
        self.record.as_ref()?.visit(&mut |field, value| {
            if let (Role::CreatedAt, Value::Time(time)) = (field.role, value) {
                created_at = Some(time);
            }
        });
        self.explained.value.iter().all(|cell| cell.name != "created_at").then_some(created_at)?
    }

    /// What a record says that no bytes of its row are shown for: in a file of an older format its key has less than now.
    fn unshown(&self) -> Vec<(&'static str, String)> {
        let mut unshown = Vec::new();
        if let Some(row) = &self.record {
            row.visit(&mut |field, value| {
                let mut cells = self.explained.key.iter().chain(&self.explained.value);
                let is_shown = cells.any(|cell| cell.name == field.name);
                match value {
                    Value::Id(id) if field.clustered_since.is_some() && !is_shown => {
                        unshown.push((field.name, id.to_string()))
                    }
                    Value::Flag(flag) if field.clustered_since.is_some() && !is_shown => {
                        unshown.push((field.name, flag.to_string()));
                    }
                    _ => {}
                }
            });
        }
        unshown
    }

    /// The name that goes with a field, with a space before it, if there is one.
    fn name_beside(&self, field: &str) -> String {
        self.names.get(field).map(|name| format!(" ({})", cut(name, SHOWN_OF_A_NAME))).unwrap_or_default()
    }
}

/// Reads a row as far as it can be read.
pub(crate) fn look(store: &dyn Inspection, table: &str, stored: &Stored) -> Result<Looked, StorageError> {
    let explained = store.explain(table, stored);
    let (record, damage) = match store.decode(table, stored) {
        Ok(Some(record)) => (Some(record), None),
        Ok(None) => {
            let unreadable = explained.key.iter().chain(&explained.value).find_map(|cell| match &cell.value {
                CellValue::Unreadable(why) => Some(format!("{}: {why}", cell.name)),
                _ => None,
            });
            (None, unreadable)
        }
        Err(StorageError::Corrupt { problem, .. }) => (None, Some(problem)),
        Err(error) => return Err(error),
    };
    Ok(Looked { record, explained, damage, names: HashMap::new() })
}

/// A row in one line.
pub(crate) fn line(looked: &Looked, stored: &Stored, view: &View, out: &mut dyn Results) -> io::Result<()> {
    write!(out, "{}", key_text(&looked.explained, stored))?;
    if let Some(problem) = &looked.damage {
        return writeln!(out, "  DAMAGED: {} (--raw shows its bytes)", one_line(problem));
    }
    for cell in fields(&looked.explained).filter(|cell| cell.value != CellValue::Nothing) {
        write!(out, "  {}=", one_line(&cell.name))?;
        match &cell.value {
            CellValue::Text(text) => {
                let quote = if is_word(text) { "" } else { "\"" };
                write!(out, "{quote}")?;
                write_text(text, view, out)?;
                write!(out, "{quote}")?;
            }
            value => write!(out, "{}", value_text(value, view))?,
        }
        write!(out, "{}", looked.name_beside(&cell.name))?;
    }
    for (name, value) in looked.unshown() {
        write!(out, "  {name}={value}")?; // an id, or yes and no
    }
    if let Some(time) = looked.time_in_key() {
        write!(out, "  created_at={}", view.zone.show(time))?;
    }
    writeln!(out)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(char::is_alphanumeric)
}

/// A row in a line per field, each in full.
pub(crate) fn paragraph(looked: &Looked, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:13} {}", "key", key_text(&looked.explained, stored))?;
    for cell in fields(&looked.explained) {
        let value = match &cell.value {
            CellValue::Text(text) => one_line(text).into_owned(),
            value => value_text(value, &View::default()),
        };
        writeln!(out, "{:13} {value}{}", one_line(&cell.name), looked.name_beside(&cell.name))?;
    }
    for (name, value) in looked.unshown() {
        writeln!(out, "{name:13} {value}")?;
    }
    if let Some(time) = looked.time_in_key() {
        writeln!(out, "{:13} {time}", "created_at")?;
    }
    if let Some(problem) = &looked.damage {
        writeln!(out, "{:13} {}", "DAMAGED", one_line(problem))?;
    }
    Ok(())
}

/// The parts that are content, without a record's header, or the bytes of an older version.
fn fields(explained: &Explained) -> impl Iterator<Item = &Cell> {
    let cells = explained.cluster().iter().chain(&explained.value);
    cells.filter(|cell| !matches!(cell.name.as_str(), "version" | "checksum" | "payload"))
}

/// A row, byte by byte.
pub(crate) fn annotated(
    table: &str,
    looked: &Looked,
    stored: &Stored,
    view: &View,
    out: &mut dyn Results,
) -> io::Result<()> {
    let key = key_text(&looked.explained, stored);
    writeln!(out, "{table} {key}: key {} bytes, value {} bytes", stored.place().len(), stored.value_bytes)?;
    for (part, cells) in [("key", &looked.explained.key), ("value", &looked.explained.value)] {
        let mut offset = 0;
        for cell in cells {
            let (shown, more) = cell.bytes.split_at(cell.bytes.len().min(SHOWN_BYTES));
            let ellipsis = if more.is_empty() { "" } else { "…" };
            let (name, layout) = (one_line(&cell.name), one_line(&cell.layout));
            let (bytes, length) = (format!("{}{ellipsis}", hex(shown)), cell.bytes.len());
            write!(out, "  {part:5} {offset:7} +{length:<7} {bytes:33} {name:12} ")?;
            match &cell.value {
                CellValue::Text(text) => write_text(text, view, out)?,
                value => write!(out, "{}", value_text(value, view))?,
            }
            writeln!(out, "  [{layout}]")?;
            offset += length;
        }
    }
    if let Some(problem) = &looked.damage {
        writeln!(out, "  DAMAGED: {}", one_line(problem))?;
    }
    Ok(())
}

/// A row as an object: records with the fields of the contract, other rows with the parts of their bytes.
pub(crate) fn json(table: &str, looked: &Looked, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    if let Some(problem) = &looked.damage {
        return json_line(&Damaged { table, key: hex(stored.place()), damaged: problem }, out);
    }
    match &looked.record {
        Some(row) => json_line(&Record { table, row }, out),
        None => json_line(&Parts { table, explained: &looked.explained }, out),
    }
}

/// A row's bytes as an object, in hexadecimal.
pub(crate) fn raw_json(
    backend: Backend,
    table: &str,
    looked: &Looked,
    stored: &Stored,
    out: &mut dyn Write,
) -> io::Result<()> {
    match backend {
        Backend::Redb => {
            let value = hex(stored.value().unwrap_or_default());
            json_line(&RawRow { table, key: hex(stored.place()), value }, out)
        }
        Backend::Sqlite => json_line(&RawColumns { table, columns: Columns(&looked.explained) }, out),
    }
}

/// A record with the contract's fields; its key is `id`, whatever it is.
struct Record<'a> {
    table: &'a str,
    row: &'a Row,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("table", self.table)?;
        let mut result = Ok(());
        self.row.visit(&mut |field, value| {
            let name = if field.role == Role::Key { "id" } else { field.name };
            if result.is_ok() {
                result = object.serialize_entry(name, &Redactor::Open.show(field, value));
            }
        });
        result.and_then(|()| object.end())
    }
}

#[derive(Serialize)]
struct Damaged<'a> {
    table: &'a str,
    key: String,
    damaged: &'a str,
}

#[derive(Serialize)]
struct RawRow<'a> {
    table: &'a str,
    key: String,
    value: String,
}

#[derive(Serialize)]
struct RawColumns<'a> {
    table: &'a str,
    columns: Columns<'a>,
}

/// Each column with SQLite's type of it and its bytes.
struct Columns<'a>(&'a Explained);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Column<'a> {
            r#type: &'a str,
            hex: String,
        }
        serializer.collect_map(
            self.0
                .key
                .iter()
                .chain(&self.0.value)
                .map(|cell| (cell.name.as_str(), Column { r#type: &cell.layout, hex: hex(&cell.bytes) })),
        )
    }
}

/// A row that is no record of the contract: its key's parts in a list, then what else has a name.
struct Parts<'a> {
    table: &'a str,
    explained: &'a Explained,
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("table", self.table)?;
        let key: Vec<_> = self.explained.key.iter().map(|cell| Plain(&cell.value)).collect();
        map.serialize_entry("key", &key)?;
        for cell in fields(self.explained) {
            // The value of a unique index is the key of the record.
            let name = if cell.name == "key" { "record" } else { cell.name.as_str() };
            map.serialize_entry(name, &Plain(&cell.value))?;
        }
        map.end()
    }
}

/// A value as JSON has it.
struct Plain<'a>(&'a CellValue);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            CellValue::Nothing => serializer.serialize_none(),
            CellValue::Bool(value) => serializer.serialize_bool(*value),
            CellValue::Number(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.collect_str(number),
            },
            CellValue::Time(time) => serializer.collect_str(time),
            CellValue::Text(text) => serializer.serialize_str(text),
            CellValue::Unreadable(why) => serializer.serialize_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_say_so() {
        assert_eq!(abbreviated(&"x".repeat(100)), "x".repeat(100));
        assert_eq!(abbreviated(&"é".repeat(103)), format!("{}… (3 characters more)", "é".repeat(100)));
    }
}
