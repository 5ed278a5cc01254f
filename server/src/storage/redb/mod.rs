//! redb: one file of key-value tables, declared in `schema.rs`, kept by the `kvstore` crate.
//!
//! Durability: `Durability::Immediate`, one sync per commit. Every record carries a checksum over its key and bytes,
//! because redb checks its pages only after a crash.

mod channels;
mod error;
pub(super) mod inspect;
pub(super) mod maintain;
mod messages;
mod older;
mod opening;
mod place;
mod published;
mod reader;
mod record;
mod rows;
mod schema;
mod sessions;
mod shipped;
mod table;
#[cfg(test)]
mod tests;
mod users;
mod writer;

use std::{path::Path, sync::Arc};

use decentcom_kvstore::{
    Error, Options, Progress, Snapshot, Store,
    live::{LiveServer, socket_path},
    redb::backends::InMemoryBackend,
};
use ulid::Ulid;

pub use self::shipped::ShippedVersion;
use self::{
    error::{corrupt, open_error, storage_error},
    published::Published,
    reader::RedbReader,
    schema::{HIGH_WATER, LOGIN_KEY, PROBED_AT, SCHEMA},
    writer::RedbWriter,
};
pub(super) use self::{
    schema::{CATALOGUE, FORMAT},
    shipped::shipped,
};
use super::{
    Backend, Entity, LoginKey, OpenError, RedbOptions, StorageError, Timestamp, files,
    port::{Opened, Past, Presence, Writer},
};

/// Opens the store in the redb file at `path`, creating, repairing and migrating it as needed. That may take long and
/// blocks the thread. `make_room` is asked when a commit finds none: whether it is worth another try.
pub(super) fn open(
    path: &Path,
    options: RedbOptions,
    make_room: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Opened<RedbReader>, OpenError> {
    let store = Arc::new(open_store(path, options)?);
    let presence = presence(path)?;
    opening::begin(&store)?;
    let live = if options.inspection_socket { answer_tools(&store, path) } else { None };
    store.when_full(make_room);
    opened(RedbWriter { published: Arc::new(Published::of(store)?), live, presence })
}

/// The file that was just opened by this path.
fn presence(path: &Path) -> Result<Arc<Presence>, OpenError> {
    let named = files::kind::absolute(path)?;
    Ok(Arc::new(Presence::of([files::target(&named), named])))
}

/// Lets tools look into the open store. Without that the server runs as well, so a failure is only worth a warning.
fn answer_tools(store: &Arc<Store>, path: &Path) -> Option<LiveServer> {
    let about = concat!("decentcom-server ", env!("CARGO_PKG_VERSION")).to_owned();
    match LiveServer::start(store.clone(), path, about) {
        Ok(live) => Some(live),
        Err(error) => {
            let socket = socket_path(path);
            tracing::warn!(%error, socket = %socket.display(), "no tool can look into the running store: its socket cannot be made");
            None
        }
    }
}

/// The writing half of the store in the redb file at `path`, and what the store remembers.
pub(super) fn open_writer(path: &Path, options: RedbOptions) -> Result<(Box<dyn Writer>, Past), OpenError> {
    let store = open_store(path, options)?;
    opening::begin(&store)?;
    let published = Arc::new(Published::of(Arc::new(store))?);
    let past = past(&published)?;
    let presence = presence(path)?;
    Ok((Box::new(RedbWriter { published, live: None, presence }), past))
}

fn open_store(path: &Path, options: RedbOptions) -> Result<Store, OpenError> {
    files::prepare(path, Backend::Redb)?;
    let options = Options {
        cache_bytes: usize::try_from(options.cache_bytes).unwrap_or(usize::MAX),
        quick_repair: options.quick_repair,
        progress: log_progress,
    };
    options.open(path, &SCHEMA).map_err(|error| open_error(path, error))
}

/// Opens an empty store in memory.
pub(super) fn open_in_memory() -> Result<Opened<RedbReader>, OpenError> {
    let store = Options::default().open_over(InMemoryBackend::new(), &SCHEMA);
    over(store.map_err(|error| open_error(Path::new(":memory:"), error))?)
}

fn over(store: Store) -> Result<Opened<RedbReader>, OpenError> {
    opened(RedbWriter { published: Arc::new(Published::of(Arc::new(store))?), live: None, presence: Arc::default() })
}

fn opened(writer: RedbWriter) -> Result<Opened<RedbReader>, OpenError> {
    let past = past(&writer.published)?;
    let login_key = login_key(&writer.published.store)?;
    let reader = RedbReader(writer.published.clone());
    Ok(Opened { backend: Backend::Redb, writer: Box::new(writer), reader, past, login_key })
}

/// The secret that challenges are made with, drawn where there is none: at the first start on a store that is new, was
/// loaded or copied.
fn login_key(store: &Store) -> Result<LoginKey, StorageError> {
    let kept = store.meta(LOGIN_KEY).map_err(storage_error("read the login key"))?;
    if let Some(bytes) = kept.and_then(|bytes| bytes.try_into().ok()) {
        return Ok(LoginKey::from_bytes(bytes));
    }
    let drawn = LoginKey::draw()?;
    let stored = store.write(|batch| batch.set_meta(LOGIN_KEY, drawn.as_bytes()));
    stored.map_err(storage_error("store the login key"))?;
    Ok(drawn)
}

fn past(published: &Published) -> Result<Past, StorageError> {
    let Published { store, .. } = published;
    Ok(Past { high_water: high_water(store)?, last_seen: last_seen(store)?, commit: published.view().commit })
}

/// The largest id ever given out: as recorded, or as found, should a tool have added rows.
fn high_water(store: &Store) -> Result<Ulid, StorageError> {
    let attempt = "read the high-water id";
    let recorded = match store.meta(HIGH_WATER).map_err(storage_error(attempt))? {
        None => Ulid::nil(),
        Some(bytes) => bytes
            .try_into()
            .map(Ulid::from_bytes)
            .map_err(|_| corrupt("meta", HIGH_WATER, "it does not have 16 bytes"))?,
    };
    let snapshot = store.snapshot().map_err(storage_error(attempt))?;
    newest_ids(&snapshot)
        .try_fold(recorded, |high, last| Ok(high.max(last.map_err(storage_error(attempt))?.unwrap_or_default())))
}

/// When the store was last closed, or found to take changes, whichever was later.
fn last_seen(store: &Store) -> Result<Option<Timestamp>, StorageError> {
    let mut last = None;
    for name in ["closed_at", PROBED_AT] {
        let noted = store.meta(name).map_err(storage_error("read when the store was last in use"))?;
        let noted = noted.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        last = last.max(noted.and_then(Timestamp::from_millis));
    }
    Ok(last)
}

/// The largest id of each table whose keys are given out.
fn newest_ids(snapshot: &Snapshot) -> impl Iterator<Item = Result<Option<Ulid>, Error>> + '_ {
    Entity::EVERY.iter().map(|entity| rows::newest_id(snapshot, *entity))
}

fn log_progress(progress: Progress) {
    match progress {
        Progress::Repairing(done) => {
            tracing::warn!("the store was not closed in good order; checking the file: {:.0} %", done * 100.0);
        }
        Progress::KeepingACopy => tracing::info!("the store gets another format; a copy of the file is kept beside it"),
        Progress::Migrating(name) => tracing::info!(name, "migrating the store"),
        Progress::Recovering => tracing::warn!("the disk failed; opening the store's file again"),
        Progress::Rewriting { rows, of } => {
            let done = 100 * rows / of.max(1);
            tracing::info!("writing the store anew in another format: {done} %, {rows} rows");
        }
        Progress::RebuildingIndexes => tracing::info!("making the indexes anew from the records"),
        other => tracing::info!(?other, "opening the store"),
    }
}
