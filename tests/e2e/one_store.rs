//! One store, one server, whatever the file is called and wherever it goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use rustix::process::Signal;
use support::{Server, User, posting::Posting, program, small_disk::with_bind_mount};

/// How long after a file was taken away posts may still be acknowledged.
const EXCUSED: Duration = Duration::from_secs(1);

/// A server with somebody who posts.
struct Busy {
    place: tempfile::TempDir,
    backend: &'static str,
    server: Server,
    user: User,
    channel: String,
    posting: Posting,
}

impl Busy {
    async fn start(backend: &str) -> Self {
        let backend = if backend == "redb" { "redb" } else { "sqlite" };
        let place = tempfile::tempdir().unwrap();
        let server = Server::start(place.path(), backend);
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;
        let posting = Posting::start(&user, &channel);
        posting.wait_for(20, |it| it.status.is_success()).await;
        Self { place, backend, server, user, channel, posting }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The database file.
    fn store(&self) -> PathBuf {
        self.path(&format!("data/decentcom.{}", self.backend))
    }

    /// Starts a second server on the file of this name; what it says when it refuses.
    fn second(&self, name: &Path) -> String {
        refusal(program(self.place.path()), self.backend, name)
    }
}

/// What a server says that does not start on the file of this name.
fn refusal(mut command: Command, backend: &str, name: &Path) -> String {
    command.env("DECENTCOM_STORAGE__DATABASE_PATH", name);
    let began = Instant::now();
    match Server::launch(command, backend) {
        Ok(_) => panic!("a second server started on {}", name.display()),
        Err(log) => {
            assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
            log
        }
    }
}

async fn a_second_server_is_refused_under_every_name_of_the_file(backend: &str) {
    let busy = Busy::start(backend).await;
    let store = busy.store();
    fs::create_dir(busy.path("elsewhere")).unwrap();
    fs::hard_link(&store, busy.path("elsewhere/hard")).unwrap();
    symlink(&store, busy.path("elsewhere/soft")).unwrap();
    symlink(busy.path("elsewhere/hard"), busy.path("elsewhere/soft to the hard one")).unwrap();
    for name in ["elsewhere/hard", "elsewhere/soft", "elsewhere/soft to the hard one"] {
        let said = busy.second(&busy.path(name));
        assert!(said.contains("is in use by") && said.contains("Stop it first"), "{name}: {said}");
    }
    let left: Vec<_> = fs::read_dir(busy.path("elsewhere")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing was left beside a name that was refused: {left:?}");

    // Through a directory that is mounted in a second place, and through the file mounted over another.
    fs::create_dir(busy.path("mounted")).unwrap();
    fs::write(busy.path("a file"), "").unwrap();
    for (from, to, name) in
        [("data", "mounted", format!("mounted/decentcom.{backend}")), ("elsewhere/hard", "a file", "a file".into())]
    {
        let mounted = with_bind_mount(busy.place.path(), &busy.path(from), &busy.path(to));
        let said = refusal(mounted, backend, &busy.path(&name));
        assert!(said.contains("is in use by"), "{name}: {said}");
    }
    busy.posting.wait_for(5, |it| it.status.is_success()).await;

    // And after it has got another name.
    fs::rename(&store, busy.path("elsewhere/renamed")).unwrap();
    let said = busy.second(&busy.path("elsewhere/renamed"));
    assert!(said.contains("is in use by"), "{said}");
}

/// Ways to take a store's file from under its server; each may leave it somewhere.
type Taking = (&'static str, fn(&Path), Option<&'static str>);

const TAKINGS: [Taking; 5] = [
    ("moved", |store| fs::rename(store, store.with_file_name("moved")).unwrap(), Some("moved")),
    ("deleted", |store| fs::remove_file(store).unwrap(), None),
    (
        "replaced",
        |store| {
            fs::hard_link(store, store.with_file_name("kept")).unwrap();
            fs::write(store.with_file_name("new"), "another file").unwrap();
            fs::rename(store.with_file_name("new"), store).unwrap();
        },
        Some("kept"),
    ),
    (
        "its directory moved",
        |store| fs::rename(store.parent().unwrap(), store.parent().unwrap().with_file_name("data moved")).unwrap(),
        Some("../data moved/"),
    ),
    (
        "its directory replaced",
        |store| {
            let data = store.parent().unwrap();
            fs::rename(data, data.with_file_name("data moved")).unwrap();
            fs::create_dir(data).unwrap();
            fs::write(store, "another file").unwrap();
        },
        Some("../data moved/"),
    ),
];

async fn a_store_that_is_taken_away_acknowledges_nothing_more(backend: &str) {
    for (how, take, left_at) in TAKINGS {
        let mut busy = Busy::start(backend).await;
        let store = busy.store();
        let taken = Instant::now();
        take(&store);
        busy.posting.wait_for(10, |it| it.at > taken + EXCUSED).await;
        let late: Vec<_> = busy.posting.answers().into_iter().filter(|it| it.at > taken + EXCUSED).collect();
        assert!(late.iter().all(|it| it.status == StatusCode::SERVICE_UNAVAILABLE), "{how}: {late:?}");
        busy.server.says("no change is taken until it is back").await;
        let log = busy.server.log();
        assert_eq!(log.matches("no change is taken until it is back").count(), 1, "{how}: {log}");
        assert!(log.contains("while the server had it open"), "{how}: {log}");

        // A stop is not in good order, and says so.
        busy.server.signal(Signal::TERM);
        let status = busy.server.ended();
        let log = busy.server.log();
        assert_eq!(status.code(), Some(1), "{how}: {log}");
        assert!(!log.contains("everything acknowledged is stored"), "{how}: {log}");

        // What was acknowledged is in the file, wherever that is.
        let Some(left_at) = left_at else { continue };
        let mut now_at = store.parent().unwrap().join(left_at);
        if left_at.ends_with('/') {
            now_at = busy.path("data moved").join(store.file_name().unwrap());
        }
        let settings = [("DECENTCOM_STORAGE__DATABASE_PATH", now_at.to_str().unwrap())];
        let server = Server::start_with(busy.place.path(), backend, &settings);
        assert_all_there(&busy.user.at(&server), &busy.channel, &busy.posting, Instant::now(), how).await;
    }
}

async fn assert_all_there(user: &User, channel: &str, posting: &Posting, until: Instant, how: &str) {
    let history = user.history(channel, 100).await;
    let found: std::collections::HashSet<_> = history.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = posting.acknowledged(until).into_iter().filter(|id| !found.contains(id)).collect();
    assert!(missing.is_empty(), "{how}: {} acknowledged posts are missing", missing.len());
}

async fn a_store_that_is_idle_notices_it_too(backend: &str) {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(place.path(), backend);
    let store = place.path().join(format!("data/decentcom.{backend}"));
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    fs::rename(&store, store.with_file_name("away")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.log().contains("no change is taken until it is back") {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let ready = reqwest::get(server.url("/health/ready")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().await.unwrap().contains("moved, replaced or deleted"));
    // Reads go on, and changes once it is back.
    user.history(&channel, 10).await;
    fs::rename(store.with_file_name("away"), &store).unwrap();
    user.post(&channel, "here again").await;
    server.says("changes are taken again").await;
}

/// Of SQLite, the log and its index belong to the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_taken_away_stops_acknowledgements_and_loses_nothing() {
    for (suffix, end) in
        [("-wal", Signal::TERM), ("-wal", Signal::KILL), ("-shm", Signal::TERM), ("-shm", Signal::KILL)]
    {
        let busy = Busy::start("sqlite").await;
        let log = busy.path(&format!("data/decentcom.sqlite{suffix}"));
        let taken = Instant::now();
        fs::remove_file(&log).unwrap();
        busy.posting.wait_for(10, |it| it.at > taken + EXCUSED).await;
        let late = busy.posting.answers();
        let late = late.iter().filter(|it| it.at > taken + EXCUSED);
        assert!(late.clone().all(|it| it.status == StatusCode::SERVICE_UNAVAILABLE), "{suffix}");
        busy.server.signal(end);
        let (status, _) = busy.server.wait();
        assert_eq!(status.code(), (end == Signal::TERM).then_some(1));
        let server = Server::start(busy.place.path(), "sqlite");
        assert_all_there(&busy.user.at(&server), &busy.channel, &busy.posting, taken, suffix).await;
    }
}

/// Whoever puts a file in the log's place keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_in_the_place_of_a_log_is_not_removed() {
    let busy = Busy::start("sqlite").await;
    let log = busy.path("data/decentcom.sqlite-wal");
    fs::rename(&log, log.with_file_name("taken")).unwrap();
    fs::write(&log, "somebody's").unwrap();
    busy.posting.wait_for(3, |it| it.status == StatusCode::SERVICE_UNAVAILABLE).await;
    busy.server.signal(Signal::TERM);
    assert_eq!(busy.server.wait().0.code(), Some(1));
    assert_eq!(fs::read_to_string(&log).unwrap(), "somebody's");
    // With the log back in its place nothing is missing.
    fs::rename(log.with_file_name("taken"), &log).unwrap();
    let server = Server::start(busy.place.path(), "sqlite");
    assert_all_there(&busy.user.at(&server), &busy.channel, &busy.posting, Instant::now(), "put back").await;
}

/// A shell, a viewer or a backup beside the server, by processes that come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_read_a_running_store_and_keep_nobody_from_posting() {
    let busy = Busy::start("sqlite").await;
    for _ in 0..5 {
        let script = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM messages').fetchone()[0])";
        let read = Command::new("python3").args(["-c", script]).arg(busy.store()).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let said = busy.second(&busy.store());
        assert!(said.contains("is in use by"), "{said}");
        busy.posting.wait_for(3, |it| it.status.is_success()).await;
    }
    assert!(busy.posting.answers().iter().all(|it| it.status.is_success()));
    busy.server.kill();
    let server = Server::start(busy.place.path(), "sqlite");
    assert_all_there(&busy.user.at(&server), &busy.channel, &busy.posting, Instant::now(), "beside readers").await;
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    for backend in ["sqlite", "redb"] {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        symlink("pipe", at("link to the pipe")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("store.lock")).unwrap();
        let long = "x".repeat(250);
        for (name, expected) in [
            (at("pipe"), "it is a named pipe"),
            (at("link to the pipe"), "it is a named pipe"),
            (at("directory"), "it is a directory"),
            (at("socket"), "it is a socket"),
            ("/dev/null".into(), "it is a device"),
            (at("store"), "in the place of a file that belongs to"),
        ] {
            let said = refusal(program(place.path()), backend, &name);
            assert!(said.to_lowercase().contains(&expected.to_lowercase()), "{backend} {}: {said}", name.display());
        }
        for (name, expected) in [
            (":memory:".into(), "not in memory"),
            ("file:store?mode=memory".into(), "Leave `file:`"),
            (at(&long), "Choose a shorter name"),
        ] {
            let mut command = program(place.path());
            command.env("DECENTCOM_STORAGE__BACKEND", backend).env("DECENTCOM_STORAGE__DATABASE_PATH", name);
            let ended = command.output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(2), "{said}");
            assert!(said.contains("database_path") && said.contains(expected), "{said}");
        }
        if backend == "sqlite" {
            for companion in ["-wal", "-shm", "-journal"] {
                assert!(Command::new("mkfifo").arg(at(&format!("db{companion}"))).status().unwrap().success());
                let said = refusal(program(place.path()), backend, &at("db"));
                assert!(said.contains(companion) && said.contains("named pipe"), "{said}");
                fs::remove_file(at(&format!("db{companion}"))).unwrap();
            }
        }
        assert!(!at("db").exists() && !at(":memory:").exists());
    }
}

over_each_backend! {
    a_second_server_is_refused_under_every_name_of_the_file
    a_store_that_is_taken_away_acknowledges_nothing_more
    a_store_that_is_idle_notices_it_too
}
