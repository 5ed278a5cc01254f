//! What anybody may know of the server: what it is called, and who may join.

use axum::{Json as Reply, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::App;
use crate::config::MembershipMode;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(info))
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
