//! `schema-docs/fields.md`: made from the contract's descriptions, the migrations, the records and the API.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use super::*;
use crate::storage::{
    Entity,
    contract::{
        field::{Field, Kind, Role},
        model::Class,
    },
    declared::{redb_tables, sqlite_tables},
};

const PAGE: &str = include_str!("../../../../schema-docs/fields.md");

const HEAD: &str = "\
<!-- Made by the test that holds it to the code. To make it anew: cargo xtask docs -->
# Where every field lives

One line per thing that is stored or shown: the column of SQLite ([sql.md](sql.md)), the field of the redb record
([key-value.md](key-value.md)), the field of a line of a dump, the field of the HTTP API. `—`: it is not there, and the
last column says where it comes from.

Times: SQL, dump and HTTP have text (`2024-01-01T00:00:00.000Z`), records have milliseconds since 1970. Ids: text of 26
characters there, 16 bytes here. Yes and no: 1 and 0 in SQL, `true` and `false` in a dump and over HTTP.
";

/// A table, what it is called over HTTP, the names of its fields there that are others, and those that are not shown.
type Shown = (&'static str, Option<&'static str>, &'static [(&'static str, &'static str)], &'static [&'static str]);

const SHOWN: [Shown; 6] = [
    ("users", Some("Member"), &[("id", "user_id"), ("created_at", "joined_at")], &["is_member", "updated_at"]),
    ("channels", Some("Channel"), &[], &[]),
    ("categories", Some("Category"), &[], &[]),
    ("messages", Some("Message"), &[], &[]),
    ("sessions", Some("VerifyReply"), &[], &["digest", "created_at"]),
    ("used_challenges", None, &[], &[]),
];

/// A name in its cell.
fn cell(name: Option<&str>) -> String {
    name.map_or("—".into(), |name| format!("`{name}`"))
}

fn note(field: &Field) -> &'static str {
    match (field.role, field.kind) {
        (Role::CreatedAt, _) => "record: the time within the key",
        (Role::Key, Kind::Digest | Kind::Challenge) => "SQL and dump: in hexadecimal",
        _ => "",
    }
}

fn section(entity: Entity, schemas: &Value) -> String {
    let table = entity.table();
    let (_, schema, others, hidden) = SHOWN
        .into_iter()
        .find(|(name, ..)| *name == table)
        .unwrap_or_else(|| panic!("say in SHOWN how {table} is shown"));
    let properties = schema.map(|schema| schemas[schema]["properties"].as_object().unwrap());
    let mut beside: BTreeSet<&str> = properties.into_iter().flat_map(|it| it.keys().map(String::as_str)).collect();
    let mut rows = Vec::new();
    for field in entity.fields() {
        let name = others.iter().find(|(name, _)| *name == field.name).map_or(field.name, |(_, other)| other);
        let is_shown = beside.remove(name);
        assert_eq!(is_shown, properties.is_some() && !hidden.contains(&field.name), "{table}.{}", field.name);
        let record = match field.role {
            Role::Key => "key".into(),
            Role::CreatedAt => cell(None),
            Role::Content => cell(Some(field.name)),
        };
        let dump = cell((entity.class() != Class::Transient).then_some(field.name));
        let http = cell(is_shown.then_some(name));
        rows.push([cell(Some(field.column())), record, dump, http, note(field).into()]);
    }
    for name in beside {
        let about = schemas[schema.unwrap()]["properties"][name]["description"].as_str().unwrap_or_default();
        rows.push([cell(None), cell(None), cell(None), cell(Some(name)), about.replace('\n', " ")]);
    }
    let what = match (schema, entity.class()) {
        (Some(schema), Class::Secret) => format!("Over HTTP: `{schema}`. In a dump only when it is asked for.\n\n"),
        (Some(schema), _) => format!("Over HTTP: `{schema}`.\n\n"),
        (None, Class::Transient) => "Transient: in no dump.\n\n".into(),
        (None, _) => String::new(),
    };
    format!("\n## {table}\n\n{what}{}", table_of(&rows))
}

fn table_of(rows: &[[String; 5]]) -> String {
    let head = ["SQL", "record", "dump", "HTTP", ""].map(str::to_owned);
    let mut widths = [0; 5];
    for row in rows.iter().chain([&head]) {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut text = String::new();
    let mut line = |cells: &[String; 5], fill: char| {
        for (cell, width) in cells.iter().zip(widths) {
            let padding: String = std::iter::repeat_n(fill, width + 1 - cell.chars().count()).collect();
            let _ = write!(text, "|{}{cell}{padding}", if fill == '-' { '-' } else { ' ' });
        }
        text.push_str("|\n");
    };
    line(&head, ' ');
    line(&Default::default(), '-');
    rows.iter().for_each(|row| line(row, ' '));
    text
}

#[tokio::test]
async fn the_page_of_fields_is_what_the_descriptions_and_the_api_say() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", None, Value::Null).await.is(200);
    let schemas = &document["components"]["schemas"];
    let sections: String = Entity::EVERY.iter().map(|entity| section(*entity, schemas)).collect();
    let purges = [
        ["`channel_id`", "key", "—", "—", "a dump leaves out what is being reclaimed"].map(str::to_owned),
        ["—", "`name`", "—", "—", "SQL: the row in `channels` is still there"].map(str::to_owned),
    ];
    let page = format!("{HEAD}{sections}\n## purges\n\n{}", table_of(&purges));
    if std::env::var_os("UPDATE_SCHEMA_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema-docs/fields.md");
        std::fs::write(path, &page).unwrap();
    } else {
        assert!(
            page == PAGE,
            "schema-docs/fields.md is not what the code says any more. To make it anew: cargo xtask docs"
        );
    }
}

#[tokio::test]
async fn every_field_is_a_column_and_a_field_of_the_record() {
    let (records, tables) = (redb_tables(), tokio::task::spawn_blocking(sqlite_tables).await.unwrap().unwrap());
    for entity in Entity::EVERY {
        let table = tables.iter().find(|table| table.name == entity.table());
        let table = table.unwrap_or_else(|| panic!("{entity}: its table needs a migration"));
        let columns: BTreeSet<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let described = entity.fields().iter().map(Field::column).collect();
        assert_eq!(columns, described, "{entity}: on the left the columns; a field needs a migration");
        let record = records.iter().find(|table| table.name == entity.table()).unwrap();
        let record: BTreeSet<_> = record.fields.iter().map(|field| field.name).collect();
        let in_payload = |field: &&Field| field.role == Role::Content && field.clustered_since.is_none();
        let content = entity.fields().iter().filter(in_payload);
        assert_eq!(record, content.map(|field| field.name).collect(), "{entity}");
    }
}
