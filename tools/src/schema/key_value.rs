//! The page of the key-value layout.

use std::fmt::Write as _;

use decentcom_kvstore::{Field, HEADER_BYTES, IndexInfo, TableInfo};
use decentcom_server::storage::{
    self, Backend,
    contract::field::Kind,
    declared::{ShippedVersion, redb_tables, redb_versions},
    inspect::{Cell, Explained},
};

use super::{
    Example,
    diagram::{Entity, diagram},
    markdown,
};
use crate::Failure;

/// The name of the table of facts, which is in no catalogue.
const META: &str = "meta";

pub(super) fn page() -> Result<String, Failure> {
    let (tables, versions) = (redb_tables(), redb_versions());
    let mut example = Example::of(Backend::Redb)?;
    let mut page = head();
    page.push_str(&map(&tables, &mut example)?);
    for table in &tables {
        page.push_str(&about(table, &versions, &mut example)?);
    }
    page.push_str(&meta(&mut example)?);
    let _ =
        write!(page, "\n## Who refers to whom\n\n{}", diagram(&tables.iter().map(Entity::from).collect::<Vec<_>>())?,);
    Ok(page)
}

fn head() -> String {
    let types = [
        (
            "u64",
            "up to 250: one byte; else `fb` + 2 bytes, `fc` + 4 bytes or `fd` + 8 bytes, little-endian, the shortest",
        ),
        ("i32", "zigzag: 0, -1, 1, -2, 2 … become 0, 1, 2, 3, 4 … (2n, or -2n-1 where n < 0), written like `u64`"),
        ("bool", "`00` false, `01` true"),
        ("String", "its length in bytes like `u64`, then UTF-8"),
        ("Option<T>", "`00`: none; `01`: there is one, and it follows"),
        ("[u8; N]", "N bytes, as they are"),
    ];
    let types = types.map(|(kind, bytes)| vec![format!("`{kind}`"), bytes.to_owned()]);
    let header = HEADER_BYTES.to_string();
    let parts = [
        ("0", "1", "record version"),
        ("1", "4", "CRC-32C, little-endian, over: the row's key ‖ the version byte ‖ the payload"),
        (
            header.as_str(),
            "to the end",
            "payload: the fields of that version, one after the other, nothing between or after them",
        ),
    ];
    let parts = parts.map(|(at, bytes, what)| [at, bytes, what].map(str::to_owned).to_vec());
    format!(
        "<!-- Made by `dcstore schema --markdown`. To make it anew: cargo xtask docs -->\n\
         # The key-value layout (redb), format {}\n\n\
         One file of [redb](https://github.com/cberner/redb) 4.6 or later. In it, tables of bytes to bytes (`&[u8]` to \
         `&[u8]`\nin redb's words), each a B-tree of its own. Everything below is about these bytes. Keys sort as \
         bytes.\n\
         `‖` means: followed by. Bytes are in hexadecimal.\n\n\
         ## A key\n\n\
         - ULID: 16 bytes, big-endian. The first 6 are milliseconds since 1970, the other 10 are random or count \
         up. As text:\n  \
           26 characters, 5 bits each from the top (130 bits, the first two are 0), out of\n  \
           `0123456789ABCDEFGHJKMNPQRSTVWXYZ`. For example `018cc251f40000000000000000000001` is \
           `01HK153X000000000000000001`,\n  \
           and `018cc251f400` is 1704067200000 ms, 2024-01-01T00:00:00.000Z.\n\
         - u64: 8 bytes, big-endian; u32: 4; bool: 1, `00` or `01`. Text: UTF-8. A digest: 32 bytes. Components follow each\n  \
           other.\n\n\
         ## A record: the value in a table\n\n{}\n\
         CRC-32C is Castagnoli's (polynomial `1EDC6F41`, reflected `82F63B78`, start and final XOR `FFFFFFFF`); of \
         the text\n\
         `123456789` it is `E3069283`. The key is part of it, so a value under another row's key is noticed.\n\n\
         ## A payload\n\n\
         Written by bincode 2, `standard()` configuration:\n\n{}\n\
         At most 4 MiB. Times are milliseconds since 1970, UTC. When a row with a ULID was created is not stored: \
         it is the\n\
         time within its key.\n\n\
         ## An entry: key and value in an index\n\n\
         - unique index: the field ↦ the key of the row. The field is all of the key, the row's key all of the value.\n\
         - any other index: the field ‖ the key of the row ↦ nothing. The field has a fixed width, so the rest is \
         the row's\n  \
           key; entries of one field are neighbours, sorted by the row's key.\n\n",
        storage::declared::redb_format(),
        markdown::table(&["at", "bytes", "what"], parts),
        markdown::table(&["type", "bytes"], types),
    )
}

/// Where everything lies, in the order in which it does.
fn map(tables: &[TableInfo], example: &mut Example) -> Result<String, Failure> {
    let mut names: Vec<(&str, String)> = Vec::new();
    for table in tables {
        names.push((table.name, order_of_rows(table, example)?));
        for index in &table.indexes {
            let order = match index.unique {
                true => order_of(index.fields).to_owned(),
                false => format!("{}, then {}", subject(index.name), order_of(table.key)),
            };
            names.push((index.name, order));
        }
    }
    names.push((META, order_of("UTF-8 text").to_owned()));
    names.sort();
    let mut rows = Vec::new();
    for (name, order) in names {
        let stored = example.rows(name)?;
        let key = stored.first().map(|row| example.0.explain(name, row).key).unwrap_or_default();
        let shape = key.iter().map(|cell| format!("{} ({})", short(&cell.layout), width(&cell.layout)));
        rows.push(vec![format!("`{name}`"), shape.collect::<Vec<_>>().join(" ‖ "), order]);
    }
    Ok(format!(
        "## The map\n\n\
         redb finds its tables in a tree sorted by their names, so this is their order in the file's own directory. \
         Within a\n\
         table, rows lie in the order of their keys: the ids of rows made at about the same time are neighbours, \
         and so are\n\
         the rows.\n\n{}\n\
         `dcstore` lists and dumps tables in another order, in which nothing refers to what follows; the sections \
         below have\n\
         it too.\n",
        markdown::table(&["table or index", "key (bytes)", "sorted by"], rows)
    ))
}

/// What the rows of a table are sorted by: what they lie together by, then their keys.
fn order_of_rows(table: &TableInfo, example: &mut Example) -> Result<String, Failure> {
    let Some(row) = example.rows(table.name)?.into_iter().next() else { return Ok(order_of(table.key).to_owned()) };
    let explained = example.0.explain(table.name, &row);
    let key = match explained.own_key() {
        [key] => order_of(&key.layout),
        _ => order_of(table.key),
    };
    let together: String = explained.cluster().iter().map(|cell| format!("`{}`, ", cell.name)).collect();
    Ok(if together.is_empty() { key.to_owned() } else { format!("{together}then {key}") })
}

/// What a key is made of.
fn layout_of_key(table: &TableInfo, example: &mut Example) -> Result<String, Failure> {
    let Some(row) = example.rows(table.name)?.into_iter().next() else { return Ok(table.key.to_owned()) };
    let explained = example.0.explain(table.name, &row);
    if explained.cluster().is_empty() {
        return Ok(table.key.to_owned());
    }
    let parts = explained.key.iter().map(|cell| match cell.name.as_str() {
        "key" => format!("the id ({})", cell.layout),
        name => format!("`{name}` ({})", cell.layout),
    });
    Ok(parts.collect::<Vec<_>>().join(" ‖ "))
}

fn order_of(layout: &str) -> &'static str {
    match layout.split([',', ' ']).next() {
        Some("ULID") => "age",
        Some("u64") => "number",
        Some("two") => "its parts, from the first on",
        Some("UTF-8") => "text, as bytes",
        _ => "digest: as good as at random",
    }
}

fn short(layout: &str) -> &str {
    layout.split(',').next().unwrap_or(layout)
}

fn width(layout: &str) -> &str {
    match short(layout) {
        "ULID" => "16",
        "u64" => "8",
        "u32" => "4",
        "32 bytes" => "32",
        "bool" => "1",
        _ => "any",
    }
}

/// A sentence as it stands after a colon.
fn lower_first(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// What an index finds rows by, as its name says.
fn subject(index: &str) -> &str {
    index.split_once("_by_").map_or(index, |(_, subject)| subject)
}

/// The section of one table.
fn about(table: &TableInfo, versions: &[ShippedVersion], example: &mut Example) -> Result<String, Failure> {
    let about = markdown::wrapped(&format!("{} Each row: {}", table.purpose, lower_first(table.record)), "");
    let mut text = format!("\n## `{}`\n\n{about}\n\nKey: {}.\n", table.name, layout_of_key(table, example)?);
    let fields = |fields: &mut dyn Iterator<Item = (&str, &str, &str)>| {
        let cells = fields.map(|(name, kind, meaning)| vec![format!("`{name}`"), format!("`{kind}`"), meaning.into()]);
        markdown::table(&["field", "type", "meaning"], cells.collect::<Vec<_>>())
    };
    let meanings: Vec<_> = table.fields.iter().map(|field| meaning(table.name, field)).collect();
    let latest = table.fields.iter().zip(&meanings);
    let mut latest = latest.map(|(field, meaning)| (field.name, field.kind, meaning.as_str()));
    let _ = write!(text, "\nRecord version {}, which is what is written:\n\n{}", table.version, fields(&mut latest));
    let mut older: Vec<_> =
        versions.iter().filter(|it| it.table == table.name && it.version != table.version).collect();
    older.sort_by_key(|version| std::cmp::Reverse(version.version));
    for version in older {
        let mut old = version.fields.iter().map(|(name, kind)| (*name, *kind, ""));
        let cluster = storage::Entity::of_table(table.name).and_then(storage::Entity::cluster);
        let becomes = match cluster.filter(|cluster| version.version < cluster.since) {
            Some(cluster) => format!(
                "which lies in older files, under the id alone, with indexes by channel; a start writes such a file \
                 anew, with version {} under the keys above",
                cluster.since
            ),
            None => format!("which is read and becomes version {} when the row next changes", table.version),
        };
        let _ = write!(
            text,
            "\n{}\n\n{}",
            markdown::wrapped(&format!("Record version {}, {becomes}:", version.version), ""),
            fields(&mut old)
        );
        let row = raw_line(version.table, version.key, version.value);
        let _ = write!(text, "\nA row of it:\n\n```json\n{row}\n```\n");
    }
    text.push_str(&shown(table.name, example)?);
    for index in &table.indexes {
        text.push_str(&about_index(table, index, example)?);
    }
    Ok(text)
}

/// What a field holds: of the contract's records, with its limits and its unit.
fn meaning(table: &str, field: &Field) -> String {
    let entity = storage::Entity::EVERY.iter().find(|entity| entity.table() == table);
    let described = entity.and_then(|entity| entity.fields().iter().find(|it| it.name == field.name));
    match described {
        Some(it) if it.kind == Kind::Time => format!("{} In milliseconds since 1970.", it.described()),
        Some(it) => it.described(),
        None => field.meaning.trim().to_owned(),
    }
}

fn about_index(table: &TableInfo, index: &IndexInfo, example: &mut Example) -> Result<String, Failure> {
    let (kind, entry) = match index.unique {
        true => ("Unique index", format!("{} ↦ key of `{}`", subject(index.name), table.name)),
        false => ("Index", format!("{} ‖ key of `{}` ↦ nothing", subject(index.name), table.name)),
    };
    let mut text = format!(
        "\n### `{}`\n\n{}\n\n{kind} of `{}`. Entry: {entry}; the field is: {}.\n",
        index.name, index.purpose, table.name, index.fields
    );
    text.push_str(&shown(index.name, example)?);
    Ok(text)
}

/// The first row of a table or index, raw and byte by byte.
fn shown(table: &str, example: &mut Example) -> Result<String, Failure> {
    let rows = example.rows(table)?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let explained = example.0.explain(table, row);
    Ok(format!(
        "\nA row, raw and byte by byte:\n\n```json\n{}\n```\n\n```text\n{}```\n",
        raw(table, &explained),
        markdown::row(&explained)
    ))
}

/// A row as `dcstore scan --raw --format json` writes it.
fn raw(table: &str, row: &Explained) -> String {
    raw_line(table, &markdown::hex(&row.key), &markdown::hex(&row.value))
}

fn raw_line(table: &str, key: &str, value: &str) -> String {
    format!("{{\"table\":\"{table}\",\"key\":\"{key}\",\"value\":\"{value}\"}}")
}

/// The section of the facts about the store itself.
fn meta(example: &mut Example) -> Result<String, Failure> {
    let facts = [
        ("format", "text", "The format of the file, a decimal number."),
        ("oldest_reader", "text", "The oldest format whose programs may read this file, a decimal number."),
        (
            "catalogue",
            "text",
            "Fingerprint of the declared tables, 8 hexadecimal digits; `unfinished` while indexes are made.",
        ),
        ("created_at", "text", "When the store was created: milliseconds since 1970, a decimal number."),
        ("closed_at", "text", "When it was last closed in good order, likewise; absent before the first time."),
        (
            "probed_at",
            "text",
            "When it was last tried whether changes can be stored, likewise; absent before the first time.",
        ),
        (
            "store_id",
            "text",
            "The store's own id, 32 hexadecimal digits, made with it; a dump or a copy makes a new one.",
        ),
        ("opening_id", "text", "That of the last opening, likewise."),
        ("open_since", "text", "When that was: milliseconds since 1970; gone after a close in good order."),
        ("high_water_id", "ULID", "The largest id ever given out, 16 bytes; stored with the rows it names."),
        ("applied", "text", "The number of the newest commit in the file, a decimal number; stored with it."),
        (
            "login_key",
            "secret",
            "32 random bytes that challenges are made with, drawn at the first start; no tool shows them.",
        ),
        ("migration:NAME", "text", "When that migration ran, likewise; in a new file, when it was created."),
        (
            "migrating",
            "text",
            "When a migration began. There while migrations run, so that a second attempt keeps the copy.",
        ),
    ];
    let facts = facts.map(|(name, kind, meaning)| vec![format!("`{name}`"), kind.into(), meaning.into()]);
    let mut text = format!(
        "\n## `{META}`\n\nFacts about the store itself, by name. Values have no version and no checksum.\n\n{}\n\
         All rows of the example, raw and as they read:\n\n```text\n",
        markdown::table(&["name", "value", "what it says"], facts)
    );
    for row in example.rows(META)? {
        let explained = example.0.explain(META, &row);
        let said = |cells: &[_]| cells.iter().map(|cell: &Cell| markdown::said(&cell.value)).collect::<String>();
        let _ = writeln!(text, "{}", raw(META, &explained));
        let _ = writeln!(text, "    {} = {}", said(&explained.key), said(&explained.value));
    }
    text.push_str("```\n");
    Ok(text)
}
