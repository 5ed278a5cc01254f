//! SIGHUP: the log goes on in a file opened anew, and the configuration is read again.

use decentcom_server::{
    config::{Config, ConfigError, Reloaded},
    http::App,
};

use super::{logging::Logs, signals::Signals};

/// Reads the configuration again whenever that is asked for. One that cannot work changes nothing.
pub(crate) async fn follow(mut signals: Signals, read: impl Fn() -> Result<Config, ConfigError>, app: App, logs: Logs) {
    while signals.reload().await {
        logs.follow(&app.config().logging); // whatever becomes of the rest: the file may have been moved
        match read() {
            Ok(found) => {
                let reloaded = app.reconfigure(&found).await;
                logs.follow(&app.config().logging);
                say(&reloaded);
            }
            Err(error) => {
                tracing::error!("the configuration was read again and stays as it was: {error}");
            }
        }
    }
}

fn say(Reloaded { applied, waiting }: &Reloaded) {
    if applied.is_empty() && waiting.is_empty() {
        tracing::info!("the configuration was read again: nothing changed");
    }
    for key in applied {
        tracing::info!(key, "the configuration was read again: in force from now on");
    }
    for key in waiting {
        tracing::warn!(key, "the configuration was read again: this needs a restart");
    }
}
