//! Index entries have no checksum of their own: what they point to has to be what was asked for.

use std::path::Path;

use decentcom_kvstore::redb::{Database, ReadableDatabase, TableDefinition};

use super::*;

/// Puts an entry into an index behind the store's back.
fn tamper(path: &Path, index: &str, key: &[u8], value: &[u8]) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let index = TableDefinition::<&[u8], &[u8]>::new(index);
    transaction.open_table(index).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

/// What lies under a key.
fn value_at(path: &Path, table: &str, key: &[u8]) -> Vec<u8> {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap();
    table.get(key).unwrap().unwrap().value().to_vec()
}

fn bytes_of(id: &str) -> [u8; 16] {
    Ulid::from_string(id).unwrap().to_bytes()
}

#[tokio::test]
async fn a_key_never_finds_another_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let (_, bob) = (store.create_user("ada's key", None).await.unwrap(), store.create_user("bob", None).await.unwrap());
    store.close().await.unwrap();
    tamper(&path, "users_by_pubkey", b"ada's key", &bytes_of(&bob.id.text()));
    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let found = store.get_user_by_pubkey("ada's key").await;
    assert!(matches!(found, Err(StorageError::Corrupt { .. })), "{found:?}");
    assert_eq!(store.get_user_by_pubkey("bob").await.unwrap(), Some(bob));
}

#[tokio::test]
async fn an_id_never_finds_another_message() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let user = store.create_user("key", None).await.unwrap();
    let room = store.create_channel("room", None, 0).await.unwrap();
    let post = async |text| store.create_message(&room.id.text(), &user.id.text(), text).await.unwrap();
    let (one, other) = (post("one").await, post("other").await);
    store.close().await.unwrap();
    let place = [bytes_of(&room.id.text()).as_slice(), &[0], &bytes_of(&other.id.text())].concat();
    tamper(&path, "messages_by_id", &bytes_of(&one.id.text()), &place);
    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let found = store.get_message(&one.id.text()).await;
    assert!(matches!(found, Err(StorageError::Corrupt { .. })), "{found:?}");
    assert_eq!(store.get_message(&other.id.text()).await.unwrap(), Some(other));
}

/// The place is part of a record's checksum.
#[tokio::test]
async fn a_page_shows_no_message_that_does_not_belong_there() {
    let directory = tempfile::tempdir().unwrap();
    for is_deleted in [false, true] {
        let path = directory.path().join(is_deleted.to_string());
        let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
        let user = store.create_user("key", None).await.unwrap();
        let room = store.create_channel("room", None, 0).await.unwrap();
        let other = store.create_channel("other", None, 0).await.unwrap();
        let message = store.create_message(&other.id.text(), &user.id.text(), "not for this room").await.unwrap();
        if is_deleted {
            store.delete_message(&message.id.text()).await.unwrap();
        }
        store.close().await.unwrap();
        let place = |channel: &str, deleted: u8| {
            [bytes_of(channel).as_slice(), &[deleted], &bytes_of(&message.id.text())].concat()
        };
        let value = value_at(&path, "messages", &place(&other.id.text(), is_deleted.into()));
        let shown_in = if is_deleted { &other.id } else { &room.id };
        tamper(&path, "messages", &place(&shown_in.text(), 0), &value);
        let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
        let page = store.list_messages(&shown_in.text(), None, 5).await;
        assert!(matches!(page, Err(StorageError::Corrupt { .. })), "{page:?}");
    }
}
