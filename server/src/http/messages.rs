//! Messages of a channel.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    auth::Caller,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Params, Segments, limit},
    limits::list_of,
    wire::{self, Message},
};
use crate::storage::{self, ChannelId, MessagePage, PageAt, shows_something};

/// Messages on a page when the caller does not say.
const DEFAULT_PAGE: u32 = 50;
/// Most messages on a page.
const MAX_PAGE: u32 = 100;
/// Most bytes of text on a page, as JSON writes it; one message is on it whatever its length. A page of usual messages is a
/// tenth of that; what a client can make the server hold for one answer is this, not 100 times the longest message.
const MAX_PAGE_TEXT: usize = 256 * 1024;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(list_of(routes!(list, post))).routes(routes!(one, edit, delete))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Messages older than this id, newest first.
    before: Option<String>,
    /// Messages newer than this id, oldest first: for catching up.
    after: Option<String>,
    /// How many at most, 1 to 100; others are taken as the nearest of these. 50 when absent. Long messages make a page
    /// shorter: it has at most 256 KiB of text, or one message.
    #[param(value_type = Option<i64>)]
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PageReply {
    messages: Vec<Message>,
    /// Whether there are others beyond the last one; its id is the cursor to go on with.
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
    let limit = limit(params.limit.as_deref(), DEFAULT_PAGE, MAX_PAGE)?;
    let page = match (&params.before, &params.after) {
        (Some(_), Some(_)) => return Err(ApiError::bad_request("give `before` or `after`, not both")),
        (Some(before), None) => PageAt::Before(before),
        (None, Some(after)) => PageAt::After(after),
        (None, None) => PageAt::Newest,
    };
    let page = app.store.page_messages(&channel_id, page, limit, MAX_PAGE_TEXT).await?;
    if page.messages.is_empty() && app.store.get_channel(&channel_id).await?.is_none() {
        return Err(ApiError::not_found("channel"));
    }
    Ok(Reply(bounded(page)))
}

/// The messages of a page whose texts are within the bound as JSON writes them, which may be six times as long.
fn bounded(page: MessagePage) -> PageReply {
    let MessagePage { mut messages, mut has_more } = page;
    let mut bytes = 0;
    let within = messages.iter().take_while(|message| {
        bytes += wire::json_length(&message.content);
        bytes <= MAX_PAGE_TEXT
    });
    let within = within.count().max(1);
    has_more |= within < messages.len();
    messages.truncate(within);
    PageReply { messages: messages.into_iter().map(Message::from).collect(), has_more }
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// Any characters, of which one at least is visible: not only white space, control, format or filler characters. At
    /// most as long as the server allows (4000 characters by default).
    content: String,
    /// Must be empty or absent: this server keeps no attachments.
    attachment_ids: Option<Vec<String>>,
}

fn check_content(app: &App, content: &str) -> Result<(), ApiError> {
    let longest = app.config().content.max_message_length;
    if !shows_something(content) {
        return Err(ApiError::unprocessable("the message is empty: there is nothing to see in it"));
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
    Ok(Reply(app.store.create_message(&channel_id, &caller.user.id.text(), &new.content).await?.into()))
}

/// The message that the path names. One of another channel is not found.
async fn named(app: &App, channel_id: &str, id: &str) -> Result<storage::Message, ApiError> {
    app.store
        .get_message(id)
        .await?
        .filter(|message| ChannelId::parse(channel_id) == Some(message.channel_id))
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
