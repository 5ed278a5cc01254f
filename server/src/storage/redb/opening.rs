//! Which opening of a store this is.
//!
//! ```text
//!  meta        store_id      random, 32 hexadecimal digits: the store's own, made with it
//!              opening_id    the same, of the last opening
//!              open_since    when that was, milliseconds since 1970; gone after a close in good order
//! ```
//!
//! There is no log that could belong to another file: redb keeps everything in one, and after a crash it goes back to the
//! newest commit whose pages are what their checksums say. A copy of a file that was open is found out by the same means;
//! it has what was there at some moment, or it is damaged.

use decentcom_kvstore::{Error, Store};

use super::error::storage_error;
use crate::storage::{Clock as _, StorageError, SystemClock, files::note::OpeningId};

/// The names in `meta`.
pub(super) const STORE_ID: &str = "store_id";
pub(super) const OPEN_SINCE: &str = "open_since";
const OPENING_ID: &str = "opening_id";

/// Notes in the store that it is open; one that has no id yet gets one.
pub(super) fn begin(store: &Store) -> Result<(), StorageError> {
    let failed = || storage_error("note in the file that it is open");
    let has_id = store.meta(STORE_ID).map_err(failed())?.is_some();
    let (new, opening, now) = (OpeningId::new()?, OpeningId::new()?, SystemClock.now().as_millis().to_string());
    let noted = store.write(|batch| {
        if !has_id {
            batch.set_meta(STORE_ID, new.to_hex().as_bytes())?;
        }
        batch.set_meta(OPENING_ID, opening.to_hex().as_bytes())?;
        batch.set_meta(OPEN_SINCE, now.as_bytes())
    });
    match noted {
        Err(error @ Error::DiskFull(_)) => {
            // Reading needs no room.
            tracing::warn!(%error, "it cannot be noted in the file that it is open");
            Ok(())
        }
        noted => noted.map_err(failed()),
    }
}

/// Takes that back: to be stored right before the file is closed.
pub(super) fn end(store: &Store) -> Result<(), Error> {
    store.write(|batch| batch.clear_meta(OPEN_SINCE))
}
