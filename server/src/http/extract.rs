//! Extractors whose rejections are JSON like every other error; axum's own answer plain text.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A JSON body: 400 if it is not JSON, 413 too large, 415 not declared as JSON, 422 of the wrong shape.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(match &rejection {
                JsonRejection::JsonDataError(_) => ApiError::unprocessable(rejection.body_text()),
                JsonRejection::JsonSyntaxError(_) => ApiError::bad_request(rejection.body_text()),
                JsonRejection::MissingJsonContentType(_) => ApiError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "send the body as JSON, with `Content-Type: application/json`",
                ),
                other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
                }
                _ => ApiError::bad_request("the body could not be read"),
            }),
        }
    }
}

/// The query string.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let rejected = |rejection: QueryRejection| ApiError::bad_request(rejection.body_text());
        Query::from_request_parts(parts, state).await.map(|Query(value)| Self(value)).map_err(rejected)
    }
}

/// Segments of the path.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let rejected = |rejection: PathRejection| ApiError::bad_request(rejection.body_text());
        Path::from_request_parts(parts, state).await.map(|Path(value)| Self(value)).map_err(rejected)
    }
}

/// How many are asked for: a whole number, of which those beyond the bounds are taken as the nearest of them.
pub(super) fn limit(text: Option<&str>, default: u32, most: u32) -> Result<u32, ApiError> {
    let Some(text) = text else { return Ok(default) };
    let number: i128 = text.parse().map_err(|_| ApiError::bad_request("`limit` is not a whole number"))?;
    Ok(u32::try_from(number.clamp(1, most.into())).unwrap_or(most))
}

/// A field of a PATCH that tells `null` from absence: absent is `None`, `null` is `Some(None)`.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}
