//! Answers that are no success: one JSON shape for everything that the server itself refuses, and the one place that gives the
//! store's errors their statuses. hyper answers a head that it cannot read without a body (`connections/mod.rs`).

use std::time::Duration;

use axum::{
    Extension, Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::failures::LoggedOnce;
use crate::storage::StorageError;

/// How long a client is asked to wait after a 503.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Bytes of an error's text. Some quote what the client sent.
const MAX_TEXT: usize = 512;

/// What a client hears of a full disk. No `Retry-After`: it takes somebody to free some.
const NO_ROOM: &str =
    "the server's disk is full: it takes nothing new for now, but reading, logging out and deleting work";

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What went wrong, in words for a person.
    error: String,
}

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    retry_after: Duration,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: bounded(message.into()), retry_after: A_MOMENT }
    }

    /// Somebody asks too often; after `wait`, once more is not too often.
    pub(super) fn too_many_requests(wait: Duration) -> Self {
        let retry_after = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(A_MOMENT);
        let text = format!("too many requests; try again in {} s", retry_after.as_secs());
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, text) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// 503 with another body than that of errors, for a state that is [`LoggedOnce`].
    pub(super) fn retry_later(body: impl IntoResponse) -> Response {
        let retry_after = [(RETRY_AFTER, HeaderValue::from(A_MOMENT.as_secs()))];
        (StatusCode::SERVICE_UNAVAILABLE, retry_after, Extension(LoggedOnce), body).into_response()
    }

    /// A failure whose details are for the log only.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// Refusals are told to the client in the contract's words; the database's own text goes to the log only.
impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound { entity, .. } => Self::not_found(&entity.to_string()),
            StorageError::Conflict { .. } => Self::new(StatusCode::CONFLICT, error.to_string()),
            StorageError::InvalidInput { .. } => Self::bad_request(error.to_string()),
            StorageError::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, NO_ROOM),
            StorageError::Unavailable { .. } => {
                tracing::warn!(error = &error as &dyn std::error::Error, "storage is unavailable");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is busy or shutting down; try again")
            }
            other => {
                tracing::error!(error = &other as &dyn std::error::Error, "storage failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(self.retry_after.as_secs()));
        }
        if self.status == StatusCode::INSUFFICIENT_STORAGE {
            response.extensions_mut().insert(LoggedOnce);
        }
        response
    }
}

/// The errors that calls can give, for the OpenAPI document.
macro_rules! documented_errors {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $status:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(utoipa::IntoResponses)]
        #[allow(dead_code)] // read by the derive only
        pub(super) enum $name {
            $(
                #[response(status = $status, description = $text)]
                $variant(ErrorBody),
            )*
        }
    )*};
}

documented_errors! {
    /// Any call.
    AnyCall {
        RequestRefused = 400 "The path or query is malformed",
        TooOften = 429 "Too many requests; `Retry-After` says when to try again",
        HeadTooLarge = 431 "The request's target and headers are too large",
        ServerError = 500 "An internal error; its details are in the server's log",
        NoRoom = 507 "The server's disk is full: nothing new is taken; reading, logging out and deleting go on",
        TryAgain = 503 "Busy or shutting down; `Retry-After` says when to try again",
    }
    /// Calls with a JSON body.
    JsonCall {
        TooLarge = 413 "The body is too large",
        NotJson = 415 "The body is not declared as JSON",
        WrongShape = 422 "The body is JSON of another shape, or breaks a rule",
    }
    /// Calls that need a log-in.
    SessionCall {
        NotLoggedIn = 401 "The session token is missing, unknown or expired",
    }
    /// Calls that need a log-in, of a member.
    LoggedInCall {
        NoSession = 401 "The session token is missing, unknown or expired",
        NoMember = 403 "The caller may not do this; `membership required`: the caller is no member",
    }
    /// Calls that not everybody may make.
    RestrictedCall {
        NotAllowed = 403 "The caller may not do this",
    }
    /// Calls about one thing.
    OneThingCall {
        NoSuchThing = 404 "There is no such thing",
    }
}
