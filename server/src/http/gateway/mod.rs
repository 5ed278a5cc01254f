//! Live events over a WebSocket: what is committed, in commit order, to whoever it concerns.
//!
//! ```text
//!  store ── change feed ──> Hub: one task, changes ─> frames ── Ring ──> one task per socket ──> client
//! ```
//!
//! Events come from the store's change feed and from nowhere else, so they leave after the commit, in commit order, each
//! once. They wait in one [`ring`] for all sockets, bounded in number and bytes. All that waits for one client alone is the
//! frame it is being sent, a few answers and pongs ([`link`]); past that, and when it floods us, its socket is closed with
//! [`close::FELL_BEHIND`].
//!
//! **Catching up without a gap**: send `SUBSCRIBE` with `"ack": true`, wait for `SUBSCRIBED` (or send a WebSocket ping
//! after `SUBSCRIBE` and wait for its pong), then read `GET …/messages?after=<last id seen>`. Whatever was committed before
//! the subscription is in that history; everything later comes as an event. Some of it may come both ways, never neither.

mod directory;
mod frame;
mod hub;
mod link;
mod operation;
mod ring;
mod socket;

use std::time::Duration;

use axum::{
    Extension,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::hub::Hub;
use super::{
    App,
    auth::bearer_token,
    connections::Client,
    error::{AnyCall, ApiError, ErrorBody},
    extract::Params,
};

/// Close codes of our own; clients reconnect after any.
mod close {
    /// The token is unknown, its session ended, or its user is no member (any more).
    pub(super) const UNAUTHORIZED: u16 = 4001;
    /// No HEARTBEAT_ACK came in time.
    pub(super) const HEARTBEAT_TIMEOUT: u16 = 4002;
    /// The client took too little of what it was told, or said too much.
    pub(super) const FELL_BEHIND: u16 = 4003;
    /// The server stops (RFC 6455, "going away").
    pub(super) const GOING_AWAY: u16 = 1001;
}

/// Why a socket ends.
enum End {
    /// The client left, or cannot be reached.
    Gone,
    /// The server closes it.
    Close(u16, &'static str),
}

/// What somebody is asked to wait who has too many sockets: by then, those of dead clients will have been noticed.
const SOCKETS_COME_FREE: Duration = Duration::from_secs(10);
/// Bytes of a frame from a client; their operations are short.
const MAX_FRAME_BYTES: usize = 16 * 1024;
/// Bytes read from a socket at a time. The library's default is 128 KiB, which every socket would hold, used or not.
const READ_BYTES: usize = 4 * 1024;
/// Bytes that wait in the library to be written: the largest frame there is, the greeting in a community of many channels.
/// [`link`] hands it one frame at a time.
const MAX_WRITE_BYTES: usize = 16 * 1024 * 1024;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(open))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Token {
    /// The session token, for clients that cannot set headers.
    token: Option<String>,
}

/// Opens the gateway: a WebSocket that announces what happens. The token comes as `Authorization: Bearer` or `?token=`.
#[utoipa::path(
    get, path = "/gateway", tag = "gateway", params(Token),
    responses(
        (status = 101, description = "The connection is a WebSocket now"),
        (status = 401, body = ErrorBody, description = "No session token was sent"),
        (status = 429, body = ErrorBody, description = "The user has too many sockets; `Retry-After` says when to try again"),
        (status = 426, body = ErrorBody, description = "The request is not for a WebSocket"),
        AnyCall
    )
)]
pub(super) async fn open(
    State(app): State<App>,
    client: Option<Extension<Client>>,
    headers: HeaderMap,
    Params(query): Params<Token>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let bearer = bearer_token(&headers)?.map(str::to_owned);
    let token = bearer.or(query.token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| ApiError::unauthorized("missing session token"))?;
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket: send the headers that ask for an upgrade")
    })?;
    // A token that is not good is told so by a close code, which browsers show to their scripts.
    let presence = match app.store.get_session(&token).await? {
        Some(session) => {
            app.may_read(session.user_id)?;
            let place = app.hub.enter(session.user_id, app.config().gateway.max_sockets_per_user);
            Some(place.ok_or_else(|| ApiError::too_many_requests(SOCKETS_COME_FREE))?)
        }
        None => None,
    };
    let client = client.map(|Extension(client)| client);
    Ok(upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BYTES)
        .on_upgrade(async move |socket| {
            socket::serve(app, link::Link::new(socket, client), token).await;
            drop(presence);
        }))
}
