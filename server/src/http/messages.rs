//! Messages of a channel.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    auth::Caller,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Params, Segments},
    wire::Message,
};
use crate::storage;

/// Messages on a page when the caller does not say.
const DEFAULT_PAGE: u32 = 50;
/// Most messages on a page.
const MAX_PAGE: i128 = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Messages older than this id, newest first.
    before: Option<String>,
    /// Messages newer than this id, oldest first: for catching up.
    after: Option<String>,
    /// How many, 1 to 100; others are taken as the nearest of these. 50 when absent.
    #[param(value_type = Option<i64>)]
    limit: Option<String>,
}

impl PageParams {
    fn limit(&self) -> Result<u32, ApiError> {
        let Some(text) = &self.limit else { return Ok(DEFAULT_PAGE) };
        let number: i128 = text.parse().map_err(|_| ApiError::bad_request("`limit` is not a whole number"))?;
        Ok(u32::try_from(number.clamp(1, MAX_PAGE)).unwrap_or(DEFAULT_PAGE))
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct PageReply {
    messages: Vec<Message>,
    /// Whether there are others beyond the last one.
    has_more: bool,
}

/// Shows a page of a channel's history, without deleted messages: the newest, or those before or after an id.
#[utoipa::path(
    get, path = "/channels/{channel_id}/messages", tag = "messages", security(("session" = [])),
    params(("channel_id" = String, Path), PageParams),
    responses((status = 200, body = PageReply), AnyCall, LoggedInCall, OneThingCall)
)]
pub(super) async fn list(
    State(app): State<App>,
    _: Caller,
    Segments(channel_id): Segments<String>,
    Params(params): Params<PageParams>,
) -> Result<Reply<PageReply>, ApiError> {
    let limit = params.limit()?;
    if params.before.is_some() && params.after.is_some() {
        return Err(ApiError::bad_request("give `before` or `after`, not both"));
    }
    let mut messages = match &params.after {
        Some(after) => app.store.list_messages_after(&channel_id, after, limit + 1).await?,
        None => app.store.list_messages(&channel_id, params.before.as_deref(), limit + 1).await?,
    };
    if messages.is_empty() && app.store.get_channel(&channel_id).await?.is_none() {
        return Err(ApiError::not_found("channel"));
    }
    let has_more = messages.len() > limit as usize;
    messages.truncate(limit as usize);
    Ok(Reply(PageReply { messages: messages.into_iter().map(Message::from).collect(), has_more }))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// Not empty, not only white space, and at most as long as the server allows (4000 characters by default).
    content: String,
    /// Must be empty or absent: this server keeps no attachments.
    attachment_ids: Option<Vec<String>>,
}

fn check_content(app: &App, content: &str) -> Result<(), ApiError> {
    let longest = app.config().content.max_message_length;
    if content.trim().is_empty() {
        return Err(ApiError::unprocessable("the message is empty"));
    }
    if content.chars().count() > longest {
        return Err(ApiError::unprocessable(format!("the message is longer than {longest} characters")));
    }
    Ok(())
}

/// Posts a message.
#[utoipa::path(
    post, path = "/channels/{channel_id}/messages", tag = "messages", security(("session" = [])),
    params(("channel_id" = String, Path)),
    responses((status = 200, body = Message), AnyCall, LoggedInCall, OneThingCall, JsonCall)
)]
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    Segments(channel_id): Segments<String>,
    Json(new): Json<NewMessage>,
) -> Result<Reply<Message>, ApiError> {
    if new.attachment_ids.is_some_and(|ids| !ids.is_empty()) {
        return Err(ApiError::unprocessable("this server keeps no attachments"));
    }
    check_content(&app, &new.content)?;
    Ok(Reply(app.store.create_message(&channel_id, &caller.user.id, &new.content).await?.into()))
}

/// The message that the path names. One of another channel is not found.
async fn named(app: &App, channel_id: &str, id: &str) -> Result<storage::Message, ApiError> {
    app.store
        .get_message(id)
        .await?
        .filter(|message| message.channel_id.eq_ignore_ascii_case(channel_id))
        .ok_or_else(|| ApiError::not_found("message"))
}

/// Shows one message; a deleted one without its text.
#[utoipa::path(
    get, path = "/channels/{channel_id}/messages/{id}", tag = "messages", security(("session" = [])),
    params(("channel_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Message), AnyCall, LoggedInCall, OneThingCall)
)]
pub(super) async fn one(
    State(app): State<App>,
    _: Caller,
    Segments((channel_id, id)): Segments<(String, String)>,
) -> Result<Reply<Message>, ApiError> {
    Ok(Reply(named(&app, &channel_id, &id).await?.into()))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct MessageEdit {
    /// The new text, under the same rules as a new message's.
    content: String,
}

/// Edits a message. Its author only.
#[utoipa::path(
    patch, path = "/channels/{channel_id}/messages/{id}", tag = "messages", security(("session" = [])),
    params(("channel_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Message), AnyCall, LoggedInCall, RestrictedCall, OneThingCall, JsonCall)
)]
pub(super) async fn edit(
    State(app): State<App>,
    caller: Caller,
    Segments((channel_id, id)): Segments<(String, String)>,
    Json(edit): Json<MessageEdit>,
) -> Result<Reply<Message>, ApiError> {
    check_content(&app, &edit.content)?;
    let message = named(&app, &channel_id, &id).await?;
    if message.deleted {
        return Err(ApiError::not_found("message"));
    }
    if message.author_id != caller.user.id {
        return Err(ApiError::forbidden("only its author edits a message"));
    }
    Ok(Reply(app.store.update_message(&id, &edit.content).await?.into()))
}

/// Deletes a message. Its author and admins only; again is fine.
#[utoipa::path(
    delete, path = "/channels/{channel_id}/messages/{id}", tag = "messages", security(("session" = [])),
    params(("channel_id" = String, Path), ("id" = String, Path)),
    responses((status = 204), AnyCall, LoggedInCall, RestrictedCall, OneThingCall)
)]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Segments((channel_id, id)): Segments<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let message = named(&app, &channel_id, &id).await?;
    if message.author_id != caller.user.id {
        caller.must_be_admin(&app, "manage_messages").await?;
    }
    app.store.delete_message(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
