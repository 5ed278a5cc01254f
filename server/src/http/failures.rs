//! Which answers the log has a line for as failures.

use std::fmt::Display;

use axum::http::Response;
use tower_http::classify::{ClassifiedResponse, ClassifyResponse, NeverClassifyEos, ServerErrorsFailureClass};

/// Marks an answer that tells of a state whose beginning and end are logged, so that each answer is worth no line: a full
/// disk, a server that is not ready. Clients and monitors ask again and again.
#[derive(Clone, Copy)]
pub(super) struct LoggedOnce;

/// What went wrong here, but not what is [`LoggedOnce`].
#[derive(Clone, Copy)]
pub(super) struct Failures;

impl ClassifyResponse for Failures {
    type FailureClass = ServerErrorsFailureClass;
    type ClassifyEos = NeverClassifyEos<ServerErrorsFailureClass>;

    fn classify_response<B>(self, answer: &Response<B>) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
        let status = answer.status();
        let is_failure = status.is_server_error() && answer.extensions().get::<LoggedOnce>().is_none();
        ClassifiedResponse::Ready(if is_failure { Err(ServerErrorsFailureClass::StatusCode(status)) } else { Ok(()) })
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
        ServerErrorsFailureClass::Error(error.to_string())
    }
}
