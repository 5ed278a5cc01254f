//! SIGKILL in the middle of 64 writers over HTTP: whatever was acknowledged is there after the restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use support::{Server, User};

const WRITERS: usize = 64;
/// `KILL_ROUNDS=1000 cargo test -p decentcom-server --test kill` for a long run.
const ROUNDS: usize = 5;

/// What a writer was told of a message.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Text(String),
    Deleted,
}

/// What the writers were told, and what they asked for and got no answer to, by message id.
#[derive(Default)]
struct Ledger {
    told: HashMap<String, Told>,
    asked: HashMap<String, Told>,
}

async fn write_until_the_server_is_gone(user: User, channel: String, writer: usize, ledger: Arc<Mutex<Ledger>>) {
    let messages = format!("/channels/{channel}/messages");
    for number in 0.. {
        let text = format!("{writer} {number}");
        let Some((StatusCode::OK, message)) = user.try_call(Method::POST, &messages, json!({ "content": text })).await
        else {
            return;
        };
        let id = message["id"].as_str().unwrap().to_owned();
        ledger.lock().unwrap().told.insert(id.clone(), Told::Text(text.clone()));
        let path = format!("{messages}/{id}");
        if number % 3 == 0 {
            let edited = Told::Text(format!("{text} edited"));
            ledger.lock().unwrap().asked.insert(id.clone(), edited.clone());
            let body = json!({ "content": format!("{text} edited") });
            let Some((StatusCode::OK, _)) = user.try_call(Method::PATCH, &path, body).await else { return };
            let mut ledger = ledger.lock().unwrap();
            ledger.asked.remove(&id);
            ledger.told.insert(id.clone(), edited);
        }
        if number % 7 == 0 {
            ledger.lock().unwrap().asked.insert(id.clone(), Told::Deleted);
            let Some(StatusCode::NO_CONTENT) = user.try_delete(&path).await else { return };
            let mut ledger = ledger.lock().unwrap();
            ledger.asked.remove(&id);
            ledger.told.insert(id, Told::Deleted);
        }
    }
}

async fn every_acknowledged_change_survives_sigkill_under_64_writers(backend: &str) {
    let rounds = std::env::var("KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let directory = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut newest = String::new();
    for round in 0..rounds {
        let server = Server::start(directory.path(), backend);
        let mut users = Vec::new();
        for seed in 0..8 {
            users.push(server.log_in(seed).await);
        }
        let channel = users[0].channel("general").await;
        let first = users[0].post(&channel, "first of the round").await;
        assert!(first > newest, "round {round}: ids go on increasing");
        let writing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let user = users[writer % users.len()].clone();
                tokio::spawn(write_until_the_server_is_gone(user, channel.clone(), writer, ledger.clone()))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 97 * (round as u64 % 7))).await;
        server.kill();
        for writer in writing {
            writer.await.unwrap();
        }

        let server = Server::start(directory.path(), backend);
        let user = server.log_in(0).await;
        let history = user.history(&channel, 100).await;
        newest = history.last().unwrap()["id"].as_str().unwrap().to_owned();
        let mut ledger = ledger.lock().unwrap();
        let stored: HashMap<_, _> = history
            .iter()
            .map(|it| (it["id"].as_str().unwrap(), Told::Text(it["content"].as_str().unwrap().to_owned())))
            .collect();
        let Ledger { told, asked } = &mut *ledger;
        for (id, told) in told.iter_mut() {
            let found = stored.get(id.as_str()).cloned().unwrap_or(Told::Deleted);
            assert!(
                found == *told || asked.get(id) == Some(&found),
                "round {round}, {id}: told {told:?}, found {found:?}"
            );
            *told = found;
        }
        asked.clear();
        assert!(told.len() > 20 * (round + 1), "round {round}: only {} posts were acknowledged", told.len());
        let ids: Vec<_> = history.iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted_by(|one, other| one < other));
        server.kill();
    }
    let path = directory.path().join(format!("data/decentcom.{backend}"));
    let mut findings = Vec::new();
    match backend {
        "redb" => decentcom_server::storage::verify::verify_redb(&path, |finding| findings.push(finding)).unwrap(),
        _ => decentcom_server::storage::verify::verify_sqlite(&path, |finding| findings.push(finding)).await.unwrap(),
    }
    assert_eq!(findings, []);
    let ledger = ledger.lock().unwrap();
    eprintln!("{backend}: {rounds} rounds, {} acknowledged posts, none lost", ledger.told.len());
}

over_each_backend! {
    every_acknowledged_change_survives_sigkill_under_64_writers
}
