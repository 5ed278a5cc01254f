//! `read`, `scroll` and `join`: messages by id, pages of channels, users by public key.

use std::sync::Arc;

use decentcom_server::storage::{ChannelId, MessageId, Storage, StorageError};
use tokio::runtime::Runtime;

use super::{
    Task,
    dataset::{self, mix},
    failure,
    history::History,
    pace::{self, Ended, Tally},
    post::callers,
};
use crate::{
    failure::Failure,
    results::{Sample, Subject, Variant, Workload},
    subject::{community, raw_redb, raw_sqlite},
};

/// Messages on a page.
pub(super) const PAGE: u32 = 50;
/// Different requests, made beforehand; then they are made again. Enough to touch every part of a large store.
const REQUESTS: u64 = 65_536;

enum Request {
    Message(MessageId),
    Page { channel: ChannelId, before: Option<MessageId> },
    User(String),
}

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let requests: Arc<[Request]> =
        (0..REQUESTS).map(|number| request(task, number)).collect::<Result<Vec<_>, _>>()?.into();
    let tally = match task.what.subject {
        Subject::Redb | Subject::Sqlite => runtime.block_on(through_the_traits(task, requests)),
        Subject::RawRedb => runtime.block_on(raw_redb(task, &requests)),
        Subject::RawSqlite => runtime.block_on(raw_sqlite(task, &requests)),
        #[cfg(feature = "engines")]
        Subject::Fjall => runtime.block_on(fjall(task, &requests)),
        _ => Err(task.cannot()),
    }?;
    Ok(tally.sample())
}

fn request(task: &Task, number: u64) -> Result<Request, Failure> {
    let random = mix(number);
    let is_deep = matches!(task.what.case.variant, Some(Variant::Deep | Variant::Cold));
    Ok(match (task.what.workload, task.what.case.rows) {
        (Workload::Join, _) => Request::User(dataset::pubkey(random % dataset::USERS)),
        (Workload::Read, _) => Request::Message(task.history()?.any_message(random)),
        (_, None) => page_anywhere(task.history()?, is_deep, random),
        (_, Some(rows)) => Request::Page {
            channel: task.dataset.channel_with(rows),
            before: is_deep.then(|| task.dataset.cursor(random)),
        },
    })
}

/// The newest page of any channel, or one from anywhere in it.
fn page_anywhere(history: History, is_deep: bool, random: u64) -> Request {
    if !is_deep {
        return Request::Page { channel: history.channel_in_use(random), before: None };
    }
    let (channel, before) = history.place(random);
    Request::Page { channel, before: Some(before) }
}

fn of(requests: &[Request], number: u64) -> Result<&Request, Failure> {
    let place = usize::try_from(number % REQUESTS).map_err(failure)?;
    requests.get(place).ok_or_else(|| failure("no request"))
}

/// Whether what was asked for is there: a bench of misses would be none.
fn found(is_there: bool) -> Result<Ended, Failure> {
    if is_there { Ok(Ended::Well(1)) } else { Err(failure("the prepared store lacks what was asked for")) }
}

async fn through_the_traits(task: &Task, requests: Arc<[Request]>) -> Result<Tally, Failure> {
    let store = community::open(task.backend()?, &task.read_store()?).await?;
    let tally = match callers(task) {
        1 => pace::alone(task.span(), async |number| found(ask(&*store, of(&requests, number)?).await?)).await?,
        callers => {
            let asked = store.clone();
            let call = move |number| {
                let (store, requests) = (asked.clone(), requests.clone());
                async move { found(ask(&*store, of(&requests, number)?).await?) }
            };
            pace::closed(callers, task.span(), call).await?
        }
    };
    store.close().await?;
    Ok(tally)
}

async fn ask(store: &dyn Storage, request: &Request) -> Result<bool, StorageError> {
    Ok(match request {
        Request::Message(id) => store.get_message(&id.text()).await?.is_some(),
        Request::Page { channel, before } => {
            let before = before.map(MessageId::text);
            !store.list_messages(&channel.text(), before.as_deref(), PAGE).await?.is_empty()
        }
        Request::User(pubkey) => store.get_user_by_pubkey(pubkey).await?.is_some(),
    })
}

async fn raw_redb(task: &Task, requests: &[Request]) -> Result<Tally, Failure> {
    let reading = raw_redb::Reading::open(&task.read_store()?)?;
    pace::alone(task.span(), async |number| {
        found(match of(requests, number)? {
            Request::Message(id) => reading.get(&id.ulid().to_bytes())?.is_some(),
            Request::Page { channel, before } => !reading.page(*channel, *before, PAGE as usize)?.is_empty(),
            Request::User(pubkey) => reading.user(pubkey)?.is_some(),
        })
    })
    .await
}

async fn raw_sqlite(task: &Task, requests: &[Request]) -> Result<Tally, Failure> {
    let mut connection = raw_sqlite::open(&task.read_store()?).await?;
    pace::alone(task.span(), async |number| {
        found(match of(requests, number)? {
            Request::Message(id) => raw_sqlite::get(&mut connection, *id).await?.is_some(),
            Request::Page { channel, before } => {
                !raw_sqlite::page(&mut connection, *channel, *before, PAGE).await?.is_empty()
            }
            Request::User(pubkey) => raw_sqlite::user(&mut connection, pubkey).await?.is_some(),
        })
    })
    .await
}

#[cfg(feature = "engines")]
async fn fjall(task: &Task, requests: &[Request]) -> Result<Tally, Failure> {
    let engine = crate::subject::engines::Fjall::open(&task.store())?;
    pace::alone(task.span(), async |number| {
        found(match of(requests, number)? {
            Request::Message(id) => engine.get(&id.ulid().to_bytes())?.is_some(),
            Request::Page { channel, before } => !engine.page(*channel, *before, PAGE as usize)?.is_empty(),
            Request::User(_) => return Err(task.cannot()),
        })
    })
    .await
}
