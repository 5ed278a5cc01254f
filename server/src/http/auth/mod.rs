//! Logging in: prove an Ed25519 key by signing a challenge, get a session token.

mod caller;
mod challenges;
mod key;

use axum::{Json as Reply, extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::key::{PublicKey, parse_signature};
pub(super) use self::{
    caller::{Caller, bearer_token},
    challenges::Challenges,
};
use super::{
    App,
    connections::Address,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, RestrictedCall},
    extract::Json,
};
use crate::{
    config::MembershipMode,
    storage::{StorageError, Timestamp, User, UserId},
};

#[derive(Deserialize, ToSchema)]
pub(super) struct ChallengeRequest {
    /// Base58 of the 32 bytes of an Ed25519 public key.
    pubkey: String,
    /// Whether a program, not a person, logs in.
    #[serde(default)]
    is_bot: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChallengeReply {
    /// The text to sign, as UTF-8 bytes. It can be answered once, within five minutes.
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
    let is_known = app.store.get_user_by_pubkey(key.as_str()).await?.is_some();
    let draw = || draw_challenge(request.is_bot.unwrap_or(false));
    let challenge = app.challenges.open(key.as_str(), is_known, app.clock.now(), draw)?;
    Ok(Reply(ChallengeReply { challenge }))
}

fn draw_challenge(is_bot: bool) -> Result<String, ApiError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| {
        tracing::error!(%error, "the operating system gives no random bytes");
        ApiError::internal()
    })?;
    let text = STANDARD.encode(nonce);
    Ok(if is_bot { format!("{text}|bot") } else { text })
}

#[derive(Deserialize, ToSchema)]
pub(super) struct VerifyRequest {
    /// The key that the challenge was asked for.
    pubkey: String,
    /// Standard base64 of the signature over the challenge's text.
    signature: String,
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
        (status = 401, body = super::error::ErrorBody, description = "No open challenge fits the signature"),
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
    let open = app.challenges.of(key.as_str(), app.clock.now());
    if open.is_empty() {
        return Err(ApiError::unauthorized("no open challenge for this key; ask for one first"));
    }
    let signed = open.iter().find(|text| key.has_signed(text, &signature));
    // Whoever consumes it first wins; a signature that fits no challenge consumes none.
    if !signed.is_some_and(|text| app.challenges.consume(key.as_str(), text)) {
        app.limits.failed_log_in(address);
        return Err(ApiError::unauthorized("invalid signature"));
    }
    let user = admit(&app, &key).await?;
    let session = app.store.create_session(&user.id, app.config().sessions.ttl).await?;
    Ok(Reply(VerifyReply {
        token: session.token,
        user_id: user.id,
        expires_at: session.expires_at,
        is_read_only: false,
    }))
}

/// The user with this key, created if the membership mode lets it in.
async fn admit(app: &App, key: &PublicKey) -> Result<User, ApiError> {
    let membership = &app.config().membership;
    let pubkey = key.as_str();
    let known = app.store.get_user_by_pubkey(pubkey).await?;
    let admitted = membership.admins.contains(pubkey)
        || match membership.mode {
            MembershipMode::Open => true,
            MembershipMode::Allowlist => membership.allowed.contains(pubkey),
            MembershipMode::Closed => known.is_some(),
        };
    match known {
        _ if !admitted => Err(ApiError::forbidden("this server does not admit this key")),
        Some(user) => Ok(user),
        None => match app.store.create_user(pubkey, None).await {
            // Two first log-ins at once: the other one created it.
            Err(StorageError::Conflict { .. }) => {
                app.store.get_user_by_pubkey(pubkey).await?.ok_or_else(ApiError::internal)
            }
            result => Ok(result?),
        },
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct MeReply {
    #[schema(value_type = String)]
    user_id: UserId,
}

/// Says who is logged in.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", security(("session" = [])),
    responses((status = 200, body = MeReply), AnyCall, LoggedInCall)
)]
pub(super) async fn me(caller: Caller) -> Reply<MeReply> {
    Reply(MeReply { user_id: caller.user.id })
}

/// Logs out: the session token used for this call is no longer valid.
#[utoipa::path(
    delete, path = "/auth/session", tag = "auth", security(("session" = [])),
    responses((status = 204), AnyCall, LoggedInCall)
)]
pub(super) async fn log_out(State(app): State<App>, caller: Caller) -> Result<StatusCode, ApiError> {
    app.store.delete_session(&caller.session.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
