//! What a store says while a command waits for it: that its file is checked after a crash or laid out anew, and how far that is.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Shows it on stderr from now on, if that is a terminal. Control characters are shown as escapes.
pub(crate) fn show() {
    if io::stderr().is_terminal() {
        let lines = tracing_subscriber::fmt().with_writer(io::stderr).without_time().with_target(false);
        let _ = lines.with_env_filter(EnvFilter::new("decentcom_server::storage=info")).try_init();
    }
}
