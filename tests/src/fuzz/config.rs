//! Configurations: TOML, then after a NUL byte lines of the environment, `NAME=value`.

use decentcom_server::config::Config;

pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (file, environment) = text.split_once('\0').unwrap_or((text, ""));
    let environment = environment.lines().filter_map(|line| line.split_once('='));
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    match Config::from_text(file, "decentcom.toml", environment) {
        Ok(config) => {
            assert!(!config.server.name.trim().is_empty() && config.network.max_connections > 0);
            assert!(config.network.idle_timeout.as_secs() > 0 && config.sessions.ttl.as_secs() > 0);
            assert!((1..=262_144).contains(&config.content.max_message_length));
            assert!(!config.to_string().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(super) fn around(text: &str) -> Vec<Vec<u8>> {
    let value = serde_json::Value::from(text); // a JSON string is nearly a TOML one
    vec![
        text.into(),
        format!("[server]\nname = {value}\n").into(),
        format!("[membership]\nadmins = [{value}]\n").into(),
        format!("[network]\nallowed_origins = [{value}]\nidle_timeout = {value}\n").into(),
        format!("\0DECENTCOM_SERVER__NAME={text}\nDECENTCOM_NETWORK__ALLOWED_ORIGINS=[{value}]").into(),
        format!("\0DECENTCOM_{text}=1").into(),
    ]
}
