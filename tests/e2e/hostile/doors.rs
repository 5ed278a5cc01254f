//! Who gets in: connections per address, behind proxies, when all places are taken; and the metrics' own door.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    HEALTH, PATIENCE, comes_to, metric, metrics_address, start, start_measured,
    support::process::{Answers, end, exchange},
};

/// A connection from another address of this machine.
async fn dial_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the server hangs up without a word.
async fn is_refused(mut stream: TcpStream) -> bool {
    let _ = stream.write_all(HEALTH.as_bytes()).await;
    let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer or an end");
    read.is_err()
}

const US: [u8; 4] = [127, 0, 0, 9];
const OTHERS: [u8; 4] = [127, 0, 0, 2];
const PROXY: [u8; 4] = [127, 0, 0, 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_its_share_of_connections_and_others_get_in() {
    let (_directory, server) = start_measured(&[("DECENTCOM_NETWORK__MAX_CONNECTIONS_PER_ADDRESS", "5")]);
    let mut ours = Vec::new();
    for _ in 0..5 {
        let mut stream = dial_from(US, server.address()).await;
        assert_eq!(exchange(&mut stream, HEALTH).await, "HTTP/1.1 200 OK");
        ours.push(stream);
    }
    for _ in 0..3 {
        assert!(is_refused(dial_from(US, server.address()).await).await, "a sixth is served");
    }
    assert_eq!(exchange(&mut dial_from(OTHERS, server.address()).await, HEALTH).await, "HTTP/1.1 200 OK");
    assert_eq!(exchange(&mut ours[0], HEALTH).await, "HTTP/1.1 200 OK");
    assert_eq!(metric(&server, "decentcom_connections_refused_total").await, 3.0);
    assert!(metric(&server, "decentcom_connections").await >= 6.0);
    ours.pop();
    let freed =
        tokio::time::timeout(PATIENCE, async { while is_refused(dial_from(US, server.address()).await).await {} });
    freed.await.expect("a place comes free with its connection");
}

/// Asks for a challenge for no key at all, which counts as one attempt to log in.
async fn attempt(stream: &mut Answers, forwarded_for: &str) -> u16 {
    let head =
        "POST /api/v1/auth/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
    let forwarded =
        if forwarded_for.is_empty() { String::new() } else { format!("X-Forwarded-For: {forwarded_for}\r\n") };
    stream.send(format!("{head}{forwarded}\r\n{{}}").as_bytes()).await;
    stream.next().await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let settings = [
        ("DECENTCOM_NETWORK__MAX_CONNECTIONS_PER_ADDRESS", "2"),
        ("DECENTCOM_NETWORK__TRUSTED_PROXIES", "[\"127.0.0.3\"]"),
        ("DECENTCOM_LIMITS__LOG_INS", "1"),
        ("DECENTCOM_LIMITS__LOG_INS_BURST", "2"),
    ];
    let (_directory, server) = start(&settings);
    let mut through = Vec::new();
    for _ in 0..6 {
        through.push(Answers::of(dial_from(PROXY, server.address()).await));
    }
    for stream in &mut through {
        stream.send(HEALTH.as_bytes()).await;
        assert_eq!(stream.next().await.unwrap().status, 200, "a proxy has as many connections as it likes");
    }
    let proxy = &mut through[0];
    for (clients, expected) in [
        ("192.0.2.1", 422),
        ("192.0.2.1", 422),
        ("192.0.2.1", 429),
        ("192.0.2.99, 192.0.2.1", 429), // its own word for who it is counts for nothing
        ("192.0.2.2", 422),
        ("2001:db8:0:1::1", 422),
        ("2001:db8:0:1::2", 422),
        ("2001:db8:0:1:ff::3", 429), // the same household
        ("2001:db8:0:2::1", 422),
    ] {
        assert_eq!(attempt(proxy, clients).await, expected, "{clients}");
    }
    assert!(!server.log().contains("X-Forwarded-For"), "{}", server.log());
    let mut direct = Answers::of(dial_from(OTHERS, server.address()).await);
    let attempts = [attempt(&mut direct, "192.0.2.50").await, attempt(&mut direct, "192.0.2.51").await];
    assert_eq!(attempts, [422, 422]);
    assert_eq!(attempt(&mut direct, "192.0.2.52").await, 429, "nobody else is believed");
    server.says("X-Forwarded-For came from 127.0.0.2").await;
    assert_eq!(server.log().matches("X-Forwarded-For came from").count(), 1, "and the log says so once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_places_are_taken_the_connection_longest_at_rest_gives_way() {
    let (_directory, server) = start_measured(&[("DECENTCOM_NETWORK__MAX_CONNECTIONS", "3")]);
    let mut resting = server.dial().await;
    assert_eq!(exchange(&mut resting, HEALTH).await, "HTTP/1.1 200 OK");
    let mut others = [server.dial().await, server.dial().await];
    for stream in &mut others {
        assert_eq!(exchange(stream, HEALTH).await, "HTTP/1.1 200 OK");
    }
    assert_eq!(exchange(&mut server.dial().await, HEALTH).await, "HTTP/1.1 200 OK", "no place comes free");
    assert_eq!(end(resting).await, "");
    comes_to(&server, "decentcom_connections_gave_way_total", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_have_few_connections_and_the_same_patience() {
    let (_directory, server) = start_measured(&[("DECENTCOM_NETWORK__IDLE_TIMEOUT", "1s")]);
    let address = metrics_address(&server);
    let mut half = dial_from(US, address).await;
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Half: ").await.unwrap();
    end(half).await; // for ever, it was
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(dial_from(US, address).await);
    }
    assert!(is_refused(dial_from(US, address).await).await, "a seventeenth from one address is served");
    for _ in 0..20 {
        silent.push(dial_from(OTHERS, address).await);
    }
    let mut scrape = Answers::of(dial_from(PROXY, address).await);
    scrape.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = tokio::time::timeout(Duration::from_secs(20), scrape.next()).await.expect("whoever scrapes gets in");
    assert!(answer.unwrap().body.contains("decentcom_connections "));
}
