//! Every key of the configuration reaches behaviour: one assertion for each on the running server, and one for its bad values.
//! A key in `decentcom.example.toml` that has none here fails a test. To add one: an entry in `settings!` and its function.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use decentcom_server::storage::SystemClock;
use reqwest::{Client, Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    Server, User,
    process::{end, exchange, request},
    program,
    rows::{rows, store},
    wait_for,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A key, what shows that it has an effect, and TOML values that stop the start.
macro_rules! settings {
    ($($key:literal => $test:ident, refused $bad:expr;)*) => {
        const SETTINGS: &[(&str, &[&str])] = &[$(($key, $bad)),*];

        mod has_its_effect {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test().await;
                }
            )*
        }
    };
}

settings! {
    "server.name" => the_name_is_shown, refused &["''", "' '", "7"];
    "server.description" => the_description_is_shown, refused &["7", "[]"];
    "network.bind_address" => the_server_listens_there_and_nowhere_else, refused &["'localhost'", "'1.2.3.4'", "8080"];
    "network.public_address" => it_is_in_what_people_sign, refused &["7"];
    "network.allowed_origins" => other_pages_are_told_nothing, refused &["['*']", "['chat.example']", "['https://a/b']", "'x'"];
    "network.max_connections" => who_comes_beyond_it_waits, refused &["0", "-1", "'many'"];
    "network.max_connections_per_address" => one_address_gets_no_more, refused &["0", "-1", "'x'"];
    "network.trusted_proxies" => their_connections_are_not_bounded, refused &["['proxy']", "['1.2.3.4/33']", "'127.0.0.1'"];
    "network.in_flight_mib" => answers_that_nobody_takes_get_no_more_memory, refused &["7", "0", "'8'"];
    "network.idle_timeout" => silent_connections_end, refused &["'0s'", "'soon'", "60", "'-1s'"];
    "network.write_timeout" => who_takes_nothing_is_cut_off, refused &["'0s'", "'500ms'", "''"];
    "network.request_timeout" => slow_requests_are_answered, refused &["'0s'", "1"];
    "network.shutdown_grace" => a_stop_waits_no_longer, refused &["'x'", "3"];
    "storage.backend" => the_backend_is_that_one, refused &["'oracle'", "''", "1"];
    "storage.database_path" => the_database_is_there, refused &["''", "1"];
    "storage.min_free" => so_much_of_the_disk_is_left_free, refused &["'much'", "-1", "[]"];
    "storage.redb.cache_mib" => more_of_the_file_is_held_in_memory, refused &["0", "1048577", "'1'"];
    "storage.redb.quick_repair" => a_start_after_a_crash_checks_no_file, refused &["1", "'yes'"];
    "storage.redb.inspection_socket" => tools_may_look_in_or_not, refused &["0", "'no'"];
    "sessions.ttl" => a_session_lasts_that_long, refused &["'0s'", "'101y'", "'one day'", "24"];
    "sessions.sweep_interval" => expired_sessions_are_removed_that_often, refused &["'0s'", "''"];
    "membership.mode" => strangers_get_in_or_not, refused &["'invite_only_please'", "true"];
    "membership.admins" => those_manage_the_channels, refused &["['short']", "'x'", "[7]"];
    "membership.allowed" => those_get_in, refused &["['short']", "'x'"];
    "content.max_message_length" => longer_messages_are_refused, refused &["0", "-1", "262145", "'long'"];
    "gateway.heartbeat_interval" => heartbeats_come_that_often, refused &["'0s'", "'x'"];
    "gateway.heartbeat_timeout" => an_answer_may_take_that_long, refused &["'0s'", "1"];
    "gateway.max_sockets_per_user" => one_user_gets_no_more_sockets, refused &["0", "'x'"];
    "limits.changes" => changes_come_that_often, refused &["-1", "'x'"];
    "limits.changes_burst" => so_many_changes_may_come_at_once, refused &["-1", "'x'"];
    "limits.reads" => reads_come_that_often, refused &["-1", "'x'"];
    "limits.reads_burst" => so_many_reads_may_come_at_once, refused &["-1", "'x'"];
    "limits.log_ins" => log_ins_come_that_often, refused &["-1", "'x'"];
    "limits.log_ins_burst" => so_many_log_ins_may_come_at_once, refused &["-1", "'x'"];
    "limits.failed_log_ins" => log_ins_fail_that_often, refused &["-1", "'x'"];
    "limits.failed_log_ins_burst" => so_many_log_ins_may_fail_at_once, refused &["-1", "'x'"];
    "metrics.bind_address" => metrics_are_answered_there, refused &["'everywhere'", "9100"];
    "logging.format" => lines_are_of_that_form, refused &["'xml'", "1"];
    "logging.file" => lines_go_there, refused &["7"];
    "logging.max_size_mib" => a_file_of_that_size_gives_way_to_another, refused &["0", "'x'"];
    "logging.level" => as_much_is_said, refused &["'much=too=much'", "3"];
}

/// The keys of a table and of those in it, with dots between.
fn keys(table: &toml::Table, within: &str) -> BTreeSet<String> {
    let below = table.iter().flat_map(|(name, value)| {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        match value.as_table() {
            Some(inner) => keys(inner, &path),
            None => BTreeSet::from([path]),
        }
    });
    below.collect()
}

#[test]
fn every_key_of_the_example_has_an_assertion_here() {
    let example: toml::Table = toml::from_str(include_str!("../../decentcom.example.toml")).unwrap();
    let here = SETTINGS.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys(&example, ""), here, "left: decentcom.example.toml, right: settings! above");
}

#[test]
fn bad_values_stop_the_start_and_name_the_key() {
    let mut checking = Vec::new();
    for (path, bad) in SETTINGS {
        let (section, key) = path.rsplit_once('.').unwrap();
        for value in *bad {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("decentcom.toml"), format!("[{section}]\n{key} = {value}\n")).unwrap();
            let mut command = program(directory.path());
            let child = command.arg("--check-config").spawn().unwrap();
            checking.push((directory, child, key, format!("[{section}] {key} = {value}")));
        }
    }
    for (_directory, mut child, key, setting) in checking {
        let status = wait_for(&mut child);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(status.code(), Some(2), "{setting} is taken: {said}");
        assert!(said.contains(key), "{setting}: {said}");
    }
}

/// A server with one setting by the environment, `SECTION__KEY`; and the directory it runs in.
fn with_more(backend: &str, settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = at(directory.path(), backend, settings);
    (directory, server)
}

fn at(directory: &Path, backend: &str, settings: &[(&str, &str)]) -> Server {
    let names: Vec<_> = settings.iter().map(|(name, value)| (format!("DECENTCOM_{name}"), *value)).collect();
    let settings: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Server::start_with(directory, backend, &settings)
}

fn with(name: &str, value: &str) -> (tempfile::TempDir, Server) {
    with_more("redb", &[(name, value)])
}

async fn stop(server: Server) -> Duration {
    let began = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    began.elapsed()
}

async fn info(server: &Server) -> Value {
    reqwest::get(server.url("/api/v1/server/info")).await.unwrap().json().await.unwrap()
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

async fn the_name_is_shown() {
    let (_directory, server) = with("SERVER__NAME", "The Zoo");
    assert_eq!(info(&server).await["name"], "The Zoo");
    let user = server.log_in(1).await;
    assert_eq!(server.connect(&user.token).await.event().await.1["server_name"], "The Zoo");
}

async fn the_description_is_shown() {
    let (_directory, server) = with("SERVER__DESCRIPTION", "animals, mostly");
    assert_eq!(info(&server).await["description"], "animals, mostly");
    assert_eq!(info(&with("SERVER__DESCRIPTION", "").1).await["description"], Value::Null);
}

async fn the_server_listens_there_and_nowhere_else() {
    let (_directory, server) = with("NETWORK__BIND_ADDRESS", "127.0.0.2:0");
    let address = server.address();
    assert_eq!(address.ip().to_string(), "127.0.0.2");
    assert_eq!(reqwest::get(server.url("/health")).await.unwrap().status(), StatusCode::OK);
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], address.port()))).await.is_err());
}

async fn it_is_in_what_people_sign() {
    let (_directory, server) = with("NETWORK__PUBLIC_ADDRESS", "https://zoo.example");
    let challenge = server.stranger(1).challenge().await;
    assert!(challenge.contains("zoo.example"), "{challenge}");
}

async fn other_pages_are_told_nothing() {
    let (_directory, server) = with("NETWORK__ALLOWED_ORIGINS", r#"["https://mine.example"]"#);
    for (origin, allowed) in [("https://mine.example", Some("https://mine.example")), ("https://other.example", None)] {
        let answer = Client::new().get(server.url("/health")).header("Origin", origin).send().await.unwrap();
        let header = answer.headers().get("access-control-allow-origin").map(|it| it.to_str().unwrap());
        assert_eq!(header, allowed);
    }
}

async fn who_comes_beyond_it_waits() {
    let (_directory, server) = with("NETWORK__MAX_CONNECTIONS", "2");
    let (mut first, mut second, mut third) = (server.dial().await, server.dial().await, server.dial().await);
    assert_eq!(exchange(&mut first, HEALTH).await, "HTTP/1.1 200 OK");
    assert_eq!(exchange(&mut second, HEALTH).await, "HTTP/1.1 200 OK");
    third.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(500), third.read(&mut byte)).await.is_err());
    drop(first);
    assert_eq!(third.read(&mut byte).await.unwrap(), 1);
}

async fn silent_connections_end() {
    let (_directory, server) = with("NETWORK__IDLE_TIMEOUT", "2s");
    let began = Instant::now();
    let silent = server.dial().await;
    let mut idle = server.dial().await;
    assert_eq!(exchange(&mut idle, HEALTH).await, "HTTP/1.1 200 OK");
    for stream in [silent, idle] {
        assert_eq!(end(stream).await, "");
    }
    assert!((2..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

async fn who_takes_nothing_is_cut_off() {
    let (_directory, server) = with("NETWORK__WRITE_TIMEOUT", "2s");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    for _ in 0..40 {
        user.post(&channel, &"\u{1F600}".repeat(4000)).await;
    }
    let page = request(&format!("/api/v1/channels/{channel}/messages?limit=40"), &user.token);
    let files = server.open_files();
    let mut deaf = server.dial_narrow().await;
    let began = Instant::now();
    deaf.write_all(page.repeat(30).as_bytes()).await.unwrap();
    deaf.read_u8().await.expect("it is being answered");
    server.comes_down_to_open_files(files).await;
    assert!((1..25).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

async fn slow_requests_are_answered() {
    let (_directory, server) = with("NETWORK__REQUEST_TIMEOUT", "2s");
    let began = Instant::now();
    let mut half = server.dial().await;
    let head =
        "POST /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    half.write_all(head.as_bytes()).await.unwrap();
    let answer = end(half).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!((2..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

async fn a_stop_waits_no_longer() {
    for (grace, least, most) in [("0s", 0, 4), ("5s", 5, 25)] {
        let (_directory, server) = with("NETWORK__SHUTDOWN_GRACE", grace);
        let mut half = server.dial().await;
        half.write_all(&HEALTH.as_bytes()[..20]).await.unwrap();
        // What is sent later on another connection is answered, so the server has met the first.
        assert_eq!(exchange(&mut server.dial().await, HEALTH).await, "HTTP/1.1 200 OK");
        let mut body = server.dial().await;
        let head = "POST /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 9\r\n\r\n{";
        body.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let took = stop(server).await.as_secs();
        assert!((least..=most).contains(&took), "{took} seconds with a grace of {grace}");
    }
}

async fn the_backend_is_that_one() {
    for (backend, start) in [("sqlite", &b"SQLite format 3\0"[..]), ("redb", b"redb\x1A\x0A")] {
        let (directory, server) = with_more(backend, &[]);
        server.log_in(1).await;
        let file = std::fs::read(directory.path().join(format!("data/decentcom.{backend}"))).unwrap();
        assert!(file.starts_with(start));
    }
}

async fn the_database_is_there() {
    let (directory, server) = with("STORAGE__DATABASE_PATH", "elsewhere/deeper/mine.db");
    server.log_in(1).await;
    assert!(directory.path().join("elsewhere/deeper/mine.db").is_file());
    assert!(!directory.path().join("data").exists());
}

async fn so_much_of_the_disk_is_left_free() {
    const MIB: u64 = 1024 * 1024;
    let (directory, server) = with_more("sqlite", &[("STORAGE__MIN_FREE", "0")]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    user.post(&channel, "there is room").await;
    stop(server).await;
    let disk = rustix::fs::statvfs(directory.path()).unwrap();
    let more_than_there_is = disk.f_bavail * disk.f_frsize / MIB + 1024;
    let server = at(directory.path(), "sqlite", &[("STORAGE__MIN_FREE", &more_than_there_is.to_string())]);
    let path = format!("/channels/{channel}/messages");
    let refused = user.at(&server).call(Method::POST, &path, json!({ "content": "there is none" })).await;
    assert_eq!(refused.0, StatusCode::INSUFFICIENT_STORAGE, "{}", refused.1);
    assert_eq!(user.at(&server).history(&channel, 50).await.len(), 1);
}

/// Bytes that the process has read from files since it began.
fn bytes_read(server: &Server) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", server.process_id())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

async fn more_of_the_file_is_held_in_memory() {
    const MIB: u64 = 1024 * 1024;
    let (directory, server) = with_more("redb", &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    stop(server).await;
    let opened = store(directory.path(), "redb", Arc::new(SystemClock)).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        let message = opened.create_message(&channel, &user.id, &"x".repeat(500_000)).await.unwrap();
        ids.push(message.id.to_string());
    }
    opened.close().await.unwrap();
    let mut read = Vec::new();
    for cache in ["1", "64"] {
        let server = at(directory.path(), "redb", &[("STORAGE__REDB__CACHE_MIB", cache)]);
        let user = user.at(&server);
        let all = async || {
            for id in &ids {
                user.get(&format!("/channels/{channel}/messages/{id}")).await;
            }
        };
        all().await;
        let before = bytes_read(&server);
        all().await;
        read.push((bytes_read(&server) - before) / MIB);
        stop(server).await;
    }
    assert!(read[0] >= 5 && read[1] <= 1, "read again of 6 MiB, with 1 and 64 MiB of memory: {read:?}");
}

async fn a_start_after_a_crash_checks_no_file() {
    for (quick, checks) in [("false", true), ("true", false)] {
        let settings = [("STORAGE__REDB__QUICK_REPAIR", quick)];
        let (directory, server) = with_more("redb", &settings);
        server.log_in(1).await;
        server.kill();
        let server = at(directory.path(), "redb", &settings);
        assert_eq!(server.log().contains("checking the file"), checks, "{}", server.log());
        server.log_in(1).await;
    }
}

async fn tools_may_look_in_or_not() {
    for (allowed, is_there) in [("true", true), ("false", false)] {
        let (directory, _server) = with("STORAGE__REDB__INSPECTION_SOCKET", allowed);
        assert_eq!(directory.path().join("data/decentcom.redb.sock").exists(), is_there);
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn a_session_lasts_that_long() {
    let (_directory, server) = with("SESSIONS__TTL", "3s");
    let user = server.stranger(1);
    let before = seconds_now();
    let (_, verified) = user.verify(&user.challenge().await).await;
    let expires = verified["expires_at"].as_str().unwrap().parse::<decentcom_server::storage::Timestamp>().unwrap();
    let expires = expires.as_millis() / 1000;
    assert!((before + 3..=seconds_now() + 3).contains(&expires), "{expires} from {before}");
    let user = user.with_token(verified["token"].as_str().unwrap());
    let began = Instant::now();
    while user.call(Method::GET, "/auth/me", json!({})).await.0 == StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(1));
}

async fn expired_sessions_are_removed_that_often() {
    let settings = [("SESSIONS__TTL", "1s"), ("SESSIONS__SWEEP_INTERVAL", "1s")];
    let (directory, server) = with_more("redb", &settings);
    for _ in 0..2 {
        server.log_in(1).await;
        let began = Instant::now();
        while rows(directory.path(), "redb", "sessions").await > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // Less often: it is still there long after its end.
    let settings = [("SESSIONS__TTL", "1s"), ("SESSIONS__SWEEP_INTERVAL", "1h")];
    let (directory, server) = with_more("redb", &settings);
    server.log_in(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rows(directory.path(), "redb", "sessions").await, 1);
}

fn pubkey(seed: u64) -> String {
    bs58::encode(support::key(seed).verifying_key().as_bytes()).into_string()
}

/// The status of a log-in.
async fn admitted(server: &Server, seed: u64) -> u16 {
    let stranger = server.stranger(seed);
    stranger.verify(&stranger.challenge().await).await.0.as_u16()
}

async fn strangers_get_in_or_not() {
    let (directory, server) = with("MEMBERSHIP__MODE", "open");
    assert_eq!((admitted(&server, 1).await, &info(&server).await["membership_mode"]), (200, &json!("open")));
    stop(server).await;
    let server = at(directory.path(), "redb", &[("MEMBERSHIP__MODE", "closed")]);
    assert_eq!((admitted(&server, 1).await, admitted(&server, 2).await), (200, 403));
    assert_eq!(info(&server).await["membership_mode"], "closed");
}

async fn may_manage(user: &User) -> bool {
    user.call(Method::POST, "/channels", json!({ "name": "room" })).await.0 == StatusCode::OK
}

async fn those_manage_the_channels() {
    let (_directory, server) = with("MEMBERSHIP__ADMINS", &format!("['{}', '{}']", pubkey(2), pubkey(3)));
    for (seed, may) in [(1, false), (2, true), (3, true)] {
        assert_eq!(may_manage(&server.log_in(seed).await).await, may, "{seed}");
    }
    let (_directory, server) = with("MEMBERSHIP__ADMINS", "[]");
    for (seed, may) in [(1, true), (2, false)] {
        assert_eq!(may_manage(&server.log_in(seed).await).await, may, "{seed}");
    }
}

async fn those_get_in() {
    let allowed = format!("['{}', '{}']", pubkey(1), pubkey(2));
    let settings = [("MEMBERSHIP__MODE", "allowlist"), ("MEMBERSHIP__ALLOWED", &*allowed)];
    let (_directory, server) = with_more("redb", &settings);
    for seed in [1, 2] {
        let user = server.log_in(seed).await;
        assert_eq!(user.call(Method::GET, "/channels", json!({})).await.0, StatusCode::OK);
    }
    // Whether it is refused at the log-in or afterwards.
    let stranger = server.stranger(3);
    let (status, verified) = stranger.verify(&stranger.challenge().await).await;
    let token = verified["token"].as_str().unwrap_or("none").to_owned();
    let (channels, _) = stranger.with_token(&token).call(Method::GET, "/channels", json!({})).await;
    assert!(status == StatusCode::FORBIDDEN || channels == StatusCode::FORBIDDEN, "{status} {channels}");
}

async fn longer_messages_are_refused() {
    let (_directory, server) = with("CONTENT__MAX_MESSAGE_LENGTH", "5");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    for (text, status) in [("\u{1F600}".repeat(5), 200), ("\u{1F600}".repeat(6), 422)] {
        let path = format!("/channels/{channel}/messages");
        assert_eq!(user.call(Method::POST, &path, json!({ "content": text })).await.0.as_u16(), status);
    }
}

async fn heartbeats_come_that_often() {
    let (_directory, server) = with("GATEWAY__HEARTBEAT_INTERVAL", "2s");
    let user = server.log_in(1).await;
    let mut socket = server.connect(&user.token).await;
    assert_eq!(socket.event().await.1["heartbeat_interval_ms"], 2000);
    assert_eq!(socket.event().await.0, "READY");
    let began = Instant::now();
    for number in 1..=2 {
        assert_eq!(socket.event().await.0, "HEARTBEAT");
        assert!(began.elapsed().as_millis() >= 2000 * number - 500, "{number}: {:?}", began.elapsed());
        socket.say("HEARTBEAT_ACK", json!({})).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}

async fn an_answer_may_take_that_long() {
    let settings = [("GATEWAY__HEARTBEAT_INTERVAL", "1s"), ("GATEWAY__HEARTBEAT_TIMEOUT", "3s")];
    let (_directory, server) = with_more("redb", &settings);
    let user = server.log_in(1).await;
    let mut socket = server.open_socket(&user).await;
    assert_eq!(socket.event().await.0, "HEARTBEAT");
    let began = Instant::now();
    assert_eq!(socket.end().await, 4002);
    assert!((2..9).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

async fn one_address_gets_no_more() {
    let (_directory, server) = with("NETWORK__MAX_CONNECTIONS_PER_ADDRESS", "2");
    let (mut first, mut second) = (server.dial().await, server.dial().await);
    for stream in [&mut first, &mut second] {
        assert_eq!(exchange(stream, HEALTH).await, "HTTP/1.1 200 OK");
    }
    assert_eq!(end(server.dial().await).await, "");
    let elsewhere = server.stranger(1).from([127, 0, 0, 7]);
    assert_eq!(elsewhere.request(Method::GET, "/server/info").send().await.unwrap().status(), StatusCode::OK);
}

async fn their_connections_are_not_bounded() {
    for (proxies, is_bounded) in [("[]", true), ("['127.0.0.0/30']", false)] {
        let settings = [("NETWORK__MAX_CONNECTIONS_PER_ADDRESS", "1"), ("NETWORK__TRUSTED_PROXIES", proxies)];
        let (_directory, server) = with_more("redb", &settings);
        let (mut first, mut second) = (server.dial().await, server.dial().await);
        assert_eq!(exchange(&mut first, HEALTH).await, "HTTP/1.1 200 OK");
        if is_bounded {
            assert_eq!(end(second).await, "");
        } else {
            assert_eq!(exchange(&mut second, HEALTH).await, "HTTP/1.1 200 OK");
        }
    }
}

/// What sixteen clients leave unread is more than 8 MiB, and less than the default.
async fn answers_that_nobody_takes_get_no_more_memory() {
    for (memory, is_too_little) in [("8", true), ("64", false)] {
        let settings = [("NETWORK__IN_FLIGHT_MIB", memory), ("METRICS__BIND_ADDRESS", "127.0.0.1:0")];
        let (_directory, server) = with_more("redb", &settings);
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;
        for _ in 0..60 {
            user.post(&channel, &"\u{1F600}".repeat(4000)).await;
        }
        let page = request(&format!("/api/v1/channels/{channel}/messages?limit=60"), &user.token);
        let mut deaf = Vec::new();
        for _ in 0..16 {
            let mut stream = server.dial_narrow().await;
            stream.write_all(page.as_bytes()).await.unwrap();
            deaf.push(stream);
        }
        let cut_off = |it: &support::metrics::Scrape| it.get("decentcom_connections_stalled_total", &[]).unwrap_or(0.0);
        if is_too_little {
            server.until(|it| cut_off(it) >= 1.0).await;
        } else {
            user.get(&format!("/channels/{channel}/messages?limit=60")).await;
            assert_eq!(cut_off(&server.scrape().await), 0.0);
        }
    }
}

async fn one_user_gets_no_more_sockets() {
    let (_directory, server) = with("GATEWAY__MAX_SOCKETS_PER_USER", "2");
    let (user, other) = (server.log_in(1).await, server.log_in(2).await);
    let (_first, second) = (server.open_socket(&user).await, server.open_socket(&user).await);
    assert_eq!(server.refused_socket(&user).await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(server.open_socket(&other).await);
    // One that ends makes room for one.
    drop(second);
    let began = Instant::now();
    let _third = loop {
        let answer = server.refused_socket(&user).await;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the place of the socket that ended is not free");
    };
    assert_eq!(server.refused_socket(&user).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

/// Asks until the server says that it is too often, or so many times; answers how many were let in.
async fn let_in(most: usize, ask: impl AsyncFn() -> StatusCode) -> usize {
    for asked in 0..most {
        if ask().await == StatusCode::TOO_MANY_REQUESTS {
            return asked;
        }
    }
    most
}

/// More than a rate of one a second lets in on any machine, and far less than any default.
const MANY: usize = 60;

/// How many of many calls are let in, one after the other, with these limits.
async fn of_many(settings: [(&str, &str); 2], ask: impl AsyncFn(&User, &str) -> StatusCode) -> usize {
    let settings = settings.map(|(name, value)| (format!("LIMITS__{name}"), value));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "redb");
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    stop(server).await;
    let server = at(directory.path(), "redb", &settings);
    let user = user.at(&server);
    let_in(MANY, async || ask(&user, &channel).await).await
}

async fn a_change(user: &User, channel: &str) -> StatusCode {
    user.call(Method::POST, &format!("/channels/{channel}/messages"), json!({ "content": "x" })).await.0
}

async fn a_read(user: &User, _: &str) -> StatusCode {
    user.call(Method::GET, "/channels", json!({})).await.0
}

async fn a_challenge(user: &User, _: &str) -> StatusCode {
    user.call(Method::POST, "/auth/challenge", json!({ "pubkey": user.pubkey() })).await.0
}

async fn a_forgery(user: &User, _: &str) -> StatusCode {
    user.verify("never asked for").await.0
}

/// Of a rate of one a second nobody gets many; with the limit switched off, everybody.
macro_rules! rate {
    ($test:ident, $rate:literal, $burst:literal, $ask:ident) => {
        async fn $test() {
            let few = of_many([($rate, "1"), ($burst, "1")], $ask).await;
            assert!((1..MANY).contains(&few), "{few}");
            assert_eq!(of_many([($rate, "0"), ($burst, "1")], $ask).await, MANY);
        }
    };
}

rate!(changes_come_that_often, "CHANGES", "CHANGES_BURST", a_change);
rate!(reads_come_that_often, "READS", "READS_BURST", a_read);
rate!(log_ins_come_that_often, "LOG_INS", "LOG_INS_BURST", a_challenge);
rate!(log_ins_fail_that_often, "FAILED_LOG_INS", "FAILED_LOG_INS_BURST", a_forgery);

/// As many as may come at once are let in, and soon no more.
macro_rules! burst {
    ($test:ident, $rate:literal, $burst:literal, $ask:ident) => {
        async fn $test() {
            let few = of_many([($rate, "1"), ($burst, "8")], $ask).await;
            assert!((8..MANY).contains(&few), "{few}");
        }
    };
}

burst!(so_many_changes_may_come_at_once, "CHANGES", "CHANGES_BURST", a_change);
burst!(so_many_reads_may_come_at_once, "READS", "READS_BURST", a_read);
burst!(so_many_log_ins_may_come_at_once, "LOG_INS", "LOG_INS_BURST", a_challenge);
burst!(so_many_log_ins_may_fail_at_once, "FAILED_LOG_INS", "FAILED_LOG_INS_BURST", a_forgery);

async fn metrics_are_answered_there() {
    let (_directory, server) = with("METRICS__BIND_ADDRESS", "127.0.0.3:0");
    let log = server.log();
    let address = log.split_once("metrics on http://").unwrap().1.split_whitespace().next().unwrap();
    assert!(address.starts_with("127.0.0.3:"), "{address}");
    let answer = reqwest::get(format!("http://{address}")).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(answer.text().await.unwrap().contains("decentcom_storage_file_bytes"));
    let (_directory, server) = with("METRICS__BIND_ADDRESS", "");
    assert!(!server.log().contains("metrics on"));
}

async fn lines_are_of_that_form() {
    for (format, is_json) in [("json", true), ("text", false)] {
        let (_directory, server) = with("LOGGING__FORMAT", format);
        for line in server.log().lines() {
            assert_eq!(serde_json::from_str::<Value>(line).is_ok_and(|it| it.is_object()), is_json, "{line}");
        }
    }
}

/// A server that logs to a file `log`; its process, and where it listens.
#[expect(clippy::zombie_processes, reason = "whoever calls it waits for it")]
async fn logging_to_a_file(directory: &Path, settings: &[(&str, &str)]) -> (std::process::Child, String) {
    let mut command = program(directory);
    command.env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0").env("DECENTCOM_LOGGING__FILE", "log");
    let mut process = command.envs(settings.iter().copied()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        let said = log.split_once("listening on http://").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((address, _)) = said {
            return (process, format!("http://{}", address.trim()));
        }
        if began.elapsed() > Duration::from_secs(30) {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("it never says that it listens: {log}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn lines_go_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (mut process, base) = logging_to_a_file(directory.path(), &[]).await;
    assert_eq!(reqwest::get(format!("{base}/health")).await.unwrap().status(), StatusCode::OK);
    let mode = std::fs::metadata(directory.path().join("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    process.kill().unwrap();
    process.wait().unwrap();
}

async fn a_file_of_that_size_gives_way_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("DECENTCOM_LOGGING__MAX_SIZE_MIB", "1"), ("DECENTCOM_LOGGING__LEVEL", "trace")];
    let (mut process, base) = logging_to_a_file(directory.path(), &settings).await;
    let began = Instant::now();
    while !directory.path().join("log.1").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the file grows and grows");
        reqwest::get(format!("{base}/health")).await.unwrap();
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

async fn as_much_is_said() {
    for (level, says) in [("info", false), ("debug", true), ("info,tower_http=debug", true)] {
        let (_directory, server) = with("LOGGING__LEVEL", level);
        reqwest::get(server.url("/health")).await.unwrap();
        once_stopped(&server).await;
        assert_eq!(server.log().contains("DEBUG"), says, "{level}: {}", server.log());
        assert!(server.log().contains("INFO"));
    }
}

/// The log comes through a pipe: what was said before a request's answer may be a moment behind it.
async fn once_stopped(server: &Server) {
    server.signal(Signal::TERM);
    let began = Instant::now();
    while !server.log().contains("everything acknowledged is stored") && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
