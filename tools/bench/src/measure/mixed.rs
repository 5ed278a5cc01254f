//! `mixed`, `beside` and `memory`: a community at work.

use std::sync::Arc;

use decentcom_server::storage::{Storage, StorageError};
use tokio::runtime::Runtime;

use super::{
    Prepared, Task,
    dataset::{mix, popular_channel, text, user},
    pace::{self, Ended, Tally, joined},
    post::{EVERYWHERE, callers, post_through},
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
        if task.what.workload == Workload::Beside {
            return beside(task).await;
        }
        let store = community::open(task.backend()?, &task.own_copy(Prepared::Dataset)?).await?;
        let sample = match task.what.workload {
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

/// One reader of pages, and callers that post as fast as they can.
async fn beside(task: &Task) -> Result<Sample, Failure> {
    let store = community::open(task.backend()?, &task.store()).await?;
    let (span, history) = (task.span(), task.history()?);
    let (posting, reading) = (store.clone(), store.clone());
    let posters = pace::closed(POSTERS, span, move |number| post_through(posting.clone(), EVERYWHERE, number));
    let posters = tokio::spawn(posters);
    let is_deep = task.what.case.variant == Some(Variant::Deep);
    let place = move |number| match is_deep {
        true => {
            let (channel, before) = history.place(mix(number));
            (channel, Some(before.text()))
        }
        false => (history.channel_in_use(mix(number)), None),
    };
    // A task like those that post, so that the runtime shares its threads among them as it does in a server.
    let reader = tokio::spawn(pace::closed(1, span, move |number| {
        let (store, (channel, before)) = (reading.clone(), place(number));
        async move { Ended::of(store.list_messages(&channel.text(), before.as_deref(), PAGE).await) }
    }));
    let posted = joined(posters.await)?.ever;
    let mut sample = joined(reader.await)?.sample();
    sample.messages = Some(task.messages + posted);
    store.close().await?;
    Ok(sample)
}
