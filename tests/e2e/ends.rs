//! Who is cut off and when, what a browser is told whatever the answer, and what a stop waits for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use decentcom_server::storage::SystemClock;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    Server, User,
    disk::{Disk, Fault},
    gateway::Heard,
    process::{MIB, end},
    rows::store,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

fn start(backend: &str, settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), backend, settings);
    (directory, server)
}

/// Heartbeats come faster than the time for an answer is over: the deadline is of the first that was not answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chatter_keeps_no_socket_that_answers_no_heartbeat_and_later_heartbeats_give_no_more_time() {
    let settings = [("DECENTCOM_GATEWAY__HEARTBEAT_INTERVAL", "1s"), ("DECENTCOM_GATEWAY__HEARTBEAT_TIMEOUT", "3s")];
    let (_directory, server) = start("sqlite", &settings);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let mut socket = server.open_socket(&user).await;
    // It answers two, and then it does not.
    for _ in 0..2 {
        assert_eq!(socket.event().await.0, "HEARTBEAT");
        socket.say("HEARTBEAT_ACK", json!({})).await;
    }
    let began = Instant::now();
    let mut heartbeats = 0;
    let code = loop {
        assert!(began.elapsed() < Duration::from_secs(20), "{heartbeats} heartbeats, and it is still there");
        match tokio::time::timeout(Duration::from_millis(100), socket.hear()).await {
            Ok(Heard::Closed(code)) => break code,
            Ok(Heard::Event(op, _)) if op == "HEARTBEAT" => heartbeats += 1,
            Ok(Heard::Event(..)) => {}
            Err(_silence) => {
                for text in ["", "{}", r#"{"op":"HEARTBEAT"}"#, r#"{"op":"HEARTBEAT_ACKNOWLEDGED"}"#] {
                    socket.try_say_raw(text).await;
                }
                socket.try_say_raw(&json!({ "op": "SUBSCRIBE", "d": { "channel_id": channel } }).to_string()).await;
            }
        }
    };
    assert_eq!(code, 4002);
    assert!(heartbeats >= 2, "the deadline was the first one's, and others came before it");
    assert!(began.elapsed() >= Duration::from_secs(3), "not before its time");
}

/// A category with more channels than the feed holds changes: its deletion announces them all at once.
async fn a_flood_of_changes_closes_every_socket_rather_than_leave_one_with_a_gap(backend: &str) {
    const CHANNELS: usize = 6000;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), backend);
    let user = server.log_in(1).await;
    let category = user.ok(Method::POST, "/categories", json!({ "name": "crowded" })).await;
    let category = category["id"].as_str().unwrap().to_owned();
    server.signal(Signal::TERM);
    tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    let opened = store(directory.path(), backend, Arc::new(SystemClock)).await;
    let making = (0..CHANNELS).map(|number| {
        let (opened, category) = (opened.clone(), category.clone());
        tokio::spawn(async move {
            loop {
                let made = opened.create_channel(&format!("room-{number}"), Some(&category), 1).await;
                if made.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await; // its queue is full
            }
        })
    });
    for made in futures::future::join_all(making).await {
        made.unwrap();
    }
    opened.close().await.unwrap();

    let server = Server::start(directory.path(), backend);
    let user = user.at(&server);
    let general = user.channel("general").await;
    let mut sockets = [server.open_socket(&user).await, server.open_socket(&user).await];
    let (status, _) = user.call(Method::DELETE, &format!("/categories/{category}"), Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for socket in &mut sockets {
        assert_eq!(socket.end().await, 4003);
    }
    // Whoever comes back hears what comes next, once the flood is over.
    let began = Instant::now();
    let mut closed_with = Vec::new();
    while let Err(code) = hears_a_new_post(&server, &user, &general).await {
        closed_with.push(code);
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nobody hears anything any more: {closed_with:?}\n{}",
            server.log()
        );
    }
}

/// A socket is opened, and hears what is posted then; or the code with which it is closed before.
async fn hears_a_new_post(server: &Server, user: &User, channel: &str) -> Result<(), u16> {
    let mut socket = server.connect(&user.token).await;
    socket.say("SUBSCRIBE", json!({ "channel_id": channel, "ack": true })).await;
    hears_of(&mut socket, "SUBSCRIBED").await?;
    user.post(channel, "and on it goes").await;
    hears_of(&mut socket, "MESSAGE_CREATE").await
}

async fn hears_of(socket: &mut support::gateway::Socket, op: &str) -> Result<(), u16> {
    loop {
        match socket.hear().await {
            Heard::Event(heard, _) if heard == op => return Ok(()),
            Heard::Event(..) => {}
            Heard::Closed(code) => return Err(code),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_64_mib_is_not_taken_in_whole_or_in_pieces() {
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    };
    const SIZE: usize = 64 * 1024 * 1024;
    let (_directory, server) = start("redb", &[]);
    let user = server.log_in(1).await;
    let before = server.memory();
    let mut whole = server.open_socket(&user).await;
    whole.send(Message::text("x".repeat(SIZE))).await;
    let code = whole.end().await;
    assert!(matches!(code, 0 | 4003), "closed with {code}");
    let mut pieces = server.open_socket(&user).await;
    let piece = |op| Message::Frame(Frame::message("x".repeat(8 * 1024), OpCode::Data(op), false));
    let mut sent = 0;
    while sent < SIZE && pieces.send(piece(if sent == 0 { Data::Text } else { Data::Continue })).await {
        sent += 8 * 1024;
    }
    assert!(sent < SIZE, "all of it was taken");
    let grown = server.memory().saturating_sub(before) / MIB;
    assert!(grown < 24, "{grown} MiB");
    user.get("/channels").await;
}

const PAGE: &str = "https://chat.example";

/// What a browser lets its page see of an answer, and from which pages.
fn told(headers: &HeaderMap) -> (Option<&str>, bool) {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let exposed = text("access-control-expose-headers").unwrap_or_default().to_lowercase();
    (text("access-control-allow-origin"), ["x-request-id", "retry-after"].iter().all(|name| exposed.contains(name)))
}

/// Without these headers a page sees no answer at all, and takes every error for a broken network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_read_every_answer_errors_too() {
    for (allowed, mine) in [("[]", "*"), (r#"["https://other.example", "https://chat.example"]"#, PAGE)] {
        let settings = [("DECENTCOM_NETWORK__ALLOWED_ORIGINS", allowed), ("DECENTCOM_NETWORK__REQUEST_TIMEOUT", "2s")];
        let (_directory, server) = start("redb", &settings);
        let (admin, user) = (server.log_in(1).await, server.log_in(2).await);
        let general = user.channel("general").await;
        let messages = format!("/channels/{general}/messages");
        let id = user.post(&general, "x").await;
        let json_body = |text: &str| (Some("application/json"), text.to_owned());
        for (by, method, path, (kind, body), status) in [
            (&user, Method::GET, "/server/info".to_owned(), (None, String::new()), 200),
            (&user, Method::DELETE, format!("{messages}/{id}"), (None, String::new()), 204),
            (&user, Method::GET, format!("{messages}?limit=x"), (None, String::new()), 400),
            (&user, Method::POST, messages.clone(), json_body("{"), 400),
            (&user.with_token("unknown"), Method::GET, "/channels".to_owned(), (None, String::new()), 401),
            (&user.with_token(""), Method::GET, "/gateway".to_owned(), (None, String::new()), 401),
            (&user, Method::DELETE, format!("/channels/{general}"), (None, String::new()), 403),
            (&user, Method::GET, "/nowhere".to_owned(), (None, String::new()), 404),
            (&user, Method::GET, "/channels/nonsense".to_owned(), (None, String::new()), 404),
            (&user, Method::PUT, "/channels".to_owned(), (None, String::new()), 405),
            (&user, Method::POST, messages.clone(), json_body(&"x".repeat(200_000)), 413),
            (&user, Method::POST, messages.clone(), (Some("text/plain"), "{}".to_owned()), 415),
            (&user, Method::POST, messages.clone(), json_body(r#"{"content":""}"#), 422),
            (&user, Method::GET, "/gateway".to_owned(), (None, String::new()), 426),
        ] {
            let mut request = by.request(method.clone(), &path).header("Origin", PAGE).body(body);
            if let Some(kind) = kind {
                request = request.header("Content-Type", kind);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {path}");
            assert_eq!(told(answer.headers()), (Some(mine), true), "{method} {path}: {:?}", answer.headers());
        }
        // One that came too slowly, and one of a page that is not let in.
        let head = format!(
            "POST /api/v1{messages} HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
            user.token
        );
        let mut half = server.dial().await;
        half.write_all(head.as_bytes()).await.unwrap();
        let answer = end(half).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 503"), "{answer}");
        for header in [&*format!("access-control-allow-origin: {mine}"), "retry-after: 1"] {
            assert!(answer.contains(header), "{header}: {answer}");
        }
        let stranger = user.request(Method::GET, "/channels").header("Origin", "https://evil.example").send().await;
        let shown = told(stranger.unwrap().headers()).0.map(str::to_owned);
        assert_eq!(shown.as_deref(), (mine == "*").then_some("*"));

        for path in ["/channels", "/profile", "/auth/session", "/nowhere", "/gateway"] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let asked = Client::new()
                    .request(Method::OPTIONS, server.url(&format!("/api/v1{path}")))
                    .header("Origin", PAGE)
                    .header("Access-Control-Request-Method", method)
                    .header("Access-Control-Request-Headers", "authorization,content-type");
                let answer = asked.send().await.unwrap();
                assert!(answer.status().is_success(), "{path} {method}");
                let says = |name: &str| answer.headers()[name].to_str().unwrap().to_lowercase();
                assert_eq!(says("access-control-allow-origin"), mine);
                assert!(says("access-control-allow-methods").contains(&method.to_lowercase()));
                let headers = says("access-control-allow-headers");
                assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
            }
        }
        drop(admin);
    }
}

/// Sends a post but for its last byte.
async fn half_a_post(server: &Server, user: &User, channel: &str, content: &str) -> TcpStream {
    let body = json!({ "content": content }).to_string();
    let head = format!(
        "POST /api/v1/channels/{channel}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        user.token,
        body.len(),
        &body[..body.len() - 1]
    );
    let mut stream = server.dial().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn a_stop_waits_for_what_is_under_way_and_says_when_it_waits_no_longer(backend: &str) {
    for is_finished in [true, false] {
        let (directory, mut server) = start(backend, &[("DECENTCOM_NETWORK__SHUTDOWN_GRACE", "3s")]);
        let user = server.log_in(1).await;
        let channel = user.channel("general").await;
        user.post(&channel, "before").await;
        let mut socket = server.open_socket(&user).await;
        socket.subscribe(&channel).await;
        let mut late = half_a_post(&server, &user, &channel, "late").await;
        // The server has begun with it: what was sent later on another connection is answered.
        tokio::time::sleep(Duration::from_millis(200)).await;
        user.get("/channels").await;
        let began = Instant::now();
        server.signal(Signal::TERM);
        while !server.log().contains("stopping") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if is_finished {
            late.write_all(b"}").await.unwrap();
            let answer = end(late).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let (op, message) = socket.event().await;
            assert_eq!((op.as_str(), &message["content"]), ("MESSAGE_CREATE", &json!("late")), "its event comes too");
        }
        assert_eq!(socket.end().await, 1001);
        let address = server.address();
        let (status, server) = tokio::task::spawn_blocking(move || (server.ended(), server)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        assert_eq!(server.log().contains("cut off"), !is_finished, "{}", server.log());
        assert!(server.log().contains("everything acknowledged is stored"));
        if !is_finished {
            assert!(began.elapsed() >= Duration::from_secs(3), "it was not waited for");
        }
        let server = Server::start(directory.path(), backend);
        let history = user.at(&server).history(&channel, 50).await;
        let texts: Vec<_> = history.iter().map(|it| it["content"].as_str().unwrap()).collect();
        assert_eq!(texts, if is_finished { &["before", "late"][..] } else { &["before"] });
    }
}

async fn every_socket_hears_that_the_server_stops(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let mut sockets = Vec::new();
    for seed in 1..=6 {
        let user = server.log_in(seed).await;
        for _ in 0..5 {
            sockets.push(server.open_socket(&user).await);
        }
    }
    server.signal(Signal::TERM);
    for socket in &mut sockets {
        assert_eq!(socket.end().await, 1001);
    }
}

/// The disk fails while the store is being closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_could_not_close_its_store_says_so_and_loses_nothing() {
    let disk = Disk::empty();
    let mut server = disk.start("redb", &[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    user.post(&channel, "acknowledged").await;
    disk.order(1, Fault::Error);
    server.signal(Signal::TERM);
    let (status, server) = tokio::task::spawn_blocking(move || (server.ended(), server)).await.unwrap();
    assert!(disk.failed().is_some(), "nothing failed:\n{}", server.log());
    assert_eq!(status.code(), Some(1), "{}", server.log());
    assert!(server.log().contains("closing the store failed"), "{}", server.log());
    assert!(!server.log().contains("everything acknowledged is stored"), "{}", server.log());
    let server = disk.start("redb", &[]);
    assert_eq!(user.at(&server).history(&channel, 50).await.len(), 1);
}

/// A subscription is to one channel more, whatever came before it.
async fn each_subscription_is_for_its_own_channel_and_holds_until_its_own_end(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let mut socket = server.open_socket(&user).await;
    let mut rooms = vec![user.channel("general").await];
    for name in ["one", "two"] {
        let room = user.ok(Method::POST, "/channels", json!({ "name": name })).await;
        rooms.push(room["id"].as_str().unwrap().to_owned());
        assert_eq!(socket.event().await.0, "CHANNEL_CREATE");
    }
    // Posts to every room, and hears of these alone, each once.
    async fn hears(socket: &mut support::gateway::Socket, user: &User, rooms: &[String], heard: &[usize]) {
        let mut expected = Vec::new();
        for (number, room) in rooms.iter().enumerate() {
            let id = user.post(room, "x").await;
            if heard.contains(&number) {
                expected.push(json!(id));
            }
        }
        for id in expected {
            let (op, message) = socket.event().await;
            assert_eq!((op.as_str(), &message["id"]), ("MESSAGE_CREATE", &id));
        }
    }
    hears(&mut socket, &user, &rooms, &[]).await;
    for (number, heard) in [(0, &[0][..]), (2, &[0, 2]), (0, &[0, 2]), (1, &[0, 1, 2])] {
        socket.subscribe(&rooms[number]).await;
        hears(&mut socket, &user, &rooms, heard).await;
    }
    for heard in [&[0, 1][..], &[0, 1]] {
        socket.say("UNSUBSCRIBE", json!({ "channel_id": rooms[2] })).await;
        socket.subscribe(&rooms[1]).await; // answered after what was said before it
        hears(&mut socket, &user, &rooms, heard).await;
    }
    socket.subscribe(&rooms[2]).await;
    hears(&mut socket, &user, &rooms, &[0, 1, 2]).await;
    // Each deletion ends one.
    for gone in [1, 2] {
        let room = &rooms[gone];
        user.call(Method::DELETE, &format!("/channels/{room}"), Value::Null).await;
        assert_eq!(socket.event().await, ("CHANNEL_DELETE".into(), json!({ "id": room })));
        let left: Vec<_> = rooms[..1].iter().chain(&rooms[gone + 1..]).cloned().collect();
        let all: Vec<_> = (0..left.len()).collect();
        hears(&mut socket, &user, &left, &all).await;
    }
    // A second socket of the same user knows nothing of the first one's; nor does one that comes back.
    let mut second = server.open_socket(&user).await;
    for _ in 0..2 {
        user.post(&rooms[0], "unheard").await;
        second = server.open_socket(&user).await;
    }
    second.subscribe(&rooms[0]).await;
    hears(&mut second, &user, &rooms[..1], &[0]).await;
}

over_each_backend! {
    each_subscription_is_for_its_own_channel_and_holds_until_its_own_end
    a_flood_of_changes_closes_every_socket_rather_than_leave_one_with_a_gap
    a_stop_waits_for_what_is_under_way_and_says_when_it_waits_no_longer
    every_socket_hears_that_the_server_stops
}
