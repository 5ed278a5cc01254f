//! Categories, which older clients show. Admins change them; `GET /channels` lists them.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    auth::Caller,
    channels::{MANAGE, named},
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Segments},
    wire::Category,
};
use crate::storage::{ChannelEdit, Storage, StorageError};

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(edit, delete))
}

/// Puts channels that note the name of a category, as earlier versions stored what newer clients send, into a category of
/// that name. Where all is well, nothing changes.
pub(super) async fn make_those_named(store: &dyn Storage) -> Result<(), StorageError> {
    for channel in store.list_channels().await? {
        let (Some(name), None) = (&channel.category_id, channel.category()) else { continue };
        let edit = ChannelEdit { category: Some(named(name)), ..ChannelEdit::default() };
        match store.edit_channel(&channel.id.text(), edit).await {
            Ok(_) => tracing::info!(channel = channel.name, category = name, "the channel's category is a record now"),
            Err(error @ StorageError::InvalidInput { .. }) => tracing::warn!(
                channel = channel.name,
                category = name,
                %error,
                "the channel's category cannot be shown; give it another"
            ),
            Err(StorageError::NotFound { .. }) => {} // deleted meanwhile
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewCategory {
    /// 1 to 1024 bytes; something visible, no control characters, none that turn the writing direction, no invisible ones
    /// where no script and no emoji needs them.
    name: String,
    #[serde(default)]
    position: Option<i32>,
}

/// Creates a category. Admins only.
#[utoipa::path(
    post, path = "/categories", tag = "channels", security(("session" = [])),
    responses((status = 200, body = Category), AnyCall, LoggedInCall, RestrictedCall, JsonCall)
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewCategory>,
) -> Result<Reply<Category>, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    Ok(Reply(app.store.create_category(&new.name, new.position.unwrap_or(0)).await?.into()))
}

/// What to change; absent or null stays as it is.
#[derive(Deserialize, ToSchema)]
pub(super) struct CategoryPatch {
    /// Under the same rules as a new category's.
    name: Option<String>,
    position: Option<i32>,
}

/// Changes a category. Admins only.
#[utoipa::path(
    patch, path = "/categories/{id}", tag = "channels", security(("session" = [])),
    params(("id" = String, Path)),
    responses((status = 200, body = Category), AnyCall, LoggedInCall, RestrictedCall, OneThingCall, JsonCall)
)]
pub(super) async fn edit(
    State(app): State<App>,
    caller: Caller,
    Segments(id): Segments<String>,
    Json(patch): Json<CategoryPatch>,
) -> Result<Reply<Category>, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    Ok(Reply(app.store.update_category(&id, patch.name.as_deref(), patch.position).await?.into()))
}

/// Deletes a category; its channels become uncategorised. Admins only.
#[utoipa::path(
    delete, path = "/categories/{id}", tag = "channels", security(("session" = [])),
    params(("id" = String, Path)),
    responses((status = 204), AnyCall, LoggedInCall, RestrictedCall, OneThingCall)
)]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    caller.must_be_admin(&app, MANAGE).await?;
    app.store.delete_category(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
