//! Opening a file to look at it.

use std::{fs::File, path::Path};

use crate::{
    engine::{medium::Medium, options::Options},
    error::CannotOpen,
    store::{
        Store,
        format::{Schema, lost, refuse_what_is_not_ours},
    },
};

use super::overlay::Overlay;

impl Options {
    /// Opens the store in the file at `path` to look at it: the file stays as it is, byte for byte. A repair after a
    /// crash, and everything else that would be written, happens in memory and is gone with the store; nothing is
    /// migrated. Others may look at the same time; while anybody has it open for writing it is [`CannotOpen::InUse`].
    pub fn inspect(&self, path: &Path, schema: &Schema) -> Result<Store, CannotOpen> {
        let medium = File::open(path).and_then(Overlay::over).and_then(Medium::over);
        let medium = medium.map_err(|source| CannotOpen::Io { path: path.into(), source })?;
        let engine = self.engine_over(medium, path)?;
        let Some(found) = refuse_what_is_not_ours(&engine, schema, path, false)? else {
            return Err(CannotOpen::Foreign { path: path.into() });
        };
        let catalogue = schema.catalogue_of(found);
        // What somebody removed from a file is not put back: reading it says that it is missing.
        match lost(&engine, catalogue)? {
            Some(_) => Ok(Store::as_it_is(engine, catalogue)?),
            None => Ok(Store::over(engine, catalogue)?),
        }
    }
}
