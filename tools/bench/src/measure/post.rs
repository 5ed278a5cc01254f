//! `post`: durable messages into a new store.

use std::{sync::Arc, time::Duration};

use sqlx::Connection as _;
use tokio::runtime::Runtime;

use super::{
    MESSAGE_BYTES, Task,
    commits::Commits,
    dataset::{channel, message, mix, ordinary_channel, text, user},
    pace::{self, Ended, Tally},
    with_disk,
};
use crate::{
    failure::Failure,
    results::{Sample, Subject},
    subject::{
        community::{Community, open, turn},
        per_call::{self, OwnedPost},
        raw_redb::{self, Post},
        raw_sqlite,
    },
    watch::syncs::marks,
};

/// Callers of an open loop are as many as it takes; those of a closed one are given.
pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let commits = Commits::count()?;
    let mut sample = with_disk(&task.directory, runtime, MESSAGE_BYTES, post(task, &commits))?;
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
    let community = Community::found(task.backend()?, &task.store(), channels(task)).await?;
    commits.restart();
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
        let posting = per_call::post_to_redb(database.clone(), OwnedPost::new(post_number(number, count), number));
        async move { posting.await.map(|()| Ended::Well(1)) }
    })
    .await
}

async fn sqlite_per_call(task: &Task) -> Result<Tally, Failure> {
    let community = found_and_leave(task).await?;
    let pool = per_call::open_sqlite(&task.store()).await?;
    let posting = pool.clone();
    let tally = pace::closed(callers(task), task.span(), move |number| {
        let (pool, post) = (posting.clone(), OwnedPost::new(community_post(&community, number), number));
        async move { per_call::post_to_sqlite(&pool, post).await.map(|()| Ended::Well(1)) }
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

/// Transactions of so many rows, one after the other, by whatever writes them.
async fn batches(
    task: &Task,
    post: impl Fn(u64) -> Post<'static>,
    mut write: impl AsyncFnMut(&[Post<'_>]) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let rows = rows_per_transaction(task);
    pace::alone(task.span(), async |batch| {
        let numbers = batch * rows..(batch + 1) * rows;
        let texts: Vec<String> = numbers.clone().map(text).collect();
        let posts: Vec<_> = numbers.zip(&texts).map(|(number, text)| Post { text, ..post(number) }).collect();
        write(&posts).await?;
        Ok(Ended::Well(rows))
    })
    .await
}

async fn raw_redb(task: &Task) -> Result<Tally, Failure> {
    let database = raw_redb::open(&task.store())?;
    let count = u64::from(channels(task));
    batches(task, |number| post_number(number, count), async |posts| raw_redb::write(&database, posts)).await
}

#[cfg(feature = "engines")]
async fn fjall(task: &Task) -> Result<Tally, Failure> {
    let engine = crate::subject::engines::Fjall::open(&task.store())?;
    let count = u64::from(channels(task));
    batches(task, |number| post_number(number, count), async |posts| engine.write(posts)).await
}

async fn raw_sqlite(task: &Task) -> Result<Tally, Failure> {
    let community = found_and_leave(task).await?;
    let mut connection = raw_sqlite::open(&task.store()).await?;
    let tally = batches(
        task,
        |number| community_post(&community, number),
        async |posts| raw_sqlite::write(&mut connection, posts).await,
    )
    .await;
    connection.close().await?;
    tally
}

/// Posts by one caller, each waited for, between the marks of whoever counts syncs.
pub(super) async fn one_by_one(task: &Task, posts: u64) -> Result<(), Failure> {
    match task.what.subject {
        Subject::Redb | Subject::Sqlite => {
            let community = Community::found(task.backend()?, &task.store(), 1).await?;
            marked(posts, async |number| Ok(community.post(number, &text(number)).await?)).await?;
            Ok(community.store.close().await?)
        }
        Subject::RawRedb => {
            let database = raw_redb::open(&task.store())?;
            let post = |number| raw_redb::write(&database, &[Post { text: "text", ..post_number(number, 1) }]);
            marked(posts, async |number| post(number)).await
        }
        Subject::RawSqlite => {
            let community = found_and_leave(task).await?;
            let mut connection = raw_sqlite::open(&task.store()).await?;
            marked(posts, async |number| {
                raw_sqlite::write(&mut connection, &[Post { text: "text", ..community_post(&community, number) }]).await
            })
            .await
        }
        Subject::PerCallRedb => {
            let database = Arc::new(raw_redb::open(&task.store())?);
            marked(posts, async |number| {
                per_call::post_to_redb(database.clone(), OwnedPost::new(post_number(number, 1), number)).await
            })
            .await
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
    pace::closed(16, endless, move |number| {
        let store = store.clone();
        let (channel, text) = (ordinary_channel(mix(number)), text(number));
        async move { Ended::of(store.create_message(&channel.text(), &user(0).text(), &text).await) }
    })
    .await
    .map(|_| ())
}
