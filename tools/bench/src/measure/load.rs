//! `load`: a store made in bulk, as `dcstore load` and `dcstore copy` do. The prepared stores come from here.

use std::time::Instant;

use decentcom_server::storage::inspect::{Claim, Row};
use sqlx::Connection as _;
use tokio::runtime::Runtime;

use super::{
    Dataset, MESSAGE_BYTES, Task, allocated,
    dataset::{expired_session, message, people_and_places},
    failure,
};
use crate::{
    failure::Failure,
    results::{Latency, Sample, Subject, Variant},
    subject::{
        raw_redb::{self, Post},
        raw_sqlite,
    },
};

/// Rows of one commit, as `dcstore load` has them.
const ROWS: usize = 4096;

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let began = Instant::now();
    let sessions = task.what.case.rows.filter(|_| task.what.case.variant == Some(Variant::Sessions));
    let (rows, began) = match (task.what.subject, sessions) {
        (Subject::Redb | Subject::Sqlite, Some(sessions)) => {
            let sessions = (0..sessions).map(|number| Row::Session(expired_session(number).into()));
            (import(task, people_and_places().chain(sessions))?, began)
        }
        (Subject::Redb | Subject::Sqlite, None) => {
            (import(task, people_and_places().chain(task.dataset.posts()))?, began)
        }
        (Subject::RawRedb, _) => {
            let database = raw_redb::open(&task.store())?;
            (in_batches(task.dataset, |posts| raw_redb::write(&database, posts))?, began)
        }
        (Subject::RawSqlite, _) => {
            import(task, people_and_places())?;
            let began = Instant::now();
            let mut connection = runtime.block_on(raw_sqlite::open(&task.store()))?;
            let rows = in_batches(task.dataset, |posts| runtime.block_on(raw_sqlite::write(&mut connection, posts)))?;
            runtime.block_on(connection.close())?;
            (rows, began)
        }
        _ => return Err(task.cannot()),
    };
    let seconds = began.elapsed().as_secs_f64();
    let micros = seconds * 1e6 / rows as f64;
    Ok(Sample {
        seconds,
        operations: rows,
        latency: Latency { p50: micros, p90: micros, p99: micros, p999: micros, max: micros },
        payload_bytes: Some(rows * MESSAGE_BYTES),
        file_bytes: Some(allocated(&task.directory)?),
        ..Sample::default()
    })
}

/// Makes the store of these rows; answers how many they are.
fn import(task: &Task, rows: impl Iterator<Item = Row>) -> Result<u64, Failure> {
    let (claim, _) = Claim::on(task.backend()?, &task.store())?;
    let mut import = claim.import()?;
    let (mut batch, mut count) = (Vec::with_capacity(ROWS), 0);
    for row in rows {
        count += 1;
        batch.push(row);
        if batch.len() == ROWS {
            import.append(std::mem::replace(&mut batch, Vec::with_capacity(ROWS)))?;
        }
    }
    import.append(batch)?;
    import.close(Some(message(task.dataset.messages()).ulid()))?;
    claim.install(None)?;
    Ok(count)
}

/// Writes the messages of a community by `write`; answers how many they are.
fn in_batches(dataset: Dataset, mut write: impl FnMut(&[Post<'_>]) -> Result<(), Failure>) -> Result<u64, Failure> {
    let mut next = 0;
    while next < dataset.messages() {
        let numbers = next..dataset.messages().min(next + u64::try_from(ROWS).map_err(failure)?);
        next = numbers.end;
        let messages: Vec<_> = numbers.map(|number| dataset.a_message(number)).collect();
        let posts: Vec<_> = messages
            .iter()
            .map(|it| Post { id: it.id, channel: it.channel_id, author: it.author_id, text: &it.content })
            .collect();
        write(&posts)?;
    }
    Ok(next)
}
