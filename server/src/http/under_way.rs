//! Whether a connection has a request under way. When the server stops, those that have none end soon, whatever half of a
//! request they have sent.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use hyper::body::{Frame, SizeHint};

/// How long the rest of a request's head may take to come once the server stops.
const REST_OF_A_HEAD: Duration = Duration::from_millis(500);
/// How often it is looked at whether an answer is out.
const PACE: Duration = Duration::from_millis(20);

/// What one connection is busy with.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<State>);

#[derive(Default)]
struct State {
    /// Requests whose head has come and whose answer has not been handed over to the end.
    requests: AtomicUsize,
    /// Whether bytes wait for the client to take them.
    writing: AtomicBool,
}

impl UnderWay {
    /// A request has come.
    pub(super) fn begin(&self) -> Answering {
        self.0.requests.fetch_add(1, Ordering::AcqRel);
        Answering(self.clone())
    }

    /// The client has taken what was written, or not yet.
    pub(super) fn wrote<T>(&self, written: &Poll<T>) {
        self.0.writing.store(written.is_pending(), Ordering::Release);
    }

    /// Resolves when the connection had its time for the rest of a head, and nothing is under way.
    pub(super) async fn over(&self) {
        tokio::time::sleep(REST_OF_A_HEAD).await;
        while self.0.requests.load(Ordering::Acquire) > 0 || self.0.writing.load(Ordering::Acquire) {
            tokio::time::sleep(PACE).await;
        }
    }
}

/// As long as it lives, a request is under way.
pub(super) struct Answering(UnderWay);

impl Answering {
    /// Lives on for as long as the answer's body.
    pub(super) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Answer { body, _answering: self }))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Answer {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
