//! `schema-docs/fields.md` against the database, the records and the API.

use std::collections::BTreeSet;

use super::*;
use crate::storage::verify::{redb_tables, sqlite_tables};

const PAGE: &str = include_str!("../../../../schema-docs/fields.md");

/// The names in a column of the table under a heading of the page.
fn named(section: &str, column: usize) -> BTreeSet<String> {
    let text = PAGE.split("\n## ").find(|text| text.starts_with(&format!("{section}\n")));
    let lines = text.unwrap_or_else(|| panic!("no section {section}")).lines().filter(|line| line.starts_with("| "));
    lines
        .skip(1)
        .filter_map(|line| line.split('|').nth(column + 1))
        .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_owned))
        .collect()
}

fn assert_named(section: &str, column: usize, expected: BTreeSet<String>, what: &str) {
    assert_eq!(
        named(section, column),
        expected,
        "schema-docs/fields.md, {section}: on the left what it says of {what}"
    );
}

#[tokio::test]
async fn the_page_of_fields_names_every_column_record_field_and_api_field_and_no_other() {
    let records = redb_tables();
    let tables = tokio::task::spawn_blocking(sqlite_tables).await.unwrap().unwrap();
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", None, Value::Null).await.is(200);
    let shown = [
        ("users", Some("Member")),
        ("channels", Some("Channel")),
        ("categories", Some("Category")),
        ("messages", Some("Message")),
        ("sessions", Some("VerifyReply")),
        ("purges", None),
        ("used_challenges", None),
    ];
    assert_eq!(records.len(), shown.len(), "a table without a section");
    for (name, schema) in shown {
        let table = tables.iter().find(|table| table.name == name).unwrap();
        assert_named(name, 0, table.columns.iter().map(|it| it.name.clone()).collect(), "columns");
        let record = records.iter().find(|table| table.name == name).unwrap();
        assert_named(name, 1, record.fields.iter().map(|it| it.name.to_owned()).collect(), "record fields");
        let properties = schema.map(|it| document["components"]["schemas"][it]["properties"].as_object().unwrap());
        let properties = properties.into_iter().flat_map(|it| it.keys().cloned());
        assert_named(name, 3, properties.collect(), "the HTTP API");
    }
}
