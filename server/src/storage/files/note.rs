//! What is noted beside a store in use: which opening of it this is, and how far it has come.
//!
//! ```text
//!  FILE.lock     0f3c…      open       01JDK…       one line: the opening id, what it is busy with, the newest id
//! ```
//!
//! The line always has the same length and lies in one sector, so it is never half of two.

use ulid::Ulid;

use super::descriptor::Descriptor;
use crate::storage::StorageError;

/// Names one opening of a store: random, so that no other has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct OpeningId(pub(in crate::storage) u128);

impl OpeningId {
    /// A random one.
    pub(in crate::storage) fn new() -> Result<Self, StorageError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| StorageError::internal("ask the system for random bits", error))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// 32 hexadecimal digits.
    pub(in crate::storage) fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// What an opening is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Phase {
    /// Reading what the last one left, and making the file its own: the file may bear either's name.
    Opening,
    /// The file bears its name.
    Open,
    /// The file was closed in good order, and says so.
    Closed,
    /// The file was closed and has everything, but could not be made to say so.
    Emptied,
}

impl Phase {
    const ALL: [(Self, &str); 4] =
        [(Self::Opening, "opening"), (Self::Open, "open"), (Self::Closed, "closed"), (Self::Emptied, "emptied")];
}

/// The line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Note {
    pub(in crate::storage) opening: OpeningId,
    pub(in crate::storage) phase: Phase,
    /// An id that was given out; the store has this one or a larger one, for sure.
    pub(in crate::storage) newest: Ulid,
}

/// Bytes of the line.
const LENGTH: usize = 32 + 1 + 7 + 1 + 26 + 1;

impl Note {
    fn to_line(self) -> String {
        let phase = Phase::ALL.iter().find(|(phase, _)| *phase == self.phase).map_or("", |(_, word)| word);
        format!("{} {phase:7} {}\n", self.opening.to_hex(), self.newest)
    }

    /// Reads the note; `None` where there is none, as beside a store of an earlier version.
    pub(in crate::storage) fn read(from: &Descriptor) -> Option<Self> {
        let mut line = [0; LENGTH];
        let length = from.read_at(0, &mut line).ok()?;
        let mut words = std::str::from_utf8(line.get(..length)?).ok()?.split_ascii_whitespace();
        let opening = OpeningId(u128::from_str_radix(words.next().filter(|word| word.len() == 32)?, 16).ok()?);
        let word = words.next()?;
        let phase = Phase::ALL.iter().find(|(_, name)| *name == word).map(|(phase, _)| *phase)?;
        Some(Self { opening, phase, newest: Ulid::from_string(words.next()?).ok()? })
    }

    /// Writes the note; it is on disk once it is synced.
    pub(in crate::storage) fn write(self, to: &Descriptor) -> std::io::Result<()> {
        to.write_start(self.to_line().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_rubbish_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let descriptor = Descriptor::write(file.path()).unwrap();
        assert_eq!(Note::read(&descriptor), None);
        for (phase, _) in Phase::ALL {
            let note = Note { opening: OpeningId::new().unwrap(), phase, newest: Ulid(7) };
            note.write(&descriptor).unwrap();
            assert_eq!(Note::read(&descriptor), Some(note));
            assert_eq!(std::fs::metadata(file.path()).unwrap().len(), LENGTH as u64);
        }
        for rubbish in ["", "decentcom", "0123 open 01", &"\0".repeat(80)] {
            std::fs::write(file.path(), rubbish).unwrap();
            assert_eq!(Note::read(&Descriptor::read(file.path()).unwrap()), None);
        }
    }
}
