//! Files of programs before the messages of a channel lay together (redb formats 1 and 2, SQLite migrations 1 to 3): a start
//! lays them out anew, whatever happens meanwhile, and looking at them needs no start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[path = "older_files/made.rs"]
mod made;
#[macro_use]
mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use decentcom_kvstore::redb::ReadableTable as _;
use decentcom_server::storage::{
    Backend, Entity, Message, MessageId,
    inspect::{self, Moment, Records, Row},
};
use reqwest::Method;
use serde_json::Value;
use support::{
    Server, program,
    rows::{bytes, change_redb, database, findings, message_place},
};

/// The messages of a store, as `dcstore` sees them.
async fn messages(directory: &Path, backend: &str) -> BTreeMap<MessageId, Message> {
    let path = database(directory, backend);
    let backend = if backend == "redb" { Backend::Redb } else { Backend::Sqlite };
    let reading = tokio::task::spawn_blocking(move || {
        let mut store = inspect::open(backend, &path, Moment::One, &mut |_| Ok(())).unwrap();
        let mut records = Records::new(Entity::Message, &mut *store).unwrap();
        let mut found = BTreeMap::new();
        while let Some(row) = records.next_or_damaged(&mut *store).unwrap() {
            let Ok(Row::Message(message)) = row else { continue };
            let newest = found.last_key_value().map(|(id, _)| *id);
            assert!(newest.is_none_or(|newest| newest < message.id), "by id, each once");
            found.insert(message.id, (*message).clone());
        }
        found
    });
    reading.await.unwrap()
}

/// The names of what lies beside the database and was made while it was laid out anew.
fn beside(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory.join("data")).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains("format")).collect();
    names.sort();
    names
}

async fn a_start_lays_an_older_file_out_anew(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let made = made::older_file(&database(directory, backend), backend, 3000).await;
    fs::set_permissions(database(directory, backend), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(messages(directory, backend).await, made.messages, "looking at it needs no start");
    if backend == "redb" {
        // What a start left that was cut short is nothing to go on with.
        fs::write(directory.join("data/decentcom.redb.format-3.partial"), "cut short").unwrap();
    }

    let server = Server::start(directory, backend);
    server.says("anew").await;
    let user = server.log_in(1).await;
    let (channel, live) = made.live();
    let history = user.history(&channel, 3000).await;
    let shown: Vec<_> = history.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, live);
    user.post(&channel, "and it goes on").await;
    server.signal(rustix::process::Signal::TERM);
    tokio::task::spawn_blocking(move || server.wait()).await.unwrap();

    let now = messages(directory, backend).await;
    assert_eq!(now.len(), made.messages.len() + 1);
    assert!(made.messages.iter().all(|(id, message)| now[id] == *message));
    assert_eq!(findings(directory, backend).await, []);
    assert_eq!(fs::metadata(database(directory, backend)).unwrap().mode() & 0o777, 0o640);
    if backend == "redb" {
        assert_eq!(beside(directory), ["decentcom.redb.before-format-3"]);
        let kept = directory.join("kept");
        fs::create_dir_all(kept.join("data")).unwrap();
        fs::rename(directory.join("data/decentcom.redb.before-format-3"), database(&kept, backend)).unwrap();
        assert_eq!(messages(&kept, backend).await, made.messages);
    }
}

/// Starts the server without waiting for it.
fn begin(directory: &Path, backend: &str) -> Child {
    let mut command = program(directory);
    command.env("DECENTCOM_STORAGE__BACKEND", backend).env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
    command.stderr(std::process::Stdio::null()).spawn().unwrap()
}

async fn a_start_that_is_killed_at_any_moment_loses_nothing(backend: &str) {
    const KILLS: u32 = 8;
    let (measured, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = made::older_file(&database(killed.path(), backend), backend, 20_000).await;
    fs::create_dir(measured.path().join("data")).unwrap();
    fs::copy(database(killed.path(), backend), database(measured.path(), backend)).unwrap();
    let began = Instant::now();
    Server::start(measured.path(), backend).kill();
    let whole = began.elapsed();
    let mut cut_short = 0;
    for kill in 1..=KILLS {
        let mut server = begin(killed.path(), backend);
        std::thread::sleep((whole * kill / KILLS).min(Duration::from_secs(20)));
        cut_short += u32::from(made::is_older(&database(killed.path(), backend), backend).await);
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(messages(killed.path(), backend).await, made.messages, "kill {kill}");
    }
    assert!(cut_short >= 2, "only {cut_short} starts were cut short");
    let server = Server::start(killed.path(), backend);
    server.signal(rustix::process::Signal::TERM);
    tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert_eq!(messages(killed.path(), backend).await, made.messages);
    if backend == "redb" {
        assert_eq!(
            beside(killed.path()),
            ["decentcom.redb.before-format-3"],
            "what starts that were cut short left is gone"
        );
    }
}

/// A hundred thousand deleted messages in a row, with live ones on both sides.
async fn a_page_does_not_walk_over_what_was_deleted(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let made = made::with_deleted(&database(directory.path(), backend), backend, 102_000, 1000..101_000).await;
    let server = Server::start(directory.path(), backend);
    let user = server.log_in(1).await;
    let (channel, live) = made.live();
    let before_the_run = live.iter().filter(|id| id.as_str() < made.id_of(101_000).as_str()).count();
    assert!(before_the_run > 20 && live.len() > before_the_run + 20, "there are live ones on both sides");
    // The page that begins behind the run goes on before it; one far from the run is what it costs otherwise.
    let (across, elsewhere) = (&live[before_the_run], &live[live.len() - 1]);
    let mut times = [across, elsewhere].map(|_| Vec::new());
    for _ in 0..50 {
        for (times, cursor) in times.iter_mut().zip([across, elsewhere]) {
            let began = Instant::now();
            let page = user
                .call(Method::GET, &format!("/channels/{channel}/messages?limit=20&before={cursor}"), Value::Null)
                .await;
            times.push(began.elapsed());
            assert_eq!(page.1["messages"].as_array().unwrap().len(), 20);
        }
    }
    let [across, elsewhere] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    assert!(across < elsewhere * 10, "{across:?} across what was deleted, {elsewhere:?} elsewhere");
}

over_each_backend! {
    a_start_lays_an_older_file_out_anew
    a_start_that_is_killed_at_any_moment_loses_nothing
    a_page_does_not_walk_over_what_was_deleted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_indexes_of_an_older_file_loses_no_message() {
    for (case, rebuilds) in
        [("a missing entry", true), ("an entry in place of another", true), ("a damaged record", false)]
    {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let mut made = made::older_file(&database(directory, "redb"), "redb", 500).await;
        let (channel, live) = made.live();
        let (one, other) = (&live[3], &live[4]);
        let entry = |channel: &str, id: &str| [bytes(channel), bytes(id)].concat();
        match case {
            "a damaged record" => change_redb(directory, "messages", |table| {
                let mut value = table.get(&bytes(one)[..]).unwrap().unwrap().value().to_vec();
                *value.last_mut().unwrap() ^= 1;
                table.insert(&bytes(one)[..], &value[..]).unwrap();
                made.messages.remove(&MessageId::parse(one).unwrap());
            }),
            _ => change_redb(directory, "messages_by_channel", |index| {
                index.remove(&entry(&channel, one)[..]).unwrap().unwrap();
                if case == "an entry in place of another" {
                    index.insert(&entry(&made.another_channel(), other)[..], &[][..]).unwrap();
                }
            }),
        }
        // As a start leaves it that was cut short right before the new file took the old one's place.
        fs::hard_link(database(directory, "redb"), directory.join("data/decentcom.redb.before-format-3")).unwrap();
        let server = Server::start(directory, "redb");
        let log = server.log();
        assert_eq!(log.contains("indexes of the old file"), rebuilds, "{case}: {log}");
        assert_eq!(beside(directory), ["decentcom.redb.before-format-3"], "{case}: kept once");
        server.signal(rustix::process::Signal::TERM);
        tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
        assert_eq!(messages(directory, "redb").await, made.messages, "{case}");
        assert_eq!(findings(directory, "redb").await, [], "{case}");
        let mut lies_there = false;
        change_redb(directory, "messages", |table| {
            lies_there = table.get(&message_place(&channel, other)[..]).unwrap().is_some();
        });
        assert!(lies_there, "{case}");
    }
}
