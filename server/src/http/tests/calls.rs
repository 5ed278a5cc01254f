//! Channels, categories, messages, members: shapes, rules, statuses.

use axum::http::Method;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn answers_carry_the_fields_of_every_client_generation() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let body = json!({ "name": "room", "category": "Somewhere", "position": 3 });
    let channel = server.call(Method::POST, "/channels", Some(&person), body).await.is(200);
    let id = channel["id"].clone();
    assert_eq!(
        channel,
        json!({
            "id": id, "name": "room", "topic": null, "category": "Somewhere", "category_id": channel["category_id"],
            "position": 3, "created_at": server.now(), "updated_at": server.now(), "type": "text",
        })
    );
    let message = server.post(id.as_str().unwrap(), &person, "hello").await;
    assert_eq!(
        message,
        json!({
            "id": message["id"], "channel_id": id, "author_id": person.id, "content": "hello",
            "created_at": server.now(), "edited_at": null, "deleted": false,
            "attachments": [], "reactions": [], "thread": null,
        })
    );
    let category = server.call(Method::POST, "/categories", Some(&person), json!({ "name": "Music" })).await.is(200);
    assert_eq!(category, json!({ "id": category["id"], "name": "Music", "position": 0, "created_at": server.now() }));
    let somewhere = &server.get("/channels", &person).await.is(200)["categories"][0];
    assert_eq!((&somewhere["id"], &somewhere["name"]), (&channel["category_id"], &json!("Somewhere")));
    let everyone = json!({ "id": "everyone", "name": "everyone", "color": null, "position": 0 });
    let admin = json!({ "id": "admin", "name": "admin", "color": null, "position": 1000 });
    let member = json!({
        "user_id": person.id, "pubkey": person.pubkey, "display_name": null, "avatar_hash": null, "is_bot": false,
        "joined_at": server.now(), "roles": [everyone, admin],
    });
    let page = json!({ "members": [member], "has_more": false, "after": person.id });
    assert_eq!(server.get("/members", &person).await.is(200), page);
    assert_eq!(server.get(&format!("/members/{}", person.pubkey), &person).await.is(200), member);
    assert_eq!(server.get(&format!("/members/{}/profile", person.pubkey), &person).await.is(200), member);
    let joined = server.call(Method::POST, "/members/join", Some(&person), Value::Null).await.is(200);
    assert_eq!(joined, json!({ "member": member }));
    let roles = server.get("/roles", &person).await.is(200);
    assert_eq!(roles["roles"][0]["permissions"], 1539);
    assert_eq!((&roles["roles"][1]["permissions"], &roles["roles"][1]["position"]), (&json!(16383), &json!(1000)));
    assert_eq!(
        server.call(Method::GET, "/server/info", None, Value::Null).await.is(200),
        json!({ "name": "decentcom", "description": null, "membership_mode": "open" })
    );
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_means_what_clients_expect() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let path = format!("/channels/{}", server.general(&person).await);
    let patch = async |body: Value| server.call(Method::PATCH, &path, Some(&person), body).await.is(200);
    let channel = patch(json!({ "topic": "all of it", "category": "c", "position": 2 })).await;
    assert_eq!(
        (&channel["topic"], &channel["category"], &channel["position"]),
        (&json!("all of it"), &json!("c"), &json!(2))
    );
    let other = server.call(Method::POST, "/categories", Some(&person), json!({ "name": "d" })).await.is(200);
    let channel = patch(json!({ "name": "general", "topic": null, "position": null })).await;
    assert_eq!(
        (&channel["topic"], &channel["category"], &channel["position"]),
        (&json!("all of it"), &json!("c"), &json!(2))
    );
    assert_eq!(patch(json!({ "category_id": other["id"] })).await["category"], "d");
    assert_eq!(patch(json!({ "category": "e", "category_id": other["id"] })).await["category"], "e");
    assert_eq!(patch(json!({ "category_id": null })).await["category"], Value::Null);
    assert_eq!(patch(json!({ "category": "c" })).await["category_id"], channel["category_id"]);
    assert_eq!(patch(json!({ "category": null })).await["category"], Value::Null);
    assert_eq!(patch(json!({ "topic": "" })).await["topic"], Value::Null);
    assert_eq!(patch(json!({})).await["name"], "general");
}

#[tokio::test]
async fn channel_names_follow_their_rule_and_may_repeat() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let path = format!("/channels/{}", server.general(&person).await);
    for name in ["", "General", "a b", "a_b", "é", "a\n", &"x".repeat(101)] {
        let body = json!({ "name": name });
        server.call(Method::POST, "/channels", Some(&person), body.clone()).await.is(400);
        server.call(Method::PATCH, &path, Some(&person), body).await.is(400);
    }
    for name in ["general", "a", "0-9", &"x".repeat(100)] {
        server.call(Method::POST, "/channels", Some(&person), json!({ "name": name })).await.is(200);
    }
}

#[tokio::test]
async fn only_admins_change_channels_and_categories() {
    let server = Server::start().await;
    let (admin, other) = (server.log_in(1).await, server.log_in(2).await);
    let channel = format!("/channels/{}", server.general(&admin).await);
    let category = server.call(Method::POST, "/categories", Some(&admin), json!({ "name": "c" })).await.is(200);
    let category = format!("/categories/{}", category["id"].as_str().unwrap());
    for (method, path) in [
        (Method::POST, "/channels"),
        (Method::PATCH, &channel),
        (Method::DELETE, &channel),
        (Method::POST, "/categories"),
        (Method::PATCH, &category),
        (Method::DELETE, &category),
    ] {
        server.call(method, path, Some(&other), json!({ "name": "x" })).await.is(403);
    }
    server.call(Method::PATCH, &category, Some(&admin), json!({ "position": 4 })).await.is(200);
    server.call(Method::DELETE, &category, Some(&admin), Value::Null).await.is(204);
    server.call(Method::DELETE, &category, Some(&admin), Value::Null).await.is(404);
    server.call(Method::DELETE, &channel, Some(&admin), Value::Null).await.is(204);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        server.call(method, &channel, Some(&admin), json!({})).await.is(404);
    }
}

#[tokio::test]
async fn history_pages_both_ways_and_says_whether_there_is_more() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let channel = server.general(&person).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(server.post(&channel, &person, &number.to_string()).await["id"].clone());
    }
    let path = format!("/channels/{channel}/messages");
    let page = async |query: &str| {
        let page = server.get(&format!("{path}{query}"), &person).await.is(200);
        let ids: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["id"].clone()).collect();
        (ids, page["has_more"].as_bool().unwrap())
    };
    let reversed = |range: std::ops::Range<usize>| ids[range].iter().rev().cloned().collect::<Vec<_>>();
    let third = ids[2].as_str().unwrap();
    assert_eq!(page("").await, (reversed(0..5), false));
    assert_eq!(page("?limit=5").await, (reversed(0..5), false));
    assert_eq!(page("?limit=4").await, (reversed(1..5), true));
    assert_eq!(page("?limit=0").await, (reversed(4..5), true));
    assert_eq!(page("?limit=-7").await, (reversed(4..5), true));
    assert_eq!(page("?limit=99999999999999999999").await, (reversed(0..5), false));
    assert_eq!(page(&format!("?before={third}&limit=1")).await, (reversed(1..2), true));
    assert_eq!(page(&format!("?before={}", third.to_lowercase())).await, (reversed(0..2), false));
    assert_eq!(page(&format!("?after={third}")).await, (ids[3..].to_vec(), false));
    assert_eq!(page(&format!("?after={third}&limit=1")).await, (ids[3..4].to_vec(), true));
    for bad in ["?limit=x", "?limit=", "?limit=1.5", "?before=x", "?after=", &format!("?after={third}&before={third}")]
    {
        server.get(&format!("{path}{bad}"), &person).await.is(400);
    }
    server.get(&format!("/channels/{NOBODY}/messages"), &person).await.is(404);
    server.get("/channels/nonsense/messages", &person).await.is(404);
}

#[tokio::test]
async fn a_message_has_1_to_4000_characters_that_are_not_all_white_space() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let path = format!("/channels/{}/messages", server.general(&person).await);
    let post =
        async |content: &str| server.call(Method::POST, &path, Some(&person), json!({ "content": content })).await;
    for content in ["", " \n\t", "\u{3000}", "\0", "\u{200b}\u{202e}", &"x".repeat(4001), &"\u{1F600}".repeat(4001)] {
        post(content).await.is(422);
    }
    for content in ["x", " x ", "x\0", "\u{202e}x", &"x".repeat(4000), &"\u{1F600}".repeat(4000)] {
        assert_eq!(post(content).await.is(200)["content"], content);
    }
    let attached = json!({ "content": "x", "attachment_ids": ["a"] });
    server.call(Method::POST, &path, Some(&person), attached).await.is(422);
    let none = json!({ "content": "x", "attachment_ids": [] });
    server.call(Method::POST, &path, Some(&person), none).await.is(200);
}

#[tokio::test]
async fn only_its_author_edits_a_message_and_only_author_or_admin_deletes_it() {
    let server = Server::start().await;
    let (admin, author, other) = (server.log_in(1).await, server.log_in(2).await, server.log_in(3).await);
    let channel = server.general(&admin).await;
    let message = async |content: &str| {
        let id = server.post(&channel, &author, content).await["id"].as_str().unwrap().to_owned();
        format!("/channels/{channel}/messages/{id}")
    };
    let path = message("first").await;
    let edit = json!({ "content": "edited" });
    for person in [&admin, &other] {
        server.call(Method::PATCH, &path, Some(person), edit.clone()).await.is(403);
    }
    server.advance(std::time::Duration::from_secs(1));
    let edited = server.call(Method::PATCH, &path, Some(&author), edit.clone()).await.is(200);
    assert_eq!((&edited["content"], &edited["edited_at"]), (&json!("edited"), &json!(server.now())));
    server.call(Method::PATCH, &path, Some(&author), json!({ "content": " " })).await.is(422);

    server.call(Method::DELETE, &path, Some(&other), Value::Null).await.is(403);
    assert_eq!(server.get(&path, &other).await.is(200)["content"], "edited");
    for _ in 0..2 {
        server.call(Method::DELETE, &path, Some(&author), Value::Null).await.is(204);
    }
    let tombstone = server.get(&path, &other).await.is(200);
    assert_eq!((&tombstone["deleted"], &tombstone["content"]), (&json!(true), &json!("")));
    server.call(Method::PATCH, &path, Some(&author), edit).await.is(404);
    let history = server.get(&format!("/channels/{channel}/messages"), &other).await.is(200);
    assert_eq!(history["messages"], json!([]));
    let path = message("second").await;
    server.call(Method::DELETE, &path, Some(&admin), Value::Null).await.is(204);
}

#[tokio::test]
async fn a_message_of_another_channel_is_not_found() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let channel = server.general(&person).await;
    let other = server.call(Method::POST, "/channels", Some(&person), json!({ "name": "other" })).await.is(200);
    let other = other["id"].as_str().unwrap();
    let id = server.post(&channel, &person, "x").await["id"].as_str().unwrap().to_owned();
    for path in [format!("/channels/{other}/messages/{id}"), format!("/channels/{channel}/messages/{NOBODY}")] {
        server.get(&path, &person).await.is(404);
        server.call(Method::PATCH, &path, Some(&person), json!({ "content": "y" })).await.is(404);
        server.call(Method::DELETE, &path, Some(&person), Value::Null).await.is(404);
    }
    let lower = format!("/channels/{}/messages/{}", channel.to_lowercase(), id.to_lowercase());
    assert_eq!(server.get(&lower, &person).await.is(200)["content"], "x");
}

#[tokio::test]
async fn a_display_name_is_trimmed_and_has_1_to_32_characters() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let patch = async |body: Value| server.call(Method::PATCH, "/profile", Some(&person), body).await;
    assert_eq!(patch(json!({ "display_name": "  Ada  " })).await.is(200)["display_name"], "Ada");
    for name in ["", "   ", "a\u{202e}b", "a\0", "\u{3164}", &"x".repeat(33)] {
        patch(json!({ "display_name": name })).await.is(400);
    }
    assert_eq!(patch(json!({})).await.is(200)["display_name"], "Ada");
    assert_eq!(patch(json!({ "display_name": "\u{1F600}".repeat(32) })).await.is(200)["user_id"], person.id);
    server.get("/members/nobody", &person).await.is(404);
}

#[tokio::test]
async fn a_closed_store_is_503_with_retry_after_and_without_its_words() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    server.store.close().await.unwrap();
    let answer = server.get("/channels", &person).await;
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    let body = answer.is(503);
    assert_eq!(body["error"], "the server is busy or shutting down; try again");

    let ready = server.send(Request::builder().uri("/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!(ready.status, 503);
    let reason = "changes cannot be stored at the moment: the store is busy, closed, or has no room";
    assert_eq!((&ready.body["reasons"], &ready.body["error"]), (&json!([reason]), &json!(reason)));
}

#[tokio::test]
async fn calls_that_answer_lists_count_as_reads_and_no_others_do() {
    let server = Server::start_with(|config| (config.limits.reads, config.limits.reads_burst) = (1, 1)).await;
    let ada = server.log_in(1).await;
    let general = server.general(&ada).await;
    let messages = format!("/channels/{general}/messages");
    let message = server.post(&general, &ada, "hello").await["id"].as_str().unwrap().to_owned();
    let lists = [messages.clone(), "/channels".into(), "/members".into()];
    let others = [
        format!("{messages}/{message}"),
        format!("/channels/{general}"),
        format!("/members/{}", ada.pubkey),
        "/roles".into(),
        "/auth/me".into(),
    ];
    // One of three is enough: on a slow machine, a second may pass between two.
    for path in lists {
        let answers = [server.get(&path, &ada).await, server.get(&path, &ada).await, server.get(&path, &ada).await];
        assert!(answers.iter().any(|answer| answer.status == 429), "{path}");
    }
    for path in others {
        for _ in 0..3 {
            server.get(&path, &ada).await.is(200);
        }
    }
}
