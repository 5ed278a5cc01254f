//! Clients that mean harm, and clumsy ones: what they cost is bounded, they are told what is wrong, and others are served
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[path = "hostile/answers.rs"]
mod answers;
#[path = "hostile/doors.rs"]
mod doors;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/rates.rs"]
mod rates;
#[path = "hostile/sockets.rs"]
mod sockets;
mod support;

use std::time::{Duration, Instant};

use support::Server;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(30);

fn start(settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), "redb", settings);
    (directory, server)
}

/// A server whose metrics can be read.
fn start_measured(settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let measured = [settings, &[("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0")]].concat();
    start(&measured)
}

/// Where its metrics are.
fn metrics_address(server: &Server) -> std::net::SocketAddr {
    let log = server.log();
    let address = log.split_once("metrics on http://").unwrap().1.split('/').next().unwrap();
    address.parse().unwrap()
}

/// What a metric says now.
async fn metric(server: &Server, name: &str) -> f64 {
    let text = reqwest::get(format!("http://{}/metrics", metrics_address(server))).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().unwrap())
}

/// Waits until a metric has come to `least`.
async fn comes_to(server: &Server, name: &str, least: f64) {
    let began = Instant::now();
    while metric(server, name).await < least {
        assert!(began.elapsed() < PATIENCE, "{name} is {}", metric(server, name).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
