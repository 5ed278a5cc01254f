//! Channels. Everybody reads them, admins change them.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    auth::Caller,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Segments, present},
    wire::{Category, Channel},
};
use crate::storage::ChannelEdit;

/// The permission that changing channels and categories takes.
pub(super) const MANAGE: &str = "manage_channels";
/// Longest channel name, in characters.
const MAX_NAME: usize = 100;

/// Refuses names that are not 1 to 100 characters of a-z, 0-9 and `-`.
fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("a channel name has 1 to {MAX_NAME} characters of a-z, 0-9 and -")))
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChannelsReply {
    channels: Vec<Channel>,
    categories: Vec<Category>,
}

/// Lists channels and categories, each by position.
#[utoipa::path(
    get, path = "/channels", tag = "channels", security(("session" = [])),
    responses((status = 200, body = ChannelsReply), AnyCall, LoggedInCall)
)]
pub(super) async fn list(State(app): State<App>, _: Caller) -> Result<Reply<ChannelsReply>, ApiError> {
    let channels = app.store.list_channels().await?.into_iter().map(Channel::from).collect();
    let categories = app.store.list_categories().await?.into_iter().map(Category::from).collect();
    Ok(Reply(ChannelsReply { channels, categories }))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewChannel {
    /// 1 to 100 characters of a-z, 0-9 and -.
    name: String,
    /// The category, kept as given.
    category: Option<String>,
    /// The same, by its older name; `category` wins.
    category_id: Option<String>,
    #[serde(default)]
    position: Option<i32>,
}

/// Creates a channel. Admins only.
#[utoipa::path(
    post, path = "/channels", tag = "channels", security(("session" = [])),
    responses((status = 200, body = Channel), AnyCall, LoggedInCall, RestrictedCall, JsonCall)
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewChannel>,
) -> Result<Reply<Channel>, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    check_name(&new.name)?;
    let category = new.category.or(new.category_id);
    let channel = app.store.create_channel(&new.name, category.as_deref(), new.position.unwrap_or(0)).await?;
    Ok(Reply(channel.into()))
}

/// Shows one channel.
#[utoipa::path(
    get, path = "/channels/{id}", tag = "channels", security(("session" = [])),
    params(("id" = String, Path)),
    responses((status = 200, body = Channel), AnyCall, LoggedInCall, OneThingCall)
)]
pub(super) async fn one(
    State(app): State<App>,
    _: Caller,
    Segments(id): Segments<String>,
) -> Result<Reply<Channel>, ApiError> {
    let channel = app.store.get_channel(&id).await?.ok_or_else(|| ApiError::not_found("channel"))?;
    Ok(Reply(channel.into()))
}

/// What to change: an absent key stays as it is. A `category` of null makes the channel uncategorised; a `topic` of
/// null stays as it is, because a client in use always sends one, and an empty `topic` clears it.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChannelPatch {
    name: Option<String>,
    topic: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    category: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    category_id: Option<Option<String>>,
    position: Option<i32>,
}

/// Changes a channel. Admins only.
#[utoipa::path(
    patch, path = "/channels/{id}", tag = "channels", security(("session" = [])),
    params(("id" = String, Path)),
    responses((status = 200, body = Channel), AnyCall, LoggedInCall, RestrictedCall, OneThingCall, JsonCall)
)]
pub(super) async fn edit(
    State(app): State<App>,
    caller: Caller,
    Segments(id): Segments<String>,
    Json(patch): Json<ChannelPatch>,
) -> Result<Reply<Channel>, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    patch.name.as_deref().map(check_name).transpose()?;
    let category_id = patch.category.or(patch.category_id).map(Option::unwrap_or_default);
    let edit = ChannelEdit { name: patch.name, topic: patch.topic, category_id, position: patch.position };
    Ok(Reply(app.store.edit_channel(&id, edit).await?.into()))
}

/// Deletes a channel with all its messages. Admins only.
#[utoipa::path(
    delete, path = "/channels/{id}", tag = "channels", security(("session" = [])),
    params(("id" = String, Path)),
    responses((status = 204), AnyCall, LoggedInCall, RestrictedCall, OneThingCall)
)]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    app.store.delete_channel(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
