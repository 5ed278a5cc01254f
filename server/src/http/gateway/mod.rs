//! Live events over a WebSocket: what is committed, in commit order, to whoever it concerns.
//!
//! ```text
//!  store ── change feed ──> Hub: one task, one frame per change ── broadcast ──> one task per socket ──> client
//! ```
//!
//! Events come from the store's change feed and from nowhere else, so they leave after the commit, in commit order, each
//! once. A socket that cannot keep up is closed with [`close::FELL_BEHIND`]; it never holds more than the broadcast's
//! bounded buffer, which all sockets share.
//!
//! **Catching up without a gap**: send `SUBSCRIBE` with `"ack": true`, wait for `SUBSCRIBED` (or send a WebSocket ping
//! after `SUBSCRIBE` and wait for its pong), then read `GET …/messages?after=<last id seen>`. Whatever was committed before
//! the subscription is in that history; everything later comes as an event. Some of it may come both ways, never neither.

mod directory;
mod frame;
mod hub;
mod socket;

use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) use self::hub::Hub;
use super::{
    App,
    auth::bearer_token,
    error::{AnyCall, ApiError, ErrorBody},
    extract::Params,
};

/// Close codes of our own; clients reconnect after any.
mod close {
    /// The token is unknown, or its session ended.
    pub(super) const UNAUTHORIZED: u16 = 4001;
    /// No HEARTBEAT_ACK came in time.
    pub(super) const HEARTBEAT_TIMEOUT: u16 = 4002;
    /// The socket was too slow and would have missed events.
    pub(super) const FELL_BEHIND: u16 = 4003;
    /// The server stops (RFC 6455, "going away").
    pub(super) const GOING_AWAY: u16 = 1001;
}

/// Bytes of a frame from a client; their operations are short.
const MAX_FRAME_BYTES: usize = 16 * 1024;
/// Bytes read from a socket at a time. The library's default is 128 KiB, which every socket would hold, used or not.
const READ_BYTES: usize = 4 * 1024;

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
        (status = 426, body = ErrorBody, description = "The request is not for a WebSocket"),
        AnyCall
    )
)]
pub(super) async fn open(
    State(app): State<App>,
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
    Ok(upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .read_buffer_size(READ_BYTES)
        .on_upgrade(move |socket| socket::serve(app, socket, token)))
}
