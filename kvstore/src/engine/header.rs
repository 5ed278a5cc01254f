//! What the header of a file tells without redb: whether redb ever finished creating it, and whether it was closed.
//!
//! redb gives a new file its length, then its header, and last its magic number, each synced; only then does it write
//! anything else. A file that has a length and no magic number, left by a crash or a power loss, is refused by redb,
//! though nothing was ever in it.

use std::{
    fs::File,
    io::{self, Read as _},
    ops::Bound,
    path::Path,
};

use redb::{BackendError, StorageBackend};

/// The bytes that every redb file begins with, see <https://github.com/cberner/redb/blob/master/docs/design.md>.
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Of the byte after them ("god byte"), the bit that is set while the file is open for writing.
const RECOVERY_REQUIRED: u8 = 2;
/// The header, at least; one sector.
const HEADER_BYTES: usize = 512;
/// More than a new file has, which is 1 MiB and some pages.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Empties a file that redb began to create and did not finish, so that it is created anew. Any other stays as it is:
/// one in which a page was ever written has bytes behind the header.
pub(crate) fn clear_unfinished(file: &impl StorageBackend) -> Result<(), BackendError> {
    if !is_unfinished(file).map_err(BackendError::Io)? {
        return Ok(());
    }
    // Another process may be creating it at this moment: with the lock, look again.
    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
    let is_locked = match file.try_lock_range(start, end) {
        Ok(true) => true,
        Ok(false) => return Ok(()), // opening it finds out who has it
        Err(BackendError::Unsupported) => false,
        Err(error) => return Err(error),
    };
    let cleared = is_unfinished(file).and_then(|it| if it { file.set_len(0) } else { Ok(()) });
    if is_locked {
        file.unlock_range(start, end)?;
    }
    cleared.map_err(BackendError::Io)
}

fn is_unfinished(file: &impl StorageBackend) -> io::Result<bool> {
    let length = file.len()?;
    let mut magic = [0; MAGIC.len()];
    if length < HEADER_BYTES as u64 || length > MAX_BYTES {
        return Ok(false);
    }
    file.read(0, &mut magic)?;
    if magic != [0; MAGIC.len()] {
        return Ok(false);
    }
    let mut rest = vec![0; usize::try_from(length).unwrap_or_default().saturating_sub(HEADER_BYTES)];
    file.read(HEADER_BYTES as u64, &mut rest)?;
    Ok(rest.iter().all(|byte| *byte == 0))
}

/// Whether the file at `path` was closed in good order, so that it opens without a repair; `None` if it is no redb file.
pub fn was_closed(path: &Path) -> io::Result<Option<bool>> {
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64 + 1).read_to_end(&mut start)?;
    Ok(start.strip_prefix(MAGIC).and_then(<[u8]>::first).map(|flags| flags & RECOVERY_REQUIRED == 0))
}

#[cfg(test)]
mod tests {
    use redb::{Database, StorageBackend, backends::InMemoryBackend};

    use super::*;

    fn of(bytes: &[u8]) -> InMemoryBackend {
        let file = InMemoryBackend::new();
        file.set_len(bytes.len() as u64).unwrap();
        file.write(0, bytes).unwrap();
        file
    }

    #[test]
    fn only_a_file_in_which_nothing_ever_was_is_emptied() {
        let length = 1024 * 1024;
        let with = |at: usize, byte: u8| {
            let mut bytes = vec![0; length];
            bytes[at] = byte;
            bytes
        };
        for (bytes, remains) in [
            (vec![0; length], 0),
            (with(100, 7), 0), // a header, but no magic number yet
            (with(0, b'r'), length),
            (with(HEADER_BYTES, 1), length),
            (with(length - 1, 1), length),
            (vec![0; 511], 511),
        ] {
            let file = of(&bytes);
            clear_unfinished(&file).unwrap();
            assert_eq!(file.len().unwrap(), remains as u64);
        }
    }

    #[test]
    fn a_new_file_is_no_longer_than_what_is_looked_at() {
        let file = tempfile::NamedTempFile::new().unwrap();
        drop(Database::create(file.path()).unwrap());
        assert!(file.as_file().metadata().unwrap().len() <= MAX_BYTES);
    }
}
