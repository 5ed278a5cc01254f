//! What a running server takes over from a configuration that was read again.

use super::{Config, Logging, Network};

/// What came of reading the configuration again: the keys that differ, as `[section] key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// In force from now on.
    pub applied: Vec<String>,
    /// In force after a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// What the server runs on once it has read `found`: all that can change while it runs is taken from there.
    ///
    /// This is the one list of what can: whatever a listener, the store or the lines of the log are made with needs a
    /// restart.
    pub fn reloaded(&self, found: &Config) -> (Config, Reloaded) {
        let running = Config {
            server: found.server.clone(),
            network: Network {
                allowed_origins: found.network.allowed_origins.clone(),
                request_timeout: found.network.request_timeout,
                shutdown_grace: found.network.shutdown_grace,
                ..self.network.clone()
            },
            storage: self.storage.clone(),
            sessions: found.sessions.clone(),
            membership: found.membership.clone(),
            content: found.content.clone(),
            gateway: found.gateway.clone(),
            limits: found.limits.clone(),
            metrics: self.metrics.clone(),
            logging: Logging { format: self.logging.format, ..found.logging.clone() },
            passed_over: found.passed_over.clone(),
        };
        let reloaded = Reloaded { applied: differences(self, &running), waiting: differences(&running, found) };
        (running, reloaded)
    }

    /// Every key with its value.
    fn table(&self) -> toml::Table {
        // Nothing in a configuration is beyond TOML: it came from there.
        toml::Table::try_from(self).unwrap_or_default()
    }
}

/// The keys whose values differ.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &one.table(), &other.table(), &mut found);
    found
}

fn compare(section: &str, one: &toml::Table, other: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in one {
        match (value, other.get(key)) {
            (toml::Value::Table(inner), Some(toml::Value::Table(others))) => {
                let section = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
                compare(&section, inner, others, found);
            }
            (value, others) if others != Some(value) => found.push(format!("[{section}] {key}")),
            _ => {}
        }
    }
}
