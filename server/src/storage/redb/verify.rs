//! Checking a redb store: the key-value store's own checks, and the references between tables.

use std::path::Path;

use decentcom_kvstore::{Direction, Error, Options, Snapshot, Store, Table};
use ulid::Ulid;

use super::{
    error::{open_error, storage_error},
    high_water, log_progress,
    schema::{Channels, Messages, Purges, SCHEMA, Sessions, Users},
};
use crate::storage::{Backend, OpenError, StorageError, files, finding::Finding};

fn open(path: &Path) -> Result<Store, OpenError> {
    files::require(path, Backend::Redb)?;
    let options = Options { progress: log_progress, ..Options::default() };
    options.open(path, &SCHEMA).map_err(|error| open_error(path, error))
}

pub(in crate::storage) fn verify(path: &Path, mut report: impl FnMut(Finding)) -> Result<(), OpenError> {
    let store = open(path)?;
    check(&store, &mut report)?;
    store.close().map_err(storage_error("close the store"))?;
    Ok(())
}

pub(super) fn check(store: &Store, report: &mut impl FnMut(Finding)) -> Result<(), StorageError> {
    store
        .verify(|found| {
            let problem = found.to_string();
            let problem = problem.split_once(": ").map_or(problem.clone(), |(_, problem)| problem.to_owned());
            report(Finding { table: found.table.into(), key: found.key, problem });
        })
        .and_then(|()| references(&*store.snapshot()?, report))
        .map_err(storage_error("verify the store"))?;
    let newest = high_water(store)?;
    let recorded = store.meta(super::HIGH_WATER).map_err(storage_error("verify the store"))?;
    if recorded.is_none_or(|recorded| recorded != newest.to_bytes()) && !newest.is_nil() {
        let problem = format!("the largest id in the store is {newest}, which is not the one recorded");
        report(Finding { table: "meta".into(), key: super::HIGH_WATER.into(), problem });
    }
    Ok(())
}

pub(in crate::storage) fn rebuild_indexes(path: &Path) -> Result<u64, OpenError> {
    let store = open(path)?;
    let rows = store.rebuild_indexes().map_err(storage_error("rebuild the indexes"))?;
    store.close().map_err(storage_error("close the store"))?;
    Ok(rows)
}

/// Rows that do not decode were reported with their tables.
fn references(snapshot: &Snapshot, report: &mut impl FnMut(Finding)) -> Result<(), Error> {
    let mut dangling = |table: &str, key: String, what: &str, id: Ulid| {
        report(Finding { table: table.into(), key, problem: format!("its {what} {id} does not exist") });
    };
    for (id, message) in snapshot.rows::<Messages>(None, Direction::Forward)?.filter_map(Result::ok) {
        let (channel, author) = (Ulid::from_bytes(message.channel_id), Ulid::from_bytes(message.author_id));
        if !snapshot.contains::<Channels>(&channel)? && !snapshot.contains::<Purges>(&channel)? {
            dangling(Messages::NAME, id.to_string(), "channel", channel);
        }
        if !snapshot.contains::<Users>(&author)? {
            dangling(Messages::NAME, id.to_string(), "author", author);
        }
    }
    for (digest, session) in snapshot.rows::<Sessions>(None, Direction::Forward)?.filter_map(Result::ok) {
        let user = Ulid::from_bytes(session.user_id);
        if !snapshot.contains::<Users>(&user)? {
            dangling(Sessions::NAME, crate::storage::SessionDigest::from_bytes(digest).to_hex(), "user", user);
        }
    }
    Ok(())
}
