//! Why something was not measured: what `dcstore` says of stores and files, and what the engines say that are used directly.

use std::{fmt, io};

use dcstore::Code;
use decentcom_server::storage::{OpenError, StorageError};

/// A failure of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(dcstore::Failure);

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(dcstore::Failure::new(code, message))
    }

    /// The call is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self(dcstore::Failure::usage(message))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Failure> for dcstore::Failure {
    fn from(Failure(failure): Failure) -> Self {
        failure
    }
}

macro_rules! as_dcstore_says {
    ($($error:ty)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )*};
}

as_dcstore_says! { dcstore::Failure OpenError StorageError io::Error }
