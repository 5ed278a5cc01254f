//! `schema-docs/decode.py`, which was written from the page alone, against `dcstore dump`: the proof that the page
//! suffices.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, LazyLock},
    time::Duration,
};

use clap::Parser as _;
use dcstore::{Session, cli::Cli, run};
use decentcom_kvstore::hex;
use decentcom_server::storage::{
    self, Admission, Backend, Challenge, Clock as _, Entity, LogIn, ManualClock, RedbOptions, Storage, StorageError,
    StorageOptions, Timestamp,
    inspect::{self, Direction, RawRange, Records},
};
use tempfile::TempDir;

/// Every table and index of a redb store; `purges` first, as the script asks.
const TABLES: [&str; 13] = [
    "purges",
    "meta",
    "users",
    "users_by_pubkey",
    "members_by_id",
    "channels",
    "categories",
    "messages",
    "messages_by_id",
    "sessions",
    "sessions_by_user",
    "sessions_by_expiry",
    "used_challenges",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs dcstore; answers what it wrote.
fn dcstore(arguments: &[&str]) -> String {
    let cli = Cli::try_parse_from(["dcstore"].iter().chain(arguments)).unwrap();
    let mut out = Vec::new();
    let _ = run(cli.command, &Session::silent(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Runs the script on rows.
fn decode(rows: &str, arguments: &[&str]) -> Output {
    let mut script = Command::new("python3")
        .arg(repository().join("schema-docs/decode.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs python3 (.ci/run installs it): {error}"));
    let mut input = script.stdin.take().unwrap();
    let rows = rows.to_owned();
    let writing = std::thread::spawn(move || input.write_all(rows.as_bytes()));
    let output = script.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    output
}

fn decoded(rows: &str, arguments: &[&str]) -> Vec<String> {
    let Output { status, stdout, stderr } = decode(rows, arguments);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Texts that have broken other programs.
fn texts() -> Vec<String> {
    let nasty = std::fs::read_to_string(repository().join("tests/data/blns.json")).unwrap();
    let mut texts: Vec<String> = serde_json::from_str(&nasty).unwrap();
    // Lengths on both sides of each step of a number's encoding.
    texts.extend([0, 1, 249, 250, 251, 252, 65_535, 65_536].map(|length| "x".repeat(length)));
    texts
}

async fn fill(store: &Arc<dyn Storage>, clock: &ManualClock) {
    let texts = texts();
    let name = |text: &str| Some(text.to_owned()).filter(|it| (1..=1000).contains(&it.len()));
    let mut users = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        clock.advance(Duration::from_millis(number as u64));
        // Some of them may be no name.
        let named = store.create_user(&format!("key {number}"), name(text).as_deref()).await;
        let user = match named {
            Err(StorageError::InvalidInput { .. }) => store.create_user(&format!("key {number}"), None).await,
            named => named,
        };
        let user = user.unwrap();
        if number % 3 == 0 {
            clock.advance(Duration::from_millis(7));
            store.update_user(&user.id.text(), Some(""), name(text).as_deref()).await.unwrap();
        }
        users.push(user.id);
    }
    for number in [0, 1, u32::MAX] {
        let challenge = Challenge { slot: Challenge::slot_at(clock.now()), number };
        let (pubkey, admission) =
            (format!("bot {number}"), if number == 1 { Admission::Visit } else { Admission::Join });
        let log_in = LogIn { pubkey, challenge, admission, is_bot: number > 0, duration: Duration::from_secs(60) };
        store.log_in(log_in).await.unwrap();
    }
    let category = store.create_category("music", i32::MIN).await.unwrap();
    store.create_category("talk", i32::MAX).await.unwrap();
    let mut channels = Vec::new();
    for position in [0, 1, -1, 125, 126, -125, -126, 32_767, 32_768, -32_769, i32::MAX, i32::MIN] {
        let channel = store.create_channel("room", Some(&*category.id.text()), position).await.unwrap();
        channels.push(channel.id);
    }
    store.update_channel(&channels[0].text(), None, Some("topic \u{1F600}"), None).await.unwrap();
    for (number, text) in texts.iter().enumerate() {
        let channel = &channels[number % 3];
        // In some of them there is nothing to see.
        let message = match store.create_message(&channel.text(), &users[number].text(), text).await {
            Err(StorageError::InvalidInput { .. }) => {
                store.create_message(&channel.text(), &users[number].text(), &format!("{text}.")).await
            }
            posted => posted,
        };
        let message = message.unwrap();
        clock.advance(Duration::from_millis(3));
        if number % 2 == 0 {
            store.update_message(&message.id.text(), &format!("{text} edited")).await.unwrap();
        }
        if number % 5 == 0 {
            store.delete_message(&message.id.text()).await.unwrap();
        }
        store.create_session(&users[number].text(), Duration::from_millis(1 + number as u64)).await.unwrap();
    }
}

/// A store of many records, made once.
static STORE: LazyLock<(TempDir, String)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    tokio::runtime::Runtime::new().unwrap().block_on(make(&path));
    let address = format!("redb:{}", path.display());
    (directory, address)
});

async fn make(path: &Path) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_704_067_200_000).unwrap()));
    let options = StorageOptions {
        backend: Backend::Redb,
        path: path.into(),
        redb: RedbOptions::default(),
        min_free: Default::default(),
    };
    let store = storage::open(&options, clock.clone()).await.unwrap();
    fill(&store, &clock).await;
    store.close().await.unwrap();
}

fn raw_rows(address: &str) -> String {
    TABLES.map(|table| dcstore(&["scan", address, table, "--raw", "--format", "json"])).concat()
}

/// The records of a dump, without what frames them.
fn dumped(address: &str) -> Vec<String> {
    let dump = dcstore(&["dump", address, "--include-sessions"]);
    dump.lines().filter(|line| line.starts_with("{\"table\":")).map(str::to_owned).collect()
}

#[test]
fn a_reader_written_from_the_page_alone_agrees_with_the_dump() {
    let (_, address) = &*STORE;
    let rows = raw_rows(address);
    let (mut read, mut dumped) = (decoded(&rows, &[]), dumped(address));
    assert!(dumped.len() > 3 * texts().len());
    read.sort();
    dumped.sort();
    let difference = read.iter().zip(&dumped).find(|(one, other)| one != other);
    assert!(read == dumped, "{} and {} lines; {difference:#?}", read.len(), dumped.len());

    // Index entries and facts too: nothing is left out.
    assert_eq!(decoded(&rows, &["--all"]).len(), rows.lines().count());
}

#[test]
fn what_belongs_to_a_deleted_channel_is_left_out() {
    let mut example = inspect::example(Backend::Redb).unwrap();
    let mut rows = String::new();
    for table in ["purges", "messages"] {
        for row in example.read(table, &RawRange::ALL, Direction::Forward, 100).unwrap() {
            let (key, value) = (hex(row.place()), hex(row.value().unwrap()));
            rows.push_str(&format!("{{\"table\":\"{table}\",\"key\":\"{key}\",\"value\":\"{value}\"}}\n"));
        }
    }
    let mut records = Records::new(Entity::Message, &mut *example).unwrap();
    let mut visible = 0;
    while records.next(&mut *example).unwrap().is_some() {
        visible += 1;
    }
    assert_eq!(decoded(&rows, &[]).len(), visible);
    assert_eq!(decoded(&rows, &["--all"]).len(), rows.lines().count());
    assert!(visible + 1 < rows.lines().count(), "the example has a message that nobody may see");
}

#[test]
fn the_reader_knows_every_table_and_index() {
    let tables = storage::declared::redb_tables();
    let names =
        tables.iter().flat_map(|table| [table.name].into_iter().chain(table.indexes.iter().map(|index| index.name)));
    let names: BTreeSet<_> = names.chain(["meta"]).collect();
    assert_eq!(names, TABLES.into(), "name it in TABLES above, and in schema-docs/decode.py");
}

#[test]
fn the_rows_on_the_page_are_read_too() {
    let page = std::fs::read_to_string(repository().join("schema-docs/key-value.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("{\"table\":")).collect();
    let tables: BTreeSet<_> = rows.iter().map(|row| row.split('"').nth(3).unwrap()).collect();
    assert_eq!(tables, TABLES.into());
    assert_eq!(decoded(&rows.join("\n"), &["--all"]).len(), rows.len());
}

#[test]
fn the_reader_notices_every_flipped_bit_of_a_record() {
    let page = std::fs::read_to_string(repository().join("schema-docs/key-value.md")).unwrap();
    let row = page.lines().find(|line| line.starts_with("{\"table\":\"messages\"")).unwrap();
    let (before, value) = row.split_once("\"value\":\"").unwrap();
    let digits = value.trim_end_matches("\"}");
    let mut rows = String::new();
    for (at, digit) in digits.char_indices() {
        for bit in 0..4 {
            let flipped = char::from_digit(digit.to_digit(16).unwrap() ^ (1 << bit), 16).unwrap();
            let damaged = format!("{}{flipped}{}", &digits[..at], &digits[at + 1..]);
            rows.push_str(&format!("{before}\"value\":\"{damaged}\"}}\n"));
        }
    }
    let output = decode(&rows, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 4 * digits.len());
}

/// The third column of the page of fields; the others are held to the server by its own test.
#[test]
fn the_page_of_fields_names_every_field_of_a_dump_and_no_other() {
    let page = std::fs::read_to_string(repository().join("schema-docs/fields.md")).unwrap();
    let dumped = dumped(&STORE.1);
    for section in page.split("\n## ").skip(1) {
        let table = section.lines().next().unwrap();
        let record = dumped.iter().find(|line| line.starts_with(&format!("{{\"table\":\"{table}\"")));
        let fields: serde_json::Map<String, serde_json::Value> =
            record.map(|record| serde_json::from_str(record).unwrap()).unwrap_or_default();
        let fields: BTreeSet<_> = fields.keys().map(String::as_str).filter(|field| *field != "table").collect();
        let lines = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        let cells = lines.filter_map(|line| line.split('|').nth(3)?.trim().strip_prefix('`')?.strip_suffix('`'));
        assert_eq!(cells.collect::<BTreeSet<_>>(), fields, "schema-docs/fields.md, {table}: on the left what it says");
    }
}
