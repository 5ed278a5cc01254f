//! Room on the file system below a store: how much there is, how much of it is to stay free, and the reserve.
//!
//! The reserve is a file beside the store that does nothing but take room. When the disk is full it is given back, so that
//! log-outs and deletions, and the engine's own upkeep, find some. It holds nothing: a crash may leave a part of it, anybody
//! may delete it, a backup needs none of it. It is made anew when there is room.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{
    OpenError,
    condition::in_words,
    disk::{Disk, Look, wanted},
    files::{FILE_MODE, beside, directory_of, path_error, target},
};

const MIB: u64 = 1024 * 1024;
/// What stays free unless the configuration says otherwise: SQLite can then move its whole log to its file, 80 MiB at most
/// (`sqlite/mod.rs`, `WAL_LIMIT_BYTES` and the commit beyond it), and redb can store its largest commit.
const AUTO_BYTES: u64 = 96 * MIB;
/// But of a small file system only this part.
const AUTO_PART: u64 = 16;
/// The reserve. What frees room needs some hundred KiB at a time.
const RESERVE_BYTES: u64 = 8 * MIB;
/// But of a small file system only this part.
const RESERVE_PART: u64 = 16;
/// Bytes of the reserve written at once, where it has to be written.
const CHUNK: usize = 64 * 1024;

/// How much of the disk the store leaves free: `[storage] min_free`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum MinFree {
    /// What the engines need to finish their work, or a part of a small file system.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// The file system below a store.
#[derive(Debug)]
pub(super) struct Space {
    directory: PathBuf,
    min_free: MinFree,
    reserve: PathBuf,
}

/// What a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    /// Bytes that this user can still write.
    pub(super) free: u64,
    /// Bytes in all.
    pub(super) total: u64,
    /// Whether another file can be made.
    has_inodes: bool,
}

impl Space {
    /// Below the store at `path`, which need not exist yet.
    pub(super) fn below(path: &Path, min_free: MinFree) -> Self {
        let path = target(path);
        let directory = directory_of(&path).ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("."));
        Self { directory: directory.into(), min_free, reserve: beside(&path, ".reserve") }
    }

    /// What there is now; `None` where the system does not tell, which is no reason to stop.
    pub(super) fn room(&self) -> Option<FileSystem> {
        let told = statvfs(&self.directory).ok()?;
        Some(FileSystem {
            free: told.f_bavail.saturating_mul(told.f_frsize),
            total: told.f_blocks.saturating_mul(told.f_frsize),
            has_inodes: told.f_files == 0 || told.f_favail > 0,
        })
    }

    /// Bytes that are to stay free of `room`.
    pub(super) fn min_free(&self, room: FileSystem) -> u64 {
        match self.min_free {
            MinFree::Auto => AUTO_BYTES.min(room.total / AUTO_PART),
            MinFree::Bytes(bytes) => bytes,
        }
    }

    /// Bytes of the reserve on a file system like `room`.
    pub(super) fn reserve_bytes(room: FileSystem) -> u64 {
        RESERVE_BYTES.min(room.total / RESERVE_PART)
    }

    /// Whether the reserve is there, at least some of it.
    pub(super) fn has_reserve(&self) -> bool {
        fs::metadata(&self.reserve).is_ok_and(|file| file.blocks() > 0)
    }

    /// Gives the reserve back to the file system; answers whether there was one.
    pub(super) fn release_reserve(&self) -> bool {
        let had = self.has_reserve();
        fs::remove_file(&self.reserve).is_ok() && had
    }

    /// Takes the reserve, if it is not there as it should be.
    pub(super) fn take_reserve(&self, room: FileSystem) -> io::Result<()> {
        let bytes = Self::reserve_bytes(room);
        if fs::metadata(&self.reserve).is_ok_and(|file| file.blocks() * 512 >= bytes) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&self.reserve)?;
        let taken = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(&file, bytes),
            Err(error) => Err(error.into()),
        };
        if taken.is_err() {
            let _ = fs::remove_file(&self.reserve);
        }
        taken
    }

    /// Before a store is opened that may need some room for it: refuses where none can exist, so that nothing half-made is
    /// left behind, and gives back the reserve where the disk is full.
    pub(super) fn prepare(&self, path: &Path) -> Result<(), OpenError> {
        let Some(room) = self.room() else { return Ok(()) };
        let exists = fs::metadata(path).is_ok_and(|file| file.len() > 0);
        if exists {
            if room.free < Self::reserve_bytes(room) || !room.has_inodes {
                self.release_reserve();
            }
            return Ok(());
        }
        // Of what is made now, too, there is to be room for the reserve afterwards.
        let look = Look { free: room.free, min_free: self.min_free(room), reserve: Self::reserve_bytes(room) };
        let wanted = wanted(&look, false).saturating_add(look.reserve);
        if room.has_inodes && room.free > wanted {
            return Ok(());
        }
        Err(OpenError::Path {
            path: path.into(),
            problem: match room.has_inodes {
                false => "its file system can hold no more files (it has no free inodes)".into(),
                true => format!(
                    "there is no room for a new one: {} are free of the {} that it takes with what `[storage] min_free` \
                     leaves free",
                    in_words(room.free),
                    in_words(wanted)
                ),
            },
            remedy: "Free some disk space, or name a file on another disk in `database_path`",
        })
    }
}

impl Disk for Space {
    fn look(&self) -> Option<Look> {
        let room = self.room()?;
        Some(Look { free: room.free, min_free: self.min_free(room), reserve: Self::reserve_bytes(room) })
    }

    fn has_reserve(&self) -> bool {
        Space::has_reserve(self)
    }

    fn release_reserve(&self) -> bool {
        Space::release_reserve(self)
    }

    /// Where it cannot be made for another reason, such as a directory that may not be written to, the store goes without.
    fn take_reserve(&self) -> bool {
        let Some(room) = self.room() else { return true };
        match Space::take_reserve(self, room) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, reserve = %self.reserve.display(), "the reserve cannot be made");
                !room.has_inodes || !is_full(&error)
            }
        }
    }
}

/// Whether the operating system refused for lack of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Takes room where it cannot be had without writing; zeros might be stored without taking any.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    let mut file = file;
    while left > 0 {
        getrandom::fill(&mut chunk).map_err(io::Error::other)?;
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(chunk.get(..now).unwrap_or_default())?;
        left -= now as u64;
    }
    file.sync_data()
}

/// Whether this process may only write files of a limited size, which the operating system reports like a failing disk.
pub(super) fn is_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
}

/// Refuses to begin what takes room for so many times what the file at `path` takes, where there is less.
pub(super) fn require_room(path: &Path, times: u64) -> Result<(), OpenError> {
    let taken = fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    let Some(room) = Space::below(path, MinFree::Auto).room() else { return Ok(()) };
    let needed = taken.saturating_mul(times);
    if room.free >= needed {
        return Ok(());
    }
    Err(OpenError::Path {
        path: path.into(),
        problem: format!(
            "this program lays it out anew, which takes room for {times} times as much: {} MiB, and {} MiB are free; nothing \
             was changed",
            needed.div_ceil(MIB),
            room.free / MIB
        ),
        remedy: "Make room, or go on with the program that wrote it",
    })
}

/// Why the system refuses to make or open a file, where that is for lack of room.
pub(super) fn full_disk(path: &Path) -> Option<OpenError> {
    let room = Space::below(path, MinFree::Auto).room()?;
    let error = match (room.free, room.has_inodes) {
        (_, false) => {
            return Some(OpenError::Path {
                path: path.into(),
                problem: "its file system can hold no more files (it has no free inodes)".into(),
                remedy: "Remove some files from it",
            });
        }
        (0..=65_536, true) => io::ErrorKind::StorageFull,
        _ => return None,
    };
    Some(path_error(path, &error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_takes_room_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let space = Space::below(&directory.path().join("store"), MinFree::Auto);
        let room = space.room().unwrap();
        assert!(!space.has_reserve() && !space.release_reserve());
        space.take_reserve(room).unwrap();
        let file = fs::metadata(directory.path().join("store.reserve")).unwrap();
        assert_eq!(file.mode() & 0o777, 0o600);
        assert!(file.blocks() * 512 >= Space::reserve_bytes(room), "it is no hole");
        assert!(space.has_reserve() && space.release_reserve());
        assert!(!space.has_reserve());
    }

    #[test]
    fn a_reserve_that_a_crash_cut_short_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let space = Space::below(&directory.path().join("store"), MinFree::Auto);
        fs::write(directory.path().join("store.reserve"), [1; 100]).unwrap();
        let room = space.room().unwrap();
        space.take_reserve(room).unwrap();
        assert_eq!(fs::metadata(directory.path().join("store.reserve")).unwrap().len(), Space::reserve_bytes(room));
    }

    #[test]
    fn where_room_has_to_be_written_it_is_taken_too() {
        let file = tempfile::tempfile().unwrap();
        fill(&file, 200_000).unwrap();
        let file = file.metadata().unwrap();
        assert!(file.len() == 200_000 && file.blocks() * 512 >= 200_000);
    }

    #[test]
    fn a_small_file_system_is_not_kept_free_as_a_whole() {
        let space = |min_free| Space::below(Path::new("/"), min_free);
        let of = |total| FileSystem { free: total, total, has_inodes: true };
        assert_eq!(space(MinFree::Auto).min_free(of(8 * MIB)), MIB / 2);
        assert_eq!(space(MinFree::Auto).min_free(of(1024 * 1024 * MIB)), AUTO_BYTES);
        assert_eq!(space(MinFree::Bytes(7)).min_free(of(8 * MIB)), 7);
    }
}
