//! Bringing a file to the format of this program, after keeping a copy of it.

use std::path::Path;

use crate::{
    engine::options::Progress,
    error::{CannotOpen, Error},
};

use super::{
    Store,
    batch::WriteBatch,
    format::Schema,
    kept::keep_copy,
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
