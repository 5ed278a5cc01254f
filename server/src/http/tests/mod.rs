//! The API in process: a router over a store in memory, a clock that moves when told.

mod authentication;
mod calls;
mod fields;
mod rejections;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::App;
use crate::{
    config::Config,
    storage::{self, Backend, Clock, ManualClock, Storage, Timestamp},
};

/// A server under test.
struct Server {
    router: Router,
    store: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// Asserts the status, and the shape that every error has.
    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if !self.status.is_success() {
            let fields: Vec<_> = self.body.as_object().unwrap().keys().collect();
            assert_eq!(fields, ["error"]);
            assert!(self.body["error"].as_str().is_some_and(|text| !text.is_empty()));
        }
        self.body
    }
}

/// Somebody logged in.
#[derive(Clone)]
struct Person {
    token: String,
    id: String,
    pubkey: String,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn pubkey(seed: u8) -> String {
    bs58::encode(key(seed).verifying_key().as_bytes()).into_string()
}

fn sign(seed: u8, text: &str) -> String {
    STANDARD.encode(key(seed).sign(text.as_bytes()).to_bytes())
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_704_067_200_000).unwrap()));
        let store = storage::open_in_memory(Backend::Redb, clock.clone()).await.unwrap();
        let app = App::new(store.clone(), config, clock.clone()).await.unwrap();
        Self { router: app.router(), store, clock }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        if parts.status != StatusCode::NO_CONTENT && !bytes.is_empty() {
            assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
        }
        assert!(parts.headers.contains_key("x-request-id"));
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A call with a JSON body, by somebody or nobody. `path` begins after `/api/v1`.
    async fn call(&self, method: Method, path: &str, by: Option<&Person>, body: Value) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(person) = by {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str, by: &Person) -> Answer {
        self.call(Method::GET, path, Some(by), Value::Null).await
    }

    async fn challenge(&self, seed: u8) -> String {
        let reply = self.call(Method::POST, "/auth/challenge", None, json!({ "pubkey": pubkey(seed) })).await.is(200);
        reply["challenge"].as_str().unwrap().to_owned()
    }

    async fn verify(&self, seed: u8, signature: &str) -> Answer {
        let body = json!({ "pubkey": pubkey(seed), "signature": signature });
        self.call(Method::POST, "/auth/verify", None, body).await
    }

    /// The same server as it runs after a start with another configuration.
    async fn restarted_with(&self, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let app = App::new(self.store.clone(), config, self.clock.clone()).await.unwrap();
        Self { router: app.router(), store: self.store.clone(), clock: self.clock.clone() }
    }

    /// Logs the owner of a key in.
    async fn log_in(&self, seed: u8) -> Person {
        let challenge = self.challenge(seed).await;
        let reply = self.verify(seed, &sign(seed, &challenge)).await.is(200);
        let text = |field: &str| reply[field].as_str().unwrap().to_owned();
        Person { token: text("token"), id: text("user_id"), pubkey: pubkey(seed) }
    }

    async fn general(&self, by: &Person) -> String {
        self.get("/channels", by).await.is(200)["channels"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn post(&self, channel: &str, by: &Person, content: &str) -> Value {
        let path = format!("/channels/{channel}/messages");
        self.call(Method::POST, &path, Some(by), json!({ "content": content })).await.is(200)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn now(&self) -> String {
        self.clock.now().to_string()
    }
}

/// An id of the right form that nothing has.
const NOBODY: &str = "00000000000000000000000000";

#[tokio::test]
async fn a_fresh_server_has_one_channel_and_a_used_one_gets_no_other() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let channels = server.get("/channels", &person).await.is(200);
    assert_eq!(channels["channels"].as_array().unwrap().len(), 1);
    assert_eq!(channels["channels"][0]["name"], "general");
    let channel = server.general(&person).await;
    server.call(Method::DELETE, &format!("/channels/{channel}"), Some(&person), Value::Null).await.is(204);
    App::new(server.store.clone(), Config::default(), server.clock.clone()).await.unwrap();
    assert!(server.store.list_channels().await.unwrap().is_empty());
}

#[tokio::test]
async fn health_tells_whether_the_store_answers() {
    let server = Server::start().await;
    let ask = || Request::builder().uri("/health").body(Body::empty()).unwrap();
    assert_eq!(server.send(ask()).await.is(200), json!({ "status": "ok" }));
    server.store.close().await.unwrap();
    let answer = server.send(ask()).await;
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    answer.is(503);
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_an_answer_like_any_other_error() {
    let panics = axum::routing::get(async || -> StatusCode { panic!("the database's own words") });
    let router = Router::new().route("/", panics).layer(CatchPanicLayer::custom(super::answer_panic));
    let response = router.oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["error"].is_string() && !body.to_string().contains("own words"), "{body}");
}

#[tokio::test]
async fn every_route_is_in_the_openapi_document() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", None, Value::Null).await.is(200);
    let person = server.log_in(1).await;
    let mut described = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"] {
            let uri = path.replace("{pubkey}", &person.pubkey).replace("{id}", NOBODY).replace("{channel_id}", NOBODY);
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(uri)
                .header(header::AUTHORIZATION, "Bearer made-up")
                .body(Body::empty())
                .unwrap();
            let status = self::Server::send(&server, request).await.status;
            let is_described = methods.get(method).is_some();
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, is_described, "{method} {path}: {status}");
            if let Some(call) = methods.get(method) {
                described += 1;
                assert!(call["responses"].get(status.as_str()).is_some(), "{method} {path} does not describe {status}");
                assert!(call["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}");
            }
        }
    }
    // What the API's description lists: 3 of health, info, 4 of log-in, 5 + 3 of channels and categories, 5 of messages,
    // 6 of members, roles, the gateway.
    assert_eq!(described, 29);
}
