//! Clients on a server over a [`Disk`], who do a bit of everything and keep a ledger of it.

use std::sync::Mutex;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Server, User,
    disk::Disk,
    ledger::{Asked, Ledger},
};

/// A disk, and what the clients of its servers asked for and were told.
pub(crate) struct Town {
    pub(crate) disk: Disk,
    ledger: Mutex<Ledger>,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Value),
    /// An error of the server's, 500, 503 or 507.
    Failed(StatusCode),
    /// No answer: the server is gone.
    Gone,
}

impl Outcome {
    pub(crate) fn done(self) -> Option<Value> {
        if let Self::Done(body) = self { Some(body) } else { None }
    }
}

impl Town {
    pub(crate) fn on(disk: Disk) -> Self {
        Self { disk, ledger: Mutex::default() }
    }

    /// The ledger as it is now.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap().clone()
    }

    /// How many changes were acknowledged.
    pub(crate) fn told(&self) -> usize {
        self.ledger.lock().unwrap().told()
    }

    /// Logs in as user number `seed`.
    pub(crate) async fn log_in(&self, server: &Server, seed: u64) -> User {
        let pubkey = bs58::encode(super::key(seed).verifying_key().as_bytes()).into_string();
        let began = self.disk.position();
        let thing = format!("user {pubkey}");
        let is_known = self.ledger.lock().unwrap().knows(&thing);
        let asked = (!is_known).then(|| self.ledger.lock().unwrap().ask(began, &thing, Some("")));
        let user = server.log_in(seed).await;
        let now = self.disk.position();
        let mut ledger = self.ledger.lock().unwrap();
        if let Some(asked) = asked {
            ledger.tell(now, asked);
        }
        ledger.saw_id(now, &user.id);
        let session = ledger.ask(began, &format!("session {}", user.token), Some(""));
        ledger.tell(now, session);
        user
    }

    /// A call that makes `thing` have this state.
    pub(crate) async fn change(
        &self,
        user: &User,
        (method, path, body): (Method, &str, Value),
        thing: &str,
        state: Option<&str>,
    ) -> Outcome {
        let asked = self.ledger.lock().unwrap().ask(self.disk.position(), thing, state);
        self.send(user, (method, path, body), asked).await
    }

    async fn send(&self, user: &User, (method, path, body): (Method, &str, Value), asked: Asked) -> Outcome {
        let Some(reply) = user.try_send(method.clone(), path, body).await else { return Outcome::Gone };
        match reply.status {
            status if status.is_success() => {
                let now = self.disk.position();
                let mut ledger = self.ledger.lock().unwrap();
                ledger.tell(now, asked);
                if let Some(id) = reply.body["id"].as_str() {
                    ledger.saw_id(now, id);
                }
                Outcome::Done(reply.body)
            }
            StatusCode::INSUFFICIENT_STORAGE => {
                assert!(!reply.retry_after, "{method} {path}: nobody knows when a full disk has room again");
                Outcome::Failed(reply.status)
            }
            StatusCode::INTERNAL_SERVER_ERROR => Outcome::Failed(reply.status),
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(reply.retry_after, "{method} {path}: a 503 says when to try again");
                Outcome::Failed(reply.status)
            }
            other => panic!("{method} {path} answers {other}: {}", reply.body),
        }
    }

    /// Posts a text that begins with `token`; answers the message.
    pub(crate) async fn post(&self, user: &User, channel: &str, token: &str, rest: &str) -> Outcome {
        let text = format!("{token} {rest}");
        let path = format!("/channels/{channel}/messages");
        let body = json!({ "content": text });
        self.change(user, (Method::POST, &path, body), &format!("message {token}"), Some(&text)).await
    }

    /// Gives a message another text.
    pub(crate) async fn edit(&self, user: &User, channel: &str, id: &str, token: &str, rest: &str) -> Outcome {
        let text = format!("{token} {rest}");
        let path = format!("/channels/{channel}/messages/{id}");
        let body = json!({ "content": text });
        self.change(user, (Method::PATCH, &path, body), &format!("message {token}"), Some(&text)).await
    }

    /// Deletes a message.
    pub(crate) async fn delete(&self, user: &User, channel: &str, id: &str, token: &str) -> Outcome {
        let path = format!("/channels/{channel}/messages/{id}");
        self.change(user, (Method::DELETE, &path, Value::Null), &format!("message {token}"), None).await
    }

    /// Gives the user a name.
    pub(crate) async fn rename(&self, user: &User, name: &str) -> Outcome {
        let body = json!({ "display_name": name });
        self.change(user, (Method::PATCH, "/profile", body), &format!("user {}", user.pubkey()), Some(name)).await
    }

    /// Logs out.
    pub(crate) async fn log_out(&self, user: &User) -> Outcome {
        let thing = format!("session {}", user.token);
        self.change(user, (Method::DELETE, "/auth/session", Value::Null), &thing, None).await
    }

    /// Makes a channel; answers it.
    pub(crate) async fn open_channel(&self, admin: &User, name: &str) -> Outcome {
        let body = json!({ "name": name });
        let outcome = self.change(admin, (Method::POST, "/channels", body), &format!("channel {name}"), Some("")).await;
        if let Outcome::Done(channel) = &outcome {
            self.ledger.lock().unwrap().saw_channel(self.disk.position(), channel["id"].as_str().unwrap());
        }
        outcome
    }

    /// Says what a channel is about.
    pub(crate) async fn set_topic(&self, admin: &User, id: &str, name: &str, topic: &str) -> Outcome {
        let path = format!("/channels/{id}");
        let call = (Method::PATCH, path.as_str(), json!({ "topic": topic }));
        self.change(admin, call, &format!("channel {name}"), Some(topic)).await
    }

    /// Deletes a channel, and with it the messages whose tokens begin with `writer`.
    pub(crate) async fn close_channel(&self, admin: &User, id: &str, name: &str, writer: &str) -> Outcome {
        let asked = {
            let mut ledger = self.ledger.lock().unwrap();
            let mut things = ledger.messages_of(writer);
            things.push(format!("channel {name}"));
            ledger.ask_all(self.disk.position(), things, None)
        };
        self.send(admin, (Method::DELETE, &format!("/channels/{id}"), Value::Null), asked).await
    }

    /// The channel that every new server has; entered as made by nobody in particular.
    pub(crate) async fn general(&self, user: &User) -> String {
        let id = user.channel("general").await;
        let mut ledger = self.ledger.lock().unwrap();
        if !ledger.knows("channel general") {
            let made = ledger.ask(0, "channel general", Some(""));
            ledger.tell(self.disk.position(), made);
        }
        ledger.saw_channel(self.disk.position(), &id);
        id
    }

    /// A client who posts, edits, deletes, takes a name, `count` times or until the server is gone. `writer` is its name
    /// in tokens, used once; some texts are `large` bytes long.
    pub(crate) async fn write(
        &self,
        user: &User,
        channel: &str,
        writer: &str,
        count: usize,
        large: usize,
    ) -> Option<()> {
        for number in 0..count {
            let token = format!("{writer}-{number}");
            let text = if number % 4 == 3 { "x".repeat(large) } else { format!("says {writer}") };
            let message = self.post(user, channel, &token, &text).await.done()?;
            let id = message["id"].as_str().unwrap();
            if number % 3 == 0 {
                self.edit(user, channel, id, &token, &format!("{text}, edited")).await.done()?;
            }
            if number % 5 == 1 {
                self.delete(user, channel, id, &token).await.done()?;
            }
            if number % 7 == 2 {
                self.rename(user, &format!("{writer} {number}")).await.done()?;
            }
        }
        Some(())
    }

    /// A channel's whole life: made, talked in, deleted with what was said.
    pub(crate) async fn live_and_die(&self, admin: &User, name: &str) -> Option<()> {
        let channel = self.open_channel(admin, name).await.done()?;
        let id = channel["id"].as_str().unwrap();
        self.set_topic(admin, id, name, "what nobody will remember").await.done()?;
        for number in 0..3 {
            self.post(admin, id, &format!("{name}-{number}"), "for now").await.done()?;
        }
        self.close_channel(admin, id, name, name).await.done()?;
        Some(())
    }
}
