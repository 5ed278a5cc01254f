//! What the server measures, in Prometheus' text format, on an address of its own.
//!
//! | metric | what |
//! |---|---|
//! | `decentcom_http_request_seconds` | histogram of requests by method, route and status |
//! | `decentcom_storage_call_seconds` | histogram of store calls by method and outcome |
//! | `decentcom_storage_queue_commands` | commands waiting to be committed |
//! | `decentcom_storage_batch_commands` | histogram of commands per commit |
//! | `decentcom_storage_commit_seconds` | histogram of the time a commit takes |
//! | `decentcom_storage_reclaim_channels` | deleted channels that still have messages in the file |
//! | `decentcom_storage_reclaimed_messages_total` | messages of deleted channels reclaimed |
//! | `decentcom_storage_reclaim_failures_total` | reclaiming steps that failed; they are tried again |
//! | `decentcom_storage_newest_pages_total` | newest pages of channels asked for, by whether they were held in memory |
//! | `decentcom_gateway_sockets` | open WebSockets |
//! | `decentcom_gateway_closed_total` | WebSockets closed by the server, by close code |
//! | `decentcom_connections` | open connections |
//! | `decentcom_connections_refused_total` | connections closed at once, because their address had its share |
//! | `decentcom_connections_gave_way_total` | connections at rest closed in favour of others, all slots being taken |
//! | `decentcom_connections_stalled_total` | connections closed because they took or sent nothing while others waited for memory |
//! | `decentcom_in_flight_bytes` | bytes of answers and requests on their way, as charged to `in_flight_mib` |
//! | `decentcom_in_flight_refused_total` | requests answered 503 because no room came free |
//! | `decentcom_rate_limited_total` | requests answered 429, by limit |
//! | `decentcom_log_lines_lost_total` | lines of the log that nobody took in time, see `program/lines.rs` |
//! | `decentcom_sessions_swept_total` | expired sessions removed |
//! | `decentcom_storage_full` | 1 while changes are refused for lack of room on the disk, else 0 |
//! | `decentcom_storage_free_bytes` | bytes of the database's disk that the server may still use |
//! | `decentcom_storage_file_bytes` | allocated bytes of the database's files |

use std::{os::unix::fs::MetadataExt, path::PathBuf, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::header::CONTENT_TYPE,
    middleware::Next,
    response::Response,
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::storage::{BATCH_COMMANDS, StorageOptions};

const REQUEST_SECONDS: &str = "decentcom_http_request_seconds";
const FILE_BYTES: &str = "decentcom_storage_file_bytes";

/// From a read in memory to a call that hardly fits the time limit.
const SECONDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];
const COMMANDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Begins to record, for the whole process; answers what serves `GET /metrics`.
pub fn record(storage: &StorageOptions) -> Result<Router, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_COMMANDS.into()), &COMMANDS)?
        .install_recorder()?;
    let files: Vec<PathBuf> = ["", "-wal", "-shm"]
        .iter()
        .map(|suffix| {
            let mut name = storage.path.as_os_str().to_owned();
            name.push(suffix);
            name.into()
        })
        .collect();
    let render = async move || {
        measure_files(&files);
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], rendered(&handle))
    };
    Ok(Router::new().route("/metrics", get(render)))
}

fn rendered(handle: &PrometheusHandle) -> String {
    handle.run_upkeep();
    handle.render()
}

fn measure_files(files: &[PathBuf]) {
    const BLOCK_BYTES: u64 = 512; // of `st_blocks`, whatever the file system's own
    let allocated = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|it| it.blocks() * BLOCK_BYTES);
    metrics::gauge!(FILE_BYTES).set(allocated.sum::<u64>() as f64);
}

/// Times every request, by the route it took.
pub(super) async fn measured(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    let method = known(request.method().as_str());
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => route, "status" => status)
        .record(began.elapsed());
    response
}

/// Clients choose the method's name; what they make up must not fill the memory with time series.
pub(super) fn known(method: &str) -> &'static str {
    ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
