//! Logging in and out, and who may.

use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::*;
use crate::config::MembershipMode;

#[tokio::test]
async fn a_signed_challenge_logs_in_and_the_token_works() {
    let server = Server::start().await;
    let challenge = server.challenge(1).await;
    let reply = server.verify(1, &sign(1, &challenge)).await.is(200);
    assert_eq!(reply["expires_at"], "2024-01-02T00:00:00.000Z");
    assert_eq!(reply["is_read_only"], false);
    assert_eq!(reply.as_object().unwrap().len(), 4);
    let person = Person {
        token: reply["token"].as_str().unwrap().into(),
        id: reply["user_id"].as_str().unwrap().into(),
        pubkey: pubkey(1),
    };
    assert_eq!(server.get("/auth/me", &person).await.is(200), json!({ "user_id": person.id }));
    assert_eq!(server.log_in(1).await.id, person.id);
}

#[tokio::test]
async fn a_bot_s_challenge_says_so() {
    let server = Server::start().await;
    let body = json!({ "pubkey": pubkey(1), "is_bot": true });
    let challenge = server.call(Method::POST, "/auth/challenge", None, body).await.is(200)["challenge"].clone();
    let challenge = challenge.as_str().unwrap();
    assert!(challenge.ends_with("|bot"));
    server.verify(1, &sign(1, challenge)).await.is(200);
}

#[tokio::test]
async fn a_challenge_works_once_and_for_five_minutes() {
    let server = Server::start().await;
    let challenge = server.challenge(1).await;
    let signature = sign(1, &challenge);
    server.verify(1, &signature).await.is(200);
    server.verify(1, &signature).await.is(401);
    let challenge = server.challenge(1).await;
    server.advance(std::time::Duration::from_secs(300));
    server.verify(1, &sign(1, &challenge)).await.is(401);
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_consumes_no_challenge() {
    let server = Server::start().await;
    let challenge = server.challenge(1).await;
    server.verify(1, &sign(2, &challenge)).await.is(401);
    server.verify(1, &sign(1, "another text")).await.is(401);
    server.verify(2, &sign(2, &challenge)).await.is(401);
    server.verify(1, &sign(1, &challenge)).await.is(200);
}

#[tokio::test]
async fn a_challenge_verified_twice_at_once_logs_in_once() {
    let server = Server::start().await;
    for _ in 0..10 {
        let signature = sign(1, &server.challenge(1).await);
        let answers = [server.verify(1, &signature), server.verify(1, &signature), server.verify(1, &signature)];
        let statuses: Vec<_> =
            futures::future::join_all(answers).await.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 2, "{statuses:?}");
    }
}

#[tokio::test]
async fn two_first_log_ins_at_once_are_one_user() {
    let server = Server::start().await;
    let (one, other) = (server.challenge(1).await, server.challenge(1).await);
    let (one, other) = (sign(1, &one), sign(1, &other));
    let (one, other) = tokio::join!(server.verify(1, &one), server.verify(1, &other));
    assert_eq!(one.is(200)["user_id"], other.is(200)["user_id"]);
    assert_eq!(server.store.list_users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_and_signatures_of_another_form_are_bad_requests() {
    let server = Server::start().await;
    for bad in ["", "x", "0OIl", &format!("{} ", pubkey(1)), &"1".repeat(32), &"z".repeat(44)] {
        server.call(Method::POST, "/auth/challenge", None, json!({ "pubkey": bad })).await.is(400);
        let body = json!({ "pubkey": bad, "signature": sign(1, "x") });
        server.call(Method::POST, "/auth/verify", None, body).await.is(400);
    }
    let challenge = server.challenge(1).await;
    let signature = sign(1, &challenge);
    for bad in ["", "?", &signature[..80], signature.trim_end_matches('='), &signature.replace('=', "\n=")] {
        server.verify(1, bad).await.is(400);
    }
    server.verify(1, &signature).await.is(200);
}

#[tokio::test]
async fn a_token_is_needed_and_each_way_to_lack_one_has_its_text() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    for (header, expected) in [
        (None, "missing authorization header"),
        (Some(vec![0xFF]), "invalid authorization header"),
        (Some(b"Basic abc".to_vec()), "invalid bearer token"),
        (Some(b"Bearer".to_vec()), "invalid bearer token"),
        (Some(b"Bearer ".to_vec()), "invalid bearer token"),
        (Some(b"Bearer made-up".to_vec()), "invalid session token"),
    ] {
        let mut request = Request::builder().uri("/api/v1/auth/me");
        if let Some(value) = header {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = server.send(request.body(Body::empty()).unwrap()).await.is(401);
        assert_eq!(answer["error"], expected);
    }
    server.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(server.get("/auth/me", &person).await.is(401)["error"], "invalid session token");
}

#[tokio::test]
async fn logging_out_ends_this_session_and_no_other() {
    let server = Server::start().await;
    let (one, other) = (server.log_in(1).await, server.log_in(1).await);
    server.call(Method::DELETE, "/auth/session", Some(&one), Value::Null).await.is(204);
    server.get("/auth/me", &one).await.is(401);
    server.call(Method::DELETE, "/auth/session", Some(&one), Value::Null).await.is(401);
    server.get("/auth/me", &other).await.is(200);
}

#[tokio::test]
async fn the_membership_mode_decides_who_is_let_in() {
    for (mode, stranger, allowed) in
        [(MembershipMode::Open, 200, 200), (MembershipMode::Allowlist, 403, 200), (MembershipMode::Closed, 403, 403)]
    {
        let server = Server::start_with(|config| {
            config.membership.mode = mode;
            config.membership.allowed = [pubkey(2)].into();
            config.membership.admins = [pubkey(3)].into();
        })
        .await;
        server.store.create_user(&pubkey(4), None).await.unwrap();
        let known = if mode == MembershipMode::Allowlist { 403 } else { 200 };
        for (seed, expected) in [(1, stranger), (2, allowed), (3, 200), (4, known)] {
            let challenge = server.challenge(seed).await;
            server.verify(seed, &sign(seed, &challenge)).await.is(expected);
        }
        let info = server.call(Method::GET, "/server/info", None, Value::Null).await.is(200);
        assert_eq!(info["membership_mode"], json!(mode));
    }
}

#[tokio::test]
async fn admins_are_those_configured_else_the_earliest_user() {
    let server = Server::start().await;
    let (first, second) = (server.log_in(1).await, server.log_in(2).await);
    let new = json!({ "name": "room" });
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(200);
    let refused = server.call(Method::POST, "/channels", Some(&second), new.clone()).await.is(403);
    assert_eq!(refused["error"], "missing permission: manage_channels");

    let server = Server::start_with(|config| config.membership.admins = [pubkey(2)].into()).await;
    let (first, second) = (server.log_in(1).await, server.log_in(2).await);
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(403);
    server.call(Method::POST, "/channels", Some(&second), new).await.is(200);
}
