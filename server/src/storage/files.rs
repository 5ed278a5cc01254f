//! What every backend checks and prepares before its engine touches a file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Backend, OpenError};

/// Only the owner may read or write a database file.
const FILE_MODE: u32 = 0o600;
/// Only the owner may look into a directory made for a database.
const DIRECTORY_MODE: u32 = 0o700;

/// Symbolic links that Linux follows before it gives up.
const MOST_LINKS: usize = 40;

/// The first bytes of each backend's files.
const SIGNATURES: [(Backend, &[u8]); 2] =
    [(Backend::Sqlite, b"SQLite format 3\0"), (Backend::Redb, b"redb\x1A\x0A\xA9\x0D\x0A")];

/// Bytes that every signature has.
const SHORTEST_SIGNATURE: usize = 9;

/// Makes sure that `path` is, or can become, a file of `backend`: refuses directories and foreign files, and creates
/// missing directories (0700). Answers whether the file has content.
pub(super) fn prepare(path: &Path, backend: Backend) -> Result<bool, OpenError> {
    let mut start = Vec::new();
    let file = File::open(path);
    match &file {
        Ok(file) => {
            if file.metadata().map_err(|error| path_error(path, &error))?.is_dir() {
                return Err(path_error(path, &io::ErrorKind::IsADirectory.into()));
            }
            file.take(16).read_to_end(&mut start).map_err(|error| path_error(path, &error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory_of(path);
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(|error| path_error(directory, &error))?;
            return Ok(false);
        }
        Err(error) => return Err(path_error(path, error)),
    }
    if start.is_empty() {
        return Ok(false);
    }
    match SIGNATURES.iter().find(|(_, signature)| start.starts_with(signature)) {
        Some((found, _)) if *found == backend => Ok(true),
        Some((found, _)) => Err(OpenError::WrongFormat {
            path: path.into(),
            expected: expected(backend),
            found: format!("it is a {} database", found.name()),
            remedy: match found {
                Backend::Sqlite => "Set `backend = \"sqlite\"` in [storage], or name another file in `database_path`",
                Backend::Redb => "Set `backend = \"redb\"` in [storage], or name another file in `database_path`",
            },
        }),
        // redb locks a new file before it writes, and its signature comes last.
        None if file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))) => {
            Err(OpenError::InUse { path: path.into() })
        }
        // What a first start leaves behind that was killed within the milliseconds before the signature is written.
        None if start.iter().take(SHORTEST_SIGNATURE).all(|byte| *byte == 0) => Err(OpenError::WrongFormat {
            path: path.into(),
            expected: expected(backend),
            found: "it begins with zeros, so its creation was cut short, or its start was overwritten".into(),
            remedy: "If no server has run on it yet, remove it; else restore it from a backup",
        }),
        None => Err(OpenError::WrongFormat {
            path: path.into(),
            expected: expected(backend),
            found: "it begins with other bytes".into(),
            remedy: "Name another file in `database_path`, or restore this one from a backup",
        }),
    }
}

/// Makes sure that `path` is a file of `backend` with content, and creates nothing.
pub(super) fn require(path: &Path, backend: Backend) -> Result<(), OpenError> {
    fs::metadata(path).map_err(|error| path_error(path, &error))?;
    if prepare(path, backend)? {
        return Ok(());
    }
    Err(OpenError::WrongFormat {
        path: path.into(),
        expected: expected(backend),
        found: "it is empty".into(),
        remedy: "Name the file that the server uses",
    })
}

/// What a file of `backend` is called in messages, with its article.
pub(super) fn expected(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "an SQLite",
        Backend::Redb => "a redb",
    }
}

/// Opens `path` for writing, creating it empty (0600) if it is missing; a new name is on disk when this returns.
pub(super) fn create_private(path: &Path) -> Result<File, OpenError> {
    let existed = path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|error| path_error(path, &error))?;
    if !existed {
        let directory = directory_of(path);
        File::open(directory).and_then(|it| it.sync_all()).map_err(|error| path_error(directory, &error))?;
    }
    Ok(file)
}

/// `path` with `suffix` after its whole name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The file that `path` names in the end, through any symbolic links; it need not exist yet. Whoever locks a file by a
/// name beside it has to lock the same one, whatever it was called.
pub(super) fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::read_link(&path) else { break };
        path = directory_of(&path).join(link);
    }
    path
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An operating system error about a path, with what to do about it.
pub(super) fn path_error(path: &Path, error: &io::Error) -> OpenError {
    use io::ErrorKind as Kind;
    let remedy = match error.kind() {
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "Give the user that runs this program read and write access to the file and its directory"
        }
        Kind::IsADirectory | Kind::NotADirectory | Kind::AlreadyExists => {
            "Name a file, not a directory, in `database_path`"
        }
        Kind::StorageFull | Kind::QuotaExceeded => "Free some disk space",
        _ => "Check `database_path` in [storage] and the disk it names",
    };
    let problem = match error.kind() {
        Kind::IsADirectory => "it is a directory".into(),
        _ => error.to_string(),
    };
    OpenError::Path { path: path.into(), problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// redb makes the file long, writes its header without the signature, syncs, and writes the signature.
    #[test]
    fn a_store_whose_creation_was_cut_short_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        for header in [&[0; 16][..], b"\0\0\0\0\0\0\0\0\0\x04\0\0\0\x10\0\0"] {
            let mut bytes = vec![0; 73_728];
            bytes.splice(..header.len(), header.iter().copied());
            fs::write(&path, &bytes).unwrap();
            let error = prepare(&path, Backend::Redb).unwrap_err().to_string();
            assert!(error.contains("its creation was cut short"), "{error}");
            assert!(error.contains("If no server has run on it yet, remove it"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
        }
    }

    #[test]
    fn a_file_that_is_being_created_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        fs::write(&path, [0; 4096]).unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert!(matches!(prepare(&path, Backend::Redb), Err(OpenError::InUse { .. })));
    }

    #[test]
    fn every_name_of_a_file_has_the_same_target() {
        let directory = tempfile::tempdir().unwrap();
        let (store, link) = (directory.path().join("store"), directory.path().join("link"));
        std::os::unix::fs::symlink("store", &link).unwrap();
        assert_eq!((target(&link), target(&store)), (store.clone(), store.clone()), "also before it exists");
        fs::write(&store, "x").unwrap();
        assert_eq!(target(&link), store);
    }
}
