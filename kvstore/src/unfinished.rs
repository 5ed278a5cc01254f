//! Files whose creation was cut short, by a crash or a power loss.
//!
//! redb gives a new file its length, then its header, and last its magic number, each synced; only then does it write
//! anything else. A file that has a length and no magic number is refused by redb, though nothing was ever in it.

use std::{io, ops::Bound};

use redb::{BackendError, StorageBackend};

/// redb's magic number, <https://github.com/cberner/redb/blob/master/docs/design.md>.
const MAGIC_BYTES: usize = 9;
/// The header, at least; one sector.
const HEADER_BYTES: usize = 512;
/// More than a new file has, which is 1 MiB and some pages.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Empties a file that redb began to create and did not finish, so that it is created anew. Any other stays as it is:
/// one in which a page was ever written has bytes behind the header.
pub(crate) fn clear(backend: &impl StorageBackend) -> Result<(), BackendError> {
    if !is_unfinished(backend).map_err(BackendError::Io)? {
        return Ok(());
    }
    // Another process may be creating it at this moment: with the lock, look again.
    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
    let is_locked = match backend.try_lock_range(start, end) {
        Ok(true) => true,
        Ok(false) => return Ok(()), // opening it finds out who has it
        Err(BackendError::Unsupported) => false,
        Err(error) => return Err(error),
    };
    let cleared = is_unfinished(backend).and_then(|it| if it { backend.set_len(0) } else { Ok(()) });
    if is_locked {
        backend.unlock_range(start, end)?;
    }
    cleared.map_err(BackendError::Io)
}

fn is_unfinished(backend: &impl StorageBackend) -> io::Result<bool> {
    let length = backend.len()?;
    let mut magic = [0; MAGIC_BYTES];
    if length < HEADER_BYTES as u64 || length > MAX_BYTES {
        return Ok(false);
    }
    backend.read(0, &mut magic)?;
    if magic != [0; MAGIC_BYTES] {
        return Ok(false);
    }
    let mut rest = vec![0; usize::try_from(length).unwrap_or_default().saturating_sub(HEADER_BYTES)];
    backend.read(HEADER_BYTES as u64, &mut rest)?;
    Ok(rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use redb::{Database, StorageBackend, backends::InMemoryBackend};

    use super::*;

    fn of(bytes: &[u8]) -> InMemoryBackend {
        let backend = InMemoryBackend::new();
        backend.set_len(bytes.len() as u64).unwrap();
        backend.write(0, bytes).unwrap();
        backend
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
            let backend = of(&bytes);
            clear(&backend).unwrap();
            assert_eq!(backend.len().unwrap(), remains as u64);
        }
    }

    #[test]
    fn a_new_file_is_no_longer_than_what_is_looked_at() {
        let file = tempfile::NamedTempFile::new().unwrap();
        drop(Database::create(file.path()).unwrap());
        assert!(file.as_file().metadata().unwrap().len() <= MAX_BYTES);
    }
}
