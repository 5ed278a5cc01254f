//! What anybody may know: whether the server is well, and what it is called.

use axum::{Json as Reply, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, error::ApiError};
use crate::config::MembershipMode;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Says whether the server can answer: 200 after a real read from the database, else 503.
#[utoipa::path(
    get, path = "/health", tag = "server",
    responses(
        (status = 200, body = Health),
        (status = 503, body = super::error::ErrorBody, description = "The database does not answer")
    )
)]
pub(super) async fn health(State(app): State<App>) -> Result<Reply<Health>, ApiError> {
    match app.store.ping().await {
        Ok(()) => Ok(Reply(Health { status: "ok" })),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the database does not answer");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"))
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServerInfo {
    name: String,
    description: Option<String>,
    #[schema(value_type = String)]
    membership_mode: MembershipMode,
}

/// Introduces the server.
#[utoipa::path(get, path = "/server/info", tag = "server", responses((status = 200, body = ServerInfo)))]
pub(super) async fn info(State(app): State<App>) -> Reply<ServerInfo> {
    let config = app.config();
    let server = &config.server;
    Reply(ServerInfo {
        name: server.name.clone(),
        description: Some(server.description.clone()).filter(|text| !text.is_empty()),
        membership_mode: config.membership.mode,
    })
}
