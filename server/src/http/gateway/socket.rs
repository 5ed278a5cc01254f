//! One socket: from HELLO to its close code.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    close,
    frame::{Event, frame},
};
use crate::{
    http::App,
    storage::{ChannelId, Session, SessionDigest, StorageError},
};

/// A frame that cannot be written for this long belongs to a dead or hopeless connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client says.
#[derive(Deserialize)]
struct Operation {
    op: String,
    #[serde(default)]
    d: serde_json::Value,
}

#[derive(Deserialize)]
struct Subscription {
    channel_id: String,
    /// Whether the client wants to hear when the subscription holds.
    #[serde(default)]
    ack: bool,
}

/// Why a socket ends.
enum End {
    /// The client left, or cannot be reached.
    Gone,
    /// The server closes it.
    Close(u16, &'static str),
}

impl From<StorageError> for End {
    fn from(error: StorageError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a gateway socket is closed: storage failed");
        Self::Close(close::GOING_AWAY, "the server cannot read its storage")
    }
}

/// Talks to one client until either side ends it.
pub(super) async fn serve(app: App, socket: WebSocket, token: String) {
    let mut connection = Connection { app: app.clone(), socket, subscriptions: HashSet::new() };
    let end = match app.hub.join() {
        // Joined before anything is read, so that what HELLO shows and what follows have no gap between them.
        Some((events, _presence)) => connection.run(&token, events).await,
        None => End::Close(close::GOING_AWAY, "the server stops"),
    };
    if let End::Close(code, reason) = end {
        let frame = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
        let _ = tokio::time::timeout(SEND_TIMEOUT, connection.socket.send(frame)).await;
    }
}

struct Connection {
    app: App,
    socket: WebSocket,
    subscriptions: HashSet<ChannelId>,
}

impl Connection {
    async fn run(&mut self, token: &str, events: Receiver<Arc<Event>>) -> End {
        match self.converse(token, events).await {
            Ok(()) => End::Gone,
            Err(end) => end,
        }
    }

    async fn converse(&mut self, token: &str, mut events: Receiver<Arc<Event>>) -> Result<(), End> {
        let unauthorized = || End::Close(close::UNAUTHORIZED, "unauthorized");
        let session = self.app.store.get_session(token).await?.ok_or_else(unauthorized)?;
        let digest = SessionDigest::of(token);
        self.greet(&session).await?;

        let gateway = &self.app.config().gateway;
        let (interval, patience) = (gateway.heartbeat_interval, gateway.heartbeat_timeout);
        let mut next_heartbeat = Instant::now() + interval;
        let mut acknowledge_by: Option<Instant> = None;
        let expires = Instant::now() + session.expires_at.since(self.app.clock.now()).min(FAR);
        loop {
            let due = [Some(next_heartbeat), acknowledge_by, Some(expires)].into_iter().flatten().min();
            let due = due.unwrap_or(next_heartbeat);
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.pass_on(&event, digest).await?,
                    Err(RecvError::Lagged(_)) => return Err(End::Close(close::FELL_BEHIND, "fell behind")),
                    Err(RecvError::Closed) => return Err(End::Close(close::GOING_AWAY, "the server stops")),
                },
                received = self.socket.recv() => match received {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Text(text))) => {
                        if self.obey(&text).await? == Heard::HeartbeatAck {
                            acknowledge_by = None;
                        }
                    }
                    Some(Ok(_)) => {} // pings are answered below us
                },
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    if expires <= now {
                        return Err(unauthorized());
                    }
                    if acknowledge_by.is_some_and(|by| by <= now) {
                        return Err(End::Close(close::HEARTBEAT_TIMEOUT, "heartbeat timeout"));
                    }
                    if next_heartbeat <= now {
                        self.say("HEARTBEAT", &json!({})).await?;
                        next_heartbeat = now + interval;
                        acknowledge_by.get_or_insert(now + patience);
                    }
                }
            }
        }
    }

    async fn greet(&mut self, session: &Session) -> Result<(), End> {
        let unauthorized = || End::Close(close::UNAUTHORIZED, "unauthorized");
        let user = self.app.store.get_user_by_id(&session.user_id).await?.ok_or_else(unauthorized)?;
        let channels = self.app.store.list_channels().await?;
        let channels: Vec<_> = channels.iter().map(|it| json!({ "id": it.id, "name": it.name })).collect();
        let config = self.app.config();
        let hello = json!({
            "server_name": config.server.name,
            "user": { "id": user.id, "pubkey": user.pubkey, "display_name": user.display_name },
            "channels": channels,
            "heartbeat_interval_ms": config.gateway.heartbeat_interval.as_millis() as u64,
        });
        self.say("HELLO", &hello).await?;
        self.say("READY", &json!({})).await
    }

    /// Sends an event to the client if it concerns it.
    async fn pass_on(&mut self, event: &Event, digest: SessionDigest) -> Result<(), End> {
        match event {
            Event::Everyone(frame) => self.send(frame.clone()).await,
            Event::Channel(channel, frame) if self.subscriptions.contains(channel) => self.send(frame.clone()).await,
            Event::Channel(..) => Ok(()),
            Event::ChannelGone(channel, frame) => {
                self.subscriptions.remove(channel);
                self.send(frame.clone()).await
            }
            Event::SessionEnded(ended) if *ended == digest => Err(End::Close(close::UNAUTHORIZED, "unauthorized")),
            Event::SessionEnded(_) => Ok(()),
            Event::Gap => Err(End::Close(close::FELL_BEHIND, "fell behind")),
        }
    }

    /// Does what a client says. What is not understood is ignored, as clients expect.
    async fn obey(&mut self, text: &str) -> Result<Heard, End> {
        let Ok(operation) = serde_json::from_str::<Operation>(text) else { return Ok(Heard::Other) };
        match operation.op.as_str() {
            "HEARTBEAT_ACK" => return Ok(Heard::HeartbeatAck),
            "SUBSCRIBE" => {
                if let Ok(wanted) = serde_json::from_value::<Subscription>(operation.d) {
                    self.subscribe(&wanted).await?;
                }
            }
            "UNSUBSCRIBE" => {
                let wanted = serde_json::from_value::<Subscription>(operation.d).ok();
                if let Some(channel) = wanted.and_then(|it| ChannelId::parse(&it.channel_id)) {
                    self.subscriptions.remove(&channel);
                }
            }
            _ => {}
        }
        Ok(Heard::Other)
    }

    /// Only channels that exist can be subscribed to. One that is deleted meanwhile is taken out by its own event,
    /// which is still to come.
    async fn subscribe(&mut self, wanted: &Subscription) -> Result<(), End> {
        let Some(channel) = self.app.store.get_channel(&wanted.channel_id).await? else { return Ok(()) };
        self.subscriptions.insert(channel.id);
        if wanted.ack {
            self.say("SUBSCRIBED", &json!({ "channel_id": channel.id })).await?;
        }
        Ok(())
    }

    async fn say(&mut self, op: &str, payload: &serde_json::Value) -> Result<(), End> {
        let frame = frame(op, payload, self.app.clock.now());
        self.send(frame).await
    }

    async fn send(&mut self, frame: Utf8Bytes) -> Result<(), End> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(Message::Text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(close::FELL_BEHIND, "fell behind")),
        }
    }
}

/// What matters of a client's frame to the conversation.
#[derive(PartialEq)]
enum Heard {
    HeartbeatAck,
    Other,
}

/// Longer than any socket lives; keeps the arithmetic of far expiries within bounds.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
