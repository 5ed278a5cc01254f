//! How a command ends, and with which exit code.

use std::{fmt, io};

use decentcom_server::storage::{OpenError, StorageError};

/// A command did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// And there is nothing to report: exit code 0.
    Fine,
    /// And found problems or differences: exit code 1.
    Findings,
}

/// A command could not do what it was asked to: why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// Exit codes from 2 on; the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The call is wrong, or asks for what this store or command cannot do.
    Usage = 2,
    /// Another process has the store.
    InUse = 3,
    /// The store, or the dump, is damaged, or is none.
    Corrupt = 4,
    /// A newer program wrote it.
    Newer = 5,
    /// Input or output failed.
    Io = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The call is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match error {
            OpenError::InUse { .. } | OpenError::Busy { .. } => Code::InUse,
            OpenError::WrongFormat { .. } | OpenError::Damaged { .. } => Code::Corrupt,
            OpenError::NewerFormat { .. } => Code::Newer,
            OpenError::Name { .. } => Code::Usage,
            OpenError::Storage(error) => return error.into(),
            _ => Code::Io,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let code = match error {
            StorageError::Corrupt { .. } => Code::Corrupt,
            _ => Code::Io,
        };
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(code, format!("{error}{source}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}
