//! `decentcom-server`: a self-hosted community server.

use std::{future::Future, io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use decentcom_server::{
    config::{Config, LogFormat},
    http::{App, record_metrics, serve, serve_metrics},
    storage::{self, Metered, SystemClock},
};
use tokio::net::{TcpListener, TcpSocket};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// A self-hosted community server.
///
/// Reads `decentcom.toml` in the working directory if there is one; without it, every default applies. An environment
/// variable DECENTCOM_<SECTION>__<KEY> overrides a key.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  decentcom-server                                    start with decentcom.toml, or with the defaults
  decentcom-server --config /etc/decentcom.toml       start with another file
  decentcom-server --check-config                     say what would run, and stop
  DECENTCOM_STORAGE__BACKEND=redb decentcom-server    override one key

Exit codes: 0 stopped in good order, 1 could not start or stop, 2 wrong usage or configuration, 130 stopped at once"
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Check the configuration, print a summary and stop.
    #[arg(long)]
    check_config: bool,
}

/// Wrong usage or configuration; clap uses the same.
const USAGE: u8 = 2;
/// Files that the server opens besides connections: the database, its log, listeners; with plenty to spare.
const FILES_BESIDES_CONNECTIONS: usize = 256;
/// Connections that wait in the kernel to be taken, where the system allows so many (net.core.somaxconn). One that finds no
/// room waits for seconds; the library's 128 are gone in a moment in which the processors are busy.
const BACKLOG: u32 = 4096;
/// What shells call a program that was interrupted.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref(), environment()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    if let Err(problem) = start_logging(&config) {
        return fail(USAGE, &problem);
    }
    if arguments.check_config {
        return say(&format!("The configuration is fine: {config}"));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(1, &problem),
    }
}

/// The environment's variables that are text; ours are.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn start_logging(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.logging.level).map_err(|error| {
        format!(
            "[logging] level `{}` is no log filter: {error}. Use error, warn, info, debug or trace",
            config.logging.level
        )
    })?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match config.logging.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

async fn run(mut config: Config) -> Result<(), String> {
    // The port comes before the database: a second start by mistake must not create or migrate anything.
    let listener = listen(config.network.bind_address, "network")?;
    let metrics = match config.metrics.bind_address {
        Some(address) => Some(listen(address, "metrics")?),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;

    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{config}");
    let open_files = raise_limit_on_open_files();
    config.network.lower_connections_to(connections_within(open_files));
    tracing::info!(open_files, "up to {} connections at once", config.network.max_connections);
    let clock = Arc::new(SystemClock);
    let store = storage::open(&config.storage, clock.clone()).await.map_err(|error| error.to_string())?;
    let store = match metrics {
        Some(listener) => {
            let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
            let router = record_metrics(&config.storage).map_err(|error| format!("cannot record metrics: {error}"))?;
            tokio::spawn(serve_metrics(router, listener, config.network.clone()));
            tracing::info!("metrics on http://{address}/metrics");
            Arc::new(Metered::new(store))
        }
        None => store,
    };
    let app = App::new(store, config, clock).await.map_err(|error| error.to_string())?;
    tracing::info!("listening on http://{address}");
    serve(app, listener, stop).await.map_err(|error| format!("the server failed: {error}"))
}

fn listen(address: SocketAddr, section: &str) -> Result<TcpListener, String> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?; // of a server that has just stopped
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error: std::io::Error| {
        format!("cannot listen on {address}: {error}. Stop what uses the port, or change `bind_address` in [{section}]")
    })
}

/// Raises the soft limit on open files, often 1024, to the hard one, and answers what holds now. Each connection takes one.
fn raise_limit_on_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many connections leave the database enough files to open.
fn connections_within(open_files: usize) -> usize {
    open_files.saturating_sub(FILES_BESIDES_CONNECTIONS).max(open_files / 2).max(1)
}

/// Resolves at the first SIGINT or SIGTERM; the second one ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (first, stop) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match first.take() {
                Some(first) => drop(first.send(())),
                None => {
                    tracing::warn!("second signal: stopping at once");
                    std::process::exit(INTERRUPTED);
                }
            }
        }
    });
    Ok(async move { drop(stop.await) })
}

fn say(text: &str) -> ExitCode {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, problem: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "decentcom-server: {problem}");
    ExitCode::from(code)
}
