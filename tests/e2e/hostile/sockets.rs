//! WebSockets: what the server keeps for a client that does not read, or says too much.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{
    PATIENCE, comes_to, metric, start, start_measured,
    support::{User, gateway::Socket, process::MIB},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_sends_pings_and_never_reads_is_closed_and_costs_nothing() {
    for payload in [4, 125] {
        let (_directory, server) = start(&[]);
        let user = server.log_in(1).await;
        let mut socket = server.open_socket(&user).await;
        let before = server.memory();
        let began = Instant::now();
        let (mut sent, mut peak) = (0, 0);
        while began.elapsed() < Duration::from_secs(3) {
            if !socket.send(Message::Ping(vec![b'x'; payload].into())).await {
                break; // it has been cut off
            }
            sent += 1;
            if sent % 1000 == 0 {
                peak = peak.max(server.memory());
            }
        }
        let grown = peak.saturating_sub(before) / MIB;
        eprintln!("{grown} MiB for {sent} pings of {payload} bytes");
        assert!(grown < 16, "{grown} MiB for {sent} pings of {payload} bytes");
        assert_eq!(socket.end().await, 4003, "{sent} pings of {payload} bytes");
        user.get("/channels").await;
    }
}

/// Slowly enough not to be a flood: what the kernel does not take has a bound too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_saying_too_much_ends_with_4003() {
    let (_directory, server) = start_measured(&[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let subscribe = json!({ "op": "SUBSCRIBE", "d": { "channel_id": channel, "ack": true } }).to_string();
    let piece = |first: bool, bytes: usize| {
        let opcode = OpCode::Data(if first { Data::Text } else { Data::Continue });
        Message::Frame(Frame::message(vec![b'x'; bytes], opcode, false))
    };
    for way in ["one frame", "many pieces", "many operations", "not understood"] {
        let mut socket = server.open_socket(&user).await;
        let began = Instant::now();
        let mut said = 0;
        while began.elapsed() < Duration::from_secs(20) {
            let message = match way {
                "one frame" => Message::text("x".repeat(17_000)),
                "many pieces" => piece(said == 0, 1000),
                "many operations" => Message::text(subscribe.clone()),
                _ => Message::text("{}"),
            };
            if !socket.send(message).await || (way == "one frame" && said > 0) || said > 20_000 {
                break;
            }
            said += 1;
        }
        assert_eq!(socket.end().await, 4003, "{way}, {said} times");
    }
    assert_eq!(metric(&server, "decentcom_gateway_closed_total{code=\"4003\"}").await, 4.0);
    let began = Instant::now();
    while metric(&server, "decentcom_gateway_sockets").await > 0.0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opens a socket that will not read, and has the server try to send it more than the kernel takes.
async fn stuck(server: &super::Server, user: &User, writer: &User) -> Socket {
    let channel = writer.channel("general").await;
    let mut socket = server.open_narrow_socket(user).await;
    socket.subscribe(&channel).await;
    let text = "\u{1F600}".repeat(4000); // 16 KB a frame, which is charged when it is not taken
    let began = Instant::now();
    while metric(server, "decentcom_in_flight_bytes").await < 16_000.0 {
        for poster in futures::future::join_all((0..16).map(|_| writer.post(&channel, &text))).await {
            assert!(!poster.is_empty());
        }
        assert!(began.elapsed() < PATIENCE, "the kernel takes all of it");
    }
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_takes_nothing_does_not_outlive_its_session() {
    let (_directory, server) = start_measured(&[]);
    let (user, writer) = (server.log_in(1).await, server.log_in(2).await);
    let mut socket = stuck(&server, &user, &writer).await;
    let ended = Instant::now();
    user.call(Method::DELETE, "/auth/session", Value::Null).await;
    comes_to(&server, "decentcom_gateway_closed_total{code=\"4001\"}", 1.0).await;
    assert!(ended.elapsed() < Duration::from_secs(9), "only when sending gave up: {:?}", ended.elapsed());
    assert_eq!(socket.end().await, 4001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_takes_nothing_does_not_hold_up_a_stop() {
    let (_directory, server) = start_measured(&[]);
    let (user, writer) = (server.log_in(1).await, server.log_in(2).await);
    let socket = stuck(&server, &user, &writer).await;
    let asked = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(socket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_has_so_many_sockets_and_others_have_their_own() {
    let (_directory, server) = start(&[("DECENTCOM_GATEWAY__MAX_SOCKETS_PER_USER", "3")]);
    let (user, other) = (server.log_in(1).await, server.log_in(2).await);
    let again = user.clone().try_log_in().await.unwrap(); // another session is the same user
    let mut open =
        vec![server.open_socket(&user).await, server.open_socket(&again).await, server.open_socket(&user).await];
    let refused = server.refused_socket(&user).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    server.open_socket(&other).await;
    open.pop();
    let began = Instant::now();
    while server.refused_socket(&user).await.status() != StatusCode::SWITCHING_PROTOCOLS {
        assert!(began.elapsed() < PATIENCE, "a socket that has gone keeps its place");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
