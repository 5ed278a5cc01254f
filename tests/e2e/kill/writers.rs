//! The clients: each changes things of its own, one call at a time, and enters what it asks for and what it is told.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    ledger::{Kind, Ledger},
    support::User,
};

/// One client and its part.
pub(crate) struct Cast {
    pub(crate) number: u64,
    pub(crate) round: u64,
    pub(crate) user: User,
    /// Somebody not logged in, to be given a key.
    pub(crate) stranger: User,
    pub(crate) general: String,
    pub(crate) ledger: Arc<Ledger>,
    /// Seeds of keys that nobody has yet.
    pub(crate) keys: Arc<AtomicU64>,
}

pub(crate) async fn write_until_the_server_is_gone(cast: Cast) {
    let mut step = 0;
    let part = match cast.number {
        0 => Part::Channels, // the earliest user, and so the admin
        1..8 => Part::Names,
        8..16 => Part::Sessions,
        _ => Part::Messages,
    };
    loop {
        let answered = match part {
            Part::Messages => cast.post_edit_delete(&cast.general, step).await,
            Part::Channels => cast.open_fill_close_channel(step).await,
            Part::Names => cast.rename(step).await,
            Part::Sessions => cast.come_and_go(step).await,
        };
        if answered.is_none() {
            return;
        }
        step += 1;
    }
}

enum Part {
    Messages,
    Channels,
    Names,
    Sessions,
}

/// Each step ends with `None` when the server is gone.
impl Cast {
    async fn post_edit_delete(&self, channel: &str, step: u64) -> Option<()> {
        let Self { user, ledger, number, round, .. } = self;
        let text = format!("{number} in {round}: {step} in {channel}");
        let is = |text: &str| format!("{}: {text}", user.id);
        let messages = format!("/channels/{channel}/messages");
        ledger.begin(Kind::Message, &is(&text));
        let message = user.try_ok(Method::POST, &messages, json!({ "content": text })).await?;
        let id = message["id"].as_str().unwrap();
        ledger.told_in(channel, Kind::Message, id, &is(&text));
        let path = format!("{messages}/{id}");
        if step.is_multiple_of(3) {
            let edited = format!("{text} edited");
            ledger.ask(Kind::Message, id, Some(is(&edited)));
            user.try_ok(Method::PATCH, &path, json!({ "content": edited })).await?;
            ledger.told(Kind::Message, id);
        }
        if step.is_multiple_of(7) {
            ledger.ask(Kind::Message, id, None);
            user.try_ok(Method::DELETE, &path, Value::Null).await?;
            ledger.told(Kind::Message, id);
        }
        Some(())
    }

    async fn open_fill_close_channel(&self, step: u64) -> Option<()> {
        let Self { user, ledger, round, .. } = self;
        let name = format!("room-{round}-{step}");
        ledger.begin(Kind::Channel, &name);
        let channel = user.try_ok(Method::POST, "/channels", json!({ "name": name })).await?;
        let id = channel["id"].as_str().unwrap();
        ledger.told_anew(Kind::Channel, id, &name);
        for message in 0..3 {
            self.post_edit_delete(id, message).await?;
        }
        let path = format!("/channels/{id}");
        if step.is_multiple_of(2) {
            ledger.ask(Kind::Channel, id, Some(format!("{name}-renamed")));
            user.try_ok(Method::PATCH, &path, json!({ "name": format!("{name}-renamed") })).await?;
            ledger.told(Kind::Channel, id);
        }
        if step % 3 != 2 {
            ledger.ask(Kind::Channel, id, None);
            user.try_ok(Method::DELETE, &path, Value::Null).await?;
            ledger.told(Kind::Channel, id);
        }
        Some(())
    }

    async fn rename(&self, step: u64) -> Option<()> {
        let Self { user, ledger, round, .. } = self;
        let name = format!("{round} {step}");
        ledger.ask(Kind::User, &user.id, Some(format!("{} {name}", user.pubkey())));
        user.try_ok(Method::PATCH, "/profile", json!({ "display_name": name })).await?;
        ledger.told(Kind::User, &user.id);
        Some(())
    }

    /// A new user comes, and most go again.
    async fn come_and_go(&self, step: u64) -> Option<()> {
        let Self { ledger, .. } = self;
        let newcomer = self.stranger.with_key(self.keys.fetch_add(1, Ordering::Relaxed));
        ledger.begin(Kind::User, &format!("{} ", newcomer.pubkey()));
        let newcomer = newcomer.try_log_in().await?;
        ledger.somebody_logged_in(&newcomer);
        if step % 3 != 2 {
            ledger.ask(Kind::Session, &newcomer.token, None);
            newcomer.try_ok(Method::DELETE, "/auth/session", Value::Null).await?;
            ledger.told(Kind::Session, &newcomer.token);
        }
        Some(())
    }
}
