//! `post`: durable messages into stores that hold many.

use std::{sync::Arc, time::Duration};

use decentcom_server::storage::Storage;
use sqlx::Connection as _;
use tokio::runtime::Runtime;

use super::{
    MESSAGE_BYTES, Task,
    commits::Commits,
    dataset::{message, text, user},
    history::destination,
    pace::{self, Ended, Tally},
    with_disk,
};
use crate::{
    failure::Failure,
    results::{Sample, Subject},
    subject::{
        community::{Community, open},
        per_call::{self, OwnedPost},
        raw_redb::{self, Post},
        raw_sqlite,
    },
    watch::syncs::marks,
};

/// As many channels as there are.
pub(super) const EVERYWHERE: u32 = 1000;

/// Callers of an open loop are as many as it takes; those of a closed one are given.
pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let commits = Commits::count()?;
    let mut sample = with_disk(task, runtime, MESSAGE_BYTES, post(task, &commits))?;
    sample.per_commit = match task.what.subject {
        Subject::Redb | Subject::Sqlite => commits.mean(),
        Subject::PerCallRedb | Subject::PerCallSqlite => Some(1.0),
        _ => Some(rows_per_transaction(task) as f64),
    };
    Ok(sample)
}

async fn post(task: &Task, commits: &Commits) -> Result<Tally, Failure> {
    match task.what.subject {
        Subject::Redb | Subject::Sqlite => through_the_traits(task, commits).await,
        Subject::PerCallRedb => redb_per_call(task).await,
        Subject::PerCallSqlite => sqlite_per_call(task).await,
        Subject::RawRedb => raw_redb(task).await,
        Subject::RawSqlite => raw_sqlite(task).await,
        #[cfg(feature = "engines")]
        Subject::Fjall => fjall(task).await,
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

async fn through_the_traits(task: &Task, commits: &Commits) -> Result<Tally, Failure> {
    let store = open(task.backend()?, &task.store()).await?;
    commits.restart();
    let (posting, channels) = (store.clone(), channels(task));
    let post = move |number| post_through(posting.clone(), channels, number);
    let tally = match task.rate {
        Some(rate) => pace::open(rate, task.span(), post).await,
        None => pace::closed(callers(task), task.span(), post).await,
    }?;
    store.close().await?;
    Ok(tally)
}

/// Posts the message with this number to one of so many channels.
pub(super) async fn post_through(store: Arc<dyn Storage>, channels: u32, number: u64) -> Result<Ended, Failure> {
    let channel = destination(channels, number);
    Ended::of(store.create_message(&channel.text(), &user(0).text(), &text(number)).await)
}

/// The message with this number of a measurement, for engines that are not asked for ids: one that is not there yet.
fn next(task: &Task, number: u64) -> Post<'static> {
    let id = message(task.first_free + number);
    Post { id, channel: destination(channels(task), number), author: user(0), text: "" }
}

/// The same, with its text, for whoever takes it along.
fn owned(task: &Task, number: u64) -> OwnedPost {
    OwnedPost::new(next(task, number), number)
}

async fn redb_per_call(task: &Task) -> Result<Tally, Failure> {
    let database = Arc::new(raw_redb::open(&task.store())?);
    let own = Arc::new(task.clone());
    pace::closed(callers(task), task.span(), move |number| {
        let posting = per_call::post_to_redb(database.clone(), owned(&own, number));
        async move { posting.await.map(|()| Ended::Well(1)) }
    })
    .await
}

async fn sqlite_per_call(task: &Task) -> Result<Tally, Failure> {
    let pool = per_call::open_sqlite(&task.store()).await?;
    let (posting, own) = (pool.clone(), Arc::new(task.clone()));
    let tally = pace::closed(callers(task), task.span(), move |number| {
        let (pool, post) = (posting.clone(), owned(&own, number));
        async move { per_call::post_to_sqlite(&pool, post).await.map(|()| Ended::Well(1)) }
    })
    .await;
    pool.close().await;
    tally
}

/// Transactions of so many rows, one after the other, by whatever writes them.
async fn batches(
    task: &Task,
    mut write: impl AsyncFnMut(&[Post<'_>]) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let rows = rows_per_transaction(task);
    pace::alone(task.span(), async |batch| {
        let numbers = batch * rows..(batch + 1) * rows;
        let texts: Vec<String> = numbers.clone().map(text).collect();
        let posts: Vec<_> = numbers.zip(&texts).map(|(number, text)| Post { text, ..next(task, number) }).collect();
        write(&posts).await?;
        Ok(Ended::Well(rows))
    })
    .await
}

async fn raw_redb(task: &Task) -> Result<Tally, Failure> {
    let database = raw_redb::open(&task.store())?;
    batches(task, async |posts| raw_redb::write(&database, posts)).await
}

#[cfg(feature = "engines")]
async fn fjall(task: &Task) -> Result<Tally, Failure> {
    let engine = crate::subject::engines::Fjall::open(&task.store())?;
    batches(task, async |posts| engine.write(posts)).await
}

async fn raw_sqlite(task: &Task) -> Result<Tally, Failure> {
    let mut connection = raw_sqlite::open(&task.store()).await?;
    let tally = batches(task, async |posts| raw_sqlite::write(&mut connection, posts).await).await;
    connection.close().await?;
    tally
}

/// Posts by one caller into a new store, each waited for, between the marks of whoever counts syncs.
pub(super) async fn one_by_one(task: &Task, posts: u64) -> Result<(), Failure> {
    match task.what.subject {
        Subject::Redb | Subject::Sqlite => {
            let community = Community::found(task.backend()?, &task.store()).await?;
            marked(posts, async |number| Ok(community.post(&text(number)).await?)).await?;
            Ok(community.store.close().await?)
        }
        Subject::RawRedb => {
            let database = raw_redb::open(&task.store())?;
            marked(posts, async |number| raw_redb::write(&database, &[Post { text: "text", ..next(task, number) }]))
                .await
        }
        Subject::RawSqlite => {
            let community = found_and_leave(task).await?;
            let mut connection = raw_sqlite::open(&task.store()).await?;
            marked(posts, async |number| {
                let post = Post { text: "text", ..community_post(&community, number) };
                raw_sqlite::write(&mut connection, &[post]).await
            })
            .await
        }
        Subject::PerCallRedb => {
            let database = Arc::new(raw_redb::open(&task.store())?);
            marked(posts, async |number| per_call::post_to_redb(database.clone(), owned(task, number)).await).await
        }
        Subject::PerCallSqlite => {
            let community = found_and_leave(task).await?;
            let pool = per_call::open_sqlite(&task.store()).await?;
            marked(posts, async |number| {
                per_call::post_to_sqlite(&pool, OwnedPost::new(community_post(&community, number), number)).await
            })
            .await
        }
        _ => Err(task.cannot()),
    }
}

/// Makes a store with the schema, the user and the channel, and closes it.
async fn found_and_leave(task: &Task) -> Result<Community, Failure> {
    let community = Community::found(task.backend()?, &task.store()).await?;
    community.store.close().await?;
    Ok(community)
}

/// A post by the community's own user in its channel.
fn community_post(community: &Community, number: u64) -> Post<'static> {
    Post { id: message(number), channel: community.channel, author: community.user, text: "" }
}

async fn marked(posts: u64, mut post: impl AsyncFnMut(u64) -> Result<(), Failure>) -> Result<(), Failure> {
    marks::ready()?;
    for number in 0..posts {
        post(number).await?;
    }
    Ok(marks::done()?)
}

/// Posts into the store that is there until somebody ends this process.
pub(super) async fn until_killed(task: &Task) -> Result<(), Failure> {
    let store = open(task.backend()?, &task.store()).await?;
    let endless = pace::Span { warm_up: Duration::ZERO, measured: Duration::from_secs(3600) };
    let post = move |number| post_through(store.clone(), EVERYWHERE, number);
    pace::closed(16, endless, post).await.map(|_| ())
}
