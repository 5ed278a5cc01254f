//! Extractors whose rejections are JSON like every other error; axum's own answer plain text.

use std::{collections::HashSet, fmt, marker::PhantomData};

use axum::{
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use futures::StreamExt;
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::MapAccessDeserializer,
    },
};

use super::{App, connections::Client, error::ApiError};

/// A JSON body: 400 if it is not JSON, 413 too large, 415 not declared as JSON, 422 of the wrong shape.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send the body as JSON, with `Content-Type: application/json`",
            ));
        }
        let body = read(request, app.longest_body()).await?;
        let Object(value) = serde_json::from_slice(&body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                ApiError::unprocessable(format!("the body has not the expected shape: {error}"))
            }
            _ => ApiError::bad_request(format!("the body is not JSON: {error}")),
        })?;
        Ok(Self(value))
    }
}

/// `application/json`, or another type whose syntax is JSON's, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a body of at most `most` bytes, in one piece: kept as they come, small pieces would each hold the buffer they came
/// in, and a client that sends byte by byte would hold thousands of times what it sent.
async fn read(request: Request, most: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    let client = request.extensions().get::<Client>().cloned();
    let hint = axum::body::HttpBody::size_hint(request.body());
    let declared = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if declared > most {
        return Err(too_large());
    }
    let expected = if hint.upper().is_some() { declared } else { most };
    let _room = match &client {
        Some(client) => client.reserve(expected).await?,
        None => None,
    };
    let _turn = client.as_ref().map(Client::is_to_send);
    let mut body = Vec::with_capacity(declared);
    let mut pieces = request.into_body().into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| ApiError::bad_request("the body could not be read"))?;
        if piece.len() > most - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What is written as a JSON object, each key once. Without it, serde takes an array for a struct, and the last of several
/// values of a key that it does not know.
#[derive(Debug, PartialEq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Whole<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(Once { map, seen: HashSet::new() }))
            }
        }

        deserializer.deserialize_map(Whole(PhantomData)).map(Self)
    }
}

/// A map that fails at a key it has seen before.
struct Once<A> {
    map: A,
    seen: HashSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Once<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else { return Ok(None) };
        if !self.seen.insert(key.clone()) {
            return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
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
