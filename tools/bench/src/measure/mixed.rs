//! `mixed`, `beside` and `memory`: a community at work, on a copy of the prepared one.

use std::sync::Arc;

use decentcom_server::storage::{Storage, StorageError};
use tokio::runtime::Runtime;

use super::{
    Prepared, Task,
    dataset::{mix, ordinary_channel, popular_channel, text, user},
    pace::{self, Ended, Tally, joined},
    post::callers,
    read::PAGE,
};
use crate::{
    failure::Failure,
    results::{Sample, Variant, Workload},
    subject::community,
    watch::memory::MemorySampler,
};

/// One call in so many is a post.
const READS_PER_POST: u64 = 20;
/// Callers that post beside a reader.
const POSTERS: u32 = 64;
/// How often memory is looked at.
const LOOKS: u32 = 60;

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    runtime.block_on(async {
        let store = community::open(task.backend()?, &task.own_copy(Prepared::Dataset)?).await?;
        let sample = match task.what.workload {
            Workload::Beside => beside(task, &store).await?.sample(),
            Workload::Memory => {
                let sampler = MemorySampler::start(task.span().measured / LOOKS);
                let mut sample = mixed(task, &store).await?.sample();
                sample.memory_over_time = sampler.stop();
                sample
            }
            _ => mixed(task, &store).await?.sample(),
        };
        store.close().await?;
        Ok(sample)
    })
}

/// Nineteen newest pages to a post.
async fn mixed(task: &Task, store: &Arc<dyn Storage>) -> Result<Tally, Failure> {
    let store = store.clone();
    let call = move |number| {
        let store = store.clone();
        async move { Ended::of(visit(&*store, number).await) }
    };
    match task.rate {
        Some(rate) => pace::open(rate, task.span(), call).await,
        None => pace::closed(callers(task), task.span(), call).await,
    }
}

async fn visit(store: &dyn Storage, number: u64) -> Result<(), StorageError> {
    let channel = popular_channel(number);
    match mix(number) % READS_PER_POST {
        0 => store.create_message(&channel.text(), &user(0).text(), &text(number)).await.map(|_| ()),
        _ => store.list_messages(&channel.text(), None, PAGE).await.map(|_| ()),
    }
}

/// One reader of pages; together with it, or not, callers that post as fast as they can.
async fn beside(task: &Task, store: &Arc<dyn Storage>) -> Result<Tally, Failure> {
    let span = task.span();
    let variant = task.what.case.variant;
    let posting = matches!(variant, Some(Variant::Together | Variant::OlderTogether)).then(|| {
        let store = store.clone();
        tokio::spawn(pace::closed(POSTERS, span, move |number| {
            let store = store.clone();
            async move {
                let (channel, text) = (ordinary_channel(mix(number)), text(number));
                Ended::of(store.create_message(&channel.text(), &user(0).text(), &text).await)
            }
        }))
    });
    let (reading, dataset) = (store.clone(), task.dataset);
    let reads_older = matches!(variant, Some(Variant::OlderAlone | Variant::OlderTogether));
    // A task like those that post, so that the runtime shares its threads among them as it does in a server.
    let reader = tokio::spawn(pace::closed(1, span, move |number| {
        let store = reading.clone();
        let (channel, before) = match reads_older {
            true => (dataset.channel_with(dataset.largest), Some(dataset.cursor(mix(number)))),
            false => (popular_channel(number), None),
        };
        async move {
            let before = before.map(|id| id.text());
            Ended::of(store.list_messages(&channel.text(), before.as_deref(), PAGE).await)
        }
    }));
    if let Some(posting) = posting {
        joined(posting.await)?;
    }
    joined(reader.await)
}
