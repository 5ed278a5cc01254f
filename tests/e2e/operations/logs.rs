//! The log: it never makes the server wait, it stays within its bounds, and it holds no secret.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{PATIENCE, eventually, get, metric, outcome};
use crate::support::{Server, program, small_disk::SmallDisk, wait_for};

const LOST: &str = "decentcom_log_lines_lost_total";
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_stderr_that_stands_still_holds_up_neither_requests_nor_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(directory.path());
    command.envs([
        ("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0"),
        ("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0"),
        ("DECENTCOM_LOGGING__LEVEL", "trace"),
    ]);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let (mut base, mut metrics) = (None, None);
    while base.is_none() {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
        let rest_after = |words: &str| line.split_once(words).map(|(_, rest)| rest.trim().to_owned());
        metrics = metrics.or(rest_after("metrics on "));
        base = rest_after("listening on http://").map(|address| format!("http://{address}"));
    }
    let (base, metrics) = (base.unwrap(), metrics.unwrap());
    let http = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    // From here on nobody reads.
    let flood = async || {
        let lost = metric(&metrics, LOST).await;
        let deadline = Instant::now() + 2 * PATIENCE;
        while metric(&metrics, LOST).await <= lost {
            assert!(Instant::now() < deadline, "the log has no bound");
            for _ in 0..100 {
                let path = format!("{base}/{}", "long".repeat(1500));
                assert_eq!(http.get(path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
            }
        }
    };
    let mut lost_before = 0.0;
    for _ in 0..2 {
        flood().await;
        // Somebody reads again, and hears how much is missing.
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains("log lines were lost") {
                line.clear();
                assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
            }
            (lines, line)
        });
        let said = tokio::time::timeout(2 * PATIENCE, reading).await.expect("the loss is said").unwrap();
        lines = said.0;
        let lost = metric(&metrics, LOST).await;
        assert!(said.1.contains(&format!("lines={} since_start={lost}", lost - lost_before)), "{lost}: {}", said.1);
        lost_before = lost;
    }
    flood().await;

    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || wait_for(&mut child)).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_file_is_private_bounded_reopened_and_holds_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("logs/server.log");
    let refused = outcome(program(directory.path()).env("DECENTCOM_LOGGING__FILE", "logs/server.log"));
    assert_eq!(refused.0, Some(2), "{}", refused.1);
    assert!(refused.1.contains("[logging] file") && refused.1.contains("logs/server.log"), "{}", refused.1);
    fs::create_dir(directory.path().join("logs")).unwrap();

    let mut command = program(directory.path());
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    command.envs([
        ("DECENTCOM_NETWORK__BIND_ADDRESS", address.to_string().as_str()),
        ("DECENTCOM_LOGGING__FILE", "logs/server.log"),
        ("DECENTCOM_LOGGING__MAX_SIZE_MIB", "1"),
        ("DECENTCOM_LOGGING__LEVEL", "trace"),
    ]);
    let mut child = command.spawn().unwrap();
    let written = || fs::read_to_string(&file).unwrap_or_default();
    eventually("a start", async || written().contains("listening on").then_some(())).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let server = Server::at(&format!("http://{address}"));
    let user = server.log_in(1).await;
    let (moved, old) = (directory.path().join("logs/moved"), directory.path().join("logs/server.log.1"));
    let mut seen = String::new();
    let http = Client::new();
    let ask = async || {
        for path in ["/api/v1/auth/me?token=", "/api/v1/gateway?token=", "/nowhere%0d%0aforged%1b?token="] {
            let url = format!("http://{address}{path}{}", user.token);
            let _ = http.get(url).bearer_auth(&user.token).send().await.unwrap().text().await;
        }
        let _ = user.call(reqwest::Method::POST, "/auth/verify", json!({ "pubkey": "x", "signature": "y" })).await;
    };
    ask().await;
    fs::rename(&file, &moved).unwrap();
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    eventually("another file", async || file.exists().then_some(())).await;
    seen.push_str(&fs::read_to_string(&moved).unwrap());
    while !old.exists() {
        ask().await;
        assert!(fs::metadata(&file).map_or(0, |it| it.len()) <= MIB);
    }
    for part in [&file, &old] {
        let it = fs::metadata(part).unwrap();
        assert!(it.len() <= MIB && it.permissions().mode() & 0o777 == 0o600, "{it:?}");
        seen.push_str(&fs::read_to_string(part).unwrap());
    }
    assert!(seen.contains("/nowhere%0d%0aforged%1b"), "requests are in the log");
    assert!(!seen.contains(&user.token), "no token is");
    assert!(seen.lines().all(|line| line.starts_with("20")), "each line is one event");

    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    assert_eq!(tokio::task::spawn_blocking(move || wait_for(&mut child)).await.unwrap().code(), Some(0));
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "all lines are in the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_for_logs_stops_nothing_and_is_said_when_there_is_room() {
    let disk = SmallDisk::of(4 << 20);
    let data = tempfile::tempdir().unwrap();
    let free_address = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, metrics) = (free_address(), free_address());
    fs::write(disk.root().join("decentcom.toml"), "[logging]\nfile = 'log'\nlevel = 'debug'\nmax_size_mib = 2\n")
        .unwrap();
    let database = data.path().join("store").display().to_string();
    let mut child = disk.spawn(&[
        ("DECENTCOM_NETWORK__BIND_ADDRESS", &address.to_string()),
        ("DECENTCOM_METRICS__BIND_ADDRESS", &metrics.to_string()),
        ("DECENTCOM_STORAGE__DATABASE_PATH", &database),
    ]);
    let written = || fs::read_to_string(disk.root().join("log")).unwrap_or_default();
    eventually("a start", async || written().contains("listening on").then_some(())).await;
    let server = Server::at(&format!("http://{address}"));
    disk.fill();
    for _ in 0..20 {
        // Several at once, so that several are lost at once.
        let asked = (0..10).map(|_| get(&server, "/health"));
        for (status, _) in futures::future::join_all(asked).await {
            assert_eq!(status, StatusCode::OK);
        }
    }
    disk.drop_ballast();
    let said: f64 = eventually("the loss", async || {
        assert_eq!(get(&server, "/health").await.0, StatusCode::OK);
        let written = written();
        let (_, lost) = written.rsplit_once("log lines were lost")?.1.split_once("since_start=")?;
        lost.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
    })
    .await;
    assert_eq!(metric(&format!("http://{metrics}/metrics"), LOST).await, said);
    let _ = child.kill();
    let _ = child.wait();
}
