//! Bringing a file to the format of this program, after keeping a copy of it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{
    engine::options::Progress,
    error::{CannotOpen, Error},
};

use super::{
    Store,
    batch::WriteBatch,
    format::Schema,
    meta::{FORMAT, MIGRATING, OLDEST_READER, mark, now},
};

/// Runs the steps that the store, whose format is `found`, has not seen.
pub(super) fn migrate(
    store: &Store,
    schema: &Schema,
    path: &Path,
    found: u32,
    progress: fn(Progress),
) -> Result<(), CannotOpen> {
    let mut due = Vec::new();
    for migration in schema.migrations {
        if store.meta(&mark(migration.name))?.is_none() {
            due.push(migration);
        }
    }
    // Also where no step is due: older programs cannot read what this one is about to write, and the copy is the way back.
    if (!due.is_empty() || found < schema.format) && store.meta(MIGRATING)?.is_none() {
        if path.is_file() {
            progress(Progress::KeepingACopy);
            keep_copy(path, found)?;
        }
        store.set_meta(MIGRATING, now().as_bytes())?;
    }
    let mut reached = found;
    for migration in due {
        progress(Progress::Migrating(migration.name));
        (migration.run)(store)?;
        reached = reached.max(migration.to_format);
        store.write(|batch| {
            batch.set_meta(&mark(migration.name), now().as_bytes())?;
            note_format(batch, reached, schema)
        })?;
    }
    // Also where no step was needed: from now on records are written as this format has them.
    if found < schema.format || store.meta(MIGRATING)?.is_some() {
        store.write(|batch| {
            batch.clear_meta(MIGRATING)?;
            note_format(batch, schema.format, schema)
        })?;
    }
    Ok(())
}

/// Stages which format the file has from now on, and who may read it.
pub(super) fn note_format(batch: &mut WriteBatch, format: u32, schema: &Schema) -> Result<(), Error> {
    batch.set_meta(OLDEST_READER, schema.oldest_reader.to_string().as_bytes())?;
    batch.set_meta(FORMAT, format.to_string().as_bytes())
}

/// A file's name with something after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A name that is still free for the file as it was before it got another format. A copy from an earlier upgrade, since gone
/// back on, is somebody's backup.
pub(super) fn free_name(path: &Path, format: u32) -> PathBuf {
    let suffix = format!(".before-format-{}", format.saturating_add(1));
    let numbered = (2..).map(|number| beside(path, &format!("{suffix}-{number}")));
    let mut names = [beside(path, &suffix)].into_iter().chain(numbered);
    names.find(|name| !name.exists()).unwrap_or_else(|| beside(path, &suffix))
}

/// Keeps the file as it was before its first migration, beside it.
fn keep_copy(path: &Path, format: u32) -> Result<PathBuf, CannotOpen> {
    let copy = free_name(path, format);
    let partial = beside(path, &format!(".before-format-{}.partial", format.saturating_add(1)));
    let written = std::fs::copy(path, &partial)
        .and_then(|_| File::open(&partial)?.sync_all())
        .and_then(|()| std::fs::rename(&partial, &copy))
        .and_then(|()| sync_directory(&copy));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&partial); // half a copy is worth nothing, and takes space that may be what is missing
        CannotOpen::Io { path: copy.clone(), source }
    })?;
    Ok(copy)
}

/// Puts the names in a file's directory on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
