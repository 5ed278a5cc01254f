//! What every backend checks and prepares before its engine touches a file.

//!
//! ```text
//!  kind.rs        names and things that can be no database
//!  descriptor.rs  open files, and when they may be closed
//!  held.rs        a file that this process has to itself; note.rs, what is noted beside it
//!  presence.rs    whether the files of an open store are still there
//!  filesystem.rs  where they lie
//! ```

pub(super) mod descriptor;
pub(super) mod filesystem;
pub(super) mod held;
pub(super) mod kind;
pub(super) mod note;
mod presence;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use self::descriptor::Descriptor;
pub use self::presence::Presence;
use super::{Backend, OpenError};

/// Only the owner may read or write a database file, or what is kept beside it.
pub(super) const FILE_MODE: u32 = 0o600;
/// Only the owner may look into a directory made for a database.
const DIRECTORY_MODE: u32 = 0o700;

/// The first bytes of a redb file: written last when one is created, before a header that exists already.
const REDB_SIGNATURE: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Symbolic links that Linux follows before it gives up.
const MOST_LINKS: usize = 40;

/// The first bytes of an SQLite file.
pub(super) const SQLITE_SIGNATURE: &[u8] = b"SQLite format 3\0";

/// The first bytes of each backend's files.
const SIGNATURES: [(Backend, &[u8]); 2] = [(Backend::Sqlite, SQLITE_SIGNATURE), (Backend::Redb, REDB_SIGNATURE)];

/// Makes sure that `path` is, or can become, a file of `backend`: refuses directories and foreign files, and creates
/// missing directories (0700). Answers whether the file has content.
pub(super) fn prepare(path: &Path, backend: Backend) -> Result<bool, OpenError> {
    kind::check(path, backend)?;
    let mut buffer = [0; 16];
    let start = match Descriptor::read(path) {
        Ok(file) => {
            let length = file.read_at(0, &mut buffer).map_err(|error| path_error(path, &error))?;
            buffer.get(..length).unwrap_or_default()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory_of(path);
            create_directories(directory).map_err(|error| path_error(directory, &error))?;
            return Ok(false);
        }
        Err(error) => return Err(path_error(path, &error)),
    };
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
        // A power loss tore the first page that was ever written; SQLite takes it back with the journal.
        None if backend == Backend::Sqlite
            && start.iter().all(|byte| *byte == 0)
            && beside(&target(path), "-journal").exists() =>
        {
            Ok(true)
        }
        // What a crash during its creation leaves; the engine finds out whether anything was ever in it.
        None if backend == Backend::Redb && start.starts_with(&[0; REDB_SIGNATURE.len()]) => Ok(false),
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
    kind::check(path, backend)?;
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

/// Creates `directory` and what is missing above it (0700); the new names are on disk when this returns.
fn create_directories(directory: &Path) -> io::Result<()> {
    let above = directory.ancestors().skip(1).take_while(|it| !it.as_os_str().is_empty() && !it.exists());
    let made: Vec<&Path> = std::iter::once(directory).chain(above).collect();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    // Also if `directory` exists: an earlier start may have ended between making it and syncing its name. Whoever made
    // one in a place that this program may not read has to answer for the name.
    made.into_iter().try_for_each(|it| match sync_directory(directory_of(it)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    })
}

/// Puts the names in a directory on disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// `path` with `suffix` after its whole name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The process that holds a lock on the file at `path`, as far as Linux tells: its program and number.
pub(super) fn holder_of(path: &Path) -> Option<String> {
    let inode = std::fs::metadata(path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`, see proc_locks(5); locks of open files name no process.
    let find = |kind: &str| {
        locks.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, found, _, _, process, file, ..] = words.as_slice() else { return None };
            let held: u64 = file.rsplit(':').next()?.parse().ok()?;
            (held == inode && found.starts_with(kind)).then_some(process.parse::<u32>().ok()).flatten()
        })
    };
    // Those who only read an SQLite file have locks of the other kind on it.
    let process = find("FLOCK").or_else(|| find(""));
    let process = process.or_else(|| who_has_open(path))?;
    let program = std::fs::read_link(format!("/proc/{process}/exe")).ok();
    Some(match program.as_deref().and_then(Path::file_name) {
        Some(program) => format!("{} (process {process})", program.to_string_lossy()),
        None => format!("process {process}"),
    })
}

/// A process that has the file at `path` open, other than this one, as far as its descriptors can be seen: those of the
/// same user. Only worth asking once it is known that somebody holds it.
fn who_has_open(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| *number != std::process::id()).find(|number| {
        let descriptors = std::fs::read_dir(format!("/proc/{number}/fd")).into_iter().flatten().flatten();
        let mut opened = descriptors.filter_map(|descriptor| std::fs::metadata(descriptor.path()).ok());
        opened.any(|it| it.ino() == file.ino() && it.dev() == file.dev())
    })
}

/// Copies the files of the store at `path`, those with these suffixes that exist, to names beside them that are free;
/// when this returns, the copies are on disk. Answers the name of the first, the store's own, which is there when all
/// are whole or not at all. Nobody may write to the files meanwhile.
pub(super) fn keep_copy(path: &Path, suffixes: &[&str]) -> Result<PathBuf, OpenError> {
    // A log without its store counts, too: a store that came beside it would be read with it.
    let is_taken = |copy: &Path| suffixes.iter().any(|suffix| beside(copy, suffix).exists());
    let mut copy = beside(path, ".before-repair");
    let mut number = 2;
    while is_taken(&copy) {
        copy = beside(path, &format!(".before-repair-{number}"));
        number += 1;
    }
    // Under names of their own until all are whole: half a copy is nobody's backup.
    let partial = beside(path, ".before-repair.partial");
    let clear = || suffixes.iter().for_each(|suffix| drop(fs::remove_file(beside(&partial, suffix))));
    clear(); // what was cut short
    let there: Vec<_> = suffixes.iter().filter(|suffix| beside(path, suffix).exists()).collect();
    let copied = there.iter().try_for_each(|suffix| {
        let to = beside(&partial, suffix);
        let copied = Descriptor::read(&beside(path, suffix)).and_then(|from| from.copy_to(&to));
        copied.map_err(|error| path_error(&to, &error))
    });
    if copied.is_err() {
        clear(); // it takes space that may be what is missing
    }
    copied?;
    // The store's own name comes last.
    for suffix in there.iter().rev() {
        let to = beside(&copy, suffix);
        fs::rename(beside(&partial, suffix), &to).map_err(|error| path_error(&to, &error))?;
    }
    let directory = directory_of(path);
    sync_directory(directory).map_err(|error| path_error(directory, &error))?;
    Ok(copy)
}

/// Length of the file at `path`, and the bytes of the disk it takes; a missing file has none of either.
pub(super) fn sizes(path: &Path) -> (u64, u64) {
    std::fs::metadata(path).map_or((0, 0), |it| (it.len(), it.blocks() * 512))
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

pub(super) fn directory_of(path: &Path) -> &Path {
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
        Kind::FileTooLarge => "Raise the limit on file sizes (ulimit -f)",
        Kind::OutOfMemory => "Give this program more memory, or stop others",
        Kind::InvalidFilename => "Choose a shorter name",
        _ => "Check `database_path` in [storage] and the disk it names",
    };
    let problem = match error.kind() {
        Kind::IsADirectory => "it is a directory".into(),
        // Who says more than the system does knows how much is missing.
        Kind::StorageFull if error.get_ref().is_none() => "the disk is full".into(),
        Kind::QuotaExceeded => "the quota on the disk is used up".into(),
        Kind::OutOfMemory => "the system has no memory left".into(),
        Kind::InvalidFilename => "the name is too long".into(),
        _ => error.to_string(),
    };
    OpenError::Path { path: path.into(), problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_what_is_known_of_it() {
        let path = Path::new("store");
        let plain = path_error(path, &io::ErrorKind::StorageFull.into()).to_string();
        assert!(plain.contains("the disk is full"), "{plain}");
        let known = io::Error::new(io::ErrorKind::StorageFull, "it takes 7 MiB, and 3 MiB are free");
        let told = path_error(path, &known).to_string();
        assert!(told.contains("it takes 7 MiB, and 3 MiB are free") && told.contains("Free some disk space"), "{told}");
    }

    #[test]
    fn of_a_copy_that_fails_half_way_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        fs::write(&store, "x").unwrap();
        fs::create_dir(beside(&store, "-wal")).unwrap(); // cannot be copied like a file
        assert!(keep_copy(&store, &["", "-wal"]).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        fs::remove_dir(beside(&store, "-wal")).unwrap();
        fs::write(beside(&store, "-wal"), "y").unwrap();
        for name in ["store.before-repair", "store.before-repair-2"] {
            let copy = keep_copy(&store, &["", "-wal"]).unwrap();
            assert_eq!(copy, directory.path().join(name));
            assert_eq!(
                (fs::read(&copy).unwrap(), fs::read(beside(&copy, "-wal")).unwrap()),
                (b"x".into(), b"y".into())
            );
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 6);
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
