//! The first and the last line of a dump.

use std::collections::BTreeMap;

use decentcom_server::storage::{Clock as _, StorageError, SystemClock, Timestamp, inspect::Inspection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FORMAT;
use crate::outcome::{Code, Failure};

/// The first line: what the dump is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) dcstore: Header,
}

/// What is in [`Head`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The format of the lines.
    pub(crate) format: u32,
    /// The program that wrote it.
    pub(crate) tool: String,
    /// The backend of the store it was made from.
    pub(crate) backend: String,
    /// The format and the fingerprint of that store.
    pub(crate) schema: String,
    /// When.
    pub(crate) time: Timestamp,
    /// The tables that are in it.
    pub(crate) tables: Vec<String>,
    /// Whether texts, names and keys are fillers.
    pub(crate) redacted: bool,
}

impl Header {
    pub(crate) fn of(
        store: &mut dyn Inspection,
        tables: &[&'static str],
        redacted: bool,
    ) -> Result<Self, StorageError> {
        let facts = store.facts()?;
        Ok(Self {
            format: FORMAT,
            tool: concat!("dcstore ", env!("CARGO_PKG_VERSION")).into(),
            backend: facts.backend.name().into(),
            schema: format!("{} {}", facts.format, facts.fingerprint.as_deref().unwrap_or("unknown")),
            time: SystemClock.now(),
            tables: tables.iter().map(|table| (*table).into()).collect(),
            redacted,
        })
    }

    /// Reads the first line. A newer format may have fields that this program does not know, so it is asked for first.
    pub(crate) fn parse(line: &str) -> Result<Self, Failure> {
        let none = |problem: &str| {
            Failure::new(Code::Corrupt, format!("line 1: {problem}; this is no dump made by `dcstore dump`"))
        };
        let value: Value = serde_json::from_str(line).map_err(|error| none(&error.to_string()))?;
        match value.pointer("/dcstore/format").and_then(Value::as_u64) {
            Some(format) if format > u64::from(FORMAT) => {
                return Err(Failure::new(
                    Code::Newer,
                    format!("the dump has format {format}; this program reads up to {FORMAT}: use a newer dcstore"),
                ));
            }
            Some(format) if format == u64::from(FORMAT) => {}
            _ => return Err(none("there is no format in it")),
        }
        let head: Head = serde_json::from_value(value).map_err(|error| none(&error.to_string()))?;
        Ok(head.dcstore)
    }
}

/// The last line: without it, a dump is truncated.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tail {
    pub(crate) trailer: Trailer,
}

/// What is in [`Tail`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trailer {
    /// How many lines each table of the header has.
    pub(crate) records: BTreeMap<String, u64>,
    /// The SHA-256 of all lines between the first and this one, with their line ends, in hexadecimal.
    pub(crate) sha256: String,
}
