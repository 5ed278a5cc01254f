//! The gateway of the built server, as clients use it, over both backends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{
    Server, User,
    gateway::{Heard, Socket},
};

fn start(backend: &str, settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), backend, settings);
    (directory, server)
}

async fn a_client_of_the_newest_generation_connects_and_chats(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let info: Value = reqwest::get(server.url("/api/v1/server/info")).await.unwrap().json().await.unwrap();
    assert!(info["name"].is_string());
    let user = server.log_in(1).await; // challenge, verify
    let channels = user.get("/channels").await;
    assert!(user.get("/roles").await["roles"].is_array());
    assert!(user.get("/members").await["members"].is_array());
    let mut socket = server.connect(&user.token).await;
    let channel = channels["channels"][0]["id"].as_str().unwrap();
    socket.say("SUBSCRIBE", json!({ "channel_id": channel })).await;
    assert_eq!(user.get(&format!("/channels/{channel}/messages?limit=50")).await["messages"], json!([]));

    let (op, hello) = socket.event().await;
    assert_eq!(op, "HELLO");
    assert_eq!(hello["server_name"], "decentcom");
    assert_eq!(hello["user"], json!({ "id": user.id, "pubkey": user.pubkey(), "display_name": null }));
    assert_eq!(hello["channels"], json!([{ "id": channel, "name": "general" }]));
    assert_eq!(hello["heartbeat_interval_ms"], 30_000);
    assert_eq!(socket.event().await, ("READY".into(), json!({})));
    let mut sent = Vec::new();
    for number in 0..60 {
        let path = format!("/channels/{channel}/messages");
        let message = user.ok(Method::POST, &path, json!({ "content": number.to_string() })).await;
        assert_eq!(socket.event().await, ("MESSAGE_CREATE".into(), message.clone()));
        sent.push(message);
    }
    let newest = user.get(&format!("/channels/{channel}/messages?limit=50")).await;
    let oldest = newest["messages"][49]["id"].as_str().unwrap();
    let older = user.get(&format!("/channels/{channel}/messages?before={oldest}&limit=50")).await;
    assert_eq!(older["messages"].as_array().unwrap().len(), 10);
    assert_eq!(older["has_more"], false);
}

async fn a_client_of_the_oldest_generation_connects_and_chats(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let channels = user.get("/channels").await;
    assert!(channels["categories"].is_array() && channels["channels"][0].get("category_id").is_some());
    let mut socket = server.open_socket(&user).await;
    let channel = channels["channels"][0]["id"].as_str().unwrap();
    socket.subscribe(channel).await;
    let id = user.post(channel, "hello").await;
    let (op, message) = socket.event().await;
    assert_eq!((op.as_str(), &message["id"]), ("MESSAGE_CREATE", &json!(id)));
    let path = format!("/channels/{channel}/messages/{id}");
    let edited = user.ok(Method::PATCH, &path, json!({ "content": "edited" })).await;
    assert_eq!(socket.event().await, ("MESSAGE_UPDATE".into(), edited));
    user.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(socket.event().await, ("MESSAGE_DELETE".into(), json!({ "id": id, "channel_id": channel })));
    user.call(Method::DELETE, &path, Value::Null).await; // a second deletion announces nothing

    let category = user.ok(Method::POST, "/categories", json!({ "name": "c" })).await;
    assert_eq!(socket.event().await, ("CATEGORY_CREATE".into(), category.clone()));
    let path = format!("/categories/{}", category["id"].as_str().unwrap());
    let renamed = user.ok(Method::PATCH, &path, json!({ "name": "d" })).await;
    assert_eq!(socket.event().await, ("CATEGORY_UPDATE".into(), renamed));
    let body = json!({ "name": "room", "category_id": category["id"] });
    let room = user.ok(Method::POST, "/channels", body).await;
    assert_eq!(socket.event().await, ("CHANNEL_CREATE".into(), room.clone()));
    user.call(Method::DELETE, &path, Value::Null).await;
    let (op, updated) = socket.event().await;
    assert_eq!(
        (op.as_str(), &updated["category_id"], &updated["category"]),
        ("CHANNEL_UPDATE", &json!(null), &json!(null))
    );
    assert_eq!(socket.event().await, ("CATEGORY_DELETE".into(), json!({ "id": category["id"] })));
    user.call(Method::DELETE, &format!("/channels/{}", room["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(socket.event().await, ("CHANNEL_DELETE".into(), json!({ "id": room["id"] })));

    let other = server.log_in(2).await;
    let (op, member) = socket.event().await;
    assert_eq!((op.as_str(), &member["user_id"], &member["roles"]), ("MEMBER_JOIN", &json!(other.id), &json!([])));
    other.ok(Method::PATCH, "/profile", json!({ "display_name": "Bob" })).await;
    let expected = json!({
        "user_id": other.id, "pubkey": other.pubkey(), "display_name": "Bob", "avatar_hash": null, "is_bot": false,
        "joined_at": member["joined_at"],
    });
    assert_eq!(socket.event().await, ("MEMBER_UPDATE".into(), expected));
}

async fn only_subscribers_of_a_channel_hear_its_messages(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let (user, other) = (server.log_in(1).await, server.log_in(2).await);
    let general = user.channel("general").await;
    let room = user.ok(Method::POST, "/channels", json!({ "name": "room" })).await["id"].as_str().unwrap().to_owned();
    let mut in_general = server.open_socket(&user).await;
    let mut also_in_general = server.open_socket(&user).await;
    let mut in_room = server.open_socket(&other).await;
    in_general.subscribe(&general).await;
    also_in_general.subscribe(&general.to_lowercase()).await;
    in_room.subscribe(&room).await;
    // Not understood, and so ignored without a word:
    for text in ["", "{", "[]", "7", "{\"op\":7}", "{\"op\":\"DANCE\",\"d\":{}}", "{\"op\":\"SUBSCRIBE\"}"] {
        in_room.say_raw(text).await;
    }
    in_room.say("SUBSCRIBE", json!({ "channel_id": "00000000000000000000000000", "ack": true })).await;
    let first = other.post(&general, "to general").await;
    let second = user.post(&room, "to the room").await;
    assert_eq!(in_general.event().await.1["id"], json!(first));
    assert_eq!(also_in_general.event().await.1["id"], json!(first));
    assert_eq!(in_room.event().await.1["id"], json!(second));
    in_general.say("UNSUBSCRIBE", json!({ "channel_id": general })).await;
    in_general.subscribe(&room).await;
    user.post(&general, "unheard").await;
    let third = user.post(&room, "heard").await;
    assert_eq!(in_general.event().await.1["id"], json!(third));
}

async fn tokens_decide_who_may_listen_and_for_how_long(backend: &str) {
    let (_directory, server) = start(backend, &[("DECENTCOM_SESSIONS__TTL", "5s")]);
    let plain = reqwest::get(server.url("/api/v1/gateway")).await.unwrap();
    assert_eq!(plain.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(plain.json::<Value>().await.unwrap(), json!({ "error": "missing session token" }));
    let plain = reqwest::get(server.url("/api/v1/gateway?token=x")).await.unwrap();
    assert_eq!(plain.status(), StatusCode::UPGRADE_REQUIRED);
    assert!(plain.json::<Value>().await.unwrap()["error"].is_string());
    assert_eq!(server.connect("made-up").await.end().await, 4001);
    let basic = reqwest::Client::new().get(server.url("/api/v1/gateway?token=x")).header("Authorization", "Basic x");
    let refused = basic.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "the header wins over the query");

    let user = server.log_in(1).await;
    let mut expiring = server.open_socket(&user).await;
    let leaving = server.log_in(1).await;
    let mut sockets = [server.open_socket(&leaving).await, server.open_socket(&leaving).await];
    leaving.call(Method::DELETE, "/auth/session", Value::Null).await;
    for socket in &mut sockets {
        assert_eq!(socket.end().await, 4001);
    }
    assert_eq!(expiring.end().await, 4001, "the session expired");
    assert_eq!(server.connect(&user.token).await.end().await, 4001);
}

async fn a_client_that_answers_no_heartbeat_is_closed(backend: &str) {
    let settings = [("DECENTCOM_GATEWAY__HEARTBEAT_INTERVAL", "1s"), ("DECENTCOM_GATEWAY__HEARTBEAT_TIMEOUT", "1s")];
    let (_directory, server) = start(backend, &settings);
    let user = server.log_in(1).await;
    let mut silent = server.open_socket(&user).await;
    let mut alive = server.open_socket(&user).await;
    for _ in 0..3 {
        assert_eq!(alive.event().await, ("HEARTBEAT".into(), json!({})));
        alive.say("HEARTBEAT_ACK", json!({})).await;
    }
    assert_eq!(silent.end().await, 4002);
}

async fn a_server_that_stops_says_goodbye(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let user = server.log_in(1).await;
    let mut socket = server.open_socket(&user).await;
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(socket.end().await, 1001);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// What a listener has of a channel: every id once, in order, by event or by history.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn add(&mut self, message: &Value) {
        let id = message["id"].as_str().unwrap().to_owned();
        if self.0.last().is_none_or(|last| *last < id) {
            self.0.push(id);
        } else {
            assert!(self.0.contains(&id), "{id} came after {:?} and was not seen before", self.0.last());
        }
    }

    /// Reads what history has after the last id seen.
    async fn catch_up(&mut self, user: &User, channel: &str) {
        loop {
            let after = self.0.last().map_or("00000000000000000000000000", String::as_str);
            let page = user.get(&format!("/channels/{channel}/messages?after={after}&limit=100")).await;
            page["messages"].as_array().unwrap().iter().for_each(|message| self.add(message));
            if page["has_more"] == false {
                return;
            }
        }
    }
}

/// Listens until `done`, cutting its own connection again and again, and catches up each time.
async fn listen(server: Arc<Server>, user: User, channel: String, seed: u64, done: Arc<AtomicBool>) -> Vec<String> {
    let mut seen = Seen::default();
    let mut patience = seed;
    loop {
        let is_last = done.load(Ordering::SeqCst); // asked before catching up: what is posted after that comes next time
        let mut socket: Socket = server.open_socket(&user).await;
        socket.subscribe(&channel).await;
        seen.catch_up(&user, &channel).await;
        if is_last {
            return seen.0;
        }
        patience = patience.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut last: Option<String> = None;
        for _ in 0..patience >> 58 {
            let heard = tokio::time::timeout(Duration::from_millis(200), socket.hear()).await;
            let Ok(Heard::Event(op, message)) = heard else { break };
            if op == "MESSAGE_CREATE" {
                let id = message["id"].as_str().unwrap().to_owned();
                assert!(last.is_none_or(|last| last < id), "events come in the order of their ids, each once");
                last = Some(id);
                seen.add(&message);
            }
        }
    }
}

async fn listeners_that_are_cut_off_at_random_miss_nothing_while_16_writers_post(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let server = Arc::new(server);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let done = Arc::new(AtomicBool::new(false));
    let listeners: Vec<_> = (1..=4)
        .map(|seed| tokio::spawn(listen(server.clone(), user.clone(), channel.clone(), seed, done.clone())))
        .collect();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (user, channel) = (user.clone(), channel.clone());
            tokio::spawn(async move {
                for number in 0..60 {
                    user.post(&channel, &format!("{writer} {number}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let posted: Vec<_> =
        user.history(&channel, 100).await.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(posted.len(), 960);
    for listener in listeners {
        let seen = listener.await.unwrap();
        let missed: Vec<_> = posted.iter().filter(|id| !seen.contains(id)).collect();
        assert!(missed.is_empty(), "{} of {} missed: {missed:?}", missed.len(), posted.len());
        assert_eq!(seen, posted);
    }
}

async fn a_socket_that_does_not_read_is_closed_and_catches_up_from_history(backend: &str) {
    let (_directory, server) = start(backend, &[("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0")]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let mut slow = server.open_narrow_socket(&user).await;
    slow.subscribe(&channel).await;
    let text = "\u{1F600}".repeat(4000); // 16 KB a frame, so that the kernel's buffers fill
    let is_closed = Arc::new(AtomicBool::new(false));
    let posting: Vec<_> = (0..16)
        .map(|_| {
            let (user, channel, text, is_closed) = (user.clone(), channel.clone(), text.clone(), is_closed.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !is_closed.load(Ordering::SeqCst) {
                    ids.push(user.post(&channel, &text).await);
                }
                ids
            })
        })
        .collect();
    // However slow this machine is: the client begins to read when the server has decided, not when all is posted.
    while metric(&scrape(&server).await, "decentcom_gateway_closed_total{code=\"4003\"}").is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    is_closed.store(true, Ordering::SeqCst);
    let mut seen = Seen::default();
    let code = loop {
        match slow.hear().await {
            Heard::Event(op, message) if op == "MESSAGE_CREATE" => seen.add(&message),
            Heard::Event(..) => {}
            Heard::Closed(code) => break code,
        }
    };
    assert_eq!(code, 4003);
    let posted = futures::future::join_all(posting).await;
    let posted: BTreeSet<String> = posted.into_iter().flat_map(Result::unwrap).collect();
    assert!(seen.0.len() < posted.len());
    seen.catch_up(&user, &channel).await;
    assert_eq!(seen.0, posted.into_iter().collect::<Vec<_>>());
}

async fn scrape(server: &Server) -> String {
    let log = server.log();
    let address = log.split_once("metrics on http://").unwrap().1.split_whitespace().next().unwrap().to_owned();
    reqwest::get(format!("http://{address}")).await.unwrap().text().await.unwrap()
}

fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find(|line| line.starts_with(name))?.rsplit_once(' ')?.1.parse().ok()
}

async fn metrics_are_scraped_while_clients_chat(backend: &str) {
    let (_directory, server) = start(backend, &[("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0")]);
    let value = |text: &str, name: &str| metric(text, name).unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let _sockets = [server.open_socket(&user).await, server.open_socket(&user).await];
    let posting = (0..8).map(|_| {
        let (user, channel) = (user.clone(), channel.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                user.post(&channel, "x").await;
            }
        })
    });
    for poster in futures::future::join_all(posting).await {
        poster.unwrap();
    }
    user.call(Method::GET, "/channels/nonsense", Value::Null).await;
    user.call(Method::GET, "/nonsense", Value::Null).await;
    let text = scrape(&server).await;
    let posts = "decentcom_http_request_seconds_count{method=\"POST\",route=\"/api/v1/channels/{channel_id}/messages\",status=\"200\"}";
    assert_eq!(value(&text, posts), 80.0);
    let missing = "decentcom_http_request_seconds_count{method=\"GET\",route=\"/api/v1/channels/{id}\",status=\"404\"}";
    assert_eq!(value(&text, missing), 1.0);
    assert_eq!(value(&text, "decentcom_http_request_seconds_count{method=\"GET\",route=\"none\",status=\"404\"}"), 1.0);
    let created = "decentcom_storage_call_seconds_count{method=\"create_message\",outcome=\"ok\"}";
    assert_eq!(value(&text, created), 80.0);
    assert_eq!(value(&text, "decentcom_gateway_sockets"), 2.0);
    assert_eq!(value(&text, "decentcom_storage_queue_commands"), 0.0);
    assert!(value(&text, "decentcom_storage_batch_commands_sum") >= 80.0);
    assert!(value(&text, "decentcom_storage_commit_seconds_count") >= 10.0);
    assert!(value(&text, "decentcom_storage_file_bytes") > 4096.0);
    assert_eq!(value(&text, "decentcom_sessions_swept_total"), 0.0);
    let public = reqwest::get(server.url("/metrics")).await.unwrap();
    assert_eq!(public.status(), StatusCode::NOT_FOUND, "metrics are on their own address only");
}

over_each_backend! {
    a_client_of_the_newest_generation_connects_and_chats
    a_client_of_the_oldest_generation_connects_and_chats
    only_subscribers_of_a_channel_hear_its_messages
    tokens_decide_who_may_listen_and_for_how_long
    a_client_that_answers_no_heartbeat_is_closed
    a_server_that_stops_says_goodbye
    listeners_that_are_cut_off_at_random_miss_nothing_while_16_writers_post
    a_socket_that_does_not_read_is_closed_and_catches_up_from_history
    metrics_are_scraped_while_clients_chat
}
