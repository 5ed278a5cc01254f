//! One request over a connection: its head within bounds, its body read or passed over, its answer charged.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::FromRequestParts,
    http::{
        HeaderValue, Request, Response, StatusCode,
        header::{CONNECTION, EXPECT},
        request::Parts,
    },
    response::IntoResponse,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::service::TowerToHyperService;

use super::{
    Address, AnswerSize,
    address::Proxies,
    budget::{Budget, Charge, FREE, Holder},
    crowd::{Connection, Serving, lock},
};
use crate::{http::error::ApiError, storage::UserId};

/// Bytes of a request's head: its target and its headers.
const MAX_HEAD: usize = 32 * 1024;
/// Bytes of a refused body that are passed over, so that the client gets to read the answer and the connection goes on.
const PASSED_OVER: u64 = 16 * 1024 * 1024;
/// How long that may take.
const PASSING_OVER: Duration = Duration::from_secs(15);

/// Answers requests over one connection.
pub(super) struct Requests {
    pub(super) router: TowerToHyperService<Router>,
    pub(super) connection: Arc<Connection>,
    pub(super) budget: Budget,
    pub(super) proxies: Arc<Proxies>,
}

/// Who sent a request, and what memory is set aside for it. In every request's extensions.
#[derive(Clone)]
pub(crate) struct Client(Arc<Sender>);

struct Sender {
    address: Address,
    connection: Arc<Connection>,
    budget: Budget,
    user: OnceLock<UserId>,
    /// For the answer, until it is there, and what learns how large it was.
    reserved: Mutex<Option<(Option<Charge>, Arc<AnswerSize>)>>,
}

impl Client {
    /// From now on what is held is this user's, not the address's.
    pub(crate) fn is(&self, user: UserId) {
        let _ = self.0.user.set(user);
    }

    fn holder(&self) -> Holder {
        self.0.user.get().map_or(Holder::Address(self.0.address), |user| Holder::User(*user))
    }

    /// Room for `bytes`.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Option<Charge>, ApiError> {
        if bytes <= FREE {
            return Ok(None);
        }
        let room = self.0.budget.reserve(&self.0.connection, self.holder(), bytes).await;
        room.map(Some).ok_or_else(no_room)
    }

    /// Room for an answer of about the size that they have, before it is made.
    pub(crate) async fn reserve_answer(&self, size: &Arc<AnswerSize>) -> Result<(), ApiError> {
        let room = self.reserve(size.guess()).await?;
        *lock(&self.0.reserved) = Some((room, size.clone()));
        Ok(())
    }

    /// Charges bytes that are in memory and wait for the client.
    pub(crate) fn own_up_to(&self, bytes: usize) -> Option<Charge> {
        (bytes > FREE).then(|| self.0.budget.own_up_to(&self.0.connection, self.holder(), bytes).0)
    }

    /// While it lives, it is the client's turn to send.
    pub(crate) fn is_to_send(&self) -> Turn {
        self.0.connection.is_due();
        Turn(self.0.connection.clone())
    }

    /// The connection under it.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }
}

/// The client's turn.
pub(crate) struct Turn(Arc<Connection>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_done();
    }
}

fn no_room() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many answers are waiting to be read; try again")
}

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = std::convert::Infallible;

    /// Where the request came from.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Client>().map_or(Self::NOWHERE, |client| client.0.address))
    }
}

impl Requests {
    /// Answers one request. Never an error.
    pub(super) fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send + use<> {
        let serving = self.connection.serve();
        let (mut parts, body) = request.into_parts();
        let address = self.proxies.client(self.connection.peer, &parts.headers);
        let client = Client(Arc::new(Sender {
            address,
            connection: self.connection.clone(),
            budget: self.budget.clone(),
            user: OnceLock::new(),
            reserved: Mutex::default(),
        }));
        parts.extensions.insert(client.clone());
        let waits_to_send = parts.headers.contains_key(EXPECT);
        let is_safe = parts.method.is_safe();
        let too_large = head_of(&parts) > MAX_HEAD;
        let body = Unread(Arc::new(Rest {
            body: Mutex::new(Some(body)),
            was_asked_for: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }));
        let answer =
            (!too_large).then(|| self.router.call(Request::from_parts(parts, Body::new(Handed(body.clone())))));
        async move {
            let mut response = match answer {
                Some(answer) => match answer.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                None => head_too_large(),
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                client.0.connection.upgrade();
                return Ok(response);
            }
            response = client.charge(response, is_safe, &serving);
            if too_large || body.must_close(waits_to_send, &serving) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }
}

impl Client {
    /// Has the answer hold what it takes until the client has taken it.
    fn charge(&self, response: Response<Body>, is_safe: bool, serving: &Arc<Serving>) -> Response<Body> {
        let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        let reserved = lock(&self.0.reserved).take().and_then(|(charge, learns)| {
            learns.was(size);
            charge
        });
        if size <= FREE {
            return response.map(|body| Body::new(Answer { body, charge: None, serving: serving.clone() }));
        }
        let (charge, is_within) = match reserved {
            Some(mut charge) => {
                let is_within = charge.becomes(size);
                (charge, is_within)
            }
            None => self.0.budget.own_up_to(&self.0.connection, self.holder(), size),
        };
        // What was changed has to be told; what was only asked for can be asked again.
        if !is_within && is_safe {
            return no_room().into_response();
        }
        self.0.connection.is_due();
        let charge = Some(Arc::new(charge));
        response.map(|body| Body::new(Answer { body, charge, serving: serving.clone() }))
    }
}

fn head_of(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |it| it.as_str().len());
    parts.headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len())
}

fn head_too_large() -> Response<Body> {
    let text = format!("the request's head is larger than {} KiB", MAX_HEAD / 1024);
    ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text).into_response()
}

/// A request's body, of which what the handler leaves is still there.
#[derive(Clone)]
struct Unread(Arc<Rest>);

struct Rest {
    body: Mutex<Option<Incoming>>,
    was_asked_for: AtomicBool,
    is_over: AtomicBool,
}

impl Unread {
    /// Sees to what is left of the body. `true` when the connection cannot be used again.
    fn must_close(&self, waits_to_send: bool, serving: &Arc<Serving>) -> bool {
        let rest = lock(&self.0.body).take().filter(|rest| !rest.is_end_stream() && !self.0.is_over.load(Relaxed));
        let Some(rest) = rest else { return false };
        if waits_to_send && !self.0.was_asked_for.load(Relaxed) {
            // It has not sent anything and may never do so; what it does send nobody could tell from a next request.
            return true;
        }
        let is_too_much = rest.size_hint().lower() > PASSED_OVER;
        let serving = serving.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PASSING_OVER, pass_over(rest)).await;
            drop(serving);
        });
        is_too_much
    }
}

/// Reads and forgets a body, within the bound. Beyond it, dropping the body has hyper close the connection.
async fn pass_over(mut body: Incoming) {
    let mut passed_over = 0;
    while passed_over <= PASSED_OVER {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(frame)) => passed_over += frame.data_ref().map_or(0, |bytes| bytes.len() as u64),
            _ => return,
        }
    }
}

/// A request's body in the hands of whoever answers it.
struct Handed(Unread);

impl HttpBody for Handed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let rest = &self.0.0;
        rest.was_asked_for.store(true, Relaxed);
        let frame = match lock(&rest.body).as_mut() {
            Some(body) => ready!(Pin::new(body).poll_frame(cx)),
            None => None,
        };
        rest.is_over.store(!matches!(frame, Some(Ok(_))), Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0.0.body).as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0.0.body).as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

/// An answer's body; what it is charged for and the request it belongs to last until hyper has written it.
struct Answer {
    body: Body,
    charge: Option<Arc<Charge>>,
    serving: Arc<Serving>,
}

/// Bytes with what they are charged to.
struct Charged {
    bytes: Bytes,
    _charge: Arc<Charge>,
    _serving: Arc<Serving>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let charge = |bytes| match &self.charge {
            Some(charge) => {
                let (charge, serving) = (charge.clone(), self.serving.clone());
                Bytes::from_owner(Charged { bytes, _charge: charge, _serving: serving })
            }
            None => bytes,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(charge))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
