//! More than the server can take: a full queue, floods of log-ins. It refuses, in the documented way, within bounded
//! memory, and goes on by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use support::{Server, User, process::MIB};

/// Long enough for a debug build on a busy machine to read 100 MiB of JSON.
const PATIENCE: Duration = Duration::from_secs(120);
/// Characters of the messages: 1 MiB, so that 64 of them fill the queue.
const LARGE: usize = 262_144;

fn start(backend: &str) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "262144"),
        ("DECENTCOM_NETWORK__REQUEST_TIMEOUT", "10m"),
        ("DECENTCOM_NETWORK__IN_FLIGHT_MIB", "1024"), // it is the queue that is to be full
        ("DECENTCOM_LIMITS__LOG_INS", "0"),
        ("DECENTCOM_LIMITS__FAILED_LOG_INS", "0"),
    ];
    let server = Server::start_with(directory.path(), backend, &settings);
    (directory, server)
}

/// What became of one post.
enum Outcome {
    Stored(String),
    Refused,
}

/// Posts 1 MiB. Anything but success and the documented refusal fails the test.
async fn post_large(user: User, channel: String, number: usize) -> Outcome {
    let content = format!("{number:<8}{}", "\u{1F600}".repeat(LARGE - 8));
    let path = format!("/channels/{channel}/messages");
    let reply =
        user.request(Method::POST, &path).json(&json!({ "content": content })).timeout(PATIENCE).send().await.unwrap();
    match reply.status() {
        StatusCode::OK => {
            let message: serde_json::Value = reply.json().await.unwrap();
            Outcome::Stored(message["id"].as_str().unwrap().to_owned())
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            assert_eq!(reply.headers()[RETRY_AFTER], "1");
            let body: serde_json::Value = reply.json().await.unwrap();
            assert_eq!(body, json!({ "error": "the server is busy or shutting down; try again" }));
            Outcome::Refused
        }
        other => panic!("{other}: {}", reply.text().await.unwrap()),
    }
}

/// Holds the outcomes against the history: what was acknowledged is there, what was refused is not.
async fn settle(user: &User, channel: &str, posting: Vec<tokio::task::JoinHandle<Outcome>>) -> (usize, usize) {
    let (mut stored, mut refused) = (BTreeSet::new(), 0);
    for outcome in futures::future::join_all(posting).await {
        match outcome.unwrap() {
            Outcome::Stored(id) => drop(stored.insert(id)),
            Outcome::Refused => refused += 1,
        }
    }
    let history = user.history(channel, 10).await;
    let found: BTreeSet<_> = history.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, stored);
    (stored.len(), refused)
}

async fn lock_of(database: &Path) -> SqliteConnection {
    let mut other = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(database)).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    other
}

/// Another process that holds SQLite's write lock is a store whose writes stand still, for as long as the test likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_with_retry_after_and_recovers_by_itself() {
    let (directory, server) = start("sqlite");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let before = server.memory();
    let mut other = lock_of(&directory.path().join("data/decentcom.sqlite")).await;

    let posting: Vec<_> =
        (0..100).map(|number| tokio::spawn(post_large(user.clone(), channel.clone(), number))).collect();
    let began = Instant::now();
    let mut peak = 0;
    // Refusals for want of room, that is; a batch that waits for the lock gives up after five seconds and is refused too.
    while !server.log().contains("too many changes are waiting") {
        peak = peak.max(server.memory());
        assert!(began.elapsed() < PATIENCE, "the queue has no bound");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(reqwest::get(server.url("/health")).await.unwrap().status(), StatusCode::OK, "reading goes on");
    user.get("/channels").await;
    other.execute("ROLLBACK").await.unwrap();

    let (stored, refused) = settle(&user, &channel, posting).await;
    let grown = peak.saturating_sub(before) / MIB;
    eprintln!("{stored} stored, {refused} refused, {grown} MiB more memory");
    assert!(refused >= 1 && stored + refused == 100);
    // 64 MiB in the queue, and for each request its body, its text and its JSON.
    assert!(grown < 700, "{grown} MiB");
    user.post(&channel, "and on it goes").await;
}

/// Requests per flood; FLOOD=1000000 for a long run.
fn flood() -> u64 {
    std::env::var("FLOOD").map_or(1_800, |text| text.parse().unwrap())
}

/// Calls `request` for every number below `count`, 32 at once.
async fn hammer<F: Future<Output = ()> + Send>(count: u64, request: impl Fn(u64) -> F + Send + Sync + 'static) {
    let request = Arc::new(request);
    let next = Arc::new(AtomicU64::new(0));
    let hammering = (0..32).map(|_| {
        let (request, next) = (request.clone(), next.clone());
        async move {
            loop {
                let number = next.fetch_add(1, SeqCst);
                if number >= count {
                    return;
                }
                request(number).await;
            }
        }
    });
    futures::future::join_all(hammering).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_challenges_and_bad_signatures_cost_bounded_memory_and_lock_nobody_out() {
    let (_directory, server) = start("redb");
    let known = server.log_in(1).await;
    let stranger = Arc::new(server.stranger(0));
    let own = known.clone().challenge().await;
    let mut memory = Vec::new();
    for wave in 0..3_u64 {
        let asking = stranger.clone();
        hammer(flood(), move |number| {
            let asking = asking.with_key(1_000 + wave * flood() + number);
            async move { drop(asking.challenge().await) }
        })
        .await;
        let forging = known.clone();
        hammer(flood() / 2, move |_| {
            let forging = forging.clone();
            async move {
                let (status, _) = forging.verify("not the challenge").await;
                assert_eq!(status, StatusCode::UNAUTHORIZED);
            }
        })
        .await;
        memory.push(server.memory() / MIB);
    }
    eprintln!("{} challenges and {} forgeries a wave: {memory:?} MiB", flood(), flood() / 2);
    assert!(memory[2] < memory[0] + 32, "{memory:?} MiB");
    let (status, _) = known.verify(&own).await;
    assert_eq!(status, StatusCode::OK, "an open challenge outlives the flood");
}
