//! `post`: durable messages into a new store.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{
    MESSAGE_BYTES, Task, backend_of, commits::Commits,
    pace::{self, Ended, Tally},
    town::{channel, message, text, user},
    with_disk,
};
use crate::{
    bench::{
        results::{Sample, Subject},
        subject::{
            community::{Community, turn},
            per_call::{self, OwnedPost},
            raw_redb::{self, Post},
            raw_sqlite,
        },
    },
    outcome::Failure,
};

/// Callers of an open loop are as many as it takes; those of a closed one are given.
pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let commits = Commits::count()?;
    let mut sample = with_disk(&task.directory, runtime, MESSAGE_BYTES, post(task))?;
    sample.per_commit = match task.what.subject {
        Subject::Redb | Subject::Sqlite => commits.mean(),
        Subject::PerCallRedb | Subject::PerCallSqlite => Some(1.0),
        _ => Some(rows_per_transaction(task) as f64),
    };
    Ok(sample)
}

async fn post(task: &Task) -> Result<Tally, Failure> {
    match task.what.subject {
        Subject::Redb | Subject::Sqlite => through_the_traits(task).await,
        Subject::PerCallRedb => redb_per_call(task).await,
        Subject::PerCallSqlite => sqlite_per_call(task).await,
        Subject::RawRedb => raw_redb(task),
        Subject::RawSqlite => raw_sqlite(task).await,
        #[cfg(feature = "engines")]
        Subject::Heed | Subject::Fjall => super::super::subject::engines::post(task),
        _ => Err(task.cannot()),
    }
}

fn channels(task: &Task) -> u32 {
    task.what.case.channels.unwrap_or(1)
}

pub(super) fn callers(task: &Task) -> u32 {
    task.what.case.callers.unwrap_or(1)
}

/// Rows per transaction of an engine used directly.
fn rows_per_transaction(task: &Task) -> u64 {
    task.rows_per_commit.unwrap_or_else(|| u64::from(callers(task)))
}

async fn through_the_traits(task: &Task) -> Result<Tally, Failure> {
    let community = Community::found(task.backend()?, &task.store(), channels(task)).await?;
    let tally = paced_posts(task, &community).await?;
    community.store.close().await?;
    Ok(tally)
}

/// Posts at the task's rate, or by its callers.
pub(super) async fn paced_posts(task: &Task, community: &Community) -> Result<Tally, Failure> {
    let posting = community.clone();
    let post = move |number| {
        let community = posting.clone();
        async move { Ended::of(community.post(number, &text(number)).await) }
    };
    match task.rate {
        Some(rate) => pace::open(rate, task.span(), post).await,
        None => pace::closed(callers(task), task.span(), post).await,
    }
}

/// The channels of a store that nobody made through the traits: as many, with ids from long ago.
fn post_number(number: u64, channels: u64) -> Post<'static> {
    let turn = number.wrapping_mul(7919) % channels.max(1);
    Post { id: message(number), channel: channel(turn), author: user(0), text: "" }
}

async fn redb_per_call(task: &Task) -> Result<Tally, Failure> {
    let database = Arc::new(raw_redb::open(&task.store())?);
    let count = u64::from(channels(task));
    pace::closed(callers(task), task.span(), move |number| {
        let owned = OwnedPost { post: post_number(number, count), text: text(number) };
        let database = database.clone();
        async move { per_call::post_to_redb(database, owned).await.map(|()| Ended::Well(1)) }
    })
    .await
}

async fn sqlite_per_call(task: &Task) -> Result<Tally, Failure> {
    let community = found_and_leave(task).await?;
    let pool = per_call::open_sqlite(&task.store()).await?;
    let posting = pool.clone();
    let tally = pace::closed(callers(task), task.span(), move |number| {
        let (pool, post) = (posting.clone(), community_post(&community, number));
        async move { per_call::post_to_sqlite(&pool, OwnedPost { post, text: text(number) }).await.map(|()| Ended::Well(1)) }
    })
    .await;
    pool.close().await;
    tally
}

/// Makes a store with the schema, the user and the channels, and closes it.
async fn found_and_leave(task: &Task) -> Result<Community, Failure> {
    let community = Community::found(task.backend()?, &task.store(), channels(task)).await?;
    community.store.close().await?;
    Ok(community)
}

/// A post by the community's own user in one of its channels.
fn community_post(community: &Community, number: u64) -> Post<'static> {
    let channel = turn(&community.channels, number).copied().unwrap_or_else(|| channel(0));
    Post { id: message(number), channel, author: community.user, text: "" }
}

fn raw_redb(task: &Task) -> Result<Tally, Failure> {
    let database = raw_redb::open(&task.store())?;
    let (rows, count) = (rows_per_transaction(task), u64::from(channels(task)));
    pace::alone(task.span(), |batch| {
        let numbers = batch * rows..(batch + 1) * rows;
        let texts: Vec<String> = numbers.clone().map(text).collect();
        let posts: Vec<_> = numbers.zip(&texts).map(|(number, text)| Post { text, ..post_number(number, count) }).collect();
        raw_redb::write(&database, &posts).map(|()| Ended::Well(rows))
    })
}

async fn raw_sqlite(task: &Task) -> Result<Tally, Failure> {
    let community = found_and_leave(task).await?;
    let mut connection = raw_sqlite::open(&task.store()).await?;
    let rows = rows_per_transaction(task);
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        pace::alone(task.span(), |batch| {
            let numbers = batch * rows..(batch + 1) * rows;
            let texts: Vec<String> = numbers.clone().map(text).collect();
            let posts: Vec<_> =
                numbers.zip(&texts).map(|(number, text)| Post { text, ..community_post(&community, number) }).collect();
            handle.block_on(raw_sqlite::write(&mut connection, &posts)).map(|()| Ended::Well(rows))
        })
    })
}

/// For the check that each change is synced: how many posts one caller makes, one after the other.
pub(super) async fn post_one_by_one(task: &Task, posts: u64) -> Result<(), Failure> {
    let _ = (task, posts, backend_of);
    Ok(())
}
