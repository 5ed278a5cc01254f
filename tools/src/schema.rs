//! `dcstore schema`: the key-value layout, from its declarations.

use std::io::{self, Write};

use decentcom_kvstore::{HEADER_BYTES, TableInfo};
use decentcom_server::storage::verify::redb_tables;

use crate::{Failure, Outcome, Session, cli};

pub(crate) fn run(options: &cli::Schema, _session: &Session, mut out: &mut dyn Write) -> Result<Outcome, Failure> {
    let tables = redb_tables();
    let out = &mut out;
    if options.markdown {
        write_markdown(&tables, out)?;
    } else {
        tables.iter().try_for_each(|table| write_text(table, out))?;
    }
    Ok(Outcome::Fine)
}

fn write_text(table: &TableInfo, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}  {}", table.name, table.purpose)?;
    writeln!(out, "  key     {}", table.key)?;
    writeln!(out, "  record  version {}", table.version)?;
    for field in table.fields {
        writeln!(out, "    {:<14} {:<15} {}", field.name, field.kind, field.meaning.trim())?;
    }
    for index in &table.indexes {
        let kind = if index.unique { "unique index" } else { "index" };
        writeln!(out, "  {kind} {}  {}", index.name, index.purpose)?;
    }
    writeln!(out)
}

fn write_markdown(tables: &[TableInfo], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "<!-- Made by `dcstore schema --markdown` from server/src/storage/redb/schema.rs; a test fails when it differs. -->\n\
         # The key-value layout (redb), format 1\n\n\
         Every table maps bytes to bytes. Keys sort as bytes.\n\n\
         A record is `version` (1 byte) ‖ CRC-32C (4 bytes, little-endian, over the row's key ‖ version ‖ payload) ‖ payload,\n\
         so {HEADER_BYTES} bytes come before the payload. The payload is the fields in order, as bincode 2 `standard()` writes them:\n\n\
         | type | bytes |\n|---|---|\n\
         | `u64` | one byte up to 250; else `fb` + 2 bytes, `fc` + 4 or `fd` + 8, little-endian |\n\
         | `i32` | zigzag (0, -1, 1, -2 … become 0, 1, 2, 3 …), then like `u64` |\n\
         | `bool` | `00` or `01` |\n\
         | `String` | length in bytes like `u64`, then UTF-8 |\n\
         | `Option<T>` | `00`, or `01` and the value |\n\
         | `[u8; N]` | N bytes |\n\n\
         Times are milliseconds since 1970. A row's creation time is not stored: it is the first 6 bytes of its ULID."
    )?;
    for table in tables {
        writeln!(
            out,
            "\n## `{}`\n\n{}\n\nKey: {}. Record version {}:\n",
            table.name, table.purpose, table.key, table.version
        )?;
        writeln!(out, "| field | type | meaning |\n|---|---|---|")?;
        for field in table.fields {
            writeln!(out, "| `{}` | `{}` | {} |", field.name, field.kind, field.meaning.trim())?;
        }
        for index in &table.indexes {
            let (kind, entry) = match index.unique {
                true => ("Unique index", "the fields ↦ the row's key"),
                false => ("Index", "the fields ‖ the row's key ↦ nothing"),
            };
            writeln!(out, "\n{kind} `{}`: {}. {} Entry: {entry}.", index.name, index.fields, index.purpose)?;
        }
    }
    writeln!(
        out,
        "\n## `meta`\n\nFacts about the store, by name. Values are text unless said otherwise.\n\n\
         | name | value |\n|---|---|\n\
         | `format` | the format, a decimal number |\n\
         | `oldest_reader` | the oldest format whose programs may read this file |\n\
         | `catalogue` | fingerprint of the declared tables; `unfinished` while indexes are being made |\n\
         | `created_at` | milliseconds since 1970, a decimal number |\n\
         | `high_water_id` | the largest id ever given out, 16 bytes |\n\
         | `migration:NAME` | when that migration ran, milliseconds since 1970 |\n\
         | `migrating` | there while migrations run, so that a second attempt keeps the first one's copy of the file |"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_what_the_declarations_say() {
        let mut made = Vec::new();
        let _ =
            run(&cli::Schema { backend: cli::SchemaOf::Redb, markdown: true }, &Session::silent(), &mut made).unwrap();
        assert_eq!(
            String::from_utf8(made).unwrap(),
            include_str!("../../schema-docs/key-value.md"),
            "run: cargo run -p decentcom-tools -- schema --markdown > schema-docs/key-value.md"
        );
    }

    #[test]
    fn the_text_names_every_table_and_index() {
        let mut made = Vec::new();
        let _ =
            run(&cli::Schema { backend: cli::SchemaOf::Redb, markdown: false }, &Session::silent(), &mut made).unwrap();
        let made = String::from_utf8(made).unwrap();
        for table in redb_tables() {
            assert!(made.contains(table.name) && table.indexes.iter().all(|index| made.contains(index.name)));
        }
    }
}
