//! Whether the server is well: whether the process answers (`live`), and whether it can do what it is for (`ready`).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::{
    Json as Reply,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    clock_watch::{ClockState, LONGEST_LEAP},
    error::ApiError,
};
use crate::storage::{StorageError, Timestamp, Trouble};

/// A commit this recent shows that changes can be stored; without one, asking makes one.
const RECENT: Duration = Duration::from_secs(3);
/// How long one finding is everybody's answer, so that a flood of questions looks once a second.
const FINDING_LASTS: Duration = Duration::from_secs(1);
/// How long a commit may take before the server counts as unable to make one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The calls.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Says whether the server can answer: 200 after a real read from the database, else 503.
#[utoipa::path(
    get, path = "/health", tag = "server",
    responses(
        (status = 200, body = Health),
        (status = 503, body = super::error::ErrorBody, description = "The database does not answer")
    )
)]
pub(super) async fn health(State(app): State<App>) -> Result<Reply<Health>, ApiError> {
    match app.store.ping().await {
        Ok(()) => Ok(Reply(Health { status: "ok" })),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the database does not answer");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"))
        }
    }
}

/// Says that the process answers, and nothing of what it can do.
#[utoipa::path(get, path = "/health/live", tag = "server", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Reply<Health> {
    Reply(Health { status: "ok" })
}

/// What was found when it was last asked.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Why it is not ready, in words for an operator; empty when it is.
    reasons: Vec<String>,
    /// When the newest commit was made; null where none can be.
    last_commit: Option<String>,
    clock: ClockState,
    /// The reasons again, as in every error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Says whether the server can take changes: 200 when a commit was made within the last seconds or could be made now, else 503
/// with the reasons. Also shows what the computer's clock did while the server ran.
#[utoipa::path(
    get, path = "/health/ready", tag = "server",
    responses((status = 200, body = Ready), (status = 503, body = Ready, description = "Not ready; `reasons` says why"))
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    // A task of its own finishes also when the asker has gone: a commit that hangs is tried once, not once a question.
    let finding = tokio::spawn(async move { app.readiness.find(&app).await }).await;
    match finding {
        Ok(ready) if ready.reasons.is_empty() => Reply(ready).into_response(),
        Ok(ready) => ApiError::retry_later(Reply(ready)),
        Err(_) => ApiError::internal().into_response(),
    }
}

/// The last finding, shared by all who ask.
#[derive(Default)]
pub(super) struct Readiness {
    last: Mutex<Option<(Instant, Ready)>>,
    stopping: AtomicBool,
}

impl Readiness {
    /// From now on the server is not ready: it stops.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    async fn find(&self, app: &App) -> Ready {
        let mut last = self.last.lock().await;
        if let Some((_, ready)) = last.as_ref().filter(|(found, _)| found.elapsed() < FINDING_LASTS) {
            return Ready { clock: app.clock_watch.state(), ..ready.clone() };
        }
        let ready = self.look(app).await;
        let was_ready = last.as_ref().is_none_or(|(_, before)| before.reasons.is_empty());
        match (was_ready, ready.error.as_deref()) {
            (true, Some(reasons)) => tracing::error!(reasons, "not ready"),
            (false, None) => tracing::info!("ready again"),
            _ => {}
        }
        *last = Some((Instant::now(), ready.clone()));
        ready
    }

    /// Everything that ready depends on.
    async fn look(&self, app: &App) -> Ready {
        app.clock_watch.look(&*app.clock);
        let clock = app.clock_watch.state();
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the server is stopping".to_owned());
        }
        let last_commit = match changes_can_be_stored(app).await {
            Ok(at) => Some(at.to_string()),
            Err(reason) => {
                reasons.push(reason);
                None
            }
        };
        if clock.leapt_ahead > LONGEST_LEAP {
            let days = clock.leapt_ahead.as_secs() / (24 * 3600);
            reasons
                .push(format!("the clock leapt {days} days ahead while the server ran; set it, or restart the server"));
        }
        let error = (!reasons.is_empty()).then(|| reasons.join("; "));
        let status = if reasons.is_empty() { "ready" } else { "not ready" };
        Ready { status, reasons, last_commit, clock, error }
    }
}

/// When the newest commit was made; or, in words that say nothing of the database's own, why there can be none.
async fn changes_can_be_stored(app: &App) -> Result<Timestamp, String> {
    if let Some(trouble) = app.store.condition().troubles.first() {
        return Err(match trouble {
            Trouble::Away { .. } => {
                "the store's files were moved, replaced or deleted; the server's log says which".into()
            }
            trouble => trouble.to_string(),
        });
    }
    match timeout(PATIENCE, app.store.probe(RECENT)).await {
        Ok(Ok(at)) => Ok(at),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "no commit can be made");
            Err(match error {
                StorageError::Unavailable { .. } => {
                    "changes cannot be stored at the moment: the store is busy, closed, or has no room"
                }
                _ => "changes cannot be stored; the server's log says why",
            }
            .into())
        }
        Err(_) => Err(format!("no change could be stored within {} seconds", PATIENCE.as_secs())),
    }
}
