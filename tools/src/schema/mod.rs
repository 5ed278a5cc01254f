//! `dcstore schema`: what lies on disk, from the declarations, from the migrations, and from rows that the real encoders
//! wrote. With `--markdown`, the pages of `schema-docs/`.
//!
//! ```text
//!  key_value.rs  the redb page       sql.rs      the SQLite page
//!  markdown.rs   tables that line up, rows byte by byte
//!  diagram.rs    who refers to whom
//! ```

mod diagram;
mod key_value;
mod markdown;
mod sql;

use std::io::{self, Write};

use decentcom_kvstore::TableInfo;
use decentcom_server::storage::{
    Backend, StorageError,
    declared::{redb_tables, sqlite_tables},
    inspect::{self, Direction, Inspection, RawRange, Stored},
};

use crate::{Failure, Outcome, Session, cli};

/// Where the pages are, for whoever reads this in a terminal.
const PAGES: &str = "schema-docs/ of the source explains every byte: key-value.md, sql.md, fields.md, README.md";

pub(crate) fn run(options: &cli::Schema, _session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match (options.backend, options.markdown) {
        (cli::SchemaOf::Redb, true) => out.write_all(key_value::page()?.as_bytes())?,
        (cli::SchemaOf::Sqlite, true) => out.write_all(sql::page()?.as_bytes())?,
        (cli::SchemaOf::Redb, false) => {
            redb_tables().iter().try_for_each(|table| write_text(table, out))?;
            writeln!(out, "{PAGES}")?;
        }
        (cli::SchemaOf::Sqlite, false) => {
            for table in sqlite_tables()? {
                writeln!(out, "-- {}\n{};", table.purpose, table.sql)?;
                for index in table.indexes.iter().filter(|index| !index.is_primary) {
                    writeln!(out, "-- index {} {}: {}", index.name, index.on, index.purpose)?;
                }
                writeln!(out)?;
            }
            writeln!(out, "-- {PAGES}")?;
        }
    }
    Ok(Outcome::Fine)
}

fn write_text(table: &TableInfo, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}  {}", table.name, table.purpose)?;
    writeln!(out, "  key     {}", table.key)?;
    writeln!(out, "  record  version {}", table.version)?;
    for field in &table.fields {
        writeln!(out, "    {:<14} {:<15} {}", field.name, field.kind, field.meaning.trim())?;
    }
    for index in &table.indexes {
        let kind = if index.unique { "unique index" } else { "index" };
        writeln!(out, "  {kind} {}  {}", index.name, index.purpose)?;
    }
    writeln!(out)
}

/// The store whose rows the pages show.
struct Example(Box<dyn Inspection>);

impl Example {
    fn of(backend: Backend) -> Result<Self, Failure> {
        Ok(Self(inspect::example(backend)?))
    }

    fn rows(&mut self, table: &str) -> Result<Vec<Stored>, StorageError> {
        self.0.read(table, &RawRange::ALL, Direction::Forward, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(backend: cli::SchemaOf, markdown: bool) -> String {
        let mut made = Vec::new();
        let _ = run(&cli::Schema { backend, markdown }, &Session::silent(), &mut made).unwrap();
        String::from_utf8(made).unwrap()
    }

    fn assert_is_committed(backend: cli::SchemaOf, committed: &str, page: &str) {
        let made = printed(backend, true);
        let differing = made.lines().zip(committed.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
        assert!(
            made == committed,
            "schema-docs/{page} is not what the code says any more. If the change is meant, run: \
             cargo xtask docs\nfirst difference, now and as committed: {differing:#?}"
        );
    }

    #[test]
    fn the_committed_page_is_what_the_declarations_say() {
        assert_is_committed(cli::SchemaOf::Redb, include_str!("../../../schema-docs/key-value.md"), "key-value.md");
    }

    #[test]
    fn the_committed_page_is_what_the_migrations_make() {
        assert_is_committed(cli::SchemaOf::Sqlite, include_str!("../../../schema-docs/sql.md"), "sql.md");
    }

    #[test]
    fn the_text_names_every_table_and_index() {
        let made = printed(cli::SchemaOf::Redb, false);
        for table in redb_tables() {
            assert!(made.contains(table.name) && table.indexes.iter().all(|index| made.contains(index.name)));
        }
        let made = printed(cli::SchemaOf::Sqlite, false);
        for table in sqlite_tables().unwrap() {
            assert!(made.contains(&table.name) && table.columns.iter().all(|column| made.contains(&column.name)));
        }
    }

    #[test]
    fn every_table_and_index_has_a_row_to_show() {
        for backend in [Backend::Redb, Backend::Sqlite] {
            let mut example = Example::of(backend).unwrap();
            for table in example.0.tables() {
                let rows = example.rows(table.name).unwrap();
                assert!(!rows.is_empty(), "{}: give it a row in inspect/example.rs", table.name);
            }
        }
    }

    #[test]
    fn every_byte_of_every_row_has_a_name() {
        let mut example = Example::of(Backend::Redb).unwrap();
        for table in example.0.tables() {
            for row in example.rows(table.name).unwrap() {
                let explained = example.0.explain(table.name, &row);
                let lines = markdown::row(&explained);
                let numbered =
                    lines.lines().filter(|line| line.get(..4).is_some_and(|at| at.trim().parse::<u32>().is_ok()));
                let shown: String = numbered.flat_map(|line| line.chars().skip(6).take(47)).collect();
                let stored = [row.place(), row.value().unwrap()].concat();
                assert_eq!(shown.replace(' ', ""), decentcom_kvstore::hex(&stored), "{}", table.name);
                assert!(!lines.contains("unreadable"), "{lines}");
            }
        }
    }
}
