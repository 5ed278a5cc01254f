//! Requests to the whole API, without a socket: bodies, ids, cursors, queries, tokens.
//!
//! ```text
//!  METHOD path?query [token]        `{channel}`, `{message}`, `{pubkey}` stand for ones that exist;
//!  body to the end                  without a token it is the admin's, `-` is none
//! ```

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode, Uri, header},
};
use decentcom_server::{
    config::Config,
    http::App,
    storage::{self, Backend, ManualClock, Timestamp},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Any public key of the right form.
const PUBKEY: &str = "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS";

/// Requests that a server answers before it gives way to a fresh one: making one takes longer than many requests.
const REQUESTS_PER_SERVER: u32 = 500;

pub(super) fn run(bytes: &[u8]) {
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let body = bytes.get(line.len() + 1..).unwrap_or_default().to_vec();
    let Ok(line) = std::str::from_utf8(line) else { return };
    let mut kept = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    runtime().block_on(async {
        let mut server = match kept.take() {
            Some(server) => server,
            None => Server::start().await,
        };
        let Some((method, path, request)) = server.request(line, body) else {
            *kept = Some(server);
            return;
        };
        let response = server.router.clone().oneshot(request).await.expect("a router does not fail");
        let has_removed = method == "DELETE" && response.status().is_success();
        check(&method, &path, response).await;
        server.answered += 1;
        // What a finding depends on is what it says, not what somebody removed before.
        if !has_removed && server.answered < REQUESTS_PER_SERVER {
            *kept = Some(server);
        }
    });
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    })
}

/// The API over a store in memory, with somebody logged in.
struct Server {
    router: Router,
    answered: u32,
    token: String,
    channel: String,
    message: String,
}

impl Server {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_704_067_200_000).expect("a time")));
        let store = storage::open_in_memory(Backend::Redb, clock.clone()).await.expect("a store in memory");
        let router = App::new(store.clone(), Config::default(), clock).await.expect("an app").router();
        let user = store.create_user(PUBKEY, None).await.expect("a user");
        let channel = store.list_channels().await.expect("channels").remove(0).id.to_string();
        let session =
            store.create_session(&user.id.text(), std::time::Duration::from_secs(60)).await.expect("a session");
        let message = store.create_message(&channel, &user.id.text(), "text").await.expect("a message").id.to_string();
        Self { router, answered: 0, token: session.token, channel, message }
    }

    /// What the line asks for; `None` if it is no request that could come through a socket.
    fn request(&self, line: &str, body: Vec<u8>) -> Option<(String, String, Request<Body>)> {
        let mut words = line.split(' ');
        let (method, uri) = (words.next()?, words.next()?);
        let uri = uri.replace("{channel}", &self.channel).replace("{message}", &self.message);
        let uri: Uri = uri.replace("{pubkey}", PUBKEY).parse().ok()?;
        let path = uri.path().to_owned();
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(header::CONTENT_TYPE, "application/json");
        request = match words.next() {
            None => request.header(header::AUTHORIZATION, format!("Bearer {}", self.token)),
            Some("-") => request,
            Some(token) => request.header(header::AUTHORIZATION, token),
        };
        Some((method.to_owned(), path, request.body(Body::from(body)).ok()?))
    }
}

/// The API's own description, path by path.
fn described() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        std::thread::spawn(|| {
            runtime().block_on(async {
                let request = Request::builder().uri("/api/v1/openapi.json").body(Body::empty()).expect("a request");
                let response = Server::start().await.router.oneshot(request).await.expect("an answer");
                let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a document");
                serde_json::from_slice::<Value>(&bytes).expect("JSON")["paths"].take()
            })
        })
        .join()
        .expect("the description")
    })
}

/// Whether a path is an instance of a described one.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

/// Holds an answer to the description: a status that it names for this call, never 500, and errors of the one shape.
async fn check(method: &str, path: &str, response: Response<Body>) {
    let status = response.status();
    let place = format!("{method} {path} answers {status}");
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{place}");
    assert!(response.headers().contains_key("x-request-id"), "{place}");
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    if method == "OPTIONS" || method == "HEAD" {
        return; // answered below the API
    }
    let call = described().as_object().expect("paths").iter().find(|(template, _)| matches(template, path));
    let expected = match call {
        None if path == "/api/v1/openapi.json" => status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED,
        None => status == StatusCode::NOT_FOUND,
        Some((_, methods)) => match methods.get(method.to_lowercase()).filter(|_| method == method.to_uppercase()) {
            None => status == StatusCode::METHOD_NOT_ALLOWED,
            Some(call) => call["responses"].get(status.as_str()).is_some(),
        },
    };
    let text = String::from_utf8_lossy(&bytes);
    assert!(expected, "{place}, which its description does not name: {text}");
    if status == StatusCode::NO_CONTENT {
        assert_eq!(text, "", "{place}");
    } else {
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{place}: {text}"));
        assert_eq!(!status.is_success(), body.get("error").is_some(), "{place}: {text}");
    }
}

pub(super) fn around(text: &str) -> Vec<Vec<u8>> {
    let value = Value::from(text);
    let messages = "/api/v1/channels/{channel}/messages";
    let mut inputs: Vec<Vec<u8>> = vec![
        format!("POST {messages}\n{}", json!({ "content": text })).into(),
        format!("PATCH {messages}/{{message}}\n{}", json!({ "content": text })).into(),
        format!("POST /api/v1/channels\n{}", json!({ "name": text, "category": text })).into(),
        format!("PATCH /api/v1/channels/{{channel}}\n{}", json!({ "topic": text, "position": value })).into(),
        format!("PATCH /api/v1/profile\n{}", json!({ "display_name": text })).into(),
        format!("POST /api/v1/auth/verify -\n{}", json!({ "pubkey": text, "signature": text })).into(),
        format!("POST {messages}\n{text}").into(),
    ];
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for wild in [encoded.as_str(), text] {
        inputs.push(format!("GET {messages}?before={wild}&limit={wild}").into());
        inputs.push(format!("GET {messages}?after={wild}").into());
        inputs.push(format!("GET /api/v1/channels/{wild}").into());
        inputs.push(format!("DELETE {messages}/{wild}").into());
        inputs.push(format!("GET /api/v1/members/{wild}").into());
        inputs.push(format!("GET /api/v1/gateway?token={wild} {wild}").into());
    }
    inputs
}
