//! Live, ready, and the program that asks.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection};

use super::{eventually, get, metric, metrics_of, outcome};
use crate::support::{Server, program};

/// Asks, as a container would, for the server that is configured to listen on `address`.
fn asked(directory: &Path, address: &str) -> (Option<i32>, String) {
    outcome(program(directory).arg("health").env("DECENTCOM_NETWORK__BIND_ADDRESS", address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_is_live_and_ready_and_the_health_command_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "redb");
    assert_eq!(get(&server, "/health").await, (StatusCode::OK, serde_json::json!({ "status": "ok" })));
    assert_eq!(get(&server, "/health/live").await, (StatusCode::OK, serde_json::json!({ "status": "ok" })));
    let (status, ready) = get(&server, "/health/ready").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&ready["status"], &ready["reasons"]), (&"ready".into(), &serde_json::json!([])));
    assert!(ready["last_commit"].as_str().unwrap().ends_with('Z'), "{ready}");
    assert_eq!((&ready["clock"]["jumps"], &ready["clock"]["last_jump"]), (&0.into(), &serde_json::Value::Null));

    let address = server.address();
    for configured in [address.to_string(), format!("0.0.0.0:{}", address.port())] {
        let (code, said) = asked(directory.path(), &configured);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("the server on {address} is ready")), "{said}");
    }
    server.signal(Signal::TERM);
    server.wait();
    let (code, said) = asked(directory.path(), &address.to_string());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("no server answers on {address}")), "{said}");
}

#[test]
fn the_health_command_answers_0_or_1_whatever_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    for (address, expected) in [("127.0.0.1:0", "give it a port"), ("nonsense", "BIND_ADDRESS")] {
        let (code, said) = asked(directory.path(), address);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    // Somebody who listens and says nothing of HTTP.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || drop(listener.accept()));
    let (code, said) = asked(directory.path(), &address);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address), "{said}");
    other.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_commit_is_live_and_not_ready_and_is_ready_again_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), "sqlite");
    let file = directory.path().join("data/decentcom.sqlite");
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let began = Instant::now();
    let refused = eventually("not ready", async || {
        let (status, ready) = get(&server, "/health/ready").await;
        (status != StatusCode::OK).then_some((status, ready))
    });
    let (status, ready) = refused.await;
    assert!(began.elapsed() < Duration::from_secs(25), "the answer is bounded in time");
    assert_eq!((status, &ready["status"]), (StatusCode::SERVICE_UNAVAILABLE, &"not ready".into()));
    let reason = ready["reasons"][0].as_str().unwrap();
    assert!(reason.contains("stored") && !reason.contains("SQL") && !reason.contains("locked"), "{reason}");
    assert_eq!(ready["error"], reason);
    assert_eq!(get(&server, "/health").await.0, StatusCode::OK);
    assert_eq!(get(&server, "/health/live").await.0, StatusCode::OK);
    let (code, said) = asked(directory.path(), &server.address().to_string());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not ready") && said.contains("stored"), "{said}");
    server.says("not ready").await;

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    eventually("ready", async || (get(&server, "/health/ready").await.0 == StatusCode::OK).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_makes_at_most_a_commit_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), "redb", &[("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0")]);
    let metrics = metrics_of(&server.log());
    const COMMITS: &str = "decentcom_storage_commit_seconds_count";
    let before = metric(&metrics, COMMITS).await;
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(4) || asked < 50 {
        assert_eq!(get(&server, "/health/ready").await.0, StatusCode::OK);
        asked += 1;
    }
    let commits = metric(&metrics, COMMITS).await - before;
    assert!(commits >= 1.0, "an idle server is probed");
    assert!(commits <= began.elapsed().as_secs_f64() + 1.0, "{commits} commits for {asked} questions");
}
