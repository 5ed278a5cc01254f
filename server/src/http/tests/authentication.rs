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
async fn a_bot_s_challenge_says_so_and_so_does_the_member_it_becomes() {
    let server = Server::start().await;
    let body = json!({ "pubkey": pubkey(1), "is_bot": true });
    let challenge = server.call(Method::POST, "/auth/challenge", None, body).await.is(200)["challenge"].clone();
    let challenge = challenge.as_str().unwrap();
    assert!(challenge.ends_with("|bot"));
    server.verify(1, &sign(1, challenge.trim_end_matches("|bot"))).await.is(401);
    assert_eq!(server.verify(1, &sign(1, challenge)).await.is(200)["is_read_only"], false);
    let person = server.log_in(2).await;
    let members = server.get("/members", &person).await.is(200);
    let is_bot = |at: usize| members["members"][at]["is_bot"].as_bool().unwrap();
    assert!(is_bot(0) && !is_bot(1));
    // What a key first logged in as, it stays.
    let same = server.log_in(1).await;
    assert_eq!(server.get(&format!("/members/{}", same.pubkey), &person).await.is(200)["is_bot"], true);
}

#[tokio::test]
async fn a_challenge_works_once_and_for_five_minutes_after_its_own() {
    let server = Server::start().await;
    let challenge = server.challenge(1).await;
    let signature = sign(1, &challenge);
    server.verify(1, &signature).await.is(200);
    server.verify(1, &signature).await.is(401);
    let (one, other) = (server.challenge(1).await, server.challenge(1).await);
    server.advance(std::time::Duration::from_millis(359_999));
    server.verify(1, &sign(1, &one)).await.is(200);
    server.advance(std::time::Duration::from_millis(1));
    server.verify(1, &sign(1, &other)).await.is(401);
}

#[tokio::test]
async fn a_challenge_outlives_a_restart_and_a_used_one_stays_used() {
    let server = Server::start().await;
    let (open, used) = (server.challenge(1).await, server.challenge(1).await);
    server.verify(1, &sign(1, &used)).await.is(200);
    let restarted = server.restarted_with(|_| {}).await;
    restarted.verify(1, &sign(1, &used)).await.is(401);
    restarted.verify(1, &sign(1, &open)).await.is(200);
    restarted.verify(1, &sign(1, &open)).await.is(401);
}

#[tokio::test]
async fn a_challenge_reads_as_what_it_is_in_one_line() {
    let configure = |config: &mut Config| {
        config.server.name = "Ada's\nplace".into();
        config.network.public_address = "https://chat.example".into();
    };
    let server = Server::start_with(configure).await;
    let challenge = server.challenge(1).await;
    let begins = "decentcom log-in to \"Ada's place\" at https://chat.example, 2024-01-01T00:00Z, challenge ";
    assert!(challenge.starts_with(begins) && challenge.lines().count() == 1, "{challenge}");
    // It is good here and nowhere else.
    let other = Server::start_with(configure).await;
    other.challenge(1).await;
    other.verify(1, &sign(1, &challenge)).await.is(401);
    server.verify(1, &sign(1, &challenge)).await.is(200);
}

#[tokio::test]
async fn log_ins_of_one_key_at_once_all_succeed() {
    let server = Server::start().await;
    let asked = futures::future::join_all((0..6).map(|_| server.challenge(1))).await;
    let answers = asked.iter().rev().map(|challenge| {
        let signature = sign(1, challenge);
        let server = &server;
        async move { server.verify(1, &signature).await.is(200)["token"].as_str().unwrap().to_owned() }
    });
    let tokens: std::collections::BTreeSet<_> = futures::future::join_all(answers).await.into_iter().collect();
    assert_eq!(tokens.len(), 6);
}

#[tokio::test]
async fn strangers_who_ask_in_somebody_s_name_take_nothing_away() {
    let server = Server::start().await;
    let mine = server.challenge(1).await;
    for _ in 0..100 {
        server.challenge(1).await;
    }
    server.verify(1, &sign(1, &mine)).await.is(200);
    server.log_in(1).await;
}

#[tokio::test]
async fn an_answer_may_name_its_challenge() {
    let server = Server::start().await;
    let (one, other) = (server.challenge(1).await, server.challenge(1).await);
    let verify = async |signed: &str, named: &str| {
        let body = json!({ "pubkey": pubkey(1), "signature": sign(1, signed), "challenge": named });
        server.call(Method::POST, "/auth/verify", None, body).await
    };
    verify(&one, &other).await.is(401);
    verify(&one, "made up").await.is(401);
    verify(&one, &one).await.is(200);
    verify(&other, &other).await.is(200);
}

#[tokio::test]
async fn a_clock_that_steps_back_a_little_locks_nobody_out() {
    let server = Server::start().await;
    server.advance(std::time::Duration::from_secs(600));
    let before = server.challenge(1).await;
    let back = |seconds: u64| {
        server.clock.set(Timestamp::from_millis(server.clock.now().as_millis() - seconds * 1000).unwrap());
    };
    back(200);
    server.verify(1, &sign(1, &before)).await.is(200);
    server.log_in(1).await;
    back(400);
    server.log_in(1).await;
    server.log_in(2).await;
}

#[tokio::test]
async fn no_cache_keeps_an_answer() {
    let server = Server::start().await;
    let challenge = server.challenge(1).await;
    let answers = [
        server.call(Method::POST, "/auth/challenge", None, json!({ "pubkey": pubkey(1) })).await,
        server.verify(1, &sign(1, &challenge)).await,
        server.verify(1, &sign(1, &challenge)).await,
        server.call(Method::GET, "/auth/me", None, Value::Null).await,
        server.call(Method::GET, "/nowhere", None, Value::Null).await,
    ];
    for answer in answers {
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{answer:?}");
    }
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
async fn the_membership_mode_decides_who_is_let_in_and_as_what() {
    // For each key, what a log-in answers and then a call of members. 1: unknown; 2: listed; 3: an admin; 4: a member
    // of before, not listed; 5: a user of before who is no member.
    for (mode, expected) in [
        (MembershipMode::Open, [(200, 200), (200, 200), (200, 200), (200, 200), (200, 200)]),
        (MembershipMode::Allowlist, [(200, 403), (200, 200), (200, 200), (200, 403), (200, 403)]),
        (MembershipMode::Closed, [(403, 0), (403, 0), (200, 200), (200, 200), (403, 0)]),
    ] {
        let server = Server::start().await;
        server.store.create_user(&pubkey(4), None).await.unwrap();
        let left = server.store.create_user(&pubkey(5), None).await.unwrap();
        server.store.set_membership(&left.id.text(), false).await.unwrap();
        let server = server
            .restarted_with(|config| {
                config.membership.mode = mode;
                config.membership.allowed = [pubkey(2)].into();
                config.membership.admins = [pubkey(3)].into();
            })
            .await;
        for (seed, (log_in, channels)) in (1..).zip(expected) {
            let challenge = server.challenge(seed).await;
            let reply = server.verify(seed, &sign(seed, &challenge)).await.is(log_in);
            if log_in != 200 {
                continue;
            }
            let token = reply["token"].as_str().unwrap().to_owned();
            let person = Person { token, id: reply["user_id"].as_str().unwrap().into(), pubkey: pubkey(seed) };
            let answer = server.get("/channels", &person).await.is(channels);
            if channels == 403 {
                assert!(answer["error"].as_str().unwrap().contains("membership required"), "{answer}");
                // What is about the log-in itself is answered.
                server.get("/auth/me", &person).await.is(200);
                let refused = server.call(Method::POST, "/members/join", Some(&person), Value::Null).await.is(403);
                assert_eq!(refused["error"], "this key is not on the server's allowlist");
                server.call(Method::DELETE, "/members/me", Some(&person), Value::Null).await.is(204);
                server.call(Method::DELETE, "/auth/session", Some(&person), Value::Null).await.is(204);
            }
        }
        let info = server.call(Method::GET, "/server/info", None, Value::Null).await.is(200);
        assert_eq!(info["membership_mode"], json!(mode));
    }
}

#[tokio::test]
async fn whoever_leaves_is_no_member_until_they_join_again() {
    let server = Server::start().await;
    let (admin, person) = (server.log_in(1).await, server.log_in(2).await);
    let channel = server.general(&person).await;
    let message = server.post(&channel, &person, "what I said stays").await;
    for _ in 0..2 {
        server.call(Method::DELETE, "/members/me", Some(&person), Value::Null).await.is(204);
    }
    let members = server.get("/members", &admin).await.is(200);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    server.get(&format!("/members/{}", person.pubkey), &admin).await.is(404);
    server.get(&format!("/members/{}/profile", person.pubkey), &admin).await.is(200);
    let path = format!("/channels/{channel}/messages/{}", message["id"].as_str().unwrap());
    assert_eq!(server.get(&path, &admin).await.is(200)["content"], "what I said stays");
    for (method, path) in [
        (Method::GET, "/channels"),
        (Method::GET, "/roles"),
        (Method::GET, "/members"),
        (Method::GET, path.as_str()),
        (Method::PATCH, "/profile"),
    ] {
        let refused = server.call(method, path, Some(&person), json!({})).await.is(403);
        assert!(refused["error"].as_str().unwrap().contains("membership required"), "{refused}");
    }
    let joined = server.call(Method::POST, "/members/join", Some(&person), Value::Null).await.is(200);
    assert_eq!(joined["member"]["user_id"], json!(person.id));
    server.get("/channels", &person).await.is(200);
    // Logging in joins too.
    server.call(Method::DELETE, "/members/me", Some(&person), Value::Null).await.is(204);
    let back = server.log_in(2).await;
    assert_eq!(back.id, person.id);
    server.get("/channels", &back).await.is(200);
}

#[tokio::test]
async fn a_key_taken_off_the_list_has_no_session_any_more_and_one_put_back_joins_again() {
    let server = Server::start().await;
    let (kept, removed) = (server.log_in(1).await, server.log_in(2).await);
    let allow = |keys: &[u8]| {
        let keys = keys.iter().map(|seed| pubkey(*seed)).collect();
        move |config: &mut Config| {
            config.membership.mode = MembershipMode::Allowlist;
            config.membership.allowed = keys;
        }
    };
    let narrowed = server.restarted_with(allow(&[1])).await;
    narrowed.get("/auth/me", &removed).await.is(401);
    narrowed.get("/channels", &kept).await.is(200);
    let members = narrowed.get("/members", &kept).await.is(200);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    let widened = narrowed.restarted_with(allow(&[1, 2])).await;
    widened.get("/auth/me", &removed).await.is(401);
    let back = widened.log_in(2).await;
    assert_eq!(back.id, removed.id);
    widened.get("/channels", &back).await.is(200);
}

#[tokio::test]
async fn where_only_members_may_log_in_the_sessions_of_others_end() {
    let server = Server::start_with(|config| {
        config.membership.mode = MembershipMode::Allowlist;
        config.membership.allowed = [pubkey(1)].into();
    })
    .await;
    let (member, visitor) = (server.log_in(1).await, server.log_in(2).await);
    let closed = server.restarted_with(|config| config.membership.mode = MembershipMode::Closed).await;
    closed.get("/channels", &member).await.is(200);
    let joined = closed.call(Method::POST, "/members/join", Some(&member), Value::Null).await.is(200);
    assert_eq!(joined["member"]["pubkey"], member.pubkey, "who is one stays one");
    closed.get("/auth/me", &visitor).await.is(401);
    // An admin by configuration is always let in.
    let with_admin = closed
        .restarted_with(|config| {
            config.membership.mode = MembershipMode::Closed;
            config.membership.admins = [pubkey(2)].into();
        })
        .await;
    let admin = with_admin.log_in(2).await;
    with_admin.get("/channels", &admin).await.is(200);
}

#[tokio::test]
async fn admins_are_those_configured_else_the_earliest_user() {
    let server = Server::start().await;
    let (first, second) = (server.log_in(1).await, server.log_in(2).await);
    let new = json!({ "name": "room" });
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(200);
    let refused = server.call(Method::POST, "/channels", Some(&second), new.clone()).await.is(403);
    assert_eq!(refused["error"], "missing permission: manage_channels");

    // An admin by default is a member: who leaves is none, and the next one is.
    server.call(Method::DELETE, "/members/me", Some(&first), Value::Null).await.is(204);
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(403);
    server.call(Method::POST, "/channels", Some(&second), new.clone()).await.is(200);
    server.call(Method::POST, "/members/join", Some(&first), Value::Null).await.is(200);
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(200);
    server.call(Method::POST, "/channels", Some(&second), new.clone()).await.is(403);
    // So is one whom the configuration no longer admits.
    let narrowed = server
        .restarted_with(|config| {
            config.membership.mode = MembershipMode::Allowlist;
            config.membership.allowed = [pubkey(2)].into();
        })
        .await;
    narrowed.call(Method::POST, "/channels", Some(&second), new.clone()).await.is(200);

    let server = Server::start_with(|config| config.membership.admins = [pubkey(2)].into()).await;
    let (first, second) = (server.log_in(1).await, server.log_in(2).await);
    server.call(Method::POST, "/channels", Some(&first), new.clone()).await.is(403);
    server.call(Method::POST, "/channels", Some(&second), new).await.is(200);
}
