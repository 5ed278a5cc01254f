//! Text that reads well on a forge and in a terminal.

use std::fmt::Write as _;

use decentcom_server::storage::inspect::{Cell, CellValue, Explained};

/// Columns after which text is wrapped.
const WIDTH: usize = 120;
/// Bytes of a row per line.
const BYTES: usize = 16;

/// A table whose columns line up.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let width = |at: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([title.chars().count(), 3]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = header.iter().enumerate().map(|(at, title)| width(at, title)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let mut text = line(&mut header.iter().copied());
    let rules: Vec<String> = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let _ = writeln!(text, "|{}", rules.concat());
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Text in lines of a readable length; those after the first begin with `indent`.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            lines.push('\n');
            lines.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// The bytes of some cells, as they follow each other.
pub(super) fn hex(cells: &[Cell]) -> String {
    cells.iter().map(|cell| decentcom_kvstore::hex(&cell.bytes)).collect()
}

/// A row, byte by byte, with the name and the meaning of each.
pub(super) fn row(row: &Explained) -> String {
    let mut text = String::new();
    for (title, cells) in [("key", &row.key), ("value", &row.value)] {
        let _ = writeln!(text, "{title}");
        let mut at = 0;
        for atom in cells.iter().flat_map(atoms) {
            let mut lines = atom.bytes.chunks(BYTES);
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(text, "{at:>4}  {:<47}  {:<13} {}", spaced(first), atom.name, atom.meaning);
            at += first.len();
            for line in lines {
                let _ = writeln!(text, "{at:>4}  {}", spaced(line));
                at += line.len();
            }
        }
        if cells.is_empty() {
            let _ = writeln!(text, "      (no bytes)");
        }
    }
    text
}

/// A column of an SQL row; numbers and NULL have no bytes to show.
pub(super) fn cell(cell: &Cell) -> String {
    let stored = match &cell.value {
        CellValue::Bool(value) => format!("{}, {value}", String::from_utf8_lossy(&cell.bytes)),
        value => said(value),
    };
    let mut text = format!("{:<13} {:<8} {stored}\n", cell.name, cell.layout);
    if cell.layout == "TEXT" {
        for line in cell.bytes.chunks(2 * BYTES) {
            let _ = writeln!(text, "    {}", spaced(line));
        }
    }
    text
}

fn spaced(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The smallest bytes that mean something.
struct Atom<'a> {
    bytes: &'a [u8],
    name: &'a str,
    meaning: String,
}

/// The bytes of a cell one by one: the mark of an option, a length, the text itself.
fn atoms(cell: &Cell) -> Vec<Atom<'_>> {
    let mut atoms = Vec::new();
    let (mut kind, mut rest) = (cell.layout.as_str(), cell.bytes.as_slice());
    if let (Some((time, others)), CellValue::Text(id)) = (rest.split_first_chunk::<6>(), &cell.value)
        && kind.starts_with("ULID")
    {
        let millis = time.iter().fold(0_u64, |millis, byte| (millis << 8) | u64::from(*byte));
        atoms.push(Atom { bytes: time, name: &cell.name, meaning: format!("its time: {millis}") });
        atoms.push(Atom { bytes: others, name: "", meaning: format!("the rest of {id}") });
        return atoms;
    }
    if let Some(inner) = kind.strip_prefix("Option<").and_then(|it| it.strip_suffix('>')) {
        let (mark, after) = rest.split_at_checked(1).unwrap_or((rest, &[]));
        let meaning = if after.is_empty() { "none" } else { "there is a value" };
        atoms.push(Atom { bytes: mark, name: &cell.name, meaning: meaning.into() });
        if after.is_empty() {
            return atoms;
        }
        (kind, rest) = (inner, after);
    }
    let name = |atoms: &Vec<Atom<'_>>| if atoms.is_empty() { cell.name.as_str() } else { "" };
    let width = if kind == "u64" || kind == "i32" || kind == "String" { width_of_number(rest) } else { 0 };
    let (number, after) = rest.split_at_checked(width).unwrap_or((rest, &[]));
    if kind == "String" {
        atoms.push(Atom { bytes: number, name: name(&atoms), meaning: format!("length: {} bytes", after.len()) });
        atoms.push(Atom { bytes: after, name: "", meaning: said(&cell.value) });
        return atoms;
    }
    let (mark, digits) = number.split_at_checked(if width > 1 { 1 } else { 0 }).unwrap_or((&[], number));
    if !mark.is_empty() {
        atoms.push(Atom { bytes: mark, name: name(&atoms), meaning: format!("a number of {} bytes", digits.len()) });
    }
    let written = digits.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let meaning = match (kind, cell.name.as_str()) {
        ("i32", _) => format!("{written}, zigzag: {}", said(&cell.value)),
        ("u64", _) => format!("{written}: {}", said(&cell.value)),
        (_, "checksum") => {
            let checksum = rest.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("CRC-32C: {checksum}")
        }
        _ if matches!(&cell.value, CellValue::Text(text) if *text == hex(std::slice::from_ref(cell))) => {
            "a digest; people write it in hexadecimal, as here".into()
        }
        _ => said(&cell.value),
    };
    atoms.push(Atom { bytes: if width > 0 { digits } else { rest }, name: name(&atoms), meaning });
    atoms
}

/// How many bytes the number at the front of these takes.
fn width_of_number(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(0xfb) => 3,
        Some(0xfc) => 5,
        Some(0xfd) => 9,
        _ => 1,
    }
}

/// What a cell says.
pub(super) fn said(value: &CellValue) -> String {
    match value {
        CellValue::Nothing => "none".into(),
        CellValue::Bool(value) => value.to_string(),
        CellValue::Number(number) => number.to_string(),
        CellValue::Time(time) => time.to_string(),
        CellValue::Text(text) => text.clone(),
        CellValue::Unreadable(why) => format!("unreadable: {why}"),
    }
}
