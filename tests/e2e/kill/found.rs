//! What the store holds after a restart, read over HTTP.

use std::collections::{HashMap, HashSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    ledger::{Kind, Ledger, State},
    support::User,
};

/// Sessions of earlier rounds that are tried again.
const OLD_SESSIONS: usize = 32;

#[derive(Default)]
pub(crate) struct Found {
    pub(crate) channels: HashSet<String>,
    /// What there is: kind, id, channel of a message, what it is.
    things: HashMap<(Kind, String), (String, String)>,
    /// How each session that was tried stands.
    sessions: HashMap<String, State>,
}

impl Found {
    /// How a thing stands; `None` if that was not looked up.
    pub(crate) fn state(&self, kind: Kind, id: &str) -> Option<State> {
        match kind {
            Kind::Session => self.sessions.get(id).cloned(),
            _ => Some(self.things.get(&(kind, id.to_owned())).map(|(_, what)| what.clone())),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Kind, &str, &str, &str)> {
        self.things.iter().map(|((kind, id), (channel, what))| (*kind, id.as_str(), channel.as_str(), what.as_str()))
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Reads everything: channels, their histories, members; tries sessions; asks for what must not be there.
pub(crate) async fn read(user: &User, ledger: &Ledger) -> Found {
    let mut found = Found::default();
    for channel in user.get("/channels").await["channels"].as_array().unwrap() {
        let id = text(channel, "id");
        found.things.insert((Kind::Channel, id.clone()), (String::new(), text(channel, "name")));
        let history = user.history(&id, 100).await;
        assert!(history.iter().is_sorted_by(|one, other| text(one, "id") < text(other, "id")));
        for message in &history {
            let what = format!("{}: {}", text(message, "author_id"), text(message, "content"));
            found.things.insert((Kind::Message, text(message, "id")), (id.clone(), what));
        }
        found.channels.insert(id);
    }
    for member in user.get("/members").await["members"].as_array().unwrap() {
        let what = format!("{} {}", text(member, "pubkey"), text(member, "display_name"));
        found.things.insert((Kind::User, text(member, "user_id")), (String::new(), what));
    }
    for (token, _) in ledger.to_look_up(Kind::Session, OLD_SESSIONS) {
        let (status, body) = user.with_token(&token).call(Method::GET, "/auth/me", json!({})).await;
        let state = match status {
            StatusCode::OK => Some(text(&body, "user_id")),
            StatusCode::UNAUTHORIZED => None,
            other => panic!("/auth/me answers {other}: {body}"),
        };
        found.sessions.insert(token, state);
    }
    for (id, channel) in ledger.to_look_up(Kind::Message, 0) {
        // One that history leaves out is a tombstone, or went with its channel; never half of either.
        if found.channels.contains(&channel) && !found.things.contains_key(&(Kind::Message, id.clone())) {
            let message = user.get(&format!("/channels/{channel}/messages/{id}")).await;
            assert_eq!((&message["deleted"], &message["content"]), (&json!(true), &json!("")), "{id}");
        }
    }
    for (id, channel) in ledger.buried() {
        let path = format!("/channels/{channel}/messages/{id}");
        let (status, body) = user.call(Method::GET, &path, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
    }
    found
}
