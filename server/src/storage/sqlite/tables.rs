//! The tables, as they are looked at row by row: from the contract's descriptions, and from the migrations.

use std::sync::LazyLock;

use super::MIGRATIONS;
use crate::storage::{
    Entity,
    contract::{
        field::{Before, Field, Kind},
        model::{ForModel, Model},
    },
};

/// A table as it is read here; the first column is the key.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) columns: Vec<&'static str>,
    /// What is known of the columns, in tables of the contract's records.
    fields: &'static [Field],
    /// The migration that makes it.
    pub(super) since: u64,
}

/// Every table, in the order of a dump.
pub(super) static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let mut tables: Vec<_> = Entity::EVERY.iter().map(|entity| entity.with(Described)).collect();
    let after_messages = Entity::Message as usize + 1;
    let purges = "Deleted channels that still have messages in the file; those are invisible.";
    tables.insert(after_messages, Table::of_facts("purges", purges, vec!["channel_id"]));
    tables.push(Table::of_facts("meta", "Facts about the store itself, by name.", vec!["name", "value"]));
    tables
});

struct Described;

impl ForModel for Described {
    type Answer = Table;

    fn run<M: Model>(self) -> Table {
        // A migration adds columns behind those that are there.
        let mut fields: Vec<_> = M::FIELDS.iter().collect();
        fields.sort_by_key(|field| field.since);
        Table {
            name: M::TABLE,
            purpose: M::PURPOSE.trim(),
            columns: fields.into_iter().map(Field::column).collect(),
            fields: M::FIELDS,
            since: made_by(M::TABLE),
        }
    }
}

impl Table {
    fn of_facts(name: &'static str, purpose: &'static str, columns: Vec<&'static str>) -> Self {
        Self { name, purpose, columns, fields: &[], since: made_by(name) }
    }

    fn field(&self, column: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.column() == column)
    }

    /// The kind of what a column holds.
    pub(super) fn kind(&self, column: &str) -> Kind {
        self.field(column).map_or(Kind::Text, |field| field.kind)
    }

    /// What a column holds in a file that is older than it is: as much as its migration gives it.
    pub(super) fn before(&self, column: &str) -> Option<String> {
        let field = self.field(column).filter(|field| field.since > 1)?;
        Some(match field.before {
            Before::Nothing => "NULL".into(),
            Before::Flag(flag) => u8::from(flag).to_string(),
            Before::Number(number) => number.to_string(),
        })
    }

    /// What a column holds, for people.
    pub(super) fn meaning(&self, column: &str) -> Option<String> {
        self.field(column).map(meaning)
    }
}

/// What a field holds, and how this backend writes it.
fn meaning(field: &Field) -> String {
    let mut meaning = field.described();
    meaning.push_str(match field.kind {
        Kind::Flag => " 1: yes; 0: no.",
        Kind::Digest => " 64 lower-case hexadecimal digits.",
        Kind::Challenge => " 88 lower-case hexadecimal digits: 16, 64 and 8.",
        Kind::Text | Kind::Time | Kind::Id | Kind::Number => "",
    });
    if field.is_optional {
        meaning.push_str(" NULL: none.");
    }
    meaning
}

/// The number of the migration that makes a table.
pub(super) fn made_by(table: &str) -> u64 {
    let makes = format!("CREATE TABLE {table} (");
    let maker = MIGRATIONS.iter().find(|migration| migration.sql.as_str().contains(&makes));
    maker.and_then(|migration| u64::try_from(migration.version).ok()).unwrap_or_default()
}
