//! How a store is named on the command line.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use decentcom_server::{
    config::{Config, Membership},
    storage::{Backend, check_name},
};

/// `sqlite:PATH`, `redb:PATH`, or `config:FILE` for the store that a configuration file of the server names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The backend.
    pub backend: Backend,
    /// The database file.
    pub path: PathBuf,
    /// Who may be a member and who is an admin, where a configuration names the store.
    pub membership: Option<Membership>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` names no store; the form is sqlite:PATH, redb:PATH or config:FILE");
        let (scheme, path) = text.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or_else(form)?;
        if scheme == "config" {
            let config = Config::load(Some(Path::new(path)), std::env::vars_os()).map_err(|error| error.to_string())?;
            let Config { storage, membership, .. } = config;
            return Ok(Self { backend: storage.backend, path: storage.path, membership: Some(membership) });
        }
        let backend = [Backend::Sqlite, Backend::Redb].into_iter().find(|backend| backend.name() == scheme);
        let backend = backend.ok_or_else(form)?;
        check_name(Path::new(path), backend).map_err(|error| error.to_string())?;
        // In full, so that messages say which file is meant wherever they are read.
        let path = std::path::absolute(path).map_err(|error| format!("`{text}`: {error}"))?;
        Ok(Self { backend, path, membership: None })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend.name(), self.path.display())
    }
}

/// Writes `--config FILE` in place of a store as `config:FILE`, right after the command's name, where the first store
/// stands.
pub fn with_config_as_store(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut rest = Vec::new();
    let mut config = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if let Some(file) = text.strip_prefix("--config=") {
            config = Some(OsString::from(file));
        } else if text == "--config" {
            match arguments.next() {
                Some(file) => config = Some(file),
                None => rest.push(argument.clone()), // clap says what is wrong with it
            }
        } else {
            rest.push(argument.clone());
        }
    }
    if let Some(file) = config {
        let command = rest.iter().skip(1).position(|argument| !argument.to_string_lossy().starts_with('-'));
        let mut store = OsString::from("config:");
        store.push(file);
        rest.insert(command.map_or(rest.len(), |at| at + 2), store);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = with_config_as_store(line.split(' ').map(OsString::from));
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_configuration_stands_for_the_first_store() {
        assert_eq!(rewritten("dcstore scan --config c.toml messages"), "dcstore scan config:c.toml messages");
        assert_eq!(
            rewritten("dcstore --quiet --config=c.toml copy redb:x"),
            "dcstore --quiet copy config:c.toml redb:x"
        );
        assert_eq!(rewritten("dcstore info sqlite:x"), "dcstore info sqlite:x");
        assert_eq!(rewritten("dcstore info --config"), "dcstore info --config");
    }

    #[test]
    fn an_address_has_a_backend_and_a_path() {
        let address: Address = "redb:/a:b".parse().unwrap();
        assert_eq!((address.backend, address.path.as_path()), (Backend::Redb, Path::new("/a:b")));
        assert_eq!(address.to_string(), "redb:/a:b");
        let relative: Address = "redb:a:b".parse().unwrap();
        assert_eq!(relative.path, std::env::current_dir().unwrap().join("a:b"));
        for bad in ["", "redb", "redb:", "mysql:x", ":x", "config:/nowhere/at/all"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
