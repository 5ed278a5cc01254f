//! Metrics and events say what happened: the values, not that there are some.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor as _;
use support::{
    Server, User,
    gateway::Socket,
    metrics::{METERED, Scrape},
    rows::{change_redb, change_sqlite, database, message_place, sqlite},
};

const REQUESTS: &str = "decentcom_http_request_seconds";
const CALLS: &str = "decentcom_storage_call_seconds";
const BATCHES: &str = "decentcom_storage_batch_commands";
const COMMITS: &str = "decentcom_storage_commit_seconds";
const QUEUE: &str = "decentcom_storage_queue_commands";
const PAGES: &str = "decentcom_storage_newest_pages_total";
const SOCKETS: &str = "decentcom_gateway_sockets";
const CONNECTIONS: &str = "decentcom_connections";
const BYTES: &str = "decentcom_storage_file_bytes";

const FROM_THE_START: [&str; 12] = [
    REQUESTS,
    CALLS,
    BATCHES,
    COMMITS,
    QUEUE,
    PAGES,
    SOCKETS,
    BYTES,
    "decentcom_sessions_swept_total",
    "decentcom_storage_reclaim_channels",
    "decentcom_storage_reclaimed_messages_total",
    "decentcom_storage_reclaim_failures_total",
];

fn start(backend: &str, settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), backend, &[&[METERED], settings].concat());
    (directory, server)
}

/// A figure of a histogram or of a counter; none yet is zero.
fn figure(scrape: &Scrape, name: &str, part: &str, labels: &[&str]) -> f64 {
    scrape.get(&format!("{name}{part}"), labels).unwrap_or(0.0)
}

fn count(scrape: &Scrape, name: &str, labels: &[&str]) -> f64 {
    figure(scrape, name, "_count", labels)
}

fn sum(scrape: &Scrape, name: &str, labels: &[&str]) -> f64 {
    figure(scrape, name, "_sum", labels)
}

/// The table at the head of `http/metrics.rs`, of which README.md and operators live.
fn documented() -> BTreeSet<&'static str> {
    let source = include_str!("../../server/src/http/metrics.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
    rows.collect()
}

/// The metric that a figure belongs to.
fn of_histogram(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

async fn every_metric_there_is_is_documented_and_of_its_kind(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    user.post(&channel, "x").await;
    user.get(&format!("/channels/{channel}/messages")).await;
    drop(server.open_socket(&user).await);
    let scrape = server.until(|it| it.get("decentcom_sessions_swept_total", &[]).is_some()).await;
    let found: BTreeSet<_> = scrape.figures().map(|(name, ..)| of_histogram(name)).collect();
    let unknown: Vec<_> = found.difference(&documented()).copied().collect();
    assert!(unknown.is_empty(), "the table in http/metrics.rs says nothing of {unknown:?}");
    // Of some there is nothing to say before it happens; these are there from the first moment on.
    for name in FROM_THE_START {
        assert!(found.contains(name), "{name} is not there");
    }
    for name in found {
        let kind = match name {
            _ if name.ends_with("_total") => "counter",
            _ if name.ends_with("_seconds") || name == BATCHES => "histogram",
            _ => "gauge",
        };
        assert_eq!(scrape.kind(name), Some(kind), "{name}");
    }
}

async fn requests_and_store_calls_are_counted_by_what_became_of_them(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let other = server.log_in(2).await;
    let channel = user.channel("general").await;
    let messages = format!("/channels/{channel}/messages");
    let before = server.scrape().await;
    let began = Instant::now();
    for _ in 0..7 {
        user.post(&channel, "x").await;
    }
    let nobody = "00000000000000000000000000";
    for (method, path, body, status) in [
        (Method::GET, format!("{messages}?before=nonsense"), json!({}), 400),
        (Method::GET, format!("{messages}?limit=5"), json!({}), 200),
        (Method::POST, format!("/channels/{nobody}/messages"), json!({ "content": "x" }), 404),
        (Method::POST, messages.clone(), json!({ "content": "" }), 422),
        (Method::DELETE, format!("/channels/{channel}"), json!({}), 403),
        (Method::PUT, "/channels".into(), json!({}), 405),
    ] {
        assert_eq!(other.call(method, &path, body).await.0, status, "{path}");
    }
    let elapsed = began.elapsed().as_secs_f64();
    let after = server.scrape().await;
    let route = r#"route="/api/v1/channels/{channel_id}/messages""#;
    for (method, route, status, expected) in [
        ("POST", route, "200", 7.0),
        ("POST", route, "404", 1.0),
        ("POST", route, "422", 1.0),
        ("GET", route, "400", 1.0),
        ("GET", route, "200", 1.0),
        ("DELETE", r#"route="/api/v1/channels/{id}""#, "403", 1.0),
        ("PUT", r#"route="/api/v1/channels""#, "405", 1.0),
    ] {
        let labels = [&*format!(r#"method="{method}""#), route, &*format!(r#"status="{status}""#)];
        assert_eq!(count(&after, REQUESTS, &labels) - count(&before, REQUESTS, &labels), expected, "{labels:?}");
    }
    let all = count(&after, REQUESTS, &[]) - count(&before, REQUESTS, &[]);
    assert_eq!(all, 13.0);
    for (method, outcome, expected) in [
        ("create_message", "ok", 7.0),
        ("create_message", "not_found", 1.0),
        ("page_messages", "invalid_input", 1.0),
        ("page_messages", "ok", 1.0),
        ("delete_channel", "ok", 0.0),
    ] {
        let labels = [&*format!(r#"method="{method}""#), &*format!(r#"outcome="{outcome}""#)];
        assert_eq!(count(&after, CALLS, &labels) - count(&before, CALLS, &labels), expected, "{labels:?}");
    }
    // One call after the other: each had a commit of its own, and together they took no longer than the clock says.
    for (name, commits) in [(BATCHES, 8.0), (COMMITS, 8.0)] {
        let counted = count(&after, name, &[]) - count(&before, name, &[]);
        assert_eq!(counted, commits, "{name}, with the one for a channel that is not there");
    }
    assert_eq!(sum(&after, BATCHES, &[]) - sum(&before, BATCHES, &[]), 8.0);
    for name in [REQUESTS, CALLS, COMMITS] {
        let took = sum(&after, name, &[]) - sum(&before, name, &[]);
        assert!(took > 0.0 && took <= elapsed, "{name}: {took} of {elapsed} seconds");
    }
    let buckets: Vec<f64> =
        after.figures().filter(|(name, ..)| *name == format!("{REQUESTS}_bucket")).map(|(.., value)| value).collect();
    assert!(!buckets.is_empty());
}

/// A record that does not decode is an answer of 500, of its own outcome.
async fn damage_is_an_outcome_of_its_own(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), backend);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let id = user.post(&channel, "damaged").await;
    server.signal(rustix::process::Signal::TERM);
    tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    damage_message(directory.path(), backend, &channel, &id).await;
    let server = Server::start_with(directory.path(), backend, &[METERED]);
    let path = format!("/channels/{channel}/messages/{id}");
    let (status, answer) = user.at(&server).call(Method::GET, &path, json!({})).await;
    assert_eq!((status.as_u16(), answer), (500, json!({ "error": "internal error" })));
    let scrape = server.scrape().await;
    assert_eq!(count(&scrape, CALLS, &[r#"method="get_message""#, r#"outcome="corrupt""#]), 1.0);
    assert_eq!(count(&scrape, CALLS, &[r#"method="get_message""#, r#"outcome="ok""#]), 0.0);
    assert_eq!(count(&scrape, REQUESTS, &[r#"status="500""#]), 1.0);
}

async fn damage_message(directory: &Path, backend: &str, channel: &str, id: &str) {
    if backend == "redb" {
        let place = message_place(channel, id);
        change_redb(directory, "messages", |it| drop(it.insert(&place[..], &b"rubbish"[..]).unwrap()));
    } else {
        change_sqlite(directory, &format!("UPDATE messages SET edited_at = 'yesterday' WHERE id = '{id}'")).await;
    }
}

/// While another process has SQLite's lock, nothing can be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_commit_is_shown_while_it_waits_and_no_longer() {
    let (directory, server) = start("sqlite", &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    assert_eq!(server.scrape().await.value(QUEUE, &[]), 0.0);
    for round in 1..=2 {
        let before = server.scrape().await;
        let mut other = sqlite(directory.path()).await;
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        let began = Instant::now();
        let post = || {
            let (user, channel) = (user.clone(), channel.clone());
            tokio::spawn(async move { user.post(&channel, "x").await })
        };
        let mut posting = vec![post()];
        tokio::time::sleep(Duration::from_millis(300)).await; // so that not all of them are in the commit that stands still
        posting.extend((0..5).map(|_| post()));
        // The first is in the commit that stands still, the others come behind it.
        let held = tokio::time::timeout(Duration::from_secs(4), server.until(|it| it.value(QUEUE, &[]) >= 1.0)).await;
        let held = held.unwrap_or_else(|_| panic!("round {round}: nothing is shown to wait"));
        assert!(held.value(QUEUE, &[]) <= 6.0);
        tokio::time::sleep(Duration::from_millis(500)).await; // longer than anything else takes
        other.execute("ROLLBACK").await.unwrap();
        let waited = began.elapsed().as_secs_f64();
        for posting in posting {
            posting.await.unwrap();
        }
        let elapsed = began.elapsed().as_secs_f64();
        let after = server.until(|it| it.value(QUEUE, &[]) == 0.0).await;
        let (commands, commits) = (
            sum(&after, BATCHES, &[]) - sum(&before, BATCHES, &[]),
            count(&after, BATCHES, &[]) - count(&before, BATCHES, &[]),
        );
        assert_eq!(commands, 6.0);
        assert!((1.0..=5.0).contains(&commits), "{commits} commits for what waited together");
        // Seconds, as the name says: the commit that stood still took as long as it did.
        let took = sum(&after, COMMITS, &[]) - sum(&before, COMMITS, &[]);
        assert!(took >= waited * 0.5 && took <= elapsed, "{took} seconds, of {waited} to {elapsed}");
    }
}

async fn newest_pages_are_counted_by_whether_they_were_held(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let page = format!("/channels/{channel}/messages");
    let older = format!("{page}?before={}", user.post(&channel, "x").await);
    for path in [&page, &page, &page, &older] {
        user.get(path).await;
    }
    let scrape = server.scrape().await;
    assert_eq!(scrape.value(PAGES, &[r#"held="false""#]), 1.0, "the first is read from the store");
    assert_eq!(scrape.value(PAGES, &[r#"held="true""#]), 2.0, "an older page is none of them");
}

async fn sockets_are_counted_until_they_end_in_whatever_way(backend: &str) {
    let settings = [("DECENTCOM_GATEWAY__HEARTBEAT_INTERVAL", "1s"), ("DECENTCOM_GATEWAY__HEARTBEAT_TIMEOUT", "1s")];
    let (_directory, server) = start(backend, &settings);
    let user = server.log_in(1).await;
    let are = |open: f64| move |it: &Scrape| it.get(SOCKETS, &[]).unwrap_or(0.0) == open;
    for _ in 0..2 {
        let leaving = server.log_in(2).await;
        let silent = server.open_socket(&user).await; // ended for want of an answer
        let dropped = server.open_socket(&user).await;
        let logged_out = server.open_socket(&leaving).await;
        server.until(are(3.0)).await;
        drop(dropped);
        server.until(are(2.0)).await;
        leaving.call(Method::DELETE, "/auth/session", Value::Null).await;
        server.until(are(1.0)).await;
        assert_eq!(server.connect("nobodys-token").await.end().await, 4001);
        server.until(are(0.0)).await;
        drop((silent, logged_out));
    }
}

async fn connections_are_counted_until_they_end(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    for _ in 0..2 {
        let dialled = [server.dial().await, server.dial().await, server.dial().await];
        server.until(|it| it.value(CONNECTIONS, &[]) >= 3.0).await;
        drop(dialled);
        // The one that asks is counted too.
        server.until(|it| it.value(CONNECTIONS, &[]) <= 1.0).await;
    }
}

async fn the_size_is_what_all_the_files_take(backend: &str) {
    let (directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let mut before = 0.0;
    for _ in 0..2 {
        for _ in 0..30 {
            user.post(&channel, &"x".repeat(4000)).await;
        }
        let path = database(directory.path(), backend);
        let taken = || -> u64 {
            let files = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", path.display()));
            files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
        };
        // Checkpoints go on beside: it has to be right at some moment, with nothing changed meanwhile.
        let began = Instant::now();
        loop {
            let (one, said, other) = (taken(), server.scrape().await.value(BYTES, &[]), taken());
            if one == other && said == one as f64 {
                assert!(said > before, "{said} bytes after more was posted to {before}");
                before = said;
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{said} bytes, of {one} to {other}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if backend == "sqlite" {
        let log = format!("{}-wal", database(directory.path(), backend).display());
        assert!(std::fs::metadata(log).unwrap().len() > 0, "the log is among them");
    }
}

/// The next event, which has to be this one.
async fn event(socket: &mut Socket, op: &str) -> Value {
    let (found, payload) = socket.event().await;
    assert_eq!(found, op, "{payload}");
    payload
}

/// Both have the same values under every name that both have, and these names among them.
fn agree(event: &Value, shown: &Value, names: &[&str]) {
    let (event, shown) = (event.as_object().unwrap(), shown.as_object().unwrap());
    for name in names {
        assert!(event.contains_key(*name), "{name} is not in {event:?}");
    }
    for (name, value) in event {
        assert!(shown.get(name).is_none_or(|it| it == value), "{name}: {value}, and {:?} is shown", shown[name]);
    }
}

async fn make(user: &User, path: &str, body: Value) -> Value {
    user.ok(Method::POST, path, body).await
}

async fn every_event_has_the_values_that_the_api_shows(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let mut socket = server.open_socket(&user).await;
    socket.subscribe(&channel).await;
    let messages = format!("/channels/{channel}/messages");
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    for round in 0..2 {
        let posted = make(&user, &messages, json!({ "content": format!("first {round}") })).await;
        assert_eq!(event(&mut socket, "MESSAGE_CREATE").await, posted);
        assert_eq!((&posted["channel_id"], &posted["author_id"]), (&json!(channel), &json!(user.id)));
        assert_eq!((&posted["edited_at"], &posted["deleted"]), (&Value::Null, &json!(false)));
        let path = format!("{messages}/{}", text(&posted["id"]));
        let mut last = text(&posted["created_at"]);
        for edit in 0..2 {
            let edited = user.ok(Method::PATCH, &path, json!({ "content": format!("edit {edit}") })).await;
            assert_eq!(event(&mut socket, "MESSAGE_UPDATE").await, edited);
            assert_eq!(user.get(&path).await, edited);
            assert_eq!(
                (&edited["created_at"], &edited["content"]),
                (&posted["created_at"], &json!(format!("edit {edit}")))
            );
            assert!(text(&edited["edited_at"]) >= last, "{edited}");
            last = text(&edited["edited_at"]);
        }
        user.call(Method::DELETE, &path, Value::Null).await;
        let gone = event(&mut socket, "MESSAGE_DELETE").await;
        agree(&gone, &json!({ "id": posted["id"], "channel_id": channel }), &["id", "channel_id"]);
        user.call(Method::DELETE, &path, Value::Null).await; // again, which announces nothing

        let category = make(&user, "/categories", json!({ "name": "heading", "position": 3 })).await;
        agree(&event(&mut socket, "CATEGORY_CREATE").await, &category, &["id", "name", "position", "created_at"]);
        let path = format!("/categories/{}", text(&category["id"]));
        let renamed =
            user.ok(Method::PATCH, &path, json!({ "name": format!("renamed {round}"), "position": -4 })).await;
        let heard = event(&mut socket, "CATEGORY_UPDATE").await;
        agree(&heard, &renamed, &["id", "name", "position", "created_at"]);
        assert_eq!((&heard["name"], &heard["position"]), (&json!(format!("renamed {round}")), &json!(-4)));

        let room =
            make(&user, "/channels", json!({ "name": "room", "category_id": category["id"], "position": 7 })).await;
        let names = ["id", "name", "topic", "category", "category_id", "position", "created_at", "updated_at", "type"];
        agree(&event(&mut socket, "CHANNEL_CREATE").await, &room, &names);
        let room_path = format!("/channels/{}", text(&room["id"]));
        for number in 1..=2 {
            let patch =
                json!({ "name": format!("room-{number}"), "topic": format!("topic {number}"), "position": number });
            let changed = user.ok(Method::PATCH, &room_path, patch.clone()).await;
            let heard = event(&mut socket, "CHANNEL_UPDATE").await;
            agree(&heard, &changed, &names);
            agree(&heard, &user.get(&room_path).await, &names);
            for name in ["name", "topic", "position"] {
                assert_eq!(heard[name], patch[name], "{name}");
            }
            assert!(text(&heard["updated_at"]) >= text(&heard["created_at"]));
        }
        user.call(Method::DELETE, &path, Value::Null).await;
        let heard = event(&mut socket, "CHANNEL_UPDATE").await;
        assert_eq!((&heard["id"], &heard["category_id"]), (&room["id"], &Value::Null));
        assert_eq!(event(&mut socket, "CATEGORY_DELETE").await["id"], category["id"]);
        user.call(Method::DELETE, &room_path, Value::Null).await;
        assert_eq!(event(&mut socket, "CHANNEL_DELETE").await["id"], room["id"]);

        let other = server.log_in(10 + round).await;
        let joined = event(&mut socket, "MEMBER_JOIN").await;
        let member = format!("/members/{}", other.pubkey());
        let mut shown = user.get(&member).await;
        shown["roles"] = json!([]);
        agree(&joined, &shown, &["user_id", "pubkey", "display_name", "avatar_hash", "is_bot", "joined_at", "roles"]);
        assert_eq!(joined["user_id"], json!(other.id));
        for name in ["Bob", "Robert"] {
            other.ok(Method::PATCH, "/profile", json!({ "display_name": name })).await;
            let heard = event(&mut socket, "MEMBER_UPDATE").await;
            agree(&heard, &user.get(&member).await, &["user_id", "pubkey", "display_name", "avatar_hash"]);
            assert_eq!((&heard["user_id"], &heard["display_name"]), (&json!(other.id), &json!(name)));
        }
        // Nothing was announced besides, on the whole way.
        let last = make(&user, &messages, json!({ "content": "last" })).await;
        assert_eq!(event(&mut socket, "MESSAGE_CREATE").await, last);
    }
}

async fn of_one_challenge_answered_many_times_at_once_one_session_comes(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    for round in 0..5 {
        let challenge = user.challenge().await;
        let answers = (0..16).map(|_| {
            let (user, challenge) = (user.clone(), challenge.clone());
            tokio::spawn(async move { user.verify(&challenge).await })
        });
        let (mut sessions, mut refused) = (0, 0);
        for answer in futures::future::join_all(answers).await {
            match answer.unwrap() {
                (StatusCode::OK, _) => sessions += 1,
                (StatusCode::UNAUTHORIZED, _) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sessions, refused), (1, 15), "round {round}");
        assert_eq!(user.verify(&challenge).await.0, StatusCode::UNAUTHORIZED, "nor later");
    }
}

over_each_backend! {
    every_metric_there_is_is_documented_and_of_its_kind
    requests_and_store_calls_are_counted_by_what_became_of_them
    damage_is_an_outcome_of_its_own
    newest_pages_are_counted_by_whether_they_were_held
    sockets_are_counted_until_they_end_in_whatever_way
    connections_are_counted_until_they_end
    the_size_is_what_all_the_files_take
    every_event_has_the_values_that_the_api_shows
    of_one_challenge_answered_many_times_at_once_one_session_comes
}
