//! Writes: one batch of the key-value store per batch of the front.

use std::sync::Arc;

use decentcom_kvstore::{Error, Snapshot, WriteBatch, live::LiveServer};
use ulid::Ulid;

use super::{
    channels,
    error::storage_error,
    messages, opening,
    published::Published,
    rows::{self, Fate},
    schema::{APPLIED, HIGH_WATER, PROBED_AT},
    sessions, users,
};
use crate::storage::{
    Row, StorageError,
    port::{Presence, Rows, Staged, Wants, Write, Writer},
};

/// The writing half of the backend, owned by the commit thread; nobody else writes.
pub(super) struct RedbWriter {
    pub(super) published: Arc<Published>,
    /// Answers tools for as long as the store is open.
    pub(super) live: Option<LiveServer>,
    pub(super) presence: Arc<Presence>,
}

impl Writer for RedbWriter {
    fn transact(&mut self, wants: &Wants, decide: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError> {
        // A disk that failed may be back, or have space again.
        self.published.recover("open the file again after a disk error")?;
        let staged = decide(load(&self.published.view().shows, wants)?);
        if staged.writes.is_empty() {
            return Ok(());
        }
        self.published.store.write(|batch| store(batch, &staged)).map_err(storage_error("commit"))?;
        self.published.committed(staged.commit)
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.published.recover("open the file again on a full disk")
    }

    fn store_high_water(&mut self, id: Ulid) -> Result<(), StorageError> {
        let stored = self.published.store.write(|batch| batch.set_meta(HIGH_WATER, &id.to_bytes()));
        stored.map_err(storage_error("store the high-water id"))
    }

    fn presence(&self) -> Arc<Presence> {
        self.presence.clone()
    }

    fn close(mut self: Box<Self>) -> Result<(), StorageError> {
        self.live = None;
        // Only worth having: a full disk must not keep anybody from closing.
        let _ = opening::end(&self.published.store);
        self.published.store.close().map_err(storage_error("close the database"))
    }
}

fn load(snapshot: &Snapshot, wants: &Wants) -> Result<Rows, StorageError> {
    let mut rows = Rows::default();
    rows::load(snapshot, wants, &mut rows)?;
    users::load(snapshot, wants, &mut rows)?;
    channels::load(snapshot, wants, &mut rows)?;
    sessions::load(snapshot, wants, &mut rows)?;
    Ok(rows)
}

fn store(batch: &mut WriteBatch, staged: &Staged) -> Result<(), Error> {
    for write in &staged.writes {
        match write {
            Write::Insert(row) => rows::put(batch, row, Fate::Insert),
            Write::Replace(row) => rows::put(batch, row, Fate::Replace),
            Write::ChangeMembership(user) => rows::put(batch, &Row::User(user.clone()), Fate::Replace),
            Write::Remove(key) => rows::remove(batch, key),
            Write::SweepSession { digest, expires_at } => sessions::sweep(batch, *digest, *expires_at),
            Write::BeginPurge(id) => channels::begin_purge(batch, *id),
            Write::ReclaimMessage { id, channel_id } => messages::reclaim(batch, *channel_id, *id),
            Write::EndPurge(id) => channels::end_purge(batch, *id),
            Write::NoteProbe(at) => batch.set_meta(PROBED_AT, at.as_millis().to_string().as_bytes()),
        }?;
    }
    if let Some(id) = staged.high_water {
        batch.set_meta(HIGH_WATER, &id.to_bytes())?;
    }
    batch.set_meta(APPLIED, staged.commit.to_string().as_bytes())
}
