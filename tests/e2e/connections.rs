//! Connections: very many, idle ones, slow ones, those that never read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use support::{
    Server, User,
    process::{MIB, allow_open_files, end, exchange, program_of_a_shell, request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF_A_HEAD: &str = "GET /health HTTP/1.1\r\nHost: x\r\nX-Half: ";
/// Files that the server has open without any connection.
const FEW_FILES: usize = 100;

fn start(settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), "redb", settings);
    (directory, server)
}

/// Posts until `done`, one after the other; answers how many were acknowledged.
async fn keep_posting(user: User, channel: String, posted: Arc<AtomicUsize>, done: Arc<AtomicBool>) {
    while !done.load(SeqCst) {
        user.post(&channel, "still here").await;
        posted.fetch_add(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_are_held_while_posting_goes_on() {
    allow_open_files(12_000);
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("DECENTCOM_GATEWAY__HEARTBEAT_INTERVAL", "1h"),
        ("DECENTCOM_GATEWAY__MAX_SOCKETS_PER_USER", "1000"),
        ("DECENTCOM_NETWORK__MAX_CONNECTIONS_PER_ADDRESS", "16384"),
        ("DECENTCOM_NETWORK__IDLE_TIMEOUT", "1h"),
        ("DECENTCOM_NETWORK__SHUTDOWN_GRACE", "2s"),
    ];
    let server = Server::start_command(program_of_a_shell(directory.path()), "redb", &settings);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let (posted, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let posting: Vec<_> = (0..4)
        .map(|_| tokio::spawn(keep_posting(user.clone(), channel.clone(), posted.clone(), done.clone())))
        .collect();
    let before = server.memory();

    let (mut silent, mut half, mut idle, mut sockets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4000 {
        silent.push(server.dial().await);
    }
    for _ in 0..3000 {
        let mut stream = server.dial().await;
        stream.write_all(HALF_A_HEAD.as_bytes()).await.unwrap();
        half.push(stream);
    }
    for _ in 0..2000 {
        let mut stream = server.dial().await;
        assert_eq!(exchange(&mut stream, HEALTH).await, "HTTP/1.1 200 OK");
        idle.push(stream);
    }
    let without_sockets = server.memory();
    for _ in 0..1000 {
        sockets.push(server.open_socket(&user).await);
    }
    let at_once = posted.load(SeqCst);
    while posted.load(SeqCst) < at_once + 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (files, memory) = (server.open_files(), server.memory());
    let of_each = memory.saturating_sub(before) / 10_000;
    let of_sockets = memory.saturating_sub(without_sockets) / 1000;
    eprintln!("{files} open files, {} MiB: {of_each} bytes a connection, {of_sockets} a socket", memory / MIB);
    assert!(files >= 10_000, "{files} files are open");
    assert!(of_each < 32 * 1024, "{of_each} bytes a connection");
    assert!(of_sockets < 64 * 1024, "{of_sockets} bytes a socket");

    for stream in silent.iter_mut().take(20).chain(idle.iter_mut().take(20)) {
        assert_eq!(exchange(stream, HEALTH).await, "HTTP/1.1 200 OK");
    }
    for stream in half.iter_mut().take(20) {
        assert_eq!(exchange(stream, "and the rest\r\n\r\n").await, "HTTP/1.1 200 OK");
    }
    sockets[999].subscribe(&channel).await;
    assert_eq!(sockets[999].event().await.0, "MESSAGE_CREATE");

    done.store(true, SeqCst);
    for poster in posting {
        poster.await.unwrap();
    }
    drop((silent, idle, sockets));
    half.truncate(10);
    server.comes_down_to_open_files(FEW_FILES).await;
    server.signal(rustix::process::Signal::TERM); // half a request is waited for no longer than the grace
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_sends_no_whole_request_is_closed() {
    let settings = [("DECENTCOM_NETWORK__IDLE_TIMEOUT", "1s"), ("DECENTCOM_NETWORK__REQUEST_TIMEOUT", "1s")];
    let (_directory, server) = start(&settings);
    let began = Instant::now();
    let silent = server.dial().await;
    let mut half = server.dial().await;
    half.write_all(HALF_A_HEAD.as_bytes()).await.unwrap();
    let mut idle = server.dial().await;
    assert_eq!(exchange(&mut idle, HEALTH).await, "HTTP/1.1 200 OK");
    let (mut reading, mut dripping) = server.dial().await.into_split();
    dripping.write_all(HALF_A_HEAD.as_bytes()).await.unwrap();
    let drip = tokio::spawn(async move {
        while dripping.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut half_a_body = server.dial().await;
    let head =
        "POST /api/v1/auth/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    half_a_body.write_all(head.as_bytes()).await.unwrap();

    assert_eq!(end(silent).await, "");
    assert!(began.elapsed() >= Duration::from_secs(1), "not before its time");
    end(half).await;
    end(idle).await;
    let mut said = Vec::new();
    let _ = reading.read_to_end(&mut said).await;
    drip.await.unwrap();
    let answer = end(half_a_body).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    server.comes_down_to_open_files(FEW_FILES).await;
    assert_eq!(reqwest::get(server.url("/health")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let (_directory, server) = start(&[("DECENTCOM_NETWORK__MAX_CONNECTIONS", "4")]);
    let user = server.log_in(1).await; // takes one, until it gives way to the fourth socket
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(server.open_socket(&user).await);
    }
    let mut fifth = server.dial().await;
    fifth.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut byte = [0];
    let waited = tokio::time::timeout(Duration::from_millis(1500), fifth.read(&mut byte)).await;
    assert!(waited.is_err(), "a fifth connection was served: live ones never give way");
    sockets.pop(); // a gateway's connection counts like any other
    assert_eq!(fifth.read(&mut byte).await.unwrap(), 1);
    let mut sixth = server.dial().await;
    drop(fifth);
    assert_eq!(exchange(&mut sixth, HEALTH).await, "HTTP/1.1 200 OK");
}

/// Fills a channel with a page of the longest messages, 1.6 MB as JSON.
async fn a_large_page(user: &User) -> String {
    let channel = user.channel("general").await;
    let text = "\u{1F600}".repeat(4000);
    for _ in 0..100 {
        user.post(&channel, &text).await;
    }
    format!("/api/v1/channels/{channel}/messages?limit=100")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_their_answers_are_cut_off_and_their_memory_comes_back() {
    let (_directory, server) = start(&[("DECENTCOM_NETWORK__WRITE_TIMEOUT", "1s")]);
    let user = server.log_in(1).await;
    let page = request(&a_large_page(&user).await, &user.token);
    let mut peaks = Vec::new();
    for _ in 0..3 {
        let mut stalled: Vec<TcpStream> = Vec::new();
        for _ in 0..12 {
            let mut stream = server.dial_narrow().await;
            // More than it will ever be answered: nothing is read of them before the first answer is taken.
            stream.write_all(page.repeat(20).as_bytes()).await.unwrap();
            stalled.push(stream);
        }
        let mut peak = 0;
        let patience = Instant::now() + Duration::from_secs(120); // pages of 1.6 MB take a debug build long
        while server.open_files() > FEW_FILES || peak == 0 {
            peak = peak.max(server.memory());
            assert!(Instant::now() < patience, "{} files stay open", server.open_files());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        peaks.push(peak / MIB);
    }
    eprintln!("peaks of three waves: {peaks:?} MiB");
    assert!(peaks[2] < peaks[0] + 100, "memory grows from wave to wave: {peaks:?} MiB");
    // For each connection the answer it is at, and not the 20 it asked for.
    assert!(peaks.iter().all(|peak| *peak < 300), "{peaks:?} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_sockets_that_never_read_cost_bounded_memory() {
    let (_directory, server) = start(&[]);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let mut deaf = Vec::new();
    for _ in 0..40 {
        let mut socket = server.open_narrow_socket(&user).await;
        socket.subscribe(&channel).await;
        deaf.push(socket);
    }
    let before = server.memory();
    let text = "\u{1F600}".repeat(4000);
    let posting = (0..16).map(|_| {
        let (user, channel, text) = (user.clone(), channel.clone(), text.clone());
        tokio::spawn(async move {
            for _ in 0..140 {
                user.post(&channel, &text).await;
            }
        })
    });
    for poster in futures::future::join_all(posting).await {
        poster.unwrap();
    }
    let grown = server.memory().saturating_sub(before) / MIB;
    eprintln!("{grown} MiB for 40 sockets that were sent 1,400 MiB");
    // The broadcast's 1,024 frames and the feed's 4,096 changes of 16 KB, the store's cache of 128 MiB, the bodies.
    assert!(grown < 400, "{grown} MiB");
}
