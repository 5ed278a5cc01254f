//! Members and profiles; joining and leaving.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    auth::{Caller, Visitor},
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall, SessionCall},
    extract::{Json, Params, Segments, limit},
    limits::list_of,
    wire::Member,
};
use crate::{
    config::MembershipMode,
    storage::{Admission, StorageError, User, UserId},
};

/// Longest display name, in characters.
const MAX_DISPLAY_NAME: usize = 32;

/// Most members on a page, and how many when the caller does not say: clients that know no pages want all of them.
const MAX_PAGE: u32 = 1000;
/// Users that one read of the store answers: others read between two of these.
const USERS_PER_READ: u32 = 250;
/// Most reads for a page. Users who are not shown make more of them necessary than members fill a page.
const MAX_READS: usize = 16;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(list_of(routes!(list)))
        .routes(routes!(join))
        .routes(routes!(leave))
        .routes(routes!(one))
        .routes(routes!(profile))
        .routes(routes!(edit_profile))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MembersParams {
    /// Members who joined later than this user: the `after` of the page before.
    after: Option<String>,
    /// How many at most, 1 to 1000; others are taken as the nearest of these. 1000 when absent.
    #[param(value_type = Option<i64>)]
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MembersReply {
    members: Vec<Member>,
    /// Whether there may be others.
    has_more: bool,
    /// The cursor to go on with, also when others have joined: the last user that was looked at. Null when there is none.
    #[schema(value_type = Option<String>)]
    after: Option<UserId>,
}

/// Lists members, those who joined first first, in pages.
#[utoipa::path(
    get, path = "/members", tag = "members", security(("session" = [])), params(MembersParams),
    responses((status = 200, body = MembersReply), AnyCall, LoggedInCall)
)]
pub(super) async fn list(
    State(app): State<App>,
    _: Caller,
    Params(params): Params<MembersParams>,
) -> Result<Reply<MembersReply>, ApiError> {
    let limit = limit(params.limit.as_deref(), MAX_PAGE, MAX_PAGE)?;
    let admins = app.admins().await?;
    let Looked { users, has_more, after } =
        look(&app, params.after.as_deref(), limit as usize, |user| app.is_member(user)).await?;
    Ok(Reply(MembersReply {
        members: users.into_iter().map(|user| Member::new(user, &admins)).collect(),
        has_more,
        after,
    }))
}

/// What looking through the users found.
struct Looked {
    users: Vec<User>,
    has_more: bool,
    /// The last one that was looked at.
    after: Option<UserId>,
}

/// The first `limit` members above `after` who are `shown`, by several short reads, of which there are not too many.
async fn look(
    app: &App,
    after: Option<&str>,
    limit: usize,
    shown: impl Fn(&User) -> bool,
) -> Result<Looked, StorageError> {
    let mut looked = Looked { users: Vec::new(), has_more: true, after: after.and_then(UserId::parse) };
    for _ in 0..MAX_READS {
        let seen = looked.after.map(UserId::text);
        let cursor = seen.as_deref().or(after);
        // One more than is missing: whether there are others.
        let missing = u32::try_from(limit - looked.users.len()).unwrap_or(USERS_PER_READ);
        let asked = USERS_PER_READ.min(missing.saturating_add(1));
        let read = app.store.list_members_page(cursor, asked).await?;
        let is_last = read.len() < asked as usize;
        for user in read {
            if looked.users.len() == limit {
                return Ok(looked);
            }
            looked.after = Some(user.id);
            if shown(&user) {
                looked.users.push(user);
            }
        }
        if is_last {
            looked.has_more = false;
            return Ok(looked);
        }
    }
    Ok(looked)
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
    let user = app.store.get_user_by_pubkey(&pubkey).await?.filter(|user| app.is_member(user));
    let user = user.ok_or_else(|| ApiError::not_found("member"))?;
    Ok(Reply(Member::new(user, &app.admins().await?)))
}

/// Shows a profile, which here is all that is known of a member; also of one who left, whose messages are still there.
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
    let user = app.store.get_user_by_pubkey(&pubkey).await?.ok_or_else(|| ApiError::not_found("member"))?;
    Ok(Reply(Member::new(user, &app.admins().await?)))
}

#[derive(Serialize, ToSchema)]
pub(super) struct JoinReply {
    member: Member,
}

/// Joins the community, where the membership mode admits the caller. Logging in does so too; joining again changes
/// nothing.
#[utoipa::path(
    post, path = "/members/join", tag = "members", security(("session" = [])),
    responses((status = 200, body = JoinReply), AnyCall, SessionCall, RestrictedCall)
)]
pub(super) async fn join(State(app): State<App>, visitor: Visitor) -> Result<Reply<JoinReply>, ApiError> {
    let membership = &app.config().membership;
    let user = match membership.admission(&visitor.user.pubkey) {
        Admission::Join => app.store.set_membership(&visitor.user.id.text(), true).await?,
        Admission::MembersOnly if visitor.user.is_member => visitor.user,
        _ => {
            return Err(ApiError::forbidden(match membership.mode {
                MembershipMode::Allowlist => "this key is not on the server's allowlist",
                _ => "this server takes no new members",
            }));
        }
    };
    Ok(Reply(JoinReply { member: Member::new(user, &app.admins().await?) }))
}

/// Leaves the community. What the caller wrote stays, and so does the log-in, for joining again; live connections end.
#[utoipa::path(
    delete, path = "/members/me", tag = "members", security(("session" = [])),
    responses((status = 204), AnyCall, SessionCall)
)]
pub(super) async fn leave(State(app): State<App>, visitor: Visitor) -> Result<StatusCode, ApiError> {
    app.store.set_membership(&visitor.user.id.text(), false).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ProfileEdit {
    /// 1 to 32 characters, without the white space around them: something visible, no control characters, none that turn
    /// the writing direction, no invisible ones where no script and no emoji needs them.
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
    let user = app.store.update_user(&caller.user.id.text(), name, None).await?;
    Ok(Reply(Member::new(user, &app.admins().await?)))
}
