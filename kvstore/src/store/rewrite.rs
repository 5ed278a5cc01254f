//! A file of an older shape, whose tables lie under other keys, written anew in the shape of this program.
//!
//! ```text
//!  FILE                     the old one: held open, so that nobody else has it, and not changed but for its repair
//!  FILE.format-3.partial    the new one; what a start that was cut short left of it goes first
//!  FILE.before-format-3     another name of the old one, made when the new one is whole and on disk
//!  FILE                     the new one, which takes its place in one step
//! ```
//!
//! Whenever it is cut short there is a whole file under the old name: the old one, or the new one. Rows are stored in the
//! order of their keys, so the new file's pages are full.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::TableHandle as _;

use crate::{
    engine::{database::definition, options::Progress},
    error::{CannotOpen, Error, is_full},
    schema::{
        catalogue::{AnyTable, Catalogue},
        range::{Direction, RawRange},
    },
};

use super::{
    Store,
    kept::{beside, free_name, kept_names, sync_directory},
    meta::{FINGERPRINT, FORMAT, META, MIGRATING, OLDEST_READER},
    snapshot::Snapshot,
    source::{RawRow, RawSource},
};

/// Rows after which a commit of a rewriting ends, and bytes; what a batch has is in memory.
const COMMIT_ROWS: usize = 100_000;
const COMMIT_BYTES: usize = 32 * 1024 * 1024;
/// Rows after which progress is told.
const TOLD_ROWS: u64 = 10_000;

/// Tables as older programs laid them out, and how they become today's.
pub struct OlderShape {
    /// The newest format of files that have it.
    pub newest_format: u32,
    /// Their tables.
    pub catalogue: Catalogue,
    /// Writes the rows that lie elsewhere now. All other tables, and `meta`, are copied.
    pub rewrite: fn(&mut Rewriting<'_>) -> Result<(), Error>,
    /// The tables that it writes.
    pub rewritten: &'static [&'static str],
}

/// A file being written anew.
pub struct Rewriting<'a> {
    old: &'a Store,
    new: &'a Store,
    progress: fn(Progress),
    rows: u64,
    of: u64,
}

impl Rewriting<'_> {
    /// What the old file holds.
    pub fn old(&self) -> Result<Arc<Snapshot>, Error> {
        self.old.snapshot()
    }

    /// Makes the old file's indexes anew, for whoever reads its rows by them and finds that they are not what they should be.
    pub fn rebuild_old_indexes(&self) -> Result<(), Error> {
        (self.progress)(Progress::RebuildingIndexes);
        self.old.rebuild_indexes().map(drop)
    }

    /// Empties tables or indexes of the new file.
    pub fn clear(&self, tables: &[&'static str]) -> Result<(), Error> {
        self.new.with_transaction(|transaction| {
            for table in tables {
                transaction.delete_table(definition(table))?;
                transaction.open_table(definition(table))?;
            }
            Ok(())
        })
    }

    /// Stores rows in a table, or entries in an index, of the new file as they are, in commits of bounded size. They come in
    /// the order of their keys. Answers how many there were.
    pub fn fill(
        &mut self,
        table: &'static str,
        mut rows: impl Iterator<Item = Result<RawRow, Error>>,
    ) -> Result<u64, Error> {
        let mut stored = 0;
        let mut ended = false;
        while !ended {
            self.new.with_transaction(|transaction| {
                let mut target = transaction.open_table(definition(table))?;
                let (mut in_commit, mut bytes) = (0, 0);
                while in_commit < COMMIT_ROWS && bytes < COMMIT_BYTES {
                    let Some(row) = rows.next() else {
                        ended = true;
                        break;
                    };
                    let (key, value) = row?;
                    target.insert(key.as_slice(), value.as_slice())?;
                    in_commit += 1;
                    bytes += key.len() + value.len();
                    stored += 1;
                    self.rows += 1;
                    if self.rows.is_multiple_of(TOLD_ROWS) {
                        (self.progress)(Progress::Rewriting { rows: self.rows, of: self.of });
                    }
                }
                Ok(())
            })?;
        }
        Ok(stored)
    }

    /// Copies a table as it is, and makes its indexes. A row that does not decode is copied all the same: no index has it.
    fn copy(&mut self, table: &dyn AnyTable) -> Result<(), Error> {
        let (info, old) = (table.describe(), self.old()?);
        self.fill(info.name, old.scan(info.name, RawRange::ALL, Direction::Forward)?)?;
        for (position, index) in info.indexes.iter().enumerate() {
            // Few enough to be sorted in memory: what has many rows has a rewriting of its own.
            let mut entries = Vec::new();
            for row in old.scan(info.name, RawRange::ALL, Direction::Forward)? {
                let (key, value) = row?;
                let Ok(of_row) = table.entries(&key, &value) else { continue };
                entries.extend(of_row.into_iter().nth(position).flatten().map(|entry| (entry.key, entry.value)));
            }
            entries.sort_unstable();
            self.fill(index.name, entries.into_iter().map(Ok))?;
        }
        Ok(())
    }

    /// Copies what is known of the store, but for what says how its file is laid out.
    fn copy_facts(&mut self) -> Result<(), Error> {
        const OF_THE_FILE: [&str; 4] = [FORMAT, OLDEST_READER, FINGERPRINT, MIGRATING];
        let facts = self.old()?.scan(META, RawRange::ALL, Direction::Forward)?;
        let facts = facts.filter(|fact| match fact {
            Ok((name, _)) => !OF_THE_FILE.iter().any(|it| it.as_bytes() == name),
            Err(_) => true,
        });
        self.fill(META, facts).map(drop)
    }
}

impl Store {
    /// Writes all that this store has to a new one of the same format, table by table and in the order of the keys, so that its
    /// pages are full; rows and facts that are damaged, too, as they are. Answers whether that is all: not where the file has
    /// tables that this program does not know.
    pub fn copy_to(&self, new: &Store, progress: fn(Progress)) -> Result<bool, Error> {
        let names: Vec<String> = self
            .engine
            .reading(|transaction| Ok(transaction.list_tables()?.map(|table| table.name().to_owned()).collect()))?;
        let (mut known, mut of) = (vec![META], 0);
        let snapshot = self.snapshot()?;
        for table in self.catalogue() {
            let info = table.describe();
            let own = std::iter::once(info.name).chain(info.indexes.iter().map(|index| index.name));
            for name in own {
                known.push(name);
                of += RawSource::count(&*snapshot, name)?;
            }
        }
        if names.iter().any(|name| !known.contains(&name.as_str())) {
            return Ok(false);
        }
        let mut rewriting = Rewriting { old: self, new, progress, rows: 0, of };
        for name in known.into_iter().filter(|name| *name != META) {
            rewriting.fill(name, snapshot.scan(name, RawRange::ALL, Direction::Forward)?)?;
        }
        rewriting.copy_facts()?;
        Ok(true)
    }
}

/// What the file is to become.
pub(super) struct Target<'a> {
    /// The tables.
    pub(super) catalogue: Catalogue,
    /// The format.
    pub(super) format: u32,
    /// Makes a store of it in a new file.
    pub(super) open: &'a dyn Fn(&Path) -> Result<Store, CannotOpen>,
}

/// Writes the file at `path` anew, which `old` has open, and whose format is `found`.
pub(super) fn rewrite(
    old: &Store,
    found: u32,
    shape: &OlderShape,
    target: Target<'_>,
    path: &Path,
    progress: fn(Progress),
) -> Result<(), CannotOpen> {
    // What a symbolic link names is replaced, not the link.
    let path = &path.canonicalize().map_err(|source| CannotOpen::Io { path: path.into(), source })?;
    let partial = beside(path, &format!(".format-{}.partial", target.format));
    let made = remove(&partial)
        .and_then(|()| enough_room(path))
        .map_err(|source| CannotOpen::Io { path: path.clone(), source })
        .and_then(|()| fill_new(old, shape, &target, &partial, progress));
    if made.is_err() {
        let _ = remove(&partial); // it takes the room that may be what is missing
    }
    made?;
    let installed = fs::metadata(path).and_then(|before| install(path, &partial, found, &before));
    installed.map_err(|source| CannotOpen::Io { path: path.clone(), source })
}

fn fill_new(
    old: &Store,
    shape: &OlderShape,
    target: &Target<'_>,
    partial: &Path,
    progress: fn(Progress),
) -> Result<(), CannotOpen> {
    let new = (target.open)(partial)?;
    let of = row_count(old, shape.catalogue)?;
    let mut rewriting = Rewriting { old, new: &new, progress, rows: 0, of };
    progress(Progress::Rewriting { rows: 0, of });
    let had = |name| shape.catalogue.iter().any(|table| table.describe().name == name);
    for table in target.catalogue {
        let name = table.describe().name;
        if had(name) && !shape.rewritten.contains(&name) {
            rewriting.copy(*table)?;
        }
    }
    (shape.rewrite)(&mut rewriting)?;
    rewriting.copy_facts()?;
    progress(Progress::Rewriting { rows: rewriting.rows, of: rewriting.rows });
    drop(new); // which ends it in good order, and leaves when it was last closed as it was
    Ok(())
}

/// About how many rows and entries there are to be written.
fn row_count(old: &Store, catalogue: Catalogue) -> Result<u64, Error> {
    let snapshot = old.snapshot()?;
    let mut rows = 0;
    for table in catalogue {
        let info = table.describe();
        let count = RawSource::count(&*snapshot, info.name)?;
        rows += count * (1 + u64::from(!info.indexes.is_empty()));
    }
    Ok(rows)
}

/// Refuses to begin what could not be ended: the new file may take as much room as the old one.
fn enough_room(path: &Path) -> io::Result<()> {
    let needed = fs::metadata(path)?.blocks() * 512;
    let told = rustix::fs::statvfs(path.parent().unwrap_or(Path::new("/")))?;
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    if free < needed {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        let problem = format!(
            "bringing it to the format of this program takes room for a second file: {} MiB, and {} MiB are free; \
             nothing was changed",
            mib(needed),
            mib(free)
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, problem));
    }
    Ok(())
}

/// Puts the new file in the place of the old one, which keeps another name.
fn install(path: &Path, partial: &Path, found: u32, before: &Metadata) -> io::Result<()> {
    fs::set_permissions(partial, fs::Permissions::from_mode(before.mode() & 0o7777))?;
    let made = fs::metadata(partial)?;
    if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
        chown(partial, Some(before.uid()), Some(before.gid()))?;
    }
    File::open(partial)?.sync_all()?;
    if !is_kept(path, found, before) {
        let kept: PathBuf = free_name(path, found);
        // A file system without hard links gets a copy.
        match fs::hard_link(path, &kept) {
            Err(error) if is_full(&error) => return Err(error),
            Err(_) => fs::copy(path, &kept).and_then(|_| File::open(&kept)?.sync_all())?,
            Ok(()) => {}
        }
    }
    fs::rename(partial, path)?;
    sync_directory(path)
}

/// Whether the old one has its other name already, from a start that was cut short right after that.
fn is_kept(path: &Path, found: u32, before: &Metadata) -> bool {
    let same =
        |kept: &PathBuf| fs::metadata(kept).is_ok_and(|kept| (kept.dev(), kept.ino()) == (before.dev(), before.ino()));
    kept_names(path, found).take_while(|name| name.exists()).any(|name| same(&name))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
