//! The two built-in roles, which the newer clients need to connect.

use axum::Json as Reply;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    auth::Caller,
    error::{AnyCall, LoggedInCall},
};
use crate::storage::Timestamp;

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What a role lets its members do, as bits that clients know.
mod permission {
    pub(super) const SEND_MESSAGES: u32 = 1;
    pub(super) const READ_MESSAGES: u32 = 2;
    pub(super) const ATTACH_FILES: u32 = 512;
    pub(super) const ADD_REACTIONS: u32 = 1024;
    /// Every bit up to and with `administrator`, 8192.
    pub(super) const ALL: u32 = 16383;
}

/// A role.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Role {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    color: Option<String>,
    permissions: u32,
    pub(super) position: i32,
    is_builtin: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

const fn builtin(id: &'static str, permissions: u32, position: i32) -> Role {
    let since = Timestamp::MIN; // built in: older than any server
    Role { id, name: id, color: None, permissions, position, is_builtin: true, created_at: since, updated_at: since }
}

const EVERYONE: Role = builtin(
    "everyone",
    permission::SEND_MESSAGES | permission::READ_MESSAGES | permission::ATTACH_FILES | permission::ADD_REACTIONS,
    0,
);
const ADMIN: Role = builtin("admin", permission::ALL, 1000);

/// The roles of a member.
pub(super) fn of(is_admin: bool) -> impl Iterator<Item = Role> {
    [EVERYONE].into_iter().chain(is_admin.then_some(ADMIN))
}

#[derive(Serialize, ToSchema)]
pub(super) struct RolesReply {
    roles: Vec<Role>,
}

/// Lists the roles.
#[utoipa::path(
    get, path = "/roles", tag = "members", security(("session" = [])),
    responses((status = 200, body = RolesReply), AnyCall, LoggedInCall)
)]
pub(super) async fn list(_: Caller) -> Reply<RolesReply> {
    Reply(RolesReply { roles: of(true).collect() })
}
