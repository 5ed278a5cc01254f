//! What is frozen in format 1, and what damage and a full disk look like. Power loss and failing disks have files of
//! their own.

mod disk;
mod faults;
mod indexes;
mod power;
mod random;
mod workload;

use std::{fs, ops::Bound, path::Path};

use decentcom_kvstore::{
    Key as _, Record, Schema,
    redb::{StorageBackend as _, backends::FileBackend},
};

use self::disk::Disk;
use super::{older, place::Place, record::Stored, schema::PurgeRecord, table::Of, *};
use crate::storage::{
    self, AnsweredChallenge, Category, Channel, Clock, Message, SessionDigest, Storage, StoredSession, SystemClock,
    UsedChallenge, User, UserId, contract::model::Model, front::Room,
};

const KEY: [u8; 16] = [0x11; 16];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a store with the contract in front of it.
fn open(path: &Path, options: RedbOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Storage>, OpenError> {
    storage::start(super::open(path, options, || false)?, Room::unbounded(), clock)
}

/// The same, of a store that is open.
fn start(store: Store, clock: Arc<dyn Clock>) -> Result<Arc<dyn Storage>, OpenError> {
    storage::start(over(store)?, Room::unbounded(), clock)
}

/// The bytes of a record; its key is part of their checksum.
fn bytes_of<M: Model>(record: M) -> Vec<u8> {
    let key = if M::CLUSTER.is_some() { Place::of(&record).to_bytes() } else { KEY.to_vec() };
    Stored(record).to_bytes(&key).unwrap()
}

/// The bytes of every record version. If this fails, files in the field can no longer be read: a new field says since which
/// version it is there (CONTRIBUTING.md, "A field").
#[test]
#[allow(clippy::needless_update)] // a new field is blank here
fn golden_bytes_of_every_record_version() {
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    let (created_at, id) = (at(0), Ulid::from_bytes(KEY));
    let user = User {
        id: id.into(),
        pubkey: "key".into(),
        display_name: Some("Ada".into()),
        avatar_hash: None,
        is_bot: true,
        is_member: false,
        created_at,
        updated_at: at(300),
    };
    let channel = Channel {
        id: id.into(),
        name: "room".into(),
        topic: None,
        category_id: Some("c".into()),
        position: -3,
        created_at,
        updated_at: at(1_704_067_200_000),
    };
    let category = Category { id: id.into(), name: "music".into(), position: 70_000, created_at };
    let message = Message {
        id: id.into(),
        channel_id: Ulid::from_bytes([0x22; 16]).into(),
        author_id: Ulid::from_bytes([0x33; 16]).into(),
        content: "hé".into(),
        edited_at: Some(at(1_704_067_200_000)),
        deleted: true,
        created_at,
        ..Message::blank(id.into())
    };
    let session = StoredSession {
        digest: SessionDigest::from_bytes([0; 32]),
        user_id: Ulid::from_bytes([0x33; 16]).into(),
        created_at: at(1_704_067_200_000),
        expires_at: at(1_704_067_200_250),
    };
    let challenge = UsedChallenge { slot: 0, key_digest: [0; 32], number: 0 };
    let answered = AnsweredChallenge { challenge, expires_at: at(300) };
    for (name, bytes, golden) in [
        ("channels", bytes_of(channel), GOLDEN[1]),
        ("categories", bytes_of(category), GOLDEN[2]),
        ("messages", bytes_of(message.clone()), GOLDEN[8]),
        ("purges", PurgeRecord { name: "room".into() }.to_bytes(&KEY).unwrap(), GOLDEN[4]),
        ("sessions", bytes_of(session), GOLDEN[5]),
        ("users", bytes_of(user), GOLDEN[6]),
        ("used_challenges", bytes_of(answered), GOLDEN[7]),
    ] {
        assert_eq!(hex(&bytes), golden, "a shipped record version of {name} changed: see redb/shipped.txt");
    }
    // And those that are only read.
    let bytes = |golden: &str| -> Vec<u8> {
        (0..golden.len()).step_by(2).map(|at| u8::from_str_radix(&golden[at..at + 2], 16).unwrap()).collect()
    };
    let read = Stored::<Message>::from_bytes(&KEY, &bytes(GOLDEN[3])).unwrap().0;
    assert_eq!(read, Message { created_at: read.created_at, ..message });
    let old = Stored::<User>::from_bytes(&KEY, &bytes(GOLDEN[0])).unwrap().0;
    assert_eq!((old.pubkey.as_str(), old.display_name.as_deref(), old.updated_at), ("key", Some("Ada"), at(300)));
    assert!(!old.is_bot && old.is_member && old.id == UserId::from(id));
}

/// Computed from the description in `kvstore/src/schema/codec.rs` by another program.
const GOLDEN: [&str; 9] = [
    "010b37067f036b6579010341646100fb2c01",
    "01eab8ae9204726f6f6d0001016305fd00f451c28c010000",
    "0194d61b87056d75736963fce0220200",
    "01f92f66fb22222222222222222222222222222222333333333333333333333333333333330368c3a901fd00f451c28c01000001",
    "01e3369d5404726f6f6d",
    "01c39e617933333333333333333333333333333333fd00f451c28c010000fdfaf451c28c010000",
    "022bb6e1bc036b6579010341646100fb2c010100",
    "016172026afb2c01",
    "02ab9f4fa5333333333333333333333333333333330368c3a901fd00f451c28c010000",
];

/// A file that the first release wrote: two users, two channels, a category, four messages of which one was edited and
/// one deleted, a session.
#[tokio::test]
async fn a_file_of_an_older_format_opens_and_says_what_it_said() {
    for format in [1, 2] {
        opens_and_says_what_it_said(format).await;
    }
}

async fn opens_and_says_what_it_said(format: u32) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/format-{format}.redb"));
    fs::copy(&kept, &path).unwrap();
    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let users = store.list_users().await.unwrap();
    let names: Vec<_> = users.iter().map(|user| (user.pubkey.as_str(), user.display_name.as_deref())).collect();
    assert_eq!(names, [("ada's key", Some("Ada")), ("bob's key", None)]);
    let channels = store.list_channels().await.unwrap();
    let shown: Vec<_> = channels.iter().map(|it| (it.name.as_str(), it.topic.as_deref(), it.position)).collect();
    assert_eq!(shown, [("general", Some("everything"), 0), ("music", None, 1)]);
    let categories = store.list_categories().await.unwrap();
    assert_eq!(channels[1].category(), Some(categories[0].id));
    let page = store.list_messages(&channels[0].id.text(), None, 50).await.unwrap();
    let texts: Vec<_> = page.iter().map(|it| (&*it.content, it.edited_at.is_some())).collect();
    assert_eq!(texts, [("\u{1F600}", false), ("edited", true), ("one", false)]);
    assert_eq!(page[0].author_id, users[1].id);
    assert!(store.create_user("new key", None).await.unwrap().id > users[1].id);
    assert!(users.iter().all(|user| user.is_member && !user.is_bot));
    let members = store.list_members_page(None, 10).await.unwrap();
    assert_eq!(members.len(), 3, "those of before, and the new one");
    let expected = store.get_session("a token that nobody has").await.unwrap();
    assert_eq!(expected, None);
    store.close().await.unwrap();

    let mut findings = Vec::new();
    crate::storage::inspect::verify_file(crate::storage::Backend::Redb, &path, |finding| findings.push(finding))
        .unwrap();
    assert_eq!(findings, []);

    // Programs of that format say why they cannot, and have the file as it was.
    let old = Schema { format, oldest_reader: format, ..Schema::new(older::SHAPE.catalogue) };
    let refused = Options::default().open(&path, &old).err().unwrap();
    assert!(
        matches!(refused, decentcom_kvstore::CannotOpen::NewerFormat { found: 3, supported, .. } if supported == format),
        "{refused:?}"
    );
    let copy =
        Options::default().open(&directory.path().join(format!("store.before-format-{}", format + 1)), &old).unwrap();
    assert_eq!(copy.meta("format").unwrap(), Some(format.to_string().into_bytes()));
    assert_eq!(copy.snapshot().unwrap().len::<Of<User>>().unwrap(), 2);
}

async fn a_store_with_a_message(path: &Path) -> (String, String) {
    let store = open(path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let user = store.create_user("key", None).await.unwrap();
    let channel = store.create_channel("room", None, 0).await.unwrap();
    let text = "a text that can be found in the file";
    let message = store.create_message(&channel.id.text(), &user.id.text(), text).await.unwrap();
    store.close().await.unwrap();
    (channel.id.to_string(), message.id.to_string())
}

#[tokio::test]
async fn a_flipped_byte_in_a_value_is_corrupt_and_the_rest_still_answers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (channel, message) = a_store_with_a_message(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"can be found";
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let store = open(&path, RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    for result in [
        store.get_message(&message).await.map(drop),
        store.list_messages(&channel, None, 5).await.map(drop),
        store.update_message(&message, "new").await.map(drop),
    ] {
        match result {
            Err(StorageError::Corrupt { place, .. }) => assert!(place.contains("table messages, key 01"), "{place}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.list_users().await.unwrap().len(), 1);
    store.create_channel("another", None, 0).await.unwrap();
    store.close().await.unwrap();
    let mut findings = Vec::new();
    crate::storage::inspect::verify_file(crate::storage::Backend::Redb, &path, |finding| findings.push(finding.table))
        .unwrap();
    assert_eq!(findings, ["file", "messages"]);
}

#[tokio::test]
async fn quick_repair_keeps_the_same_promises() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = RedbOptions { quick_repair: true, ..RedbOptions::default() };
    for number in 0..3 {
        let store = open(&path, options, Arc::new(SystemClock)).unwrap();
        assert_eq!(store.list_users().await.unwrap().len(), number);
        store.create_user(&number.to_string(), None).await.unwrap();
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_their_name_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    a_store_with_a_message(&place("truncated")).await;
    let length = fs::metadata(place("truncated")).unwrap().len();
    fs::OpenOptions::new().write(true).open(place("truncated")).unwrap().set_len(length / 3).unwrap();
    fs::write(place("text"), "no database").unwrap();
    fs::write(place("sqlite"), b"SQLite format 3\0 and so on").unwrap();
    fs::create_dir(place("folder")).unwrap();
    let held = open(&place("held"), RedbOptions::default(), Arc::new(SystemClock)).unwrap();
    let newer = Schema { format: 4, oldest_reader: 4, ..Schema::new(SCHEMA.catalogue) };
    Options::default().open(&place("newer"), &newer).unwrap().close().unwrap();
    for (name, expected) in [
        ("truncated", "backup"),
        ("text", "not a redb database"),
        ("sqlite", "backend = \"sqlite\""),
        ("folder", "is a directory"),
        ("held", "is in use by "),
        ("newer", "newer decentcom (format 4; this program knows up to format 3)"),
    ] {
        let refused = open(&place(name), RedbOptions::default(), Arc::new(SystemClock));
        let error = refused.err().unwrap_or_else(|| panic!("{name} was opened")).to_string();
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
    held.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_synced() {
    let disk = Disk::default();
    let store = start(power::open_on(disk.clone(), false).unwrap(), workload::a_clock()).unwrap();
    let mut before = disk.syncs();
    for number in 0..20 {
        store.create_user(&number.to_string(), None).await.unwrap();
        let now = disk.syncs();
        assert!(now > before, "call {number} was acknowledged without a sync");
        before = now;
    }
    store.update_user("00000000000000000000000000", None, None).await.unwrap_err();
    store.delete_session("unknown").await.unwrap();
    assert_eq!(disk.syncs(), before, "what changes nothing commits nothing");
}

/// redb makes a new file long, writes its header, and its signature last, all under its lock.
#[tokio::test]
async fn a_file_that_another_process_is_creating_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::write(&path, [0; 4096]).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let creator = FileBackend::new(file).unwrap();
    assert!(creator.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
    let refused = open(&path, RedbOptions::default(), Arc::new(SystemClock));
    assert!(matches!(refused, Err(crate::storage::OpenError::InUse { .. })));
    assert_eq!(fs::read(&path).unwrap(), [0; 4096]);
}
