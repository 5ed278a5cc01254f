//! Who is calling: the bearer token of a request, looked up.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};

use crate::{
    http::{App, error::ApiError},
    storage::{Session, User},
};

/// Who is logged in, member or not. Only what concerns the log-in and the membership itself takes one.
pub(crate) struct Visitor {
    pub(crate) session: Session,
    pub(crate) user: User,
}

/// The member behind a request.
pub(crate) struct Caller {
    pub(crate) user: User,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Visitor { user, .. } = Visitor::from_request_parts(parts, app).await?;
        if app.is_member(&user) {
            return Ok(Self { user });
        }
        // Clients look for these words, and join.
        Err(ApiError::forbidden("membership required: join the community first"))
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token =
            bearer_token(&parts.headers)?.ok_or_else(|| ApiError::unauthorized("missing authorization header"))?;
        let unknown = || ApiError::unauthorized("invalid session token");
        let session = app.store.get_session(token).await?.ok_or_else(unknown)?;
        let user = app.store.get_user_by_id(&session.user_id.text()).await?.ok_or_else(unknown)?;
        app.admit(parts, user.id).await?;
        Ok(Self { session, user })
    }
}

/// The token in the `Authorization` header, if there is such a header.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let text = header.to_str().map_err(|_| ApiError::unauthorized("invalid authorization header"))?;
    let token = text
        .split_once(' ')
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
        .map(|(_, token)| token);
    token.map(Some).ok_or_else(|| ApiError::unauthorized("invalid bearer token"))
}

impl Caller {
    /// Refuses everybody but admins; `permission` names what is missing.
    pub(crate) async fn must_be_admin(&self, app: &App, permission: &str) -> Result<(), ApiError> {
        if app.admins().await?.is_admin(&self.user) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!("missing permission: {permission}")))
    }
}
