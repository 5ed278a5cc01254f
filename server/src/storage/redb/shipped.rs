//! Every record version ever shipped, frozen: its fields, and the bytes of one row. Files in the field hold such rows.
//!
//! `shipped.txt` has a line for each: table, version, fields, key and value of a row in hexadecimal. `cargo xtask docs` appends
//! what is new. Nothing changes a line that is there: a version's bytes cannot change in the files that have them.

/// A record version that was shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedVersion {
    /// The table.
    pub table: &'static str,
    /// The version.
    pub version: u8,
    /// The names and types of its fields, in order.
    pub fields: Vec<(&'static str, &'static str)>,
    /// The key of a row, in hexadecimal.
    pub key: &'static str,
    /// What lies under it, in hexadecimal.
    pub value: &'static str,
}

/// All of them.
pub(in crate::storage) fn shipped() -> impl Iterator<Item = ShippedVersion> {
    include_str!("shipped.txt").lines().filter_map(ShippedVersion::parse)
}

impl ShippedVersion {
    fn parse(line: &'static str) -> Option<Self> {
        let [table, version, fields, key, value] = line.split(" | ").collect::<Vec<_>>().try_into().ok()?;
        let fields = fields.split(", ").map(|field| field.split_once(": ")).collect::<Option<_>>()?;
        Some(Self { table, version: version.parse().ok()?, fields, key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        Backend,
        inspect::{self, Direction, Inspection, RawRange},
        redb::{CATALOGUE, older},
    };

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/redb/shipped.txt");

    fn hex<'a>(cells: impl IntoIterator<Item = &'a inspect::Cell>) -> String {
        cells.into_iter().map(|cell| decentcom_kvstore::hex(&cell.bytes)).collect()
    }

    /// The line of the version that is written now: its fields, a row of the example.
    fn line_of(example: &mut dyn Inspection, table: &decentcom_kvstore::TableInfo) -> String {
        let rows = example.read(table.name, &RawRange::ALL, Direction::Forward, 1).unwrap();
        let explained = example.explain(table.name, &rows[0]);
        let fields: Vec<_> = table.fields.iter().map(|field| format!("{}: {}", field.name, field.kind)).collect();
        let (key, value) = (hex(&explained.key), hex(&explained.value));
        format!("{} | {} | {} | {key} | {value}", table.name, table.version, fields.join(", "))
    }

    #[test]
    fn what_was_shipped_stays_as_it_is() {
        let mut example = inspect::example(Backend::Redb).unwrap();
        let mut file = std::fs::read_to_string(FILE).unwrap();
        for table in CATALOGUE.iter().map(|table| table.describe()) {
            let line = line_of(&mut *example, &table);
            let (name, version) = (table.name, table.version);
            let Some(shipped) = file.lines().find(|it| it.starts_with(&format!("{name} | {version} | "))) else {
                assert!(
                    std::env::var_os("UPDATE_SCHEMA_DOCS").is_some(),
                    "version {version} of the records of `{name}` is new. Once it is as it should be, run: cargo xtask docs"
                );
                file.push_str(&format!("{line}\n"));
                std::fs::write(FILE, &file).unwrap();
                continue;
            };
            assert!(
                shipped == line,
                "a shipped record version changed: version {version} of `{name}`.\n  shipped: {shipped}\n  now:     \
                 {line}\nFiles in the field hold such records, and could no longer be read. A new field says \
                 `.since({next}, …)` in server/src/storage/models.rs, and what older records have in its place; nothing \
                 else of a shipped version changes (CONTRIBUTING.md, \"A field\").",
                next = version + 1
            );
        }
    }

    #[test]
    fn every_line_is_a_version() {
        assert_eq!(shipped().count(), include_str!("shipped.txt").lines().count());
    }

    #[test]
    fn every_shipped_version_is_still_read() {
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        for shipped in shipped() {
            let of_any_shape = CATALOGUE.iter().chain(older::SHAPE.catalogue);
            let tables: Vec<_> = of_any_shape.filter(|table| table.describe().name == shipped.table).collect();
            assert!(!tables.is_empty(), "the table {} was shipped and is gone", shipped.table);
            let read = tables.iter().map(|table| table.read(&bytes(shipped.key), &bytes(shipped.value)));
            let read = read.reduce(|one, other| one.or(other)).unwrap();
            assert!(read.is_ok(), "version {} of {}: {read:?}", shipped.version, shipped.table);
            let damaged = bytes(&format!("{}00", shipped.value));
            assert!(tables.iter().all(|table| table.read(&bytes(shipped.key), &damaged).is_err()));
        }
    }
}
