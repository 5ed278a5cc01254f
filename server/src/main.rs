//! `decentcom-server`: a self-hosted community server.

mod program;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use decentcom_server::{
    config::{Config, ConfigError},
    http::{App, record_metrics, serve, serve_metrics},
    storage::{self, CautiousClock, Clock, Metered, SystemClock, check_system_clock},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    signal::unix::SignalKind,
};

use self::program::{Logs, Signals, ask, check_filter, follow};

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
  decentcom-server health                             ask the running server whether it is ready
  DECENTCOM_STORAGE__BACKEND=redb decentcom-server    override one key

Signals: INT, TERM and QUIT stop in good order, a second one at once; HUP opens the log file again and rereads the
configuration.

Exit codes: 0 stopped in good order, 1 could not start or stop, 2 wrong usage or configuration, 130 stopped at once.
Of health: 0 ready, 1 not ready"
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration, print a summary and stop.
    #[arg(long)]
    check_config: bool,
    /// Start although the clock seems wrong: before this program was built, or more than a year past the newest commit.
    #[arg(long)]
    accept_clock: bool,
    /// Start on a copy of a store that was open when it was copied, without what its log had.
    #[arg(long)]
    accept_copy: bool,
    #[command(subcommand)]
    command: Option<Request>,
}

/// What can be asked of a server that runs.
#[derive(Subcommand)]
enum Request {
    /// Ask the server on the configured address whether it is ready: exit code 0 or 1, and a sentence.
    Health,
}

/// Wrong usage or configuration; clap uses the same.
const USAGE: u8 = 2;
/// Files that the server opens besides connections: the database, its log, listeners; with plenty to spare.
const FILES_BESIDES_CONNECTIONS: usize = 256;
/// Connections that wait in the kernel to be taken, where the system allows so many (net.core.somaxconn). One that finds no
/// room waits for seconds; the library's 128 are gone in a moment in which the processors are busy.
const BACKLOG: u32 = 4096;
/// Bytes of an answer that the kernel takes for a client that does not read; it would let them grow to megabytes for each.
const SEND_BUFFER: u32 = 128 * 1024;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = read_config(&arguments);
    if matches!(arguments.command, Some(Request::Health)) {
        return health(config);
    }
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    if let Err(problem) = check_filter(&config.logging) {
        return fail(USAGE, &problem);
    }
    if arguments.check_config {
        let unused = set_nothing(&config).map(|line| format!("\nBut {line}")).unwrap_or_default();
        return say(&format!("The configuration is fine: {config}{unused}"));
    }
    let logs = match Logs::start(&config.logging) {
        Ok(logs) => logs,
        Err(problem) => return fail(USAGE, &problem),
    };
    let code = match Runtime::new() {
        Err(error) => report(&logs, &format!("cannot start: {error}")),
        Ok(runtime) => {
            let ended = runtime.block_on(run(arguments, config, logs.clone()));
            runtime.shutdown_background(); // an opening that was given up cannot be waited for
            ended.map_or_else(|problem| report(&logs, &problem), |()| ExitCode::SUCCESS)
        }
    };
    logs.flush();
    code
}

/// The configuration as file and environment have it at this moment.
fn read_config(arguments: &Arguments) -> Result<Config, ConfigError> {
    Config::load(arguments.config.as_deref(), std::env::vars_os())
}

/// Variables of others, such as those that Kubernetes sets for a service called like this program; or mistakes.
fn set_nothing(config: &Config) -> Option<String> {
    let variables = config.passed_over.join(", ");
    let form = "a key is set by DECENTCOM_<SECTION>__<KEY>";
    (!variables.is_empty()).then(|| format!("these environment variables set nothing ({form}): {variables}"))
}

/// 0 or 1, whatever is wrong: other codes mean other things to those who run health checks.
fn health(config: Result<Config, ConfigError>) -> ExitCode {
    let asked = config.map_err(|error| error.to_string()).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(ask(config.network.bind_address))
    });
    match asked {
        Ok(sentence) => say(&sentence),
        Err(sentence) => fail(1, &sentence),
    }
}

async fn run(arguments: Arguments, mut config: Config, logs: Logs) -> Result<(), String> {
    let signals = Signals::take(logs.clone()).map_err(|error| format!("cannot wait for signals: {error}"))?;
    check_system_clock(arguments.accept_clock)?;
    // The port comes before the database: a second start by mistake must not create or migrate anything.
    let listener = listen(config.network.bind_address, "network")?;
    let metrics = match config.metrics.bind_address {
        Some(address) => Some(listen(address, "metrics")?),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;

    // A limit on file sizes (ulimit -f) is to be an error of the write that meets it, not the end of the process.
    let _ = tokio::signal::unix::signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{config}");
    if let Some(unused) = set_nothing(&config) {
        tracing::warn!("{unused}");
    }
    let open_files = raise_limit_on_open_files();
    config.network.lower_connections_to(connections_within(open_files));
    tracing::info!(open_files, "up to {} connections at once", config.network.max_connections);
    if let Some(warning) = storage::place_warning(&config.storage.path) {
        tracing::warn!("{warning}");
    }
    if arguments.accept_copy {
        match storage::accept_copy(&config.storage).map_err(|error| error.to_string())? {
            true => tracing::warn!("--accept-copy: going on with what is in the file, without what its log had"),
            false => tracing::warn!("--accept-copy: there is nothing to accept; leave it out the next time"),
        }
    }
    let clock: Arc<dyn Clock> = if arguments.accept_clock { Arc::new(SystemClock) } else { Arc::new(CautiousClock) };
    let is_metered = metrics.is_some();
    // Before the store, which has something to measure as soon as it is open.
    if let Some(listener) = metrics {
        let address = listener.local_addr().map_err(|error| format!("cannot listen: {error}"))?;
        let router = record_metrics(&config.storage).map_err(|error| format!("cannot record metrics: {error}"))?;
        tokio::spawn(serve_metrics(router, listener, config.network.clone()));
        tracing::info!("metrics on http://{address}/metrics");
    }
    // A task of its own: opening may block, on a slow disk or a lock, where signals are still to be heard.
    let opening = (config.storage.clone(), clock.clone());
    let opening = tokio::spawn(async move { storage::open(&opening.0, opening.1).await });
    let store = tokio::select! {
        opened = opening => opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?,
        // What a crash in the midst of it would leave is what is left: the next start begins the opening anew.
        () = signals.clone().stopped() => {
            tracing::info!("stopped while the database was being opened; the next start opens it from the beginning");
            return Ok(());
        }
    };
    let store = if is_metered { Arc::new(Metered::new(store)) } else { store };
    let app = App::new(store, config, clock).await.map_err(|error| error.to_string())?;
    let read = move || {
        let mut found = read_config(&arguments)?;
        found.network.lower_connections_to(connections_within(open_files));
        Ok(found)
    };
    tokio::spawn(follow(signals.clone(), read, app.clone(), logs));
    tracing::info!("listening on http://{address}");
    serve(app, listener, signals.stopped()).await.map_err(|error| format!("the server failed: {error}"))
}

fn listen(address: SocketAddr, section: &str) -> Result<TcpListener, String> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?; // of a server that has just stopped
        socket.set_send_buffer_size(SEND_BUFFER)?; // each connection has it from here
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

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says why there is no server, before there is a log.
fn fail(code: u8, problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "decentcom-server: {problem}");
    ExitCode::from(code)
}

/// The same where there is one.
fn report(logs: &Logs, problem: &str) -> ExitCode {
    logs.say(&format!("decentcom-server: {problem}"));
    ExitCode::FAILURE
}
