//! Log-ins and membership on the built program: challenges that nobody can crowd out or use twice, and what becomes of those
//! who leave or are no longer admitted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

#[macro_use]
mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Server, User, gateway::Heard};
use tempfile::TempDir;

over_each_backend! {
    a_used_challenge_stays_used_when_the_server_starts_again
    two_answers_to_a_challenge_at_once_are_one_session
    twenty_log_ins_of_a_key_at_once_all_succeed
    a_flood_of_challenges_for_unknown_keys_locks_no_new_admin_out
    a_client_that_is_not_a_member_joins_as_upstreams_do
    leaving_is_announced_and_ends_the_leaver_s_sockets
    a_key_taken_off_the_allowlist_is_logged_out_everywhere
}

fn start(backend: &str, settings: &[(&str, &str)]) -> (TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), backend, settings);
    (directory, server)
}

async fn a_used_challenge_stays_used_when_the_server_starts_again(backend: &str) {
    let (directory, server) = start(backend, &[]);
    let person = server.stranger(1);
    let (open, used) = (person.challenge().await, person.challenge().await);
    assert_eq!(person.verify(&used).await.0, StatusCode::OK);
    assert_eq!(person.verify(&used).await.0, StatusCode::UNAUTHORIZED);
    server.kill();
    let server = Server::start(directory.path(), backend);
    let person = person.at(&server);
    assert_eq!(person.verify(&used).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(person.verify(&open).await.0, StatusCode::OK, "one that was open still is");
    // In good order as well.
    server.signal(Signal::TERM);
    server.wait();
    let server = Server::start(directory.path(), backend);
    for challenge in [&open, &used] {
        assert_eq!(person.at(&server).verify(challenge).await.0, StatusCode::UNAUTHORIZED);
    }
}

async fn two_answers_to_a_challenge_at_once_are_one_session(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    for seed in 1..6 {
        let person = server.stranger(seed);
        let challenge = person.challenge().await;
        let answers = join_all((0..8).map(|_| person.verify(&challenge))).await;
        let count = |status| answers.iter().filter(|(given, _)| *given == status).count();
        assert_eq!((count(StatusCode::OK), count(StatusCode::UNAUTHORIZED)), (1, 7), "{answers:?}");
    }
}

async fn twenty_log_ins_of_a_key_at_once_all_succeed(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let person = server.stranger(1);
    let logged_in = join_all((0..20).map(|_| person.clone().try_log_in())).await;
    let tokens: BTreeSet<_> = logged_in.into_iter().map(|user| user.unwrap().token).collect();
    assert_eq!(tokens.len(), 20);
}

/// Keys that ask; LOG_IN_FLOOD=100000 for a long run, which is more than the server remembers.
fn flood() -> u64 {
    std::env::var("LOG_IN_FLOOD").map_or(2_000, |text| text.parse().unwrap())
}

async fn a_flood_of_challenges_for_unknown_keys_locks_no_new_admin_out(backend: &str) {
    let admin_key = bs58::encode(support::key(1).verifying_key().as_bytes()).into_string();
    let admins = format!("[\"{admin_key}\"]");
    // All come from one address, which would be held to its rate.
    let settings = [("DECENTCOM_MEMBERSHIP__ADMINS", admins.as_str()), ("DECENTCOM_LIMITS__LOG_INS", "0")];
    let (_directory, server) = start(backend, &settings);
    let admin = server.stranger(1);
    let open = admin.challenge().await;
    let next = Arc::new(AtomicU64::new(1_000));
    let flooding = (0..32).map(|_| {
        let (stranger, next) = (server.stranger(0), next.clone());
        async move {
            loop {
                let seed = next.fetch_add(1, SeqCst);
                if seed >= 1_000 + flood() {
                    return;
                }
                stranger.with_key(seed).challenge().await;
            }
        }
    });
    join_all(flooding).await;
    assert_eq!(admin.verify(&open).await.0, StatusCode::OK, "a challenge of before the flood");
    let admin = admin.try_log_in().await.unwrap();
    admin.ok(Method::POST, "/channels", json!({ "name": "mine" })).await;
    let members = admin.get("/members").await;
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "whoever only asks is nobody");
}

/// The sequence of the newest clients: log in, list the channels, on `membership required` join and try again.
async fn a_client_that_is_not_a_member_joins_as_upstreams_do(backend: &str) {
    let listed = bs58::encode(support::key(1).verifying_key().as_bytes()).into_string();
    let settings =
        [("DECENTCOM_MEMBERSHIP__MODE", "allowlist"), ("DECENTCOM_MEMBERSHIP__ALLOWED", &format!("[\"{listed}\"]"))];
    let (_directory, server) = start(backend, &settings);
    let stranger = server.log_in(2).await;
    let (status, refused) = stranger.call(Method::GET, "/channels", Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(refused["error"].as_str().unwrap().contains("membership required"), "{refused}");
    let (status, refused) = stranger.call(Method::POST, "/members/join", Value::Null).await;
    assert_eq!(
        (status, refused["error"].as_str()),
        (StatusCode::FORBIDDEN, Some("this key is not on the server's allowlist"))
    );
    let mut socket = server.connect(&stranger.token).await;
    assert_eq!(socket.end().await, 4001);

    let member = server.log_in(1).await;
    member.call(Method::DELETE, "/members/me", Value::Null).await;
    let (status, refused) = member.call(Method::GET, "/channels", Value::Null).await;
    assert!(status == StatusCode::FORBIDDEN && refused["error"].as_str().unwrap().contains("membership required"));
    let joined = member.ok(Method::POST, "/members/join", Value::Null).await;
    assert_eq!(joined["member"]["pubkey"], json!(listed));
    member.get("/channels").await;
    let members = member.get("/members").await;
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "who may not join is not listed");
}

async fn leaving_is_announced_and_ends_the_leaver_s_sockets(backend: &str) {
    let (_directory, server) = start(backend, &[]);
    let watcher = server.log_in(1).await;
    let mut watching = server.open_socket(&watcher).await;
    let bot = log_in_as_a_bot(&server, 2).await;
    let (mut op, mut joined) = watching.event().await;
    if joined["user_id"] == json!(watcher.id) {
        (op, joined) = watching.event().await; // a busy machine announces even what came before the socket to it
    }
    assert_eq!((op.as_str(), &joined["is_bot"], &joined["roles"]), ("MEMBER_JOIN", &json!(true), &json!([])));
    let mut one = server.open_socket(&bot).await;
    let mut other = server.open_socket(&bot).await;
    let channel = bot.channel("general").await;
    let message = bot.post(&channel, "I was here").await;
    bot.call(Method::DELETE, "/members/me", Value::Null).await;
    let (op, left) = watching.event().await;
    assert_eq!(op, "MEMBER_LEAVE");
    let expected = json!({
        "user_id": bot.id, "pubkey": bot.pubkey(), "left_at": left["left_at"], "is_bot": true,
        "joined_at": joined["joined_at"],
    });
    assert_eq!(left, expected);
    assert!(left["left_at"].as_str().unwrap() >= joined["joined_at"].as_str().unwrap());
    assert_eq!((one.end().await, other.end().await), (4001, 4001));
    assert_eq!(server.connect(&bot.token).await.end().await, 4001);
    let path = format!("/channels/{channel}/messages/{message}");
    assert_eq!(watcher.get(&path).await["content"], "I was here");
    bot.ok(Method::POST, "/members/join", Value::Null).await;
    let (op, rejoined) = watching.event().await;
    assert_eq!((op.as_str(), &rejoined), ("MEMBER_JOIN", &joined));
    bot.ok(Method::POST, "/members/join", Value::Null).await; // again: announces nothing
    bot.ok(Method::PATCH, "/profile", json!({ "display_name": "R2" })).await;
    let (op, updated) = watching.event().await;
    assert_eq!(op, "MEMBER_UPDATE");
    let expected = json!({
        "user_id": bot.id, "pubkey": bot.pubkey(), "display_name": "R2", "avatar_hash": null, "is_bot": true,
        "joined_at": joined["joined_at"],
    });
    assert_eq!(updated, expected);
    let mut again = server.open_socket(&bot).await;
    bot.call(Method::DELETE, "/auth/session", Value::Null).await;
    assert!(matches!(again.hear().await, Heard::Closed(4001)));
}

async fn log_in_as_a_bot(server: &Server, seed: u64) -> User {
    let bot = server.stranger(seed);
    let asked = bot.ok(Method::POST, "/auth/challenge", json!({ "pubkey": bot.pubkey(), "is_bot": true })).await;
    let (status, verified) = bot.verify(asked["challenge"].as_str().unwrap()).await;
    assert_eq!((status, &verified["is_read_only"]), (StatusCode::OK, &json!(false)));
    let text = |field: &str| verified[field].as_str().unwrap().to_owned();
    let mut logged_in = bot.with_token(&text("token"));
    logged_in.id = text("user_id");
    logged_in
}

async fn a_key_taken_off_the_allowlist_is_logged_out_everywhere(backend: &str) {
    let (directory, server) = start(backend, &[]);
    let (kept, removed) = (server.log_in(1).await, server.log_in(2).await);
    server.kill();
    let allowed = format!("[\"{}\"]", kept.pubkey());
    let settings = [("DECENTCOM_MEMBERSHIP__MODE", "allowlist"), ("DECENTCOM_MEMBERSHIP__ALLOWED", allowed.as_str())];
    let server = Server::start_with(directory.path(), backend, &settings);
    let (kept, removed) = (kept.at(&server), removed.at(&server));
    assert_eq!(removed.call(Method::GET, "/auth/me", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.connect(&removed.token).await.end().await, 4001);
    assert_eq!(kept.get("/members").await["members"].as_array().unwrap().len(), 1);
    server.open_socket(&kept).await;
    // On the list again, it joins by logging in.
    server.kill();
    let server = Server::start(directory.path(), backend);
    assert_eq!(removed.at(&server).call(Method::GET, "/auth/me", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    let back = server.log_in(2).await;
    assert_eq!(back.id, removed.id);
    back.get("/channels").await;
}
