//! What each call of the contract touches.

use std::collections::BTreeMap;

use super::markdown;

/// Written by `tests/schema_docs/touches.rs` from what it saw, and compared with that in CI.
const WATCHED: &str = include_str!("../../../schema-docs/calls.txt");

/// The calls of one backend, in order, each with its letters by table or index.
pub(super) struct Calls(Vec<(&'static str, BTreeMap<&'static str, &'static str>)>);

impl Calls {
    pub(super) fn of(backend: &str) -> Self {
        let lines = WATCHED.lines().filter(|line| !line.starts_with('#'));
        let calls = lines.filter_map(|line| {
            let mut words = line.split_whitespace();
            let call = (words.next() == Some(backend)).then(|| words.next())??;
            Some((call, words.filter_map(|word| word.split_once(':')).collect()))
        });
        Self(calls.collect())
    }

    /// Call × table, of the calls that touch any of these tables.
    pub(super) fn matrix(&self, tables: &[&str]) -> String {
        let touched = |touches: &BTreeMap<_, _>| tables.iter().any(|table| touches.contains_key(table));
        let rows = self.0.iter().filter(|(_, touches)| touched(touches)).map(|(call, touches)| {
            let letters = tables.iter().map(|table| touches.get(table).copied().unwrap_or_default().to_owned());
            [format!("`{call}`")].into_iter().chain(letters).collect()
        });
        let header: Vec<_> = ["call"].into_iter().chain(tables.iter().copied()).collect();
        markdown::table(&header, rows)
    }

    /// Which calls read, insert, update and remove what lies in a table or index.
    pub(super) fn life(&self, table: &str) -> String {
        let by = |letter: char| {
            let calls = self.0.iter().filter(|(_, touches)| touches.get(table).is_some_and(|it| it.contains(letter)));
            let calls: Vec<_> = calls.map(|(call, _)| format!("`{call}`")).collect();
            if calls.is_empty() { "by none".into() } else { calls.join(", ") }
        };
        [('I', "inserted"), ('U', "updated"), ('D', "removed"), ('R', "read")]
            .map(|(letter, verb)| markdown::wrapped(&format!("- {verb}: {}", by(letter)), "  "))
            .join("\n")
    }
}
