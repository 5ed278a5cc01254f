//! How a store is named on the command line.

use std::{path::PathBuf, str::FromStr};

use decentcom_server::storage::Backend;

/// `sqlite:PATH` or `redb:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) backend: Backend,
    pub(crate) path: PathBuf,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` names no store; the form is sqlite:PATH or redb:PATH");
        let (scheme, path) = text.split_once(':').ok_or_else(form)?;
        let backend = [Backend::Sqlite, Backend::Redb].into_iter().find(|backend| backend.name() == scheme);
        let backend = backend.ok_or_else(form)?;
        if path.is_empty() {
            return Err(form());
        }
        Ok(Self { backend, path: path.into() })
    }
}
