//! Categories, which older clients show. Admins change them; `GET /channels` lists them.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App,
    auth::Caller,
    channels::MANAGE,
    error::{AnyCall, ApiError, JsonCall, LoggedInCall, OneThingCall, RestrictedCall},
    extract::{Json, Segments},
    wire::Category,
};

#[derive(Deserialize, ToSchema)]
pub(super) struct NewCategory {
    /// 1 to 1024 bytes.
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
