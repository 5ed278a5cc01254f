//! One socket: from HELLO to its close code.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::extract::ws::Message;
use serde_json::json;

use super::{
    End, close,
    frame::{Event, frame},
    link::{Happened, Link},
    operation::{Operation, Subscription},
    ring::{Deaf, Listener},
};
use crate::{
    http::App,
    storage::{ChannelId, Session, SessionDigest, StorageError, UserId},
};

/// Channels that one socket may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 10_000;
/// How long a socket may take for what is on its way when the server stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Longer than any socket lives; keeps the arithmetic of far expiries within bounds.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Counter of sockets that the server closed, by code.
const CLOSED: &str = "decentcom_gateway_closed_total";

impl From<StorageError> for End {
    fn from(error: StorageError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a gateway socket is closed: storage failed");
        Self::Close(close::GOING_AWAY, "the server cannot read its storage")
    }
}

impl From<Deaf> for End {
    fn from(deaf: Deaf) -> Self {
        match deaf {
            Deaf::FellBehind => Self::Close(close::FELL_BEHIND, "fell behind"),
            Deaf::Over => Self::Close(close::GOING_AWAY, "the server stops"),
        }
    }
}

fn unauthorized() -> End {
    End::Close(close::UNAUTHORIZED, "unauthorized")
}

/// Talks to one client until either side ends it.
pub(super) async fn serve(app: App, link: Link, token: String) {
    let mut conversation = Conversation { app: app.clone(), link, subscriptions: HashSet::new() };
    let end = match app.hub.listen() {
        // Listening before anything is read, so that what HELLO shows and what follows have no gap between them.
        Some(events) => conversation.go_on(&token, events).await,
        None => Err(Deaf::Over.into()),
    };
    match end {
        Err(End::Close(code, reason)) => {
            metrics::counter!(CLOSED, "code" => code.to_string()).increment(1);
            conversation.link.close(code, reason).await;
        }
        Ok(()) => conversation.link.finish().await,
        Err(End::Gone) => {}
    }
}

struct Conversation {
    app: App,
    link: Link,
    subscriptions: HashSet<ChannelId>,
}

/// The instants at which a socket has to do something.
struct Due {
    heartbeat: Instant,
    acknowledgement: Option<Instant>,
    /// The session's end.
    expiry: Instant,
    /// No more events will come.
    end: Option<Instant>,
}

impl Conversation {
    /// Until the client leaves.
    async fn go_on(&mut self, token: &str, mut events: Listener) -> Result<(), End> {
        let session = self.app.store.get_session(token).await?.ok_or_else(unauthorized)?;
        let digest = SessionDigest::of(token);
        let user = self.greet(&session).await?;

        let config = self.app.config();
        let (interval, patience) = (config.gateway.heartbeat_interval, config.gateway.heartbeat_timeout);
        let mut due = Due {
            heartbeat: Instant::now() + interval,
            acknowledgement: None,
            expiry: Instant::now() + session.expires_at.since(self.app.clock.now()).min(FAR),
            end: None,
        };
        let connection = self.link.connection();
        let is_to_end = async || match &connection {
            Some(connection) => connection.is_to_end().await,
            None => std::future::pending().await,
        };
        loop {
            while self.link.is_free()
                && let Some(event) = events.take()?
            {
                self.pass_on(&event, digest, user)?;
            }
            if self.link.is_free() && due.end.is_some() {
                return Err(Deaf::Over.into());
            }
            let next = [Some(due.heartbeat), due.acknowledgement, Some(due.expiry), self.link.gives_up_at(), due.end];
            let next = next.into_iter().flatten().min().unwrap_or(due.heartbeat);
            tokio::select! {
                // Also what is far from its turn: a client that takes nothing must not outlive its session.
                news = events.news(|event| ends(event, digest, user)), if due.end.is_none() => match news {
                    Ok(None) => {}
                    Ok(Some(_)) => return Err(unauthorized()),
                    Err(Deaf::FellBehind) => return Err(Deaf::FellBehind.into()),
                    Err(Deaf::Over) => due.end = Some(Instant::now() + LAST_WORDS),
                },
                // Somebody else needs the memory that waits for this client.
                () = is_to_end() => {
                    metrics::counter!(CLOSED, "code" => close::FELL_BEHIND.to_string()).increment(1);
                    return Err(End::Gone);
                }
                () = tokio::time::sleep_until(next.into()) => {
                    let now = Instant::now();
                    if due.expiry <= now {
                        return Err(unauthorized());
                    }
                    if due.end.is_some_and(|end| end <= now) {
                        return Err(Deaf::Over.into());
                    }
                    if self.link.gives_up_at().is_some_and(|end| end <= now) {
                        return Err(Deaf::FellBehind.into());
                    }
                    if due.acknowledgement.is_some_and(|by| by <= now) {
                        return Err(End::Close(close::HEARTBEAT_TIMEOUT, "heartbeat timeout"));
                    }
                    if due.heartbeat <= now {
                        self.say("HEARTBEAT", &json!({}))?;
                        due.heartbeat = now + interval;
                        due.acknowledgement.get_or_insert(now + patience);
                    }
                }
                happened = self.link.next() => match happened? {
                    Happened::Taken => {}
                    Happened::Gone => return Err(End::Gone),
                    Happened::Heard(Message::Close(_)) => return Ok(()),
                    Happened::Heard(Message::Text(text)) => match Operation::parse(&text) {
                        Some(Operation::HeartbeatAck) => due.acknowledgement = None,
                        Some(Operation::Subscribe(wanted)) => self.subscribe(&wanted).await?,
                        Some(Operation::Unsubscribe(wanted)) => {
                            if let Some(channel) = ChannelId::parse(&wanted.channel_id) {
                                self.subscriptions.remove(&channel);
                            }
                        }
                        None => {}
                    },
                    Happened::Heard(_) => {} // pings are answered below us
                },
            }
        }
    }

    /// Introduces the server to a member; answers who it is.
    async fn greet(&mut self, session: &Session) -> Result<UserId, End> {
        let user = self.app.store.get_user_by_id(&session.user_id.text()).await?;
        let user = user.filter(|user| self.app.is_member(user)).ok_or_else(unauthorized)?;
        let channels = self.app.store.list_channels().await?;
        let channels: Vec<_> = channels.iter().map(|it| json!({ "id": it.id, "name": it.name })).collect();
        let config = self.app.config();
        let hello = json!({
            "server_name": config.server.name,
            "user": { "id": user.id, "pubkey": user.pubkey, "display_name": user.display_name },
            "channels": channels,
            "heartbeat_interval_ms": config.gateway.heartbeat_interval.as_millis() as u64,
        });
        self.say("HELLO", &hello)?;
        self.say("READY", &json!({}))?;
        Ok(user.id)
    }

    /// Sends an event to the client if it concerns it.
    fn pass_on(&mut self, event: &Event, digest: SessionDigest, user: UserId) -> Result<(), End> {
        match event {
            Event::Everyone(frame) => self.link.pass_on(frame.clone()),
            Event::Channel(channel, frame) if self.subscriptions.contains(channel) => self.link.pass_on(frame.clone()),
            Event::Channel(..) => Ok(()),
            Event::ChannelGone(channel, frame) => {
                self.subscriptions.remove(channel);
                self.link.pass_on(frame.clone())
            }
            _ if ends(event, digest, user) => Err(unauthorized()),
            Event::MemberGone(_, frame) => self.link.pass_on(frame.clone()),
            Event::SessionEnded(_) => Ok(()),
            Event::Gap => Err(Deaf::FellBehind.into()),
        }
    }

    /// Only channels that exist can be subscribed to. One that is deleted meanwhile is taken out by its own event,
    /// which is still to come.
    async fn subscribe(&mut self, wanted: &Subscription) -> Result<(), End> {
        let Some(channel) = self.app.store.get_channel(&wanted.channel_id).await? else { return Ok(()) };
        self.subscriptions.insert(channel.id);
        if self.subscriptions.len() > MAX_SUBSCRIPTIONS {
            return Err(End::Close(close::FELL_BEHIND, "too many subscriptions"));
        }
        if wanted.ack {
            self.say("SUBSCRIBED", &json!({ "channel_id": channel.id }))?;
        }
        Ok(())
    }

    fn say(&mut self, op: &str, payload: &serde_json::Value) -> Result<(), End> {
        let frame = frame(op, payload, self.app.clock.now());
        self.link.answer(frame)
    }
}

/// Whether an event ends the sockets of this session.
fn ends(event: &Event, digest: SessionDigest, user: UserId) -> bool {
    match event {
        Event::SessionEnded(ended) => *ended == digest,
        Event::MemberGone(gone, _) => *gone == user,
        _ => false,
    }
}
