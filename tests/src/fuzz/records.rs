//! Rows of every table from arbitrary bytes under arbitrary keys.
//!
//! ```text
//!  table  key length  key  value
//!  1 byte 1 byte           to the end
//! ```

use decentcom_kvstore::HEADER_BYTES;
use decentcom_server::storage::declared::redb_catalogue;

pub(super) fn run(bytes: &[u8]) {
    let [table, length, rest @ ..] = bytes else { return };
    let catalogue = redb_catalogue();
    let table = catalogue[usize::from(*table) % catalogue.len()];
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let _ = table.rewrite(key, value); // the checksum refuses nearly everything here
    let sealed = sealed(key, value);
    let Ok(written) = table.rewrite(key, &sealed) else { return };
    let again = table.rewrite(key, &written).expect("what this program writes, it reads");
    assert_eq!(again, written);
}

/// `value` with the checksum that it should have, so that the bytes behind it are looked at.
fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if let Some((header, payload)) = value.split_at_mut_checked(HEADER_BYTES) {
        let sum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), &header[..1]), payload);
        header[1..].copy_from_slice(&sum.to_le_bytes());
    }
    value
}

pub(super) fn around(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    (0..redb_catalogue().len() as u8).map(|table| [&[table, 16], bytes].concat()).collect()
}

/// That the target gets past the checksum: without it, it would show nothing.
#[test]
fn a_sealed_row_is_read() {
    let key = [7; 16];
    let (name, position) = ([4, b'r', b'o', b'o', b'm'], [0]);
    let value = [&[1, 0, 0, 0, 0][..], &name, &position].concat(); // a category
    let row = redb_catalogue().iter().find(|it| it.describe().name == "categories").unwrap();
    assert!(row.rewrite(&key, &value).is_err());
    assert_eq!(row.rewrite(&key, &sealed(&key, &value)).unwrap(), sealed(&key, &value));
}
