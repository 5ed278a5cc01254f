//! `load`: a store made in bulk, as `dcstore load` and `dcstore copy` do. All prepared stores come from here.

use std::time::Instant;

use decentcom_server::storage::inspect::{Claim, Row};

use super::{
    History, Task, allocated,
    dataset::{expired_session, message, people_and_places},
};
use crate::{
    failure::Failure,
    results::{Latency, Sample, Subject, Variant},
};

/// Rows of one commit of an engine used directly: as many as an import's commits have in the end.
#[cfg(feature = "engines")]
const ROWS: usize = 65_536;

pub(super) fn measure(task: &Task) -> Result<Sample, Failure> {
    let case = &task.what.case;
    let began = Instant::now();
    let people_and_places = people_and_places();
    let messages = case.stored;
    let rows = match (task.what.subject, messages, case.rows.filter(|_| case.variant == Some(Variant::Sessions))) {
        #[cfg(feature = "engines")]
        (Subject::Fjall, Some(stored), _) => fjall(task, History { stored })?,
        (Subject::Redb | Subject::Sqlite, Some(stored), _) => {
            import(task, stored, people_and_places.chain(History { stored }.posts()))?
        }
        (Subject::Redb | Subject::Sqlite, None, Some(sessions)) => {
            let sessions = (0..sessions).map(|number| Row::Session(expired_session(number).into()));
            import(task, 0, people_and_places.chain(sessions))?
        }
        (Subject::Redb | Subject::Sqlite, None, None) => {
            import(task, task.dataset.messages(), people_and_places.chain(task.dataset.posts()))?
        }
        _ => return Err(task.cannot()),
    };
    let seconds = began.elapsed().as_secs_f64();
    let micros = seconds * 1e6 / rows as f64;
    Ok(Sample {
        seconds,
        operations: rows,
        latency: Latency { p50: micros, p90: micros, p99: micros, p999: micros, max: micros },
        messages,
        file_bytes: Some(allocated(&task.directory)?),
        ..Sample::default()
    })
}

/// Makes the store of these rows, whose messages have numbers below `end`; answers how many rows there are.
fn import(task: &Task, end: u64, rows: impl Iterator<Item = Row>) -> Result<u64, Failure> {
    let (claim, _) = Claim::on(task.backend()?, &task.store())?;
    let mut import = claim.import()?;
    let mut count = 0;
    for row in rows {
        count += 1;
        import.push(row)?;
    }
    import.close(Some(message(end).ulid()))?;
    claim.install(None)?;
    Ok(count)
}

/// Writes the messages in batches; answers how many they are.
#[cfg(feature = "engines")]
fn fjall(task: &Task, history: History) -> Result<u64, Failure> {
    use crate::subject::{engines::Fjall, raw_redb::Post};
    let engine = Fjall::open(&task.store())?;
    let mut next = 0;
    while next < history.stored {
        let numbers = next..history.stored.min(next + ROWS as u64);
        next = numbers.end;
        let messages: Vec<_> = numbers.map(|number| history.a_message(number)).collect();
        let posts: Vec<_> = messages
            .iter()
            .map(|it| Post { id: it.id, channel: it.channel_id, author: it.author_id, text: &it.content })
            .collect();
        engine.write(&posts)?;
    }
    Ok(history.stored)
}
