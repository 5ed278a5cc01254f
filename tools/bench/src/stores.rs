//! The stores that lines are measured on. Those of several sizes are made once, or were kept by an earlier run; what is
//! measured is a working copy of them, one for each subject, which posts make grow a little. Once it has grown by a tenth, it
//! is copied anew: else the small ones would be large ones soon.
//!
//! ```text
//!  made/    history-1000000.redb, and a note beside it (history-1000000.redb.json) that says what it is
//!  copies/  redb-1000000/store, redb-raw-1000000/store, …
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use dcstore::Code;
use decentcom_server::storage::declared;
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    measure::{History, TEXT_BYTES, backend_of},
    results::Subject,
};

/// Who made a store for whom: an engine used directly works on the files of the store that uses it.
pub(crate) fn maker_of(subject: Subject) -> Subject {
    match subject {
        Subject::RawRedb | Subject::PerCallRedb => Subject::Redb,
        Subject::RawSqlite | Subject::PerCallSqlite => Subject::Sqlite,
        other => other,
    }
}

/// What is in a store; noted last, so that what has a note is whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Messages.
    stored: u64,
    /// Which messages.
    history: String,
    /// Bytes of text in each.
    message_bytes: u64,
    /// What its files are, so that nobody opens those of an older program.
    format: String,
}

impl Note {
    fn of(maker: Subject, stored: u64) -> Self {
        let format = match maker {
            Subject::Redb => format!("redb, format {}", declared::redb_format()),
            Subject::Sqlite => format!("sqlite, migration {}", declared::sqlite_format()),
            other => format!("{other}, the rows of redb's format {}", declared::redb_format()),
        };
        Self { stored, history: History::NAME.into(), message_bytes: TEXT_BYTES, format }
    }
}

/// A working copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    /// Messages in it by now.
    pub(crate) messages: u64,
    /// How many measurements it has been used for.
    uses: u64,
}

/// The stores of several sizes, and the working copies.
pub(crate) struct Stores {
    made: PathBuf,
    copies: PathBuf,
    copied: BTreeMap<PathBuf, Copied>,
}

impl Stores {
    /// Those in `made`, to be copied to `copies`; both are made where they are missing.
    pub(crate) fn new(made: PathBuf, copies: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&made)?;
        fs::create_dir_all(&copies)?;
        Ok(Self { made, copies, copied: BTreeMap::new() })
    }

    /// An empty directory on the disk on which the stores are to be.
    pub(crate) fn workshop(&self) -> Result<PathBuf, Failure> {
        let workshop = self.made.join("unfinished");
        remove(&workshop)?;
        fs::create_dir(&workshop)?;
        Ok(workshop)
    }

    fn made(&self, maker: Subject, stored: u64) -> PathBuf {
        let name = backend_of(maker).map_or(maker.name(), |backend| backend.name());
        self.made.join(format!("history-{stored}.{name}"))
    }

    /// Whether a store is there, and is what this program would make.
    pub(crate) fn has(&self, maker: Subject, stored: u64) -> bool {
        let made = self.made(maker, stored);
        let note = fs::read(beside(&made)).ok().and_then(|note| serde_json::from_slice::<Note>(&note).ok());
        made.exists() && note == Some(Note::of(maker, stored))
    }

    /// Takes a store that was made in the [workshop](Self::workshop), in place of what was there.
    pub(crate) fn take(&self, maker: Subject, stored: u64, workshop: &Path) -> Result<(), Failure> {
        let made = self.made(maker, stored);
        let note = beside(&made);
        remove(&note)?;
        remove(&made)?;
        fs::rename(workshop.join("store"), &made)?;
        remove(workshop)?;
        Ok(fs::write(note, serde_json::to_vec_pretty(&Note::of(maker, stored)).map_err(io::Error::from)?)?)
    }

    /// The directory of a subject's working copy, and what is in it; made when it is first asked for, or no longer good.
    pub(crate) fn copy(&mut self, subject: Subject, stored: u64) -> Result<(PathBuf, Copied), Failure> {
        // They would be alike.
        let owner = match subject {
            Subject::PerCallRedb => Subject::RawRedb,
            Subject::PerCallSqlite => Subject::RawSqlite,
            other => other,
        };
        let directory = self.copies.join(format!("{owner}-{stored}"));
        let uses = self.copied.get(&directory).map_or(0, |copied| copied.uses);
        let is_good = self.copied.get(&directory).is_some_and(|copied| copied.messages <= stored + stored / 10);
        if !is_good {
            self.copied.remove(&directory);
            remove(&directory)?;
            fs::create_dir(&directory)?;
            let made = self.made(maker_of(subject), stored);
            copy(&made, &directory.join("store")).map_err(|error| {
                Failure::new(Code::Io, format!("cannot copy {} to be measured: {error}", made.display()))
            })?;
            rustix::fs::sync(); // so that the copy is not written while something is measured
        }
        let copied = self.copied.entry(directory.clone()).or_insert(Copied { messages: stored, uses });
        copied.uses += 1;
        Ok((directory, *copied))
    }

    /// Notes how many messages there are after a measurement.
    pub(crate) fn grew(&mut self, directory: &Path, messages: u64) {
        if let Some(copied) = self.copied.get_mut(directory) {
            copied.messages = messages;
        }
    }
}

impl Copied {
    /// The number of a message that is not in the copy, nor any after it: each measurement has numbers of its own, as callers do
    /// not use theirs in order.
    pub(crate) fn first_free(self, stored: u64) -> u64 {
        stored + (self.uses << 24)
    }
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return copy_file(from, to);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies a file and leaves its holes as they are: redb makes a file longer than it needs, and what a store takes of the disk is
/// measured.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, to) = (fs::File::open(from)?, fs::File::create(to)?);
    to.set_len(from.metadata()?.len())?;
    let (mut chunk, mut at) = (vec![0; COPIED], 0);
    loop {
        let read = from.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, at)?;
        }
        at += read as u64;
    }
}

/// Bytes copied at a time.
const COPIED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_was_there_and_its_holes() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
        let file = fs::File::create(&from).unwrap();
        file.write_all_at(b"beginning", 0).unwrap();
        file.write_all_at(b"end", 5_000_000).unwrap();
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 500_000);
    }

    fn make(stores: &Stores, subject: Subject, stored: u64, content: &str) {
        let workshop = stores.workshop().unwrap();
        fs::write(workshop.join("store"), content).unwrap();
        stores.take(subject, stored, &workshop).unwrap();
    }

    fn stores(directory: &Path) -> Stores {
        Stores::new(directory.join("made"), directory.join("copies")).unwrap()
    }

    #[test]
    fn a_store_that_fits_is_kept_and_any_other_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let first = stores(directory.path());
        assert!(!first.has(Subject::Redb, 1_000));
        make(&first, Subject::Redb, 1_000, "messages");
        let note = beside(&first.made(Subject::Redb, 1_000));

        let second = stores(directory.path());
        assert!(
            second.has(Subject::Redb, 1_000)
                && !second.has(Subject::Redb, 2_000)
                && !second.has(Subject::Sqlite, 1_000)
        );
        let older = fs::read_to_string(&note).unwrap().replace("redb, format ", "redb, format 0");
        fs::write(&note, older).unwrap();
        assert!(!second.has(Subject::Redb, 1_000));
        make(&second, Subject::Redb, 1_000, "other messages");
        assert!(second.has(Subject::Redb, 1_000));
        assert_eq!(fs::read_to_string(second.made(Subject::Redb, 1_000)).unwrap(), "other messages");
        fs::remove_file(&note).unwrap();
        assert!(!second.has(Subject::Redb, 1_000), "whoever made it did not end");
    }

    #[test]
    fn a_subject_has_one_working_copy_of_each_size_which_grows_a_little() {
        let directory = tempfile::tempdir().unwrap();
        let mut stores = stores(directory.path());
        make(&stores, Subject::Redb, 1_000, "messages");
        let (own, copied) = stores.copy(Subject::Redb, 1_000).unwrap();
        assert_eq!(copied.messages, 1_000);
        fs::write(own.join("store"), "more messages").unwrap();
        stores.grew(&own, 1_100);
        let (again, grown) = stores.copy(Subject::Redb, 1_000).unwrap();
        assert_eq!((again, grown.messages), (own.clone(), 1_100));
        assert_eq!(fs::read_to_string(own.join("store")).unwrap(), "more messages");
        assert!(grown.first_free(1_000) > copied.first_free(1_000) + 1_000_000);
        stores.grew(&own, 1_101);
        assert_eq!(stores.copy(Subject::Redb, 1_000).unwrap().1.messages, 1_000);
        assert_eq!(fs::read_to_string(own.join("store")).unwrap(), "messages", "it had grown too much");

        let (raw, _) = stores.copy(Subject::RawRedb, 1_000).unwrap();
        assert_ne!(raw, own);
        assert_eq!(fs::read_to_string(raw.join("store")).unwrap(), "messages");
        assert_eq!(stores.copy(Subject::PerCallRedb, 1_000).unwrap().0, raw);
    }
}
