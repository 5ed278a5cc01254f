//! `sweep` and `reclaim`: whether posts at a fixed rate notice that a million sessions are swept, or that a channel with a
//! million messages is deleted and reclaimed.

use std::sync::Arc;

use decentcom_server::storage::{Storage, StorageError};
use tokio::runtime::Runtime;

use super::{
    Prepared, Task,
    dataset::{self, Dataset},
    pace::{self, joined},
    post::{EVERYWHERE, post_through},
};
use crate::{
    failure::Failure,
    results::{Sample, Variant, Workload},
    subject::community,
};

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let rate = task.rate.ok_or_else(|| task.cannot())?;
    let is_sweep = task.what.workload == Workload::Sweep;
    let of = if is_sweep { Prepared::Sessions } else { Prepared::Dataset };
    runtime.block_on(async {
        let store = community::open(task.backend()?, &task.own_copy(of)?).await?;
        let other_work = (task.what.case.variant == Some(Variant::Together)).then(|| {
            let (store, warm_up) = (store.clone(), task.span().warm_up);
            tokio::spawn(async move {
                tokio::time::sleep(warm_up).await;
                if is_sweep { sweep(store).await } else { delete(store).await }
            })
        });
        let posting = store.clone();
        let post = move |number| post_through(posting.clone(), EVERYWHERE, number);
        let tally = pace::open(rate, task.span(), post).await?;
        match other_work {
            // What is left of a sweep needs no waiting for.
            Some(work) if !work.is_finished() => work.abort(),
            Some(work) => joined(work.await.map(|result| result.map_err(Failure::from)))?,
            None => {}
        }
        store.close().await?;
        Ok(tally.sample())
    })
}

async fn sweep(store: Arc<dyn Storage>) -> Result<(), StorageError> {
    store.delete_expired_sessions().await.map(|_| ())
}

async fn delete(store: Arc<dyn Storage>) -> Result<(), StorageError> {
    store.delete_channel(&dataset::channel(Dataset::BIG).text()).await
}
