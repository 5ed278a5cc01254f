//! The HTTP API that decentcom's clients speak. Handlers see only `Arc<dyn Storage>`, never a backend.
//!
//! Each subject has a file with its calls and their `routes`, which are put together below. Each call is described beside its
//! handler, and the OpenAPI document at `/api/v1/openapi.json` is made from that.

mod admins;
mod auth;
mod categories;
mod channels;
mod clock_watch;
mod connections;
mod error;
mod extract;
mod failures;
mod gateway;
mod health;
mod limits;
mod members;
mod membership;
mod messages;
mod metrics;
mod roles;
mod serve;
mod server_info;
mod wire;

use std::{any::Any, ops::Deref, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::sync::watch;
use tower::{Layer, ServiceExt};
use tower_http::{
    catch_panic::CatchPanicLayer,
    classify::SharedClassifier,
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use self::{
    auth::Challenges, clock_watch::ClockWatch, error::ApiError, failures::Failures, gateway::Hub, health::Readiness,
    limits::Limits,
};
pub use self::{
    metrics::record as record_metrics,
    serve::{serve, serve_metrics},
};
use crate::{
    config::{Config, Reloaded},
    storage::{Clock, Storage, StorageError},
};

/// The name of the channel that a fresh server has.
const FIRST_CHANNEL: &str = "general";
/// Bytes that JSON may take for one character: a surrogate pair, escaped.
const MAX_ESCAPED_CHARACTER: usize = 12;
/// Bytes of a body besides the longest message.
const BODY_OVERHEAD: usize = 16 * 1024;

/// Longest request id taken from a client.
const MAX_REQUEST_ID: usize = 64;
/// Bytes of a request's path that are logged.
const MAX_LOGGED_PATH: usize = 256;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The parts of an [`App`].
pub struct Shared {
    store: Arc<dyn Storage>,
    /// What the server runs on now; a reload replaces it.
    config: watch::Sender<Arc<Config>>,
    clock: Arc<dyn Clock>,
    challenges: Challenges,
    limits: Limits,
    hub: Hub,
    readiness: Readiness,
    clock_watch: ClockWatch,
}

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// An API over `store`. A store that nobody ever used gets its first channel.
    pub async fn new(store: Arc<dyn Storage>, config: Config, clock: Arc<dyn Clock>) -> Result<Self, StorageError> {
        let is_fresh = store.list_channels().await?.is_empty() && store.list_users_page(None, 1).await?.is_empty();
        if is_fresh {
            store.create_channel(FIRST_CHANNEL, None, 0).await?;
            tracing::info!(channel = FIRST_CHANNEL, "a new community: its first channel is made");
        }
        if config.membership.admins.is_empty() {
            tracing::warn!("[membership] admins is empty: the member who registered first manages the channels");
        }
        categories::make_those_named(&*store).await?;
        if config.network.public_address.is_empty() {
            tracing::info!(
                "[network] public_address is empty: what people sign to log in names no address of this server"
            );
        }
        let challenges = Challenges::new(store.login_key().await?, clock.now(), is_fresh);
        let hub = Hub::start(&store, clock.clone()).await?;
        let clock_watch = ClockWatch::default();
        clock_watch.look(&*clock);
        let app = Self(Arc::new(Shared {
            limits: Limits::new(&config.limits),
            store,
            config: watch::Sender::new(Arc::new(config)),
            clock,
            challenges,
            hub,
            readiness: Readiness::default(),
            clock_watch,
        }));
        app.enforce_membership().await?;
        Ok(app)
    }

    /// What the server runs on at this moment. Whoever needs several values of it takes them from one.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Bytes that the body of a request may have.
    pub(crate) fn longest_body(&self) -> usize {
        self.config().content.max_message_length * MAX_ESCAPED_CHARACTER + BODY_OVERHEAD
    }

    /// Goes on with what of `found` can change while the server runs, and without those it no longer admits. Answers what that was, and what waits for a restart.
    pub async fn reconfigure(&self, found: &Config) -> Reloaded {
        let (running, reloaded) = self.config().reloaded(found);
        self.config.send_replace(Arc::new(running));
        if let Err(error) = self.enforce_membership().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "those whom the configuration no longer admits are not all logged out; their calls are refused all the same"
            );
        }
        reloaded
    }

    /// The whole API, ready to serve.
    pub fn router(self) -> Router {
        let (router, document) = described_routes().split_for_parts();
        // Made once: it is larger than most answers, and anybody may ask for it.
        let document = Bytes::from(document.to_json().unwrap_or_default());
        router
            .route(
                "/api/v1/openapi.json",
                axum::routing::get(async move || ([(header::CONTENT_TYPE, "application/json")], document.clone())),
            )
            .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
            .method_not_allowed_fallback(async || {
                ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know this method")
            })
            .layer(middleware::from_fn_with_state(self.clone(), limits::of_log_ins))
            .layer(middleware::map_response(not_stored))
            .layer(middleware::from_fn_with_state(self.clone(), bounded_in_time))
            .layer(CatchPanicLayer::custom(answer_panic))
            .layer(middleware::from_fn(metrics::measured))
            .layer(middleware::from_fn_with_state(self.clone(), cross_origin))
            .layer(PropagateRequestIdLayer::new(REQUEST_ID))
            .layer(TraceLayer::new(SharedClassifier::new(Failures)).make_span_with(span))
            .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
            .layer(middleware::map_request(without_strange_id))
            .with_state(self)
    }
}

/// Every call below `/api/v1`.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(server_info::routes())
        .merge(auth::routes())
        .merge(channels::routes())
        .merge(categories::routes())
        .merge(messages::routes())
        .merge(members::routes())
        .merge(roles::routes())
        .merge(gateway::routes())
}

#[derive(OpenApi)]
#[openapi(info(title = "decentcom", description = "A self-hosted community server."), modifiers(&SessionToken))]
struct Document;

struct SessionToken;

impl Modify for SessionToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A session token")).build();
        document.components.get_or_insert_default().add_security_scheme("session", SecurityScheme::Http(scheme));
    }
}

fn described_routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).merge(health::routes()).nest("/api/v1", routes())
}

/// Browsers run the clients, so every path answers preflight requests.
async fn cross_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    let answered = cors(&app.config().network.allowed_origins).layer(next).oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}

fn cors(allowed_origins: &[String]) -> CorsLayer {
    let origins = match allowed_origins {
        [] => AllowOrigin::any(),
        listed => AllowOrigin::list(listed.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
}

/// Answers hold tokens, names and messages: no cache keeps one, unless its handler says otherwise.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A request that takes too long is answered 503 and dropped.
async fn bounded_in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(app.config().network.request_timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the request took too long; try again").into_response()
    })
}

/// A bug costs one request, and the client hears of it like of any other error. The panic's text is in the log.
fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked; this is a bug");
    ApiError::internal().into_response()
}

/// Takes away a request's id that is none: it goes into logs and answers. The request gets another.
async fn without_strange_id(mut request: Request) -> Request {
    let mut given = request.headers().get_all(REQUEST_ID).iter();
    let is_id = |id: &HeaderValue| {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(fits)
    };
    if !(given.next().is_some_and(is_id) && given.next().is_none()) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// A span per request, with its id and without its query, which may hold a token. What the client chose is bounded; the log
/// escapes it.
fn span(request: &Request) -> tracing::Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or("");
    let path = request.uri().path();
    let path = path.get(..path.floor_char_boundary(MAX_LOGGED_PATH)).unwrap_or(path);
    tracing::info_span!("request", method = metrics::known(request.method().as_str()), path, id)
}

#[cfg(test)]
mod tests;
