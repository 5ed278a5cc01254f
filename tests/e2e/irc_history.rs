//! The main job on real input: a day of an IRC channel through the built server, over HTTP only, across a SIGKILL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{collections::BTreeMap, path::Path};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Server, User};

const LOG: &str = include_str!("../data/irc/2005-02-08.txt");
const NAUGHTY: &str = include_str!("../data/blns.json");

/// Each spoken line, as (nick, text).
fn spoken(log: &str) -> Vec<(&str, &str)> {
    log.lines()
        .filter_map(|line| {
            let (_time, rest) = line.strip_prefix('[')?.split_once("] ")?;
            rest.strip_prefix('<')?.split_once("> ")
        })
        .filter(|(_, text)| !text.trim().is_empty())
        .collect()
}

/// What the server makes of a nick: trimmed, and this log has longer ones than it allows.
fn display_name(nick: &str) -> String {
    nick.trim().chars().take(32).collect()
}

async fn a_day_of_irc_survives_sigkill(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let lines = spoken(LOG);
    assert!(lines.len() > 500, "the log has {} spoken lines", lines.len());

    let server = Server::start(directory.path(), backend);
    let nicks: BTreeMap<&str, usize> =
        lines.iter().map(|(nick, _)| *nick).collect::<std::collections::BTreeSet<_>>().into_iter().zip(0..).collect();
    let mut users: Vec<User> = Vec::new();
    for (nick, seed) in &nicks {
        let user = server.log_in(*seed as u64).await;
        let name = display_name(nick);
        let profile = user.ok(Method::PATCH, "/profile", json!({ "display_name": name })).await;
        assert_eq!(profile["display_name"], name);
        users.push(user);
    }
    let channel = users[0].channel("general").await;
    let mut expected = Vec::new();
    for (nick, text) in &lines {
        let author = &users[nicks[nick]];
        let id = author.post(&channel, text).await;
        expected.push((id, author.id.clone(), text.to_string()));
    }
    assert_eq!(authors_and_texts(&users[0].history(&channel, 37).await), expected);
    server.kill();

    let server = Server::start(directory.path(), backend);
    let again = server.log_in(0).await;
    assert_eq!(again.id, users[0].id, "the same key is the same user");
    assert_eq!(again.channel("general").await, channel);
    assert_eq!(authors_and_texts(&again.history(&channel, 37).await), expected);
    let members = again.get("/members").await;
    let names: Vec<_> = members["members"].as_array().unwrap().iter().map(|it| it["display_name"].clone()).collect();
    let expected_names: Vec<_> = nicks.keys().map(|nick| json!(display_name(nick))).collect();
    assert_eq!(names, expected_names);

    let next = again.post(&channel, "back again").await;
    assert!(next > expected.last().unwrap().0, "ids go on increasing");
}

fn authors_and_texts(history: &[Value]) -> Vec<(String, String, String)> {
    let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();
    history.iter().map(|message| (text(message, "id"), text(message, "author_id"), text(message, "content"))).collect()
}

/// Whether one of the naughty strings has something visible.
fn shows_something(text: &str) -> bool {
    let is_unseen = |character: char| {
        character.is_control() || character.is_whitespace() || ['\u{200b}', '\u{feff}', '\u{fffe}'].contains(&character)
    };
    !text.chars().all(is_unseen)
}

/// Whether one of the naughty strings can be a name.
fn is_label(text: &str) -> bool {
    let misleads = |character: char| {
        character.is_control()
            || ['\u{34f}', '\u{200e}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{fffe}'].contains(&character)
            || ('\u{202a}'..='\u{202e}').contains(&character)
            || ('\u{2060}'..='\u{206f}').contains(&character)
    };
    let is_mark = |character: char| ('\u{300}'..='\u{36f}').contains(&character);
    shows_something(text) && !text.starts_with(is_mark) && !text.chars().any(misleads)
}

async fn naughty_strings_survive_sigkill(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let strings: Vec<String> = serde_json::from_str(NAUGHTY).unwrap();
    assert!(strings.len() > 500);

    let server = Server::start(directory.path(), backend);
    let admin = server.log_in(1).await;
    let channel = admin.channel("general").await;
    let mut posted = Vec::new();
    let mut topic = json!(null);
    let mut name = json!(null);
    for text in &strings {
        let path = format!("/channels/{channel}/messages");
        let (status, message) = admin.call(Method::POST, &path, json!({ "content": text })).await;
        if !shows_something(text) {
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text:?}");
        } else {
            assert_eq!((status, &message["content"]), (StatusCode::OK, &json!(text)));
            posted.push(text.clone());
        }

        let path = format!("/channels/{channel}");
        let (status, reply) = admin.call(Method::PATCH, &path, json!({ "topic": text })).await;
        if text.len() > 1024 || !text.is_empty() && !is_label(text) {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{text:?}");
        } else {
            topic = if text.is_empty() { Value::Null } else { json!(text) };
            assert_eq!((status, &reply["topic"]), (StatusCode::OK, &topic));
        }

        let (status, reply) = admin.call(Method::PATCH, "/profile", json!({ "display_name": text })).await;
        if (1..=32).contains(&text.trim().chars().count()) && is_label(text.trim()) {
            name = json!(text.trim());
            assert_eq!((status, &reply["display_name"]), (StatusCode::OK, &name), "{text:?}");
        } else {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{text:?}");
        }
    }
    assert!(posted.len() > 500);
    server.kill();

    let server = Server::start(directory.path(), backend);
    let admin = server.log_in(1).await;
    let history = admin.history(&channel, 37).await;
    let texts: Vec<_> = history.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(texts, posted);
    assert_eq!(admin.get(&format!("/channels/{channel}")).await["topic"], topic);
    assert_eq!(admin.get(&format!("/members/{}", admin.pubkey())).await["display_name"], name);
}

async fn two_servers_on_one_file_are_refused(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), backend);
    let mut second = support::program(directory.path());
    second.env("DECENTCOM_STORAGE__BACKEND", backend).env("DECENTCOM_NETWORK__BIND_ADDRESS", "127.0.0.1:0");
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("is in use by decentcom-server (process "), "{message}");
    server.log_in(1).await;
    assert!(Path::new(&directory.path().join("data")).exists());
}

over_each_backend! {
    a_day_of_irc_survives_sigkill
    naughty_strings_survive_sigkill
    two_servers_on_one_file_are_refused
}
