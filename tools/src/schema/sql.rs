//! The page of the SQL schema.

use std::fmt::Write as _;

use decentcom_server::storage::{
    Backend,
    declared::{SqlTable, sqlite_tables},
};

use super::{
    Example,
    diagram::{Entity, diagram},
    markdown,
};
use crate::Failure;

pub(super) fn page() -> Result<String, Failure> {
    let tables = sqlite_tables()?;
    let mut example = Example::of(Backend::Sqlite)?;
    let mut page = String::from(
        "<!-- Made by `dcstore schema sqlite --markdown`. To make it anew: cargo xtask docs -->\n\
         # The SQL schema (SQLite)\n\n\
         One SQLite database in WAL mode; while a server has it open, `-wal`, `-shm` and `.lock` lie beside it. \
         What follows is\n\
         read back from a database that was made by all migrations ([001](../server/migrations/001_initial.sql), \
         the tables of\n\
         the specification; [002](../server/migrations/002_cursor_meta_purges.sql), what the contract needs beyond \
         them; [003](../server/migrations/003_membership_used_challenges.sql), membership and log-ins).\n\n\
         - Ids are ULIDs: 26 upper-case characters of `0123456789ABCDEFGHJKMNPQRSTVWXYZ`. The first 10 are the \
         milliseconds\n  \
           since 1970, in base 32. Text order is time order.\n\
         - Times are text, UTC, always with three digits of milliseconds: `2024-01-01T00:00:00.000Z`. Text order is \
         time order.\n\
         - SQLite keeps no checksums of rows: what is damaged within a value is not noticed.\n\
         - `DEFAULT now` stands for `DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))`. The server always gives the \
         value.\n\n\
         ## The map\n\n\
         A table is a B-tree in order of insertion (`rowid`), so in order of age; its primary key is an index \
         beside it. `meta`, \
         `used_challenges`,\n`purges` and `messages` are `WITHOUT ROWID`: trees in the order of their keys; the messages \
         of a channel lie together, the live\napart from the deleted. An index is a tree of its columns, then the row's \
         `rowid` or key. SQLite's own catalogue, `sqlite_master`, is the first tree of the file.\n",
    );
    for table in &tables {
        page.push_str(&about(table, &mut example)?);
    }
    let ours: Vec<&SqlTable> = tables.iter().filter(|table| !table.name.starts_with("_sqlx")).collect();
    let entities: Vec<Entity> = ours.iter().map(|table| Entity::from(*table)).collect();
    let _ = write!(page, "\n## Who refers to whom\n\n{}", diagram(&entities)?);
    Ok(page)
}

fn about(table: &SqlTable, example: &mut Example) -> Result<String, Failure> {
    let columns = table.columns.iter().map(|column| {
        let references = column.references.as_ref();
        let references = references.map(|(table, column)| format!(" REFERENCES {table}({column})")).unwrap_or_default();
        vec![format!("`{}`", column.name), format!("`{}{references}`", column.declaration), column.meaning.clone()]
    });
    let mut text = format!(
        "\n## `{}`\n\n{}\n\n{}",
        table.name,
        table.purpose,
        markdown::table(&["column", "declared", "meaning"], columns)
    );
    if table.name == "meta" {
        let facts = [
            ("high_water_id", "The largest id ever given out; stored with the rows it names. Absent before the first."),
            ("applied", "The number of the newest commit in the file; stored with it. Absent before the first."),
            ("created_at", "When the store was created, or first met the second migration."),
            (
                "login_key",
                "What challenges are made with: 64 hexadecimal digits, drawn at the first start; no tool shows them.",
            ),
            ("closed_at", "When it was last closed in good order; absent before the first time."),
            ("probed_at", "When it was last tried whether changes can be stored; absent before the first time."),
            ("store_id", "The store's own id, 32 hexadecimal digits, made with it; a dump or a copy makes a new one."),
            (
                "opening_id",
                "That of the last opening, likewise; its first 30 bits are in `user_version`, and one for \"open\".",
            ),
            ("open_since", "When that was; gone after a close in good order."),
        ];
        let facts = facts.map(|(name, meaning)| vec![format!("`{name}`"), meaning.to_owned()]);
        let _ = write!(text, "\n{}", markdown::table(&["name", "value"], facts));
    }
    let known = example.0.tables().into_iter().find(|known| known.name == table.name);
    let rows = if known.is_some() { example.rows(&table.name)? } else { Vec::new() };
    if let Some(row) = rows.first() {
        let explained = example.0.explain(&table.name, row);
        let cells = explained.key.iter().chain(&explained.value);
        let cells: String = cells.map(markdown::cell).collect();
        let _ =
            write!(text, "\nA row: column, storage class, value, and the bytes of a text:\n\n```text\n{cells}```\n");
    }
    for index in table.indexes.iter().filter(|index| !index.is_primary) {
        let _ = writeln!(text, "\n### `{}`\n\nOn `{}`. {}", index.name, index.on, index.purpose);
    }
    Ok(text)
}
