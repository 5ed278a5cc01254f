//! What an operator does with the built program, beside starting and stopping it: health checks, signals, logs, clocks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

mod support;

#[path = "operations/clock.rs"]
mod clock;
#[path = "operations/configuration.rs"]
mod configuration;
#[path = "operations/health.rs"]
mod health;
#[path = "operations/logs.rs"]
mod logs;
#[path = "operations/signals.rs"]
mod signals;

use std::{
    io::Read as _,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::Value;
use support::Server;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program to its end; its exit code and what it said.
fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let status = support::wait_for(&mut child);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

/// Asks again until `found` answers something.
async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Status and body of a path.
async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    let reply = reqwest::get(server.url(path)).await.unwrap();
    (reply.status(), serde_json::from_str(&reply.text().await.unwrap()).unwrap())
}

/// The address of the metrics, which the log says.
fn metrics_of(log: &str) -> String {
    log.lines().find_map(|line| line.split_once("metrics on ")).unwrap().1.trim().to_owned()
}

/// The value of a metric without labels.
async fn metric(address: &str, name: &str) -> f64 {
    let text = reqwest::get(address).await.unwrap().text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}
