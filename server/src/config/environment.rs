//! Environment variables that override keys, and those that only look so.

use std::{collections::BTreeMap, ffi::OsString};

use super::{ConfigError, File};

/// Environment variables with this prefix are ours.
const PREFIX: &str = "DECENTCOM_";
/// Between a section and a key.
const BETWEEN: &str = "__";

/// Sets the keys that `environment` overrides. Answers the variables that begin like ours and set nothing.
pub(super) fn apply(
    table: &mut toml::Table,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<String>, ConfigError> {
    let mut passed_over = Vec::new();
    let mut set_by: BTreeMap<String, String> = BTreeMap::new();
    for (variable, value) in environment {
        let shown = variable.to_string_lossy().into_owned();
        let Some(name) = shown.strip_prefix(PREFIX) else { continue };
        let error = |message: &str| Err(ConfigError::Environment { variable: shown.clone(), message: message.into() });
        if is_a_services(name, &value.to_string_lossy()) {
            passed_over.push(shown);
            continue;
        }
        let name = name.to_ascii_lowercase();
        if !name.contains(BETWEEN) {
            if let Some((section, key)) = meant(&name) {
                return error(&format!("write {PREFIX}{section}{BETWEEN}{key}, with two underscores before the key"));
            }
            passed_over.push(shown);
            continue;
        }
        let Some(value) = value.to_str().filter(|_| variable.to_str().is_some()) else {
            return error("it is not UTF-8");
        };
        if let Some(other) = set_by.insert(name.clone(), shown.clone()) {
            return error(&format!("{other} sets the same key; keep one of them"));
        }
        override_key(table, &shown, &name, value)?;
    }
    Ok(passed_over)
}

/// Whether this is one of the variables that Kubernetes and Docker set for services: `X_SERVICE_HOST`, `X_SERVICE_PORT`,
/// `X_SERVICE_PORT_NAME`, `X_PORT=tcp://…`, `X_PORT_8080_TCP_ADDR`; X begins with our prefix where the service's name does.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_a_services(name: &str, value: &str) -> bool {
    let name = format!("_{name}"); // of a service called `decentcom` the name begins with the end
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let has_number = name.match_indices("_PORT_").any(|(at, found)| {
        let rest = name.get(at + found.len()..).unwrap_or_default();
        let mut parts = rest.split('_');
        parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_address)
        || has_number
}

/// The section and key that a name with single underscores spells.
fn meant(name: &str) -> Option<(String, String)> {
    let all = toml::Table::try_from(File::example()).ok()?;
    name.match_indices('_').find_map(|(at, _)| {
        let (section, key) = (name.get(..at)?, name.get(at + 1..)?);
        all.get(section)?.as_table()?.get(key)?;
        Some((section.to_ascii_uppercase(), key.to_ascii_uppercase()))
    })
}

/// Sets one key. The value is tried as TOML (`["a", "b"]`, `4000`), then as plain text.
fn override_key(table: &mut toml::Table, variable: &str, name: &str, value: &str) -> Result<(), ConfigError> {
    let error = |message: String| ConfigError::Environment { variable: variable.into(), message };
    let (path, key) = name
        .rsplit_once(BETWEEN)
        .ok_or_else(|| error(format!("names no key; the form is {PREFIX}<SECTION>{BETWEEN}<KEY>")))?;
    let sections = || path.split(BETWEEN);
    let as_toml = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut it| it.remove("value"));
    let mut problem = String::new();
    for candidate in as_toml.into_iter().chain([toml::Value::String(value.into())]) {
        let mut alone = toml::Table::new();
        insert(&mut alone, sections(), key, candidate.clone());
        match alone.try_into::<File>() {
            Ok(_) => {
                insert(table, sections(), key, candidate);
                return Ok(());
            }
            Err(found) => problem = found.message().to_owned(),
        }
    }
    Err(error(problem))
}

/// Sets `key` in the table that `sections` lead to, making them on the way.
fn insert<'a>(table: &mut toml::Table, mut sections: impl Iterator<Item = &'a str>, key: &str, value: toml::Value) {
    match sections.next() {
        None => drop(table.insert(key.into(), value)),
        Some(section) => {
            let inner = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let Some(inner) = inner.as_table_mut() {
                insert(inner, sections, key, value);
            }
        }
    }
}
