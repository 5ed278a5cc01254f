//! The log: which events become lines, how they look, where they go; and what of it changes while the server runs.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use decentcom_server::config::{LogFormat, Logging};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, Registry, filter::filter_fn, fmt, prelude::*, reload};

use super::lines::{Lines, Sink};

const MIB: u64 = 1024 * 1024;
/// How long the end of the process waits for lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// At its lowest level the WebSocket library logs whole frames, and with them what people write to each other.
fn is_no_text_of_people(line: &Metadata<'_>) -> bool {
    !(line.target().starts_with("tungstenite") && *line.level() == Level::TRACE)
}

/// The running log.
#[derive(Clone)]
pub(crate) struct Logs {
    lines: Lines,
    /// Whether the lines go to stderr, where whoever started the program reads them.
    to_stderr: bool,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logs {
    /// Begins to log, for the whole process. A panic is logged too, instead of printed: printing would wait for whoever
    /// reads stderr.
    pub(crate) fn start(config: &Logging) -> Result<Self, String> {
        let coloured = config.file.as_os_str().is_empty() && std::io::stderr().is_terminal();
        let lines = Lines::start(sink(config)?, coloured).map_err(|error| format!("cannot log: {error}"))?;
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let layer = fmt::layer().with_writer(lines.clone()).with_ansi(coloured);
        let layer = match config.format {
            LogFormat::Text => layer.boxed(),
            LogFormat::Json => layer.json().boxed(),
        };
        tracing_subscriber::registry().with(filter).with(filter_fn(is_no_text_of_people)).with(layer).init();
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = Backtrace::capture();
            match backtrace.status() {
                BacktraceStatus::Captured => tracing::error!(%backtrace, "{panic}"),
                _ => tracing::error!("{panic}"),
            }
        }));
        Ok(Self { lines, to_stderr: config.file.as_os_str().is_empty(), filter: handle })
    }

    /// Goes on as `config` says, in a file that is opened again: whoever turns logs over may have moved it.
    pub(crate) fn follow(&self, config: &Logging) {
        match sink(config) {
            Ok(sink) => self.lines.redirect(sink),
            Err(problem) => tracing::error!("the log stays where it is: {problem}"),
        }
        let applied = filter(config).and_then(|filter| self.filter.reload(filter).map_err(|error| error.to_string()));
        if let Err(problem) = applied {
            tracing::error!("the level of the log stays as it is: {problem}");
        }
    }

    /// Writes a line for whoever started the program, whatever is logged and where.
    pub(crate) fn say(&self, text: &str) {
        self.lines.push(format!("{text}\n").as_bytes());
        if !self.to_stderr {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Waits for the lines that are on their way, but no longer than a second: nobody may be reading them.
    pub(crate) fn flush(&self) {
        self.lines.flush(LAST_LINES);
    }
}

/// Whether the level that is configured means something.
pub(crate) fn check_filter(config: &Logging) -> Result<(), String> {
    filter(config).map(drop)
}

fn filter(config: &Logging) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&config.level)
        .map_err(|error| format!("[logging] level `{}` is no log filter: {error}", config.level))
}

fn sink(config: &Logging) -> Result<Sink, String> {
    if config.file.as_os_str().is_empty() {
        return Sink::stderr().map_err(|error| format!("cannot log to stderr: {error}"));
    }
    Sink::file(&config.file, config.max_size_mib * MIB).map_err(|error| {
        let file = config.file.display();
        format!("cannot log to {file}: {error}. Name a file in `[logging] file` that this user may write, in a directory that is there")
    })
}
