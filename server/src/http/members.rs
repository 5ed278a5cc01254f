//! Members and profiles: every user is a member.

use axum::{Json as Reply, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    auth::Caller,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall},
    extract::{Json, Segments},
    wire::Member,
};

/// Longest display name, in characters.
const MAX_DISPLAY_NAME: usize = 32;

#[derive(Serialize, ToSchema)]
pub(super) struct MembersReply {
    members: Vec<Member>,
}

/// Lists all members, those who joined first first.
#[utoipa::path(
    get, path = "/members", tag = "members", security(("session" = [])),
    responses((status = 200, body = MembersReply), AnyCall, LoggedInCall)
)]
pub(super) async fn list(State(app): State<App>, _: Caller) -> Result<Reply<MembersReply>, ApiError> {
    let admins = app.admins().await?;
    let users = app.store.list_users().await?;
    Ok(Reply(MembersReply { members: users.into_iter().map(|user| Member::new(user, &admins)).collect() }))
}

async fn member(app: &App, pubkey: &str) -> Result<Member, ApiError> {
    let user = app.store.get_user_by_pubkey(pubkey).await?.ok_or_else(|| ApiError::not_found("member"))?;
    Ok(Member::new(user, &app.admins().await?))
}

/// Shows one member.
#[utoipa::path(
    get, path = "/members/{pubkey}", tag = "members", security(("session" = [])),
    params(("pubkey" = String, Path, description = "Base58 of the member's key")),
    responses((status = 200, body = Member), AnyCall, LoggedInCall, OneThingCall)
)]
pub(super) async fn one(
    State(app): State<App>,
    _: Caller,
    Segments(pubkey): Segments<String>,
) -> Result<Reply<Member>, ApiError> {
    Ok(Reply(member(&app, &pubkey).await?))
}

/// Shows a member's profile, which here is all that is known of a member.
#[utoipa::path(
    get, path = "/members/{pubkey}/profile", tag = "members", security(("session" = [])),
    params(("pubkey" = String, Path, description = "Base58 of the member's key")),
    responses((status = 200, body = Member), AnyCall, LoggedInCall, OneThingCall)
)]
pub(super) async fn profile(
    State(app): State<App>,
    _: Caller,
    Segments(pubkey): Segments<String>,
) -> Result<Reply<Member>, ApiError> {
    Ok(Reply(member(&app, &pubkey).await?))
}

#[derive(Serialize, ToSchema)]
pub(super) struct JoinReply {
    member: Member,
}

/// Joins the community. Logging in already did, so this only shows the caller as a member.
#[utoipa::path(
    post, path = "/members/join", tag = "members", security(("session" = [])),
    responses((status = 200, body = JoinReply), AnyCall, LoggedInCall)
)]
pub(super) async fn join(State(app): State<App>, caller: Caller) -> Result<Reply<JoinReply>, ApiError> {
    Ok(Reply(JoinReply { member: Member::new(caller.user, &app.admins().await?) }))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ProfileEdit {
    /// 1 to 32 characters, without the white space around them.
    display_name: Option<String>,
}

/// Changes the caller's own profile.
#[utoipa::path(
    patch, path = "/profile", tag = "members", security(("session" = [])),
    responses((status = 200, body = Member), AnyCall, LoggedInCall, JsonCall)
)]
pub(super) async fn edit_profile(
    State(app): State<App>,
    caller: Caller,
    Json(edit): Json<ProfileEdit>,
) -> Result<Reply<Member>, ApiError> {
    let name = edit.display_name.as_deref().map(str::trim);
    if name.is_some_and(|name| !(1..=MAX_DISPLAY_NAME).contains(&name.chars().count())) {
        return Err(ApiError::bad_request(format!("a display name has 1 to {MAX_DISPLAY_NAME} characters")));
    }
    let user = app.store.update_user(&caller.user.id, name, None).await?;
    Ok(Reply(Member::new(user, &app.admins().await?)))
}
