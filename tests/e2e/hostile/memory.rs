//! Memory belongs to the server: whatever clients leave unread or half sent, in total.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    HEALTH, PATIENCE, comes_to, metric, start, start_measured,
    support::{
        Server, User,
        process::{MIB, allow_open_files, exchange, request},
    },
};

/// Fills a channel with a page of so many kilobytes, as JSON.
async fn a_large_page(user: &User, kilobytes: usize) -> String {
    let channel = user.channel("general").await;
    let text = "x".repeat(kilobytes * 1000 / 100);
    for _ in 0..100 {
        user.post(&channel, &text).await;
    }
    format!("/channels/{channel}/messages?limit=100")
}

/// Watches the process's memory until told to stop; answers the most.
fn watch(server: &Arc<Server>) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let (done, server) = (Arc::new(AtomicBool::new(false)), server.clone());
    let told = done.clone();
    let watching = tokio::spawn(async move {
        let mut peak = 0;
        while !told.load(SeqCst) {
            peak = peak.max(server.memory());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        peak
    });
    (done, watching)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_that_do_not_read_their_pages_hold_one_budget_and_others_are_served() {
    allow_open_files(4000);
    // Of 250 MB that are asked for; little, so that a debug build need not make hundreds of pages.
    let (_directory, server) = start_measured(&[("DECENTCOM_NETWORK__IN_FLIGHT_MIB", "8")]);
    let server = Arc::new(server);
    let (crowd, honest) = (server.log_in(1).await, server.log_in(2).await);
    let page = a_large_page(&crowd, 250).await;
    for _ in 0..4 {
        honest.get(&page).await; // what a page takes to be made is not at issue
    }
    let before = server.memory();
    let (done, watching) = watch(&server);
    let asks = request(&format!("/api/v1{page}"), &crowd.token);
    let mut deaf: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        let mut stream = server.dial_narrow().await;
        stream.write_all(asks.repeat(3).as_bytes()).await.unwrap();
        deaf.push(stream);
        if number % 50 == 0 {
            // Behind them in the kernel's queue, which is short: a connection that does not fit waits for many seconds.
            assert_eq!(exchange(&mut server.dial().await, HEALTH).await, "HTTP/1.1 200 OK");
        }
    }
    comes_to(&server, "decentcom_connections_stalled_total", 1.0).await;
    let began = Instant::now();
    let (mut pages, mut slowest) = (0, Duration::ZERO);
    while began.elapsed() < Duration::from_secs(3) || pages < 3 {
        let asked = Instant::now();
        assert_eq!(honest.get(&page).await["messages"].as_array().unwrap().len(), 100);
        honest.get("/channels").await;
        slowest = slowest.max(asked.elapsed());
        pages += 1;
        assert!(began.elapsed() < 2 * PATIENCE, "{pages} pages in a minute");
    }
    done.store(true, SeqCst);
    let grown = watching.await.unwrap().saturating_sub(before) / MIB;
    let in_flight = metric(&server, "decentcom_in_flight_bytes").await / MIB as f64;
    eprintln!(
        "{grown} MiB for 1,000 connections, {in_flight:.1} in flight; {pages} pages for others, the slowest {slowest:?}"
    );
    assert!(grown < 64, "{grown} MiB");
    assert!(in_flight < 16.0, "{in_flight} MiB in flight");
    drop(deaf);
    server.comes_down_to_open_files(100).await;
    let began = Instant::now();
    while metric(&server, "decentcom_in_flight_bytes").await > 0.0 {
        assert!(began.elapsed() < PATIENCE, "{} bytes are lost", metric(&server, "decentcom_in_flight_bytes").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Each byte in a packet of its own: kept as they come, each would hold a buffer of 8 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_byte_by_byte_costs_no_more_than_its_bytes() {
    let (_directory, server) = start(&[("DECENTCOM_NETWORK__REQUEST_TIMEOUT", "10m")]);
    let server = Arc::new(server);
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    let before = server.memory();
    let (done, watching) = watch(&server);
    let head = format!(
        "POST /api/v1/channels/{channel}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n",
        user.token
    );
    let mut dripping = Vec::new();
    for _ in 0..8 {
        let mut stream = server.dial().await;
        stream.set_nodelay(true).unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        dripping.push(stream);
    }
    let mut other = server.dial().await;
    for _ in 0..1500 {
        for stream in &mut dripping {
            stream.write_all(b" ").await.unwrap();
        }
        // By then the server has read them, mostly.
        assert_eq!(exchange(&mut other, HEALTH).await, "HTTP/1.1 200 OK");
    }
    done.store(true, SeqCst);
    let grown = watching.await.unwrap().saturating_sub(before) / MIB;
    eprintln!("{grown} MiB for 12,000 bytes");
    assert!(grown < 16, "{grown} MiB");
}

/// Three thousand half heads of 30 KiB would be 90 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end_hold_the_same_budget() {
    allow_open_files(8000);
    let (_directory, server) = start(&[]);
    let server = Arc::new(server);
    let user = server.log_in(1).await;
    let before = server.memory();
    let (done, watching) = watch(&server);
    let half = format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Half: {}", "x".repeat(30_000));
    let mut halves = Vec::new();
    for _ in 0..3000 {
        let mut stream = server.dial().await;
        let _ = stream.write_all(half.as_bytes()).await; // it may be cut off
        halves.push(stream);
        if halves.len() % 50 == 0 {
            assert_eq!(exchange(&mut server.dial().await, HEALTH).await, "HTTP/1.1 200 OK");
        }
    }
    user.get("/channels").await;
    done.store(true, SeqCst);
    let grown = watching.await.unwrap().saturating_sub(before) / MIB;
    eprintln!("{grown} MiB for 3,000 half heads");
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_room_in_vain_is_told_to_come_back() {
    let (_directory, server) = start_measured(&[("DECENTCOM_NETWORK__IN_FLIGHT_MIB", "8")]);
    let crowd = server.log_in(1).await;
    let page = a_large_page(&crowd, 250).await;
    crowd.get(&page).await; // from now on the server knows how large these are: seven fill a quarter of the budget
    let asks = request(&format!("/api/v1{page}"), &crowd.token);
    let mut slow = Vec::new();
    for _ in 0..7 {
        let mut stream = server.dial_narrow().await;
        stream.write_all(asks.repeat(4).as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // They read, as slowly as is allowed while others wait, so that none of them stalls.
    let reading = tokio::spawn(async move {
        let mut piece = vec![0; 32 * 1024];
        loop {
            for stream in &mut slow {
                let mut left = piece.len();
                while left > 0 {
                    match tokio::io::AsyncReadExt::read(stream, &mut piece[..left]).await {
                        Ok(read) if read > 0 => left -= read,
                        _ => return,
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    comes_to(&server, "decentcom_in_flight_bytes", 1_000_000.0).await;
    let mut asking = Vec::new();
    for _ in 0..8 {
        let (crowd, page) = (crowd.clone(), page.clone());
        asking.push(tokio::spawn(async move { crowd.try_send(Method::GET, &page, json!({})).await.unwrap() }));
    }
    let mut refused = 0;
    for reply in futures::future::join_all(asking).await {
        let reply = reply.unwrap();
        match reply.status {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(reply.retry_after && reply.body["error"].is_string());
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    eprintln!("{refused} of 8 refused");
    reading.abort();
    assert_eq!(f64::from(refused), metric(&server, "decentcom_in_flight_refused_total").await);
    assert_eq!(crowd.get("/channels").await["channels"].as_array().unwrap().len(), 1);
}
