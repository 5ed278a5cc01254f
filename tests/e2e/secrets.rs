//! Secrets stay out of the log at every level, and a database's own words out of every answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::Executor as _;
use support::{
    Server, User,
    process::{end, exchange},
    rows::{bytes, change_redb, change_sqlite, message_place, sqlite},
};
use tokio::io::AsyncWriteExt as _;

/// A text as it may stand in a log: as it is, in hexadecimal, as a list of bytes, in base64.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", secret.as_bytes());
    let escaped = format!("{secret:?}");
    let encoded = STANDARD.encode(secret);
    let inside = |text: &str| text[1..text.len() - 1].to_owned();
    vec![secret.to_owned(), hex.to_uppercase(), hex, inside(&list), inside(&escaped), encoded]
}

fn is_in(log: &str, secret: &str) -> bool {
    forms(secret).iter().any(|form| log.contains(form.as_str()))
}

async fn stop(server: Server) -> String {
    server.signal(Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

/// What clients say that others must not learn, said in every way that there is.
async fn no_secret_is_in_the_log_at_any_level(backend: &str) {
    for (level, format) in [("trace", "text"), ("debug", "json")] {
        let directory = tempfile::tempdir().unwrap();
        let settings = [("DECENTCOM_LOGGING__LEVEL", level), ("DECENTCOM_LOGGING__FORMAT", format)];
        let server = Server::start_with(directory.path(), backend, &settings);
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;

        // In the query of the call that takes it there, and of others; well-formed and not.
        let mut socket = server.open_socket(&user).await;
        socket.subscribe(&channel).await;
        for (path, token) in [
            ("/api/v1/channels?token=", "planted-in-a-query"),
            ("/api/v1/gateway?token=", "planted-without-an-upgrade"),
            ("/api/v1/nowhere?token=", "planted-at-no-path"),
            ("/api/v1/gateway?token=%ZZ&token=", "planted-in-a-bad-query"),
            ("/health?x=", "planted-beside-health"),
        ] {
            reqwest::get(server.url(&format!("{path}{token}"))).await.unwrap();
        }
        assert_eq!(server.connect("planted-at-the-gateway").await.end().await, 4001);
        // In the header, of every scheme, and where there should be none.
        for header in ["Bearer planted-as-bearer", "Basic planted-as-basic", "planted-alone", "Bearer  planted-twice"] {
            for path in ["/api/v1/auth/me", "/api/v1/gateway", "/nowhere"] {
                Client::new().get(server.url(path)).header("Authorization", header).send().await.unwrap();
            }
        }
        let broken =
            "GET /api/v1/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer planted-in-broken\r\nno header\r\n\r\n";
        let mut stream = server.dial().await;
        stream.write_all(broken.as_bytes()).await.unwrap();
        end(stream).await;
        // In bodies: signatures, and texts of people's.
        let (status, _) = user.verify("planted, and signed by the wrong challenge").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let signature = STANDARD.encode([7; 64]);
        let body = json!({ "pubkey": user.pubkey(), "signature": signature });
        user.call(Method::POST, "/auth/verify", body).await;
        user.post(&channel, "planted in a message").await;
        assert_eq!(socket.event().await.0, "MESSAGE_CREATE");
        socket.say_raw("planted at the gateway, and no operation").await;
        user.request(Method::POST, "/profile").body("planted in no JSON").send().await.unwrap();
        let leaving = server.log_in(1).await;
        leaving.call(Method::DELETE, "/auth/session", Value::Null).await;
        drop(socket);

        let log = stop(server).await;
        assert!(log.lines().count() > 20, "{log}");
        assert!(log.to_lowercase().contains(&level.to_lowercase()) || log.contains("DEBUG"), "the level is on");
        for secret in [user.token.as_str(), &leaving.token, &signature, "planted"] {
            let around = forms(secret).iter().find_map(|form| log.lines().find(|line| line.contains(form.as_str())));
            assert!(!is_in(&log, secret), "{secret:?} is in the log of level {level}: {around:?}");
        }
    }
}

/// Words that only an engine, or whoever wrote it, uses; and where the files are.
fn has_words_of_a_database(answer: &str, directory: &Path) -> bool {
    let lower = answer.to_lowercase();
    let words = [
        "sql",
        "redb",
        "select ",
        "insert ",
        "column",
        "no such",
        "constraint",
        "index",
        "table",
        "checksum",
        "crc",
        "decode",
        "corrupt",
        "damage",
        "key 0",
        "page ",
        "planted",
        "backup",
        ".rs",
        "panicked",
    ];
    words.iter().any(|word| lower.contains(word)) || lower.contains(&*directory.to_string_lossy().to_lowercase())
}

/// Every call that reads or writes: each answers, and its error is of the API's own words.
async fn every_call_answers_in_its_own_words(server: &Server, user: &User, ids: &[String; 2], failing: &[&str]) {
    let [channel, message] = ids;
    let (messages, one) = (format!("/channels/{channel}/messages"), format!("/channels/{channel}/messages/{message}"));
    let member = format!("/members/{}", user.pubkey());
    let text = || json!({ "content": "new" });
    let mut failed = Vec::new();
    for (name, method, path, body) in [
        ("me", Method::GET, "/auth/me".to_owned(), json!({})),
        ("channels", Method::GET, "/channels".to_owned(), json!({})),
        ("channel", Method::GET, format!("/channels/{channel}"), json!({})),
        ("page", Method::GET, messages.clone(), json!({})),
        ("older", Method::GET, format!("{messages}?before=7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), json!({})),
        ("newer", Method::GET, format!("{messages}?after=00000000000000000000000000"), json!({})),
        ("message", Method::GET, one.clone(), json!({})),
        ("edit", Method::PATCH, one.clone(), text()),
        ("post", Method::POST, messages.clone(), text()),
        ("members", Method::GET, "/members".to_owned(), json!({})),
        ("member", Method::GET, member, json!({})),
        ("profile", Method::PATCH, "/profile".to_owned(), json!({ "display_name": "Ann" })),
        ("create", Method::POST, "/channels".to_owned(), json!({ "name": "room" })),
        ("rename", Method::PATCH, format!("/channels/{channel}"), json!({ "name": "renamed" })),
        ("challenge", Method::POST, "/auth/challenge".to_owned(), json!({ "pubkey": user.pubkey() })),
    ] {
        let (status, answer) = user.call(method, &path, body).await;
        if status.is_server_error() {
            failed.push(name);
            let said = answer["error"].as_str().unwrap().to_owned();
            assert!(!has_words_of_a_database(&said, Path::new("/tmp")), "{name}: {said}");
            assert_eq!(answer.as_object().unwrap().len(), 1, "{name}: {answer}");
        }
    }
    for name in failing {
        assert!(failed.contains(name), "{name} is not among {failed:?}");
    }
    let health = exchange(&mut server.dial().await, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 "), "{health}");
}

/// A server with one message and its author; then something is damaged while it is stopped.
async fn a_server(directory: &Path, backend: &str) -> (User, [String; 2]) {
    let server = Server::start(directory, backend);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let message = user.post(&channel, "planted in a message").await;
    stop(server).await;
    (user, [channel, message])
}

async fn damaged_records_are_told_to_the_operator_and_not_to_clients(backend: &str) {
    type Damage = (&'static str, usize, &'static str, &'static [&'static str]);
    const DAMAGES: [Damage; 3] = [
        ("messages", 1, "edited_at = 'planted time'", &["page", "older", "newer", "message", "edit"]),
        ("channels", 0, "updated_at = 'planted time'", &["channels", "channel", "rename"]),
        ("users", 2, "updated_at = 'planted time'", &["me", "page", "post", "members", "member"]),
    ];
    for (table, which, change, failing) in DAMAGES {
        let directory = tempfile::tempdir().unwrap();
        let (user, ids) = a_server(directory.path(), backend).await;
        let id = ids.get(which).unwrap_or(&user.id);
        if backend == "redb" {
            let key = if table == "messages" { message_place(&ids[0], id) } else { bytes(id).to_vec() };
            change_redb(directory.path(), table, |it| drop(it.insert(&key[..], &b"planted"[..]).unwrap()));
        } else {
            change_sqlite(directory.path(), &format!("UPDATE {table} SET {change} WHERE id = '{id}'")).await;
        }
        // All channels are read at the start, which then says what is wrong.
        let server = match Server::launch(support::program(directory.path()), backend) {
            Ok(server) => server,
            Err(log) => {
                assert!(log.contains(table), "the operator is told where: {log}");
                continue;
            }
        };
        let user = user.at(&server);
        every_call_answers_in_its_own_words(&server, &user, &ids, failing).await;
        // At the gateway, too, where the reason is a text of the close.
        assert!(matches!(server.connect(&user.token).await.end_within(5).await, None | Some(1001)));
        for told in [table, "restore from a backup"] {
            server.says(told).await;
        }
    }
}

/// Tables that vanish under the running server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sqlite_says_of_a_missing_table_is_for_the_log() {
    for (table, failing) in [
        ("messages", &["older", "newer", "message", "post"][..]),
        ("channels", &["channels", "channel", "post", "create"]),
        ("users", &["me", "channels", "members"]),
        ("sessions", &["me", "channels", "page"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), "sqlite");
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;
        let message = user.post(&channel, "planted in a message").await;
        let mut other = sqlite(directory.path()).await;
        other.execute(sqlx::AssertSqlSafe(format!("ALTER TABLE {table} RENAME TO planted"))).await.unwrap();
        every_call_answers_in_its_own_words(&server, &user, &[channel, message], failing).await;
        server.says("no such table").await; // the operator is told
        assert!(!server.log().contains("planted in a message"), "{}", server.log());
    }
}

over_each_backend! {
    no_secret_is_in_the_log_at_any_level
    damaged_records_are_told_to_the_operator_and_not_to_clients
}
