//! Channels. Everybody reads them, admins change them.
//!
//! Newer clients know a category by its name alone and send that as `category`; older ones keep a list of categories and
//! send an id as `category_id`. Both see what the other did: a name makes its category, and a channel shows both.

use std::collections::HashMap;

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    auth::Caller,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Segments, present},
    limits::list_of,
    wire::{Category, Channel},
};
use crate::storage::{self, CategoryChoice, ChannelEdit, StorageError};

/// The permission that changing channels and categories takes.
pub(super) const MANAGE: &str = "manage_channels";
/// Longest channel name, in characters.
const MAX_NAME: usize = 100;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(list_of(routes!(list, create))).routes(routes!(one, edit, delete))
}

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
    // In this order: a category that was made with its channel is there, and of one that is gone by now nothing is shown.
    let channels = app.store.list_channels().await?;
    let categories = app.store.list_categories().await?;
    let by_id: HashMap<_, _> = categories.iter().map(|category| (category.id, category)).collect();
    let shown = |channel: storage::Channel| {
        let category = channel.category().and_then(|id| by_id.get(&id).copied());
        Channel::new(channel, category)
    };
    let channels = channels.into_iter().map(shown).collect();
    Ok(Reply(ChannelsReply { channels, categories: categories.into_iter().map(Category::from).collect() }))
}

/// A channel with its category as it is now.
async fn shown(app: &App, channel: storage::Channel) -> Result<Reply<Channel>, StorageError> {
    let category = match channel.category() {
        Some(id) => app.store.get_category(&id.text()).await?,
        None => None,
    };
    Ok(Reply(Channel::new(channel, category.as_ref())))
}

/// The category that a name in `category` stands for; white space around it is not part of it.
pub(super) fn named(name: &str) -> CategoryChoice {
    match name.trim() {
        "" => CategoryChoice::Uncategorised,
        name => CategoryChoice::Name(name.to_owned()),
    }
}

/// The category that an id in `category_id` stands for.
fn identified(id: String) -> CategoryChoice {
    if id.is_empty() { CategoryChoice::Uncategorised } else { CategoryChoice::Id(id) }
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewChannel {
    /// 1 to 100 characters of a-z, 0-9 and -.
    name: String,
    /// The name of the category, as newer clients send it: one that there is none of is made. The same rules as for any
    /// category's name.
    category: Option<String>,
    /// The id of an existing category, as older clients send it. A `category` beside it wins.
    category_id: Option<String>,
    #[serde(default)]
    position: Option<i32>,
}

/// Creates a channel. Admins only.
#[utoipa::path(
    post, path = "/channels", tag = "channels", security(("session" = [])),
    responses((status = 200, body = Channel), AnyCall, LoggedInCall, RestrictedCall, OneThingCall, JsonCall)
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewChannel>,
) -> Result<Reply<Channel>, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    check_name(&new.name)?;
    let category = new.category.as_deref().map(named).or(new.category_id.map(identified));
    let category = category.unwrap_or(CategoryChoice::Uncategorised);
    let channel = app.store.create_channel_in(&new.name, category, new.position.unwrap_or(0)).await?;
    Ok(shown(&app, channel).await?)
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
    Ok(shown(&app, channel).await?)
}

/// What to change: an absent key stays as it is. `category` is a category's name, which makes one where there is none;
/// `category_id` is the id of an existing one, and a `category` beside it wins. Null in either makes the channel
/// uncategorised. A `topic` of null stays as it is, because a client in use always sends one, and an empty `topic` clears
/// it; it has at most 1024 bytes and, like all names, no control or invisible characters and none that turn the writing
/// direction.
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
    let by_name = patch.category.map(|name| named(&name.unwrap_or_default()));
    let category = by_name.or(patch.category_id.map(|id| identified(id.unwrap_or_default())));
    let edit = ChannelEdit { name: patch.name, topic: patch.topic, category, position: patch.position };
    let channel = app.store.edit_channel(&id, edit).await?;
    Ok(shown(&app, channel).await?)
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
