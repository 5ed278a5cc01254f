//! What is deleted is reclaimed in the end: every deleted channel and every expired session, whatever is wrong with some of
//! them, after a failure, after a crash, and the second time as the first. What waits for it is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{path::Path, sync::Arc, time::Duration};

use decentcom_kvstore::redb::ReadableTable as _;
use decentcom_server::storage::{ManualClock, SystemClock};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    Server, User,
    disk::{Disk, Fault},
    metrics::METERED,
    rows::{bytes, change_redb, change_sqlite, fill, findings, message_place, rows, store},
};

const WAITING: &str = "decentcom_storage_reclaim_channels";
const RECLAIMED: &str = "decentcom_storage_reclaimed_messages_total";
const FAILURES: &str = "decentcom_storage_reclaim_failures_total";
const SWEPT: &str = "decentcom_sessions_swept_total";

async fn make_channel(user: &User, name: &str) -> String {
    let channel = user.ok(Method::POST, "/channels", json!({ "name": name })).await;
    channel["id"].as_str().unwrap().to_owned()
}

async fn delete_channel(user: &User, channel: &str) {
    let (status, _) = user.call(Method::DELETE, &format!("/channels/{channel}"), Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

async fn stop(server: Server) {
    server.signal(Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A stopped server that has an admin, `general`, and two rooms with messages in each: their ids, oldest first.
struct Rooms {
    admin: User,
    general: (String, Vec<String>),
    rooms: [(String, Vec<String>); 2],
}

async fn with_rooms(directory: &Path, backend: &str, messages: usize) -> Rooms {
    let server = Server::start(directory, backend);
    let admin = server.log_in(1).await;
    let general = admin.channel("general").await;
    let rooms = [make_channel(&admin, "one").await, make_channel(&admin, "two").await];
    stop(server).await;
    let opened = store(directory, backend, Arc::new(SystemClock)).await;
    let mut filled = Vec::new();
    for channel in [&general, &rooms[0], &rooms[1]] {
        filled.push(fill(&opened, channel, &admin.id, messages).await);
    }
    opened.close().await.unwrap();
    let [one, two] = rooms;
    let [in_general, in_one, in_two] = filled.try_into().unwrap();
    Rooms { admin, general: (general, in_general), rooms: [(one, in_one), (two, in_two)] }
}

async fn every_deleted_channel_is_reclaimed_the_second_and_the_next_ones_too(backend: &str) {
    const STEP: usize = 256; // more than one step takes
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let Rooms { admin, general, rooms } = with_rooms(place, backend, STEP + 50).await;
    let server = Server::start_with(place, backend, &[METERED]);
    let admin = admin.at(&server);
    // Soft-deleted ones go with their channel.
    for id in rooms[1].1.iter().take(20) {
        admin.call(Method::DELETE, &format!("/channels/{}/messages/{id}", rooms[1].0), Value::Null).await;
    }
    let empty = make_channel(&admin, "empty").await;
    let kept = general.1.len() as u64;
    assert_eq!(rows(place, backend, "messages").await, 3 * kept);
    assert_eq!(server.until(|it| it.get(WAITING, &[]).is_some()).await.value(WAITING, &[]), 0.0);
    for channel in [&empty, &rooms[0].0, &rooms[1].0] {
        delete_channel(&admin, channel).await;
    }
    let messages = 2.0 * kept as f64;
    server.until(|it| it.value(WAITING, &[]) == 0.0 && it.value(RECLAIMED, &[]) == messages).await;
    for (table, left) in [("messages", kept), ("channels", 1), ("purges", 0)] {
        assert_eq!(rows(place, backend, table).await, left, "{table}");
    }
    // And again, on the same server.
    for round in 1..=2 {
        let room = make_channel(&admin, "again").await;
        for text in ["a", "b", "c"] {
            admin.post(&room, text).await;
        }
        delete_channel(&admin, &room).await;
        let messages = messages + 3.0 * f64::from(round);
        server.until(|it| it.value(WAITING, &[]) == 0.0 && it.value(RECLAIMED, &[]) == messages).await;
        assert_eq!(rows(place, backend, "messages").await, kept);
        assert_eq!(rows(place, backend, "purges").await, 0);
    }
    assert_eq!(server.scrape().await.value(FAILURES, &[]), 0.0);
    stop(server).await;
    assert_eq!(findings(place, backend).await, []);
}

async fn what_a_crash_left_of_several_deleted_channels_is_reclaimed_after_the_next_start(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let Rooms { admin, general, rooms } = with_rooms(place, backend, 1500).await;
    let server = Server::start(place, backend);
    for (room, _) in &rooms {
        delete_channel(&admin.at(&server), room).await;
    }
    server.kill();
    let kept = general.1.len() as u64;
    assert!(rows(place, backend, "messages").await > kept, "something is left to do");
    let server = Server::start_with(place, backend, &[METERED]);
    server.until(|it| it.get(RECLAIMED, &[]).is_some_and(|it| it > 0.0) && it.value(WAITING, &[]) == 0.0).await;
    assert_eq!(rows(place, backend, "messages").await, kept);
    assert_eq!(rows(place, backend, "purges").await, 0);
    stop(server).await;
    assert_eq!(findings(place, backend).await, []);
}

async fn reclaiming_goes_on_after_a_step_that_failed(backend: &str) {
    let disk = Disk::empty();
    let place = disk.root();
    let Rooms { admin, general, rooms } = with_rooms(&place, backend, 1500).await;
    let server = disk.start(backend, &[METERED]);
    // Nobody else is there to commit: the next sync is of a reclaiming step.
    let admin = admin.at(&server);
    delete_channel(&admin, &rooms[0].0).await;
    disk.order(1, Fault::Unsynced);
    server.until(|it| it.get(FAILURES, &[]).is_some_and(|it| it >= 1.0)).await;
    assert!(disk.failed().is_some(), "the step failed for another reason:\n{}", server.log());
    delete_channel(&admin, &rooms[1].0).await;
    server.until(|it| it.value(WAITING, &[]) == 0.0 && it.value(RECLAIMED, &[]) >= 3000.0).await;
    assert_eq!(rows(&place, backend, "messages").await, general.1.len() as u64);
    assert_eq!(rows(&place, backend, "purges").await, 0);
}

async fn a_damaged_message_keeps_nothing_of_any_deleted_channel(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let Rooms { admin, general, rooms } = with_rooms(place, backend, 10).await;
    let [(one, in_one), (two, _)] = &rooms;
    if backend == "redb" {
        change_redb(place, "messages", |messages| {
            let damaged = message_place(one, &in_one[2]);
            let mut value = messages.get(&damaged[..]).unwrap().unwrap().value().to_vec();
            *value.last_mut().unwrap() ^= 1;
            messages.insert(&damaged[..], &value[..]).unwrap();
        });
        // An entry that leads to a message of another channel, and one that is missing.
        change_redb(place, "messages_by_id", |index| {
            let another = message_place(&general.0, &general.1[3]);
            index.insert(&bytes(&in_one[4])[..], &another[..]).unwrap();
            index.remove(&bytes(&in_one[6])[..]).unwrap().unwrap();
        });
    } else {
        let [lower, none, blob] = [&in_one[2], &in_one[4], &in_one[6]];
        change_sqlite(
            place,
            &format!(
                "UPDATE messages SET id = lower(id) WHERE id = '{lower}';
                 UPDATE messages SET id = 'no id' WHERE id = '{none}';
                 UPDATE messages SET id = CAST(id AS BLOB) WHERE id = '{blob}'"
            ),
        )
        .await;
    }
    let server = Server::start_with(place, backend, &[METERED]);
    let admin = admin.at(&server);
    delete_channel(&admin, one).await;
    delete_channel(&admin, two).await;
    server.until(|it| it.value(WAITING, &[]) == 0.0 && it.value(RECLAIMED, &[]) >= 17.0).await;
    assert_eq!(rows(place, backend, "messages").await, 10);
    assert_eq!(rows(place, backend, "purges").await, 0);
    let history = admin.history(&general.0, 50).await;
    let left: Vec<_> = history.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(left, general.1, "what is not deleted stays, whoever names it");
    stop(server).await;
    assert_eq!(findings(place, backend).await, []);
}

async fn a_deleted_channel_that_cannot_be_reclaimed_is_counted_and_keeps_no_other_from_it(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let Rooms { admin, general, rooms } = with_rooms(place, backend, 10).await;
    // They come before every id, and are none.
    if backend == "redb" {
        change_redb(place, "purges", |purges| {
            purges.insert(&[0][..], &b"rubbish"[..]).unwrap();
            purges.insert(&[0, 0][..], &b"rubbish"[..]).unwrap();
        });
    } else {
        change_sqlite(place, "INSERT INTO purges (channel_id) VALUES ('!'), ('00 no id')").await;
    }
    let server = Server::start_with(place, backend, &[METERED]);
    server.until(|it| it.get(WAITING, &[]) == Some(2.0)).await;
    assert!(server.scrape().await.value(FAILURES, &[]) >= 2.0);
    server.says("reclaiming a deleted channel failed").await;
    for (room, _) in &rooms {
        delete_channel(&admin.at(&server), room).await;
    }
    server.until(|it| it.value(WAITING, &[]) == 2.0 && it.value(RECLAIMED, &[]) == 20.0).await;
    assert_eq!(rows(place, backend, "messages").await, general.1.len() as u64);
}

async fn a_damaged_session_keeps_no_other_from_being_swept(backend: &str) {
    const SESSIONS: usize = 40; // more than one step takes
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let server = Server::start(place, backend);
    let user = server.log_in(1).await;
    stop(server).await;
    let opened = store(place, backend, Arc::new(ManualClock::at("2024-06-01T12:00:00.000Z".parse().unwrap()))).await;
    for number in 0..SESSIONS as u64 {
        opened.create_session(&user.id, Duration::from_secs(60 + number)).await.unwrap();
    }
    opened.close().await.unwrap();
    // The first to expire, and so the first that a sweep meets, and two of the next step.
    if backend == "redb" {
        let mut expiring = Vec::new();
        change_redb(place, "sessions_by_expiry", |index| {
            expiring = index.iter().unwrap().map(|entry| entry.unwrap().0.value()[8..].to_vec()).collect();
        });
        change_redb(place, "sessions", |sessions| {
            for digest in [&expiring[0], &expiring[20]] {
                sessions.insert(&digest[..], &b"rubbish"[..]).unwrap();
            }
            sessions.remove(&expiring[25][..]).unwrap().unwrap();
        });
    } else {
        change_sqlite(
            place,
            "CREATE TEMPORARY TABLE by_end AS SELECT token, row_number() OVER (ORDER BY expires_at) AS n FROM sessions;
             UPDATE sessions SET expires_at = '1 is no time' WHERE token = (SELECT token FROM by_end WHERE n = 1);
             UPDATE sessions SET token = 'no digest' WHERE token = (SELECT token FROM by_end WHERE n = 21)",
        )
        .await;
    }
    let settings = [METERED, ("DECENTCOM_SESSIONS__SWEEP_INTERVAL", "1s"), ("DECENTCOM_SESSIONS__TTL", "2s")];
    let server = Server::start_with(place, backend, &settings);
    // What has no digest can't be asked for by anybody; it stays, for `verify` to find.
    let (swept, left) = if backend == "redb" { (SESSIONS, 1) } else { (SESSIONS - 1, 2) };
    server.until(|it| it.get(SWEPT, &[]) == Some(swept as f64)).await;
    assert_eq!(rows(place, backend, "sessions").await, left);
    assert_eq!(user.at(&server).call(Method::GET, "/auth/me", Value::Null).await.0, StatusCode::OK);
    // The next sweeps have their work, too.
    for round in 1..=2 {
        server.log_in(2).await;
        server.until(|it| it.value(SWEPT, &[]) == (swept + round) as f64).await;
        assert_eq!(rows(place, backend, "sessions").await, left);
    }
}

async fn sweeping_goes_on_after_a_sweep_that_failed(backend: &str) {
    let disk = Disk::empty();
    let server = disk
        .start(backend, &[METERED, ("DECENTCOM_SESSIONS__SWEEP_INTERVAL", "1s"), ("DECENTCOM_SESSIONS__TTL", "3s")]);
    for round in 1..=2 {
        server.log_in(1).await;
        // Nobody else is there to commit: the next sync is of the sweep, once there is something to sweep.
        disk.order(1, Fault::Unsynced);
        server.until(|it| it.get(SWEPT, &[]) == Some(round as f64)).await;
        assert!(disk.failed().is_some(), "no sweep failed");
        server.says_times(round, "sweeping expired sessions failed").await;
        assert_eq!(rows(&disk.root(), backend, "sessions").await, 0);
    }
}

over_each_backend! {
    sweeping_goes_on_after_a_sweep_that_failed
    every_deleted_channel_is_reclaimed_the_second_and_the_next_ones_too
    what_a_crash_left_of_several_deleted_channels_is_reclaimed_after_the_next_start
    reclaiming_goes_on_after_a_step_that_failed
    a_damaged_message_keeps_nothing_of_any_deleted_channel
    a_deleted_channel_that_cannot_be_reclaimed_is_counted_and_keeps_no_other_from_it
    a_damaged_session_keeps_no_other_from_being_swept
}
