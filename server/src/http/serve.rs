//! Running the API: listening, sweeping, stopping in good order.

use std::{future::Future, io, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::IntoResponse,
};
use tokio::{net::TcpListener, sync::watch};

use super::{App, clock_watch, connections, error::ApiError};
use crate::config::Network;

/// Counter of expired sessions removed.
const SESSIONS_SWEPT: &str = "decentcom_sessions_swept_total";
/// Connections to the metrics' listener.
const METRICS_CONNECTIONS: usize = 32;
/// How long the gateway's sockets may take to say goodbye once the store is closed.
const GOODBYE: Duration = Duration::from_secs(1);

/// Answers requests until `stop` resolves, then takes no new connections, lets requests under way finish for as long
/// as `[network] shutdown_grace` says, and closes the store.
pub async fn serve(app: App, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let sweeper = tokio::spawn(sweep_sessions(app.clone()));
    let clock_watch = tokio::spawn(clock_watch::watch(app.clone()));
    let (stopping, mut stopped) = watch::channel(false);
    let network = app.config().network.clone();
    let stopping_app = app.clone();
    let graceful = async move {
        stop.await;
        stopping_app.readiness.stopping();
        tracing::info!("stopping: no new connections, requests under way may finish");
        let _ = stopping.send(true);
    };
    let requests = connections::serve(listener, app.clone().router(), &network, graceful);
    let deadline = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(app.config().network.shutdown_grace).await;
    };
    tokio::select! {
        () = requests => {}
        () = deadline => tracing::warn!("some requests did not finish in time and are cut off"),
    }
    sweeper.abort();
    clock_watch.abort();
    if let Err(error) = app.store.close().await {
        tracing::error!(error = &error as &dyn std::error::Error, "closing the store failed");
        return Err(io::Error::other(error));
    }
    let sockets_gone = async {
        while app.hub.sockets() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(GOODBYE, sockets_gone).await;
    tracing::info!("stopped: everything acknowledged is stored");
    Ok(())
}

/// Answers `router`, the metrics', until the process ends. The listener has the same bounds as the API's, and few connections:
/// whoever scrapes it needs one.
pub async fn serve_metrics(router: Router, listener: TcpListener, network: Network) {
    let few = Network {
        max_connections: METRICS_CONNECTIONS,
        max_connections_per_address: METRICS_CONNECTIONS / 2,
        trusted_proxies: Vec::new(),
        ..network
    };
    let timeout = few.request_timeout;
    let in_time = move |request: Request, next: Next| async move {
        tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the request took too long; try again").into_response()
        })
    };
    connections::serve(listener, router.layer(middleware::from_fn(in_time)), &few, std::future::pending()).await;
}

/// Removes expired sessions, now, every `sweep_interval`, and when that may have changed. A failed sweep is logged; the next
/// one does its work.
async fn sweep_sessions(app: App) {
    let mut configuration = app.config.subscribe();
    loop {
        match app.store.delete_expired_sessions().await {
            Ok(removed) => {
                metrics::counter!(SESSIONS_SWEPT).increment(removed);
                if removed > 0 {
                    tracing::info!(removed, "swept expired sessions");
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "sweeping expired sessions failed");
            }
        }
        let pause = app.config().sessions.sweep_interval.max(Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = configuration.changed() => {}
        }
    }
}
