//! Logging in: prove an Ed25519 key by signing a challenge, get a session token.

mod caller;
mod challenges;
mod key;

use axum::{Json as Reply, extract::State, http::StatusCode};
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::{
    caller::{Caller, Visitor, bearer_token},
    challenges::Challenges,
};
use self::{
    challenges::{Candidate, words},
    key::{PublicKey, parse_signature},
};
use super::{
    App,
    connections::Address,
    error::{AnyCall, ApiError, JsonCall, RestrictedCall, SessionCall},
    extract::Json,
};
use crate::storage::{Entity, LogIn, LoggedIn, StorageError, Timestamp, UserId};

/// Signature checks between two chances for others to run on the same thread.
const CHECKS_AT_ONCE: usize = 8;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(challenge)).routes(routes!(verify)).routes(routes!(me)).routes(routes!(log_out))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ChallengeRequest {
    /// Base58 of the 32 bytes of an Ed25519 public key.
    pubkey: String,
    /// Whether a program, not a person, logs in. It is noted of a user whom this log-in creates.
    #[serde(default)]
    is_bot: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChallengeReply {
    /// The text to sign, as UTF-8 bytes, in one line. It says what is signed and for whom: `decentcom log-in to "<name of
    /// the server>" at <its public address>, <minute>, challenge <code>`; of a bot, `|bot` follows. It can be answered once,
    /// for at least five minutes.
    ///
    /// Before signing, a client shows it to its user or checks that name and address are those of the server it dialled: a
    /// server can pass another one's challenge on, and whoever signs that logs it in there. Where the text names no address
    /// (`[network] public_address` is not set), only the name can be checked.
    challenge: String,
}

/// Asks for a text to sign.
#[utoipa::path(
    post, path = "/auth/challenge", tag = "auth",
    responses((status = 200, body = ChallengeReply), AnyCall, JsonCall)
)]
pub(super) async fn challenge(
    State(app): State<App>,
    Json(request): Json<ChallengeRequest>,
) -> Result<Reply<ChallengeReply>, ApiError> {
    let key = PublicKey::parse(&request.pubkey)?;
    let is_bot = request.is_bot.unwrap_or(false);
    let challenges = &app.challenges;
    let slot = challenges.slots(app.clock.now()).into_iter().next().unwrap_or_default();
    let used = app.store.newest_used_challenges(key.as_str(), &[slot]).await?.into_iter().next().flatten();
    let given = challenges.give(*key.as_bytes(), slot, used, is_bot);
    let text = challenges.text(&words(&app.config()), *key.as_bytes(), given)?;
    Ok(Reply(ChallengeReply { challenge: text }))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct VerifyRequest {
    /// The key that the challenge was asked for.
    pubkey: String,
    /// Standard base64 of the signature over the challenge's text.
    signature: String,
    /// The challenge's text. With it, the server need not try those that it may have given out.
    #[serde(default)]
    challenge: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct VerifyReply {
    /// The session token, for `Authorization: Bearer`. It is shown this once.
    token: String,
    #[schema(value_type = String)]
    user_id: UserId,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    is_read_only: bool,
}

/// Answers a challenge and logs in. An unknown key becomes a user, where the membership mode allows it.
#[utoipa::path(
    post, path = "/auth/verify", tag = "auth",
    responses(
        (status = 200, body = VerifyReply),
        (status = 401, body = super::error::ErrorBody, description = "No open challenge fits the signature, or it was used"),
        AnyCall, JsonCall, RestrictedCall
    )
)]
pub(super) async fn verify(
    State(app): State<App>,
    address: Address,
    Json(request): Json<VerifyRequest>,
) -> Result<Reply<VerifyReply>, ApiError> {
    let key = PublicKey::parse(&request.pubkey)?;
    let signature = parse_signature(&request.signature)?;
    let answered = find_answered(&app, &key, &signature, request.challenge.as_deref()).await?;
    let answered = answered.ok_or_else(|| {
        app.limits.failed_log_in(address);
        ApiError::unauthorized(
            "invalid signature: it fits no challenge that this key has open; each is good once, ask for one",
        )
    })?;
    let config = app.config();
    let log_in = LogIn {
        pubkey: key.as_str().to_owned(),
        challenge: answered.challenge,
        admission: config.membership.admission(key.as_str()),
        is_bot: answered.is_bot,
        duration: config.sessions.ttl,
    };
    let logged_in = app.store.log_in(log_in).await;
    if matches!(logged_in, Ok(_) | Err(StorageError::Conflict { .. })) {
        app.challenges.answered(*key.as_bytes(), answered);
    }
    let LoggedIn { user, session } = logged_in.map_err(|error| match error {
        StorageError::Conflict { entity: Entity::Challenge, .. } => {
            ApiError::unauthorized("this challenge was answered before; ask for another one")
        }
        StorageError::NotFound { entity: Entity::User, .. } => {
            ApiError::forbidden("this server does not admit this key")
        }
        other => other.into(),
    })?;
    Ok(Reply(VerifyReply {
        token: session.token,
        user_id: user.id,
        expires_at: session.expires_at,
        is_read_only: false,
    }))
}

/// The challenge that a signature answers, of those that may have been given out to the key; only the one with the text
/// `named`, if the client said which.
async fn find_answered(
    app: &App,
    key: &PublicKey,
    signature: &Signature,
    named: Option<&str>,
) -> Result<Option<Candidate>, ApiError> {
    let slots = app.challenges.slots(app.clock.now());
    let used = app.store.newest_used_challenges(key.as_str(), &slots).await?;
    let words = words(&app.config());
    let mut checks = 0;
    for (slot, used) in slots.into_iter().zip(used) {
        for candidate in app.challenges.candidates(*key.as_bytes(), slot, used) {
            let text = app.challenges.text(&words, *key.as_bytes(), candidate)?;
            if named.is_some_and(|named| named != text) {
                continue;
            }
            checks += 1;
            if checks % CHECKS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            if key.has_signed(&text, signature) {
                return Ok(Some(candidate));
            }
        }
    }
    Ok(None)
}

#[derive(Serialize, ToSchema)]
pub(super) struct MeReply {
    #[schema(value_type = String)]
    user_id: UserId,
}

/// Says who is logged in.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", security(("session" = [])),
    responses((status = 200, body = MeReply), AnyCall, SessionCall)
)]
pub(super) async fn me(visitor: Visitor) -> Reply<MeReply> {
    Reply(MeReply { user_id: visitor.user.id })
}

/// Logs out: the session token used for this call is no longer valid.
#[utoipa::path(
    delete, path = "/auth/session", tag = "auth", security(("session" = [])),
    responses((status = 204), AnyCall, SessionCall)
)]
pub(super) async fn log_out(State(app): State<App>, visitor: Visitor) -> Result<StatusCode, ApiError> {
    app.store.delete_session(&visitor.session.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
