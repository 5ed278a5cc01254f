//! Every record version ever shipped, frozen: its fields, and the bytes of one row. Files in the field hold such rows.

/// A record version that was shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShippedVersion {
    /// The table.
    pub table: &'static str,
    /// The version.
    pub version: u8,
    /// The names and types of its fields, in order.
    pub fields: &'static [(&'static str, &'static str)],
    /// The key of a row, in hexadecimal.
    pub key: &'static str,
    /// What lies under it, in hexadecimal.
    pub value: &'static str,
}

/// Lines are added, never changed: a version's bytes cannot change in the files that have them.
pub(in crate::storage) const SHIPPED: &[ShippedVersion] = &[
    ShippedVersion {
        table: "users",
        version: 1,
        fields: &[
            ("pubkey", "String"),
            ("display_name", "Option<String>"),
            ("avatar_hash", "Option<String>"),
            ("updated_at", "u64"),
        ],
        key: "018cc251f40000000000000000000001",
        value: "0120a5c6ed096164612773206b6579010341646100fddcf951c28c010000",
    },
    ShippedVersion {
        table: "users",
        version: 2,
        fields: &[
            ("pubkey", "String"),
            ("display_name", "Option<String>"),
            ("avatar_hash", "Option<String>"),
            ("updated_at", "u64"),
            ("is_bot", "bool"),
            ("is_member", "bool"),
        ],
        key: "018cc251f40000000000000000000001",
        value: "0202b0e908096164612773206b6579010341646100fddcf951c28c0100000001",
    },
    ShippedVersion {
        table: "channels",
        version: 1,
        fields: &[
            ("name", "String"),
            ("topic", "Option<String>"),
            ("category_id", "Option<String>"),
            ("position", "i32"),
            ("updated_at", "u64"),
        ],
        key: "018cc251f40000000000000000000002",
        value: "01da59b7ea046a617a7a00011a3031484b3135335830303030303030303030303030303030303303fddcf951c28c010000",
    },
    ShippedVersion {
        table: "categories",
        version: 1,
        fields: &[("name", "String"), ("position", "i32")],
        key: "018cc251f40000000000000000000003",
        value: "01cc77c3aa056d75736963fb5802",
    },
    ShippedVersion {
        table: "messages",
        version: 1,
        fields: &[
            ("channel_id", "[u8; 16]"),
            ("author_id", "[u8; 16]"),
            ("content", "String"),
            ("edited_at", "Option<u64>"),
            ("deleted", "bool"),
        ],
        key: "018cc251f40000000000000000000005",
        value: "015d589487018cc251f40000000000000000000002018cc251f400000000000000000000010468c3a92101fddcf951c28c01000000",
    },
    ShippedVersion {
        table: "purges",
        version: 1,
        fields: &[("name", "String")],
        key: "018cc251f40000000000000000000004",
        value: "01f30706b90470756e6b",
    },
    ShippedVersion {
        table: "sessions",
        version: 1,
        fields: &[("user_id", "[u8; 16]"), ("created_at", "u64"), ("expires_at", "u64")],
        key: "e3316e2bafebb6103a3418e8778c0adc960d40213a03a7e7f4fcd3426ed807bf",
        value: "01beafbed5018cc251f40000000000000000000001fd00f451c28c010000fd005078c78c010000",
    },
    ShippedVersion {
        table: "used_challenges",
        version: 1,
        fields: &[("expires_at", "u64")],
        key: "0000000001b15de0e2c1ccb7a2dbea95bcb4c3ff2c458b620162b0fed670fad22a17f4728909af0600000003",
        value: "010bbbf607fd407257c28c010000",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        Backend,
        inspect::{self, Direction, Inspection, RawRange},
        redb::CATALOGUE,
    };

    fn hex<'a>(cells: impl IntoIterator<Item = &'a inspect::Cell>) -> String {
        cells.into_iter().map(|cell| decentcom_kvstore::hex(&cell.bytes)).collect()
    }

    /// Key and value of a row of the example, as the program writes it now.
    fn row_of(example: &mut dyn Inspection, table: &str) -> (String, String) {
        let rows = example.read(table, &RawRange::ALL, Direction::Forward, 1).unwrap();
        let explained = example.explain(table, &rows[0]);
        (hex(&explained.key), hex(&explained.value))
    }

    #[test]
    fn what_was_shipped_stays_as_it_is() {
        let mut example = inspect::example(Backend::Redb).unwrap();
        for table in CATALOGUE.iter().map(|table| table.describe()) {
            let (name, version) = (table.name, table.version);
            let fields: Vec<_> = table.fields.iter().map(|field| (field.name, field.kind)).collect();
            let (key, value) = row_of(&mut *example, name);
            let Some(shipped) = SHIPPED.iter().find(|it| it.table == name && it.version == version) else {
                panic!(
                    "version {version} of the records of `{name}` is new. Once it is as it should be, add to \
                    SHIPPED in \
                     server/src/storage/redb/shipped.rs:\n    ShippedVersion {{\n        table: {name:?},\n        \
                     version: {version},\n        fields: &{fields:?},\n        key: {key:?},\n        value: \
                     {value:?},\n    \
                     }},\nand run: cargo xtask docs"
                );
            };
            assert!(
                shipped.fields == fields && (shipped.key, shipped.value) == (&key, &value),
                "a shipped record version changed: version {version} of `{name}`.\n  shipped: {:?}\n  {}\n  now:     \
                 {fields:?}\n  {value}\nFiles in the field hold such records, and could no longer be read. A new field \
                 says `.since({next}, …)` in server/src/storage/models.rs, and what older records have in its place; \
                 nothing else of a shipped version changes (CONTRIBUTING.md, \"A field\").",
                shipped.fields,
                shipped.value,
                next = version + 1
            );
        }
    }

    #[test]
    fn every_shipped_version_is_still_read() {
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        for shipped in SHIPPED {
            let table = CATALOGUE.iter().find(|table| table.describe().name == shipped.table);
            let table = table.unwrap_or_else(|| panic!("the table {} was shipped and is gone", shipped.table));
            let read = table.read(&bytes(shipped.key), &bytes(shipped.value));
            assert!(read.is_ok(), "version {} of {}: {read:?}", shipped.version, shipped.table);
            let damaged = table.read(&bytes(shipped.key), &bytes(&format!("{}00", shipped.value)));
            assert!(damaged.is_err());
        }
    }
}
