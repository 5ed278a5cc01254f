//! Rows as people and programs see them. What a store holds was written by strangers, so nothing of it reaches a terminal
//! as it is.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use decentcom_kvstore::hex;
use decentcom_server::storage::{
    Backend, SessionDigest, StorageError, Timestamp, UserId,
    inspect::{Cell, CellValue, Explained, Inspection, Row, Stored},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Characters of a value that a line shows; whoever wants all of them asks for JSON.
const SHOWN_CHARACTERS: usize = 100;
/// Bytes of a part that `--raw` shows.
const SHOWN_BYTES: usize = 16;

/// Whether a terminal would act on a character, or show a line in another order than it is written.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A text that does nothing to a terminal: what would act is written as in a program, `\u{1b}`. Line ends stay.
pub fn terminal_safe(text: &str) -> Cow<'_, str> {
    escaped(text, |character| acts(character) && character != '\n')
}

/// The same in one line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match acts(character) {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    safe.into()
}

/// A text in one line, safe and not too long.
pub(crate) fn abbreviated(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    let shown = one_line(&shown).into_owned();
    match characters.count() {
        0 => shown,
        more => format!("{shown}… ({more} characters more)"),
    }
}

/// A line of JSON. Inside its strings, the only place for them, the characters that would act are written as escapes.
pub(crate) fn json_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let line = serde_json::to_string(value)?;
    if !line.contains(acts) {
        return writeln!(out, "{line}");
    }
    let mut safe = String::with_capacity(line.len() + 8);
    for character in line.chars() {
        match acts(character) {
            true => safe.push_str(&format!("\\u{:04x}", u32::from(character))), // all of them are below U+10000
            false => safe.push(character),
        }
    }
    writeln!(out, "{safe}")
}

/// A value in one line.
pub(crate) fn value_text(value: &CellValue) -> String {
    match value {
        CellValue::Nothing => "(none)".into(),
        CellValue::Bool(value) => value.to_string(),
        CellValue::Number(number) => number.to_string(),
        CellValue::Time(time) => time.to_string(),
        CellValue::Text(text) => abbreviated(text),
        CellValue::Unreadable(why) => format!("(unreadable: {})", one_line(why)),
    }
}

/// A key as people write it, with `/` between its parts.
pub(crate) fn key_text(explained: &Explained, stored: &Stored) -> String {
    let parts: Option<Vec<_>> = explained
        .key
        .iter()
        .map(|cell| match &cell.value {
            CellValue::Text(text) => Some(abbreviated(text)),
            CellValue::Time(_) | CellValue::Unreadable(_) => None,
            value => Some(value_text(value)),
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
    Ok(Looked { record, explained, damage })
}

/// A row in one line.
pub(crate) fn line(looked: &Looked, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", key_text(&looked.explained, stored))?;
    if let Some(problem) = &looked.damage {
        return writeln!(out, "  DAMAGED: {} (--raw shows its bytes)", one_line(problem));
    }
    for cell in fields(&looked.explained).filter(|cell| cell.value != CellValue::Nothing) {
        match &cell.value {
            CellValue::Text(text) if !is_word(text) => write!(out, "  {}=\"{}\"", cell.name, abbreviated(text))?,
            value => write!(out, "  {}={}", cell.name, value_text(value))?,
        }
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
            value => value_text(value),
        };
        writeln!(out, "{:13} {value}", cell.name)?;
    }
    if let Some(problem) = &looked.damage {
        writeln!(out, "{:13} {}", "DAMAGED", one_line(problem))?;
    }
    Ok(())
}

/// The parts that are content, without a record's header, or the bytes of an older version.
fn fields(explained: &Explained) -> impl Iterator<Item = &Cell> {
    explained.value.iter().filter(|cell| !matches!(cell.name.as_str(), "version" | "checksum" | "payload"))
}

/// A row, byte by byte.
pub(crate) fn annotated(table: &str, looked: &Looked, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    let key = key_text(&looked.explained, stored);
    writeln!(out, "{table} {key}: key {} bytes, value {} bytes", stored.key.len(), stored.value_bytes)?;
    for (part, cells) in [("key", &looked.explained.key), ("value", &looked.explained.value)] {
        let mut offset = 0;
        for cell in cells {
            let (shown, more) = cell.bytes.split_at(cell.bytes.len().min(SHOWN_BYTES));
            let ellipsis = if more.is_empty() { "" } else { "…" };
            let (name, layout, value) = (one_line(&cell.name), one_line(&cell.layout), value_text(&cell.value));
            let (bytes, length) = (format!("{}{ellipsis}", hex(shown)), cell.bytes.len());
            writeln!(out, "  {part:5} {offset:7} +{length:<7} {bytes:33} {name:12} {value}  [{layout}]")?;
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
        return json_line(&Damaged { table, key: hex(&stored.key), damaged: problem }, out);
    }
    match &looked.record {
        Some(Row::User(user)) => json_line(&Record { table, fields: &**user }, out),
        Some(Row::Channel(channel)) => json_line(&Record { table, fields: &**channel }, out),
        Some(Row::Category(category)) => json_line(&Record { table, fields: &**category }, out),
        Some(Row::Message(message)) => json_line(&Record { table, fields: &**message }, out),
        Some(Row::Session(session)) => {
            let fields = SessionFields {
                id: session.digest,
                user_id: session.user_id,
                created_at: session.created_at,
                expires_at: session.expires_at,
            };
            json_line(&Record { table, fields: &fields }, out)
        }
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
            json_line(&RawRow { table, key: hex(&stored.key), value }, out)
        }
        Backend::Sqlite => json_line(&RawColumns { table, columns: Columns(&looked.explained) }, out),
    }
}

#[derive(Serialize)]
struct Record<'a, T> {
    table: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

/// A log-in without its token, which no store has.
#[derive(Serialize)]
struct SessionFields {
    #[serde(serialize_with = "digest")]
    id: SessionDigest,
    user_id: UserId,
    created_at: Timestamp,
    expires_at: Timestamp,
}

fn digest<S: Serializer>(digest: &SessionDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.to_hex())
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
    fn nothing_that_acts_reaches_a_terminal() {
        let nasty = "a\u{1b}[2J\u{9b}31m\rb\u{202e}c\u{7f}\u{2028}d\te";
        for safe in [terminal_safe(nasty).into_owned(), one_line(nasty).into_owned(), abbreviated(nasty)] {
            assert!(!safe.contains(acts), "{safe:?}");
            assert!(safe.starts_with("a\\u{1b}[2J\\u{9b}31m\\rb"), "{safe}");
        }
        assert_eq!(terminal_safe("two\nlines"), "two\nlines");
        assert_eq!(one_line("two\nlines"), "two\\nlines");
        assert_eq!(one_line("ø ¯\\_(ツ)_/¯ 👩‍👩‍👧"), "ø ¯\\_(ツ)_/¯ 👩‍👩‍👧");
    }

    #[test]
    fn json_is_safe_and_reads_back_the_same() {
        let nasty = "a\u{1b}\u{9b}\u{202e}\u{7f}\u{2028}\"\\👩";
        let mut line = Vec::new();
        json_line(&nasty, &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert!(!line.trim_end().contains(acts), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), nasty);
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        assert_eq!(abbreviated(&"x".repeat(100)), "x".repeat(100));
        assert_eq!(abbreviated(&"é".repeat(103)), format!("{}… (3 characters more)", "é".repeat(100)));
    }
}
