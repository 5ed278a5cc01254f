//! `login`: sessions created, checked and deleted, in a new store.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::{
    Task,
    pace::{self, Ended},
    post::callers,
};
use crate::{failure::Failure, results::Sample, subject::community::Community};

/// Calls that somebody who is logged in makes, each of which checks the session.
const CHECKS: usize = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    runtime.block_on(async {
        let community = Community::found(task.backend()?, &task.store()).await?;
        let store = community.store.clone();
        let tally = pace::closed(callers(task), task.span(), move |_| {
            let community = community.clone();
            async move { Ended::of(come_and_go(&community).await) }
        })
        .await?;
        store.close().await?;
        Ok(tally.sample())
    })
}

async fn come_and_go(community: &Community) -> Result<(), decentcom_server::storage::StorageError> {
    let session = community.store.create_session(&community.user.text(), DAY).await?;
    for _ in 0..CHECKS {
        community.store.get_session(&session.token).await?;
    }
    community.store.delete_session(&session.token).await
}
