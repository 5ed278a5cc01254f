//! A disk that is really full: changes are refused with 503, reads go on, nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::{
    Server, User,
    disk::{Disk, Image},
    power_cuts::wrongs_in,
    small_disk::SmallDisk,
    town::{Outcome, Town},
};

const MIB: usize = 1024 * 1024;
const SETTINGS: &[(&str, &str)] = &[("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "100000")];

/// Posts messages of `length` until some in a row are refused, with 503.
async fn post_until_refused(town: &Town, user: &User, channel: &str, writer: &str, length: usize) {
    let mut refused = 0;
    for number in 0..10_000 {
        match town.post(user, channel, &format!("{writer}-{number}"), &"z".repeat(length)).await {
            Outcome::Done(_) => refused = 0,
            Outcome::Failed(status) => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "of a full disk");
                refused += 1;
            }
            Outcome::Gone => panic!("the server is gone"),
        }
        if refused == 10 {
            return;
        }
    }
    panic!("the disk does not become full");
}

async fn get(user: &User, path: &str) -> StatusCode {
    user.try_send(Method::GET, path, Value::Null).await.expect("the server is up").status
}

/// A server on a disk that its clients filled.
async fn filled(town: &Town, backend: &str) -> (SmallDisk, Server, User, String) {
    let disk = SmallDisk::of(8 * MIB);
    // More than the rest: to go on, SQLite needs as much room in its file as its log has taken.
    disk.add_ballast(5 * MIB);
    let server = disk.try_start(backend, SETTINGS).unwrap();
    let user = town.log_in(&server, 0).await;
    let channel = town.general(&user).await;
    post_until_refused(town, &user, &channel, "large", 50_000).await;
    post_until_refused(town, &user, &channel, "small", 10).await;
    (disk, server, user, channel)
}

async fn everything_acknowledged_is_there(town: &Town, disk: &SmallDisk, backend: &str) {
    let copy = tempfile::tempdir().unwrap();
    Image::of(&disk.root()).write_to(copy.path());
    assert_eq!(wrongs_in(copy.path(), backend, &town.ledger(), u64::MAX).await, Vec::<String>::new());
}

async fn a_full_disk_refuses_changes_until_there_is_space_again(backend: &str) {
    let town = Town::on(Disk::empty());
    let (disk, server, user, channel) = filled(&town, backend).await;
    let renamed = town.rename(&user, "no room for a name").await;
    // Free pages within the file may have room for a name.
    let refused = matches!(renamed, Outcome::Failed(StatusCode::SERVICE_UNAVAILABLE));
    assert!(refused || matches!(renamed, Outcome::Done(_)), "{renamed:?}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.contains("the disk is full; free some space"), "{log}");

    let reads = [format!("/channels/{channel}/messages?limit=100"), "/channels".to_owned(), "/members".to_owned()];
    for path in &reads {
        assert_eq!(get(&user, path).await, StatusCode::OK, "{path} on a full disk");
    }

    disk.drop_ballast();
    // Each store finds out by itself, the next time it is asked or a moment later.
    let mut patience = 100;
    while town.rename(&user, "room again").await.done().is_none() {
        patience -= 1;
        assert!(patience > 0, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for number in 0..10 {
        let posted = town.post(&user, &channel, &format!("space-{number}"), &"z".repeat(50_000)).await;
        assert!(posted.done().is_some(), "{}", server.log());
    }
    server.kill();
    everything_acknowledged_is_there(&town, &disk, backend).await;
}

async fn a_start_on_a_full_disk_works_or_says_what_is_wrong(backend: &str) {
    let town = Town::on(Disk::empty());
    let (disk, server, ..) = filled(&town, backend).await;
    server.kill();
    match disk.try_start(backend, SETTINGS) {
        Ok(server) => {
            assert!(!server.log().contains("panicked"), "{}", server.log());
            server.kill();
        }
        Err(log) => assert!(log.contains("the disk is full") && !log.contains("panicked"), "{log}"),
    }
    disk.drop_ballast();
    let server = disk.try_start(backend, SETTINGS).unwrap();
    let user = town.log_in(&server, 0).await;
    let channel = town.general(&user).await;
    assert!(town.post(&user, &channel, "space-0", "again").await.done().is_some());
    server.kill();
    everything_acknowledged_is_there(&town, &disk, backend).await;
}

over_each_backend! {
    a_full_disk_refuses_changes_until_there_is_space_again
    a_start_on_a_full_disk_works_or_says_what_is_wrong
}
