//! Who refers to whom.

use std::fmt::Write as _;

use decentcom_kvstore::TableInfo;
use decentcom_server::storage::{
    self,
    contract::field::Kind,
    declared::{SqlTable, sqlite_tables},
};

use crate::Failure;

/// References that no engine enforces: table, column, the table referred to.
const LOOSE: [(&str, &str, &str); 2] =
    [("channels", "category_id", "categories"), ("purges", "channel_id", "channels")];

/// A table with its fields: type, name, and PK or FK.
pub(super) struct Entity {
    pub(super) name: String,
    pub(super) fields: Vec<(String, String, &'static str)>,
}

impl From<&SqlTable> for Entity {
    fn from(table: &SqlTable) -> Self {
        let fields = table.columns.iter().map(|column| {
            let kind = column.declaration.split(' ').next().unwrap_or_default();
            let key = match (column.declaration.contains("PRIMARY KEY"), &column.references) {
                (true, _) => "PK",
                (false, Some(_)) => "FK",
                (false, None) => "",
            };
            (kind.to_owned(), column.name.clone(), key)
        });
        Self { name: table.name.clone(), fields: fields.collect() }
    }
}

impl From<&TableInfo> for Entity {
    fn from(table: &TableInfo) -> Self {
        // A name in a diagram has letters and digits only.
        let plain = |kind: &str| {
            let kind = kind.strip_prefix("Option<").and_then(|it| it.strip_suffix('>')).unwrap_or(kind);
            kind.replace("[u8; ", "bytes").replace(']', "")
        };
        let key = match table.key.split(',').next() {
            Some("32 bytes") => "bytes32",
            Some("components") => "ULID",
            Some(kind) => kind,
            None => "key",
        };
        let key = (key.to_owned(), "key".to_owned(), "PK");
        let declared = storage::Entity::of_table(table.name).map_or(&[][..], storage::Entity::fields);
        let clustered = declared.iter().filter(|field| field.clustered_since.is_some()).map(|field| match field.kind {
            Kind::Id => ("ULID".to_owned(), field.name.to_owned(), "FK"),
            _ => ("bool".to_owned(), field.name.to_owned(), ""),
        });
        let fields = table.fields.iter().map(|field| {
            let refers = field.kind == "[u8; 16]" && field.name.ends_with("_id");
            (plain(field.kind), field.name.to_owned(), if refers { "FK" } else { "" })
        });
        Self { name: table.name.to_owned(), fields: clustered.chain([key]).chain(fields).collect() }
    }
}

/// These entities and the references between them: for a forge, and as text.
pub(super) fn diagram(entities: &[Entity]) -> Result<String, Failure> {
    let tables = sqlite_tables()?;
    let mut picture = String::from("```mermaid\nerDiagram\n");
    let mut text = String::from("```text\n");
    for table in &tables {
        for column in &table.columns {
            if let Some((other, _)) = &column.references {
                let _ = writeln!(picture, "    {other} ||--o{{ {} : {}", table.name, column.name);
                let _ = writeln!(text, "{:<24} ──> {other:<11} must exist", format!("{}.{}", table.name, column.name));
            }
        }
    }
    for (table, column, other) in LOOSE {
        let _ = writeln!(picture, "    {other} |o..o{{ {table} : {column}");
        let why = match table {
            "purges" => "the channel that was deleted; in redb this is the key",
            _ => "kept as given, need not exist",
        };
        let _ = writeln!(text, "{:<24} ··> {other:<11} {why}", format!("{table}.{column}"));
    }
    for Entity { name, fields } in entities {
        let _ = writeln!(picture, "    {name} {{");
        for (kind, field, key) in fields {
            let _ = writeln!(picture, "{}", format!("        {kind} {field} {key}").trim_end());
        }
        picture.push_str("    }\n");
    }
    Ok(format!("{picture}```\n\n{text}```\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_references_are_columns_that_refer_to_tables() {
        let tables = sqlite_tables().unwrap();
        let find = |name| tables.iter().find(|table| table.name == name).unwrap();
        for (table, column, other) in LOOSE {
            let column = find(table).columns.iter().find(|it| it.name == column).unwrap();
            assert!(column.references.is_none() && !find(other).columns.is_empty());
        }
    }
}
