//! What may be a database by its name and by its kind, found out before anything is opened.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
    path::{Path, PathBuf},
};

use super::{beside, expected, path_error, target};
use crate::storage::{Backend, OpenError};

/// Bytes that the name of a file may have, on every file system in use.
const LONGEST_NAME: usize = 255;
/// The longest ending of the files that belong to a database.
const LONGEST_ENDING: &str = ".before-repair-10-journal";
/// Bytes that SQLite's longest path may have, less that ending: `MAX_PATHNAME` of its `os_unix.c`.
const LONGEST_SQLITE_PATH: usize = 512 - LONGEST_ENDING.len();

/// Refuses names and things that can be no database, or have none of its companions. Creates and opens nothing.
pub(in crate::storage) fn check(path: &Path, backend: Backend) -> Result<(), OpenError> {
    check_name(path, backend)?;
    let path = &target(&absolute(path)?);
    refuse_what_is_no_file(path, path, backend)?;
    let endings: &[&str] = match backend {
        Backend::Sqlite => &["-wal", "-shm", "-journal", ".lock"],
        Backend::Redb => &[".lock"],
    };
    endings.iter().try_for_each(|ending| refuse_what_is_no_file(&beside(path, ending), path, backend))
}

/// The path from the root on, so that it means the same for as long as the store is open.
pub(in crate::storage) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(path).map_err(|error| path_error(path, &error))
}

/// Refuses names that no store can have.
pub(in crate::storage) fn check_name(path: &Path, backend: Backend) -> Result<(), OpenError> {
    let name = path.file_name().map_or(0, OsStr::len);
    let full = absolute(path).ok().map_or(0, |full| full.as_os_str().len());
    let bytes = path.as_os_str().as_bytes();
    let (problem, remedy) = match bytes {
        [] => ("a store lies in a file, and the name of this one is empty".into(), "Name a file"),
        _ if bytes.contains(&0) => ("its name contains a NUL byte, which no file's name does".into(), "Name a file"),
        b":memory:" => {
            ("a store lies in a file, not in memory".into(), "Name a file; one that is called so is `./:memory:`")
        }
        _ if bytes.starts_with(b"file:") => (
            "it is written as an address, and a store is named by the path of its file".into(),
            "Leave `file:` and everything from `?` on out; a file that is called so is `./file:…`",
        ),
        _ if path.file_name().is_none() || bytes.ends_with(b"/") => {
            ("it names a directory, and a store lies in a file".into(), "Name a file in it")
        }
        _ if name + LONGEST_ENDING.len() > LONGEST_NAME => (
            format!(
                "its name has {name} bytes; {} are left by the endings of the files that belong to it",
                LONGEST_NAME - LONGEST_ENDING.len()
            ),
            "Choose a shorter name",
        ),
        _ if backend == Backend::Sqlite && full > LONGEST_SQLITE_PATH => (
            format!("its path has {full} bytes from the root on, and SQLite takes {LONGEST_SQLITE_PATH} at most"),
            "Choose a place nearer to the root",
        ),
        _ if backend == Backend::Sqlite && absolute(path).is_ok_and(|full| full.to_str().is_none()) => {
            ("its path is not UTF-8, which SQLite needs".into(), "Choose another name or directory")
        }
        _ => return Ok(()),
    };
    Err(OpenError::Name { path: path.into(), problem, remedy })
}

fn refuse_what_is_no_file(path: &Path, store: &Path, backend: Backend) -> Result<(), OpenError> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(path_error(path, &error)),
    };
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "it is a directory",
        () if kind.is_fifo() => "it is a named pipe",
        () if kind.is_socket() => "it is a socket",
        () if kind.is_char_device() || kind.is_block_device() => "it is a device",
        () => "it is no regular file",
    };
    if path != store {
        let (problem, remedy) =
            (format!("{found}, in the place of a file that belongs to {}", store.display()), "Move it away");
        return Err(OpenError::Path { path: path.into(), problem, remedy });
    }
    Err(OpenError::WrongFormat {
        path: path.into(),
        expected: expected(backend),
        found: found.into(),
        remedy: "Name a file, in `database_path` of [storage] or on the command line",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_files_are_refused_in_words() {
        let long = "x".repeat(250);
        let deep = format!("/{}db", "directory/".repeat(60));
        for (name, said) in [
            ("", "empty"),
            (":memory:", "not in memory"),
            ("file:store?mode=memory", "path of its file"),
            ("file:store", "path of its file"),
            ("a\0b", "NUL"),
            ("store/", "directory"),
            ("/", "directory"),
            ("..", "directory"),
            (&*long, "250 bytes"),
            (&*deep, "SQLite takes"),
        ] {
            let refused = check(Path::new(name), Backend::Sqlite).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        check(Path::new("./:memory:"), Backend::Sqlite).unwrap();
        check(Path::new(&deep), Backend::Redb).unwrap();
        let latin = Path::new(OsStr::from_bytes(b"caf\xe9"));
        check(latin, Backend::Redb).unwrap();
        assert!(check(latin, Backend::Sqlite).unwrap_err().to_string().contains("UTF-8"));
    }
}
