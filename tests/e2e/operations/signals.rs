//! Signals: what stops the program, what makes it read its configuration again, and what it takes no notice of.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{eventually, get};
use crate::support::{Server, preload, program, wait_for};

fn configured(directory: &Path, config: &str) {
    fs::write(directory.join("decentcom.toml"), config).unwrap();
}

/// Sends a signal by its number, as a shell does: of some, only the number is known.
fn send(server: &Server, number: i32) {
    let done = Command::new("kill").args([format!("-{number}"), server.process_id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_mean_nothing_do_not_end_it_and_quit_stops_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "sqlite");
    let named = [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::PIPE,
        Signal::XFSZ,
        Signal::IO,
        Signal::STKFLT,
        Signal::HUP,
        Signal::WINCH,
        Signal::URG,
        Signal::CHILD,
    ];
    for number in named.into_iter().map(Signal::as_raw).chain([34, 50, 64]) {
        send(&server, number);
        assert_eq!(get(&server, "/health").await.0, StatusCode::OK, "after signal {number}:\n{}", server.log());
    }
    server.signal(Signal::QUIT);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped: everything acknowledged is stored"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hangup_applies_what_can_change_and_names_what_needs_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    configured(directory.path(), "[server]\nname = 'before'\n[content]\nmax_message_length = 10\n");
    let server = Server::start(directory.path(), "redb");
    let user = server.log_in(1).await;
    let other = server.log_in(2).await;
    let channel = user.channel("general").await;
    let path = format!("/channels/{channel}/messages");
    let post = async |length: usize| user.call(Method::POST, &path, json!({ "content": "x".repeat(length) })).await.0;
    assert_eq!(post(11).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(post(100_000).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(other.call(Method::POST, "/channels", json!({ "name": "x" })).await.0, StatusCode::FORBIDDEN);

    let config = format!(
        "[server]\nname = 'after'\ndescription = 'new'\n[content]\nmax_message_length = 100000\n\
         [membership]\nadmins = ['{}']\n[sessions]\nttl = '1h'\n[logging]\nlevel = 'debug'\nformat = 'json'\n\
         [network]\nallowed_origins = ['https://chat.example']\nidle_timeout = '77s'\n[storage.redb]\ncache_mib = 77\n",
        other.pubkey()
    );
    configured(directory.path(), &config);
    server.signal(Signal::HUP);
    eventually("the new name", async || (get(&server, "/api/v1/server/info").await.1["name"] == "after").then_some(()))
        .await;
    assert_eq!(post(100_000).await, StatusCode::OK, "the body's limit follows");
    assert_eq!(other.call(Method::POST, "/channels", json!({ "name": "x" })).await.0, StatusCode::OK);
    assert_eq!(user.call(Method::POST, "/channels", json!({ "name": "x" })).await.0, StatusCode::FORBIDDEN);
    let preflight = reqwest::Client::new()
        .request(Method::OPTIONS, server.url("/api/v1/channels"))
        .header("origin", "https://chat.example")
        .header("access-control-request-method", "GET");
    let allowed = preflight.send().await.unwrap().headers()["access-control-allow-origin"].clone();
    assert_eq!(allowed, "https://chat.example");
    let said = |key: &str, what: &str| server.log().lines().any(|line| line.contains(key) && line.contains(what));
    for key in ["[server] name", "[content] max_message_length", "[membership] admins", "[logging] level"] {
        assert!(said(key, "in force from now on"), "{key}: {}", server.log());
    }
    for key in ["[logging] format", "[network] idle_timeout", "[storage.redb] cache_mib"] {
        assert!(said(key, "needs a restart"), "{key}: {}", server.log());
    }
    server.says("DEBUG").await; // the level is another

    configured(directory.path(), "[server]\nname = 'broken'\n[logging]\nlevel = 'warning'\n");
    server.signal(Signal::HUP);
    eventually("the refusal", async || server.log().contains("stays as it was").then_some(())).await;
    assert!(said("[logging] level has `warning`", "stays as it was"), "{}", server.log());
    assert_eq!(get(&server, "/api/v1/server/info").await.1["name"], "after");

    // And one that can work is followed again.
    configured(directory.path(), &config.replace("'after'", "'later'").replace(&other.pubkey(), &user.pubkey()));
    server.signal(Signal::HUP);
    eventually("the latest name", async || {
        (get(&server, "/api/v1/server/info").await.1["name"] == "later").then_some(())
    })
    .await;
    assert_eq!(other.call(Method::POST, "/channels", json!({ "name": "y" })).await.0, StatusCode::FORBIDDEN);
    assert_eq!(user.call(Method::POST, "/channels", json!({ "name": "y" })).await.0, StatusCode::OK);

    // Whom it no longer admits leaves, and is logged out.
    let mut socket = server.connect(&other.token).await;
    let allowlist = format!("[membership]\nmode = 'allowlist'\nallowed = ['{}']\n", user.pubkey());
    configured(directory.path(), &allowlist);
    server.signal(Signal::HUP);
    assert_eq!(socket.end().await, 4001);
    assert_eq!(user.get("/members").await["members"].as_array().unwrap().len(), 1);
    configured(directory.path(), "[server]\nname = 'open again'\n");
    server.signal(Signal::HUP);
    eventually("an open server", async || {
        (get(&server, "/api/v1/server/info").await.1["name"] == "open again").then_some(())
    })
    .await;
    assert_eq!(other.call(Method::GET, "/auth/me", Value::Null).await.0, StatusCode::UNAUTHORIZED);
}

/// Starts the program where every sync takes this long, and waits until it opens its database.
fn opening(directory: &Path, backend: &str, sync_takes: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = program(directory);
    command.env("LD_PRELOAD", preload::time()).env("SYNC_TAKES", sync_takes);
    command.env("DECENTCOM_STORAGE__BACKEND", backend).env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("connections at once") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    (child, lines)
}

#[test]
fn the_first_signal_counts_while_the_database_is_being_opened() {
    for backend in ["sqlite", "redb"] {
        let directory = tempfile::tempdir().unwrap();
        let (mut child, mut lines) = opening(directory.path(), backend, "20000");
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = wait_for(&mut child);
        assert!(asked.elapsed() < Duration::from_secs(10), "it waited for the opening");
        let mut log = String::new();
        lines.read_to_string(&mut log).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("stopped while the database was being opened"), "{log}");
        drop(Server::start(directory.path(), backend));
    }
}

fn dial(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

fn wait_until_it_stops(server: &Server) {
    while !server.log().contains("stopping: no new connections") {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn half_a_head_does_not_hold_up_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "redb");
    let _halves = [
        dial(&server, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half"),
        dial(&server, b"GET"),
        dial(&server, b""),
        dial(&server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHo"),
    ];
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed()); // half a second, on an idle machine
}

#[test]
fn a_request_under_way_is_answered_before_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "redb");
    let mut half = dial(
        &server,
        b"POST /api/v1/auth/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{",
    );
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::TERM);
    wait_until_it_stops(&server);
    std::thread::sleep(Duration::from_millis(1500));
    half.write_all(b"}").unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
