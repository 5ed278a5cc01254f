//! Opening: the file and its rights, what may be in it, what it needs before it is used.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use redb::{DatabaseError, StorageBackend, backends::FileBackend};

use crate::{
    engine::{
        contained::guarded,
        database::Engine,
        header::clear_unfinished,
        medium::Medium,
        options::{Options, Progress},
    },
    error::{CannotOpen, Error},
    schema::catalogue::fingerprint,
};

use super::{
    Store,
    format::{Schema, lost, lost_table, refuse_what_is_not_ours},
    kept::sync_directory,
    meta::{CREATED_AT, FINGERPRINT, mark, now},
    migrate::{migrate, note_format},
    rewrite::{Target, rewrite},
};

impl Options {
    /// Opens the store in the file at `path`, creating it (mode 0600) if it is missing or empty.
    pub fn open(&self, path: &Path, schema: &Schema) -> Result<Store, CannotOpen> {
        let io_error = |source| CannotOpen::Io { path: path.into(), source };
        // An empty file does not count: it may be left by a start that ended before its name was on disk.
        let existed = path.metadata().is_ok_and(|file| file.len() > 0);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(io_error)?;
        if !existed {
            sync_directory(path).map_err(io_error)?; // the name itself is on disk
        }
        let file = FileBackend::new(file).map_err(|error| cannot_open(path, error))?;
        self.open_file(file, schema, path)
    }

    /// Opens a store over anything that redb can lie on, such as memory.
    pub fn open_over(&self, file: impl StorageBackend, schema: &Schema) -> Result<Store, CannotOpen> {
        self.open_file(file, schema, Path::new(":memory:"))
    }

    fn open_file(&self, file: impl StorageBackend, schema: &Schema, path: &Path) -> Result<Store, CannotOpen> {
        clear_unfinished(&file).map_err(|error| cannot_open(path, redb::StorageError::from(error).into()))?;
        let is_new = file.len().is_ok_and(|length| length == 0);
        let medium = Medium::over(file).map_err(|source| CannotOpen::Io { path: path.into(), source })?;
        let engine = self.engine_over(medium, path)?;
        // Refusals come before the first write: a file of others stays as it is.
        let found = refuse_what_is_not_ours(&engine, schema, path, is_new)?;
        let Some(found) = found else { return Ok(set_up(Store::over(engine, schema.catalogue)?, schema)?) };
        let catalogue = schema.catalogue_of(found);
        if let Some(table) = lost(&engine, catalogue)? {
            return Err(lost_table(path, table));
        }
        let store = Store::over(engine, catalogue)?;
        if let Some(shape) = schema.older_shape(found) {
            let target =
                Target { catalogue: schema.catalogue, format: schema.format, open: &|new| self.open(new, schema) };
            rewrite(&store, found, shape, target, path, self.progress)?;
            drop(store);
            return self.open(path, schema);
        }
        // A newer program's file which it lets us use keeps its format.
        if found <= schema.format {
            migrate(&store, schema, path, found, self.progress)?;
        }
        // Whoever writes keeps the indexes of its own catalogue only. So where another one wrote last, older or newer,
        // they are made anew; and what stands here afterwards has that one make its own in turn.
        if store.meta(FINGERPRINT)?.as_deref() != Some(fingerprint(schema.catalogue).as_bytes()) {
            (self.progress)(Progress::RebuildingIndexes);
            store.rebuild_indexes()?;
        }
        Ok(store)
    }

    /// redb trusts a file that was closed cleanly, so damage to it may end in a panic instead of an error.
    pub(crate) fn engine_over(&self, medium: Arc<Medium>, path: &Path) -> Result<Engine, CannotOpen> {
        match guarded(|| Ok::<_, Error>(Engine::over(medium, *self))) {
            Ok(opened) => opened.map_err(|error| cannot_open(path, error)),
            Err(panicked) => Err(CannotOpen::Damaged { path: path.into(), problem: panicked.to_string() }),
        }
    }
}

/// Notes in a new store what it is. One commit: a file has all of these or is still empty.
fn set_up(store: Store, schema: &Schema) -> Result<Store, Error> {
    store.write(|batch| {
        for migration in schema.migrations {
            batch.set_meta(&mark(migration.name), now().as_bytes())?;
        }
        note_format(batch, schema.format, schema)?;
        batch.set_meta(CREATED_AT, now().as_bytes())?;
        batch.set_meta(FINGERPRINT, fingerprint(schema.catalogue).as_bytes())
    })?;
    Ok(store)
}

fn cannot_open(path: &Path, error: DatabaseError) -> CannotOpen {
    match error {
        DatabaseError::DatabaseAlreadyOpen => CannotOpen::InUse { path: path.into() },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            ) =>
        {
            CannotOpen::Io { path: path.into(), source }
        }
        other => CannotOpen::Damaged { path: path.into(), problem: other.to_string() },
    }
}
