//! Reclaiming what deleted channels leave, in bounded steps between commits.

use std::time::{Duration, Instant};

use super::{
    batch::Batch,
    command::{Asked, Command},
};
use crate::storage::{
    StorageError,
    port::{ReclaimSlice, ReclaimStep, Wants, Write},
};

/// Messages reclaimed per step: a few milliseconds of work that a caller may have to wait for.
const RECLAIM_STEP: usize = 256;
/// Under constant traffic a reclaiming step is taken this often.
pub(super) const RECLAIM_INTERVAL: Duration = Duration::from_millis(20);
/// After reclaiming failed for all that is left, or the store is busy or without room, the next try waits this long.
const RECLAIM_RETRY: Duration = Duration::from_secs(10);

/// Gauge of deleted channels that still have messages in the file.
const RECLAIM_CHANNELS: &str = "decentcom_storage_reclaim_channels";
/// Counter of messages reclaimed.
const RECLAIMED_MESSAGES: &str = "decentcom_storage_reclaimed_messages_total";
/// Counter of reclaiming steps that failed.
const RECLAIM_FAILURES: &str = "decentcom_storage_reclaim_failures_total";

/// How far it has come.
pub(super) struct Reclaiming {
    /// When the next step is due; `None` when no deleted channel is left to reclaim.
    pub(super) next: Option<Instant>,
    /// Deleted channels that a step failed for, in this round through all of them.
    skipped: usize,
}

impl Default for Reclaiming {
    /// There may be some from before.
    fn default() -> Self {
        Self { next: Some(Instant::now()), skipped: 0 }
    }
}

impl Reclaiming {
    /// A channel was deleted.
    pub(super) fn begin(&mut self) {
        self.next = Some(Instant::now());
    }

    /// Whether a step is due by then.
    pub(super) fn is_due(&self, within: Duration) -> bool {
        self.next.is_some_and(|due| due <= Instant::now() + within)
    }

    /// The next step, for the first channel that is left. Where it fails because of that channel, the next one is for the
    /// channel behind it, so that damage to one costs the others nothing; at the end of such a round it begins anew, later.
    pub(super) fn step(&self) -> Asked<Reclaim> {
        Asked::by_the_committer(Reclaim(ReclaimStep { at_most: RECLAIM_STEP, skipped: self.skipped }))
    }

    /// What came of it; says when the next one is due.
    pub(super) fn stepped(&mut self, reclaimed: Result<Reclaimed, StorageError>) {
        let pause = match reclaimed {
            Ok(Reclaimed { messages, channels_left: Some(left) }) => {
                metrics::counter!(RECLAIMED_MESSAGES).increment(messages);
                metrics::gauge!(RECLAIM_CHANNELS).set(left as f64);
                Some(RECLAIM_INTERVAL)
            }
            Ok(Reclaimed { channels_left: None, .. }) => {
                let failed = std::mem::take(&mut self.skipped);
                metrics::counter!(RECLAIMED_MESSAGES).increment(0); // so that it is there from the start
                metrics::counter!(RECLAIM_FAILURES).increment(0);
                metrics::gauge!(RECLAIM_CHANNELS).set(failed as f64);
                (failed > 0).then_some(RECLAIM_INTERVAL + RECLAIM_RETRY)
            }
            Err(StorageError::Full { .. }) => Some(RECLAIM_INTERVAL + RECLAIM_RETRY),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "reclaiming a deleted channel failed; it stays hidden and is tried again"
                );
                metrics::counter!(RECLAIM_FAILURES).increment(1);
                let is_of_the_channel = !matches!(error, StorageError::Unavailable { .. });
                self.skipped += usize::from(is_of_the_channel);
                Some(if is_of_the_channel { RECLAIM_INTERVAL } else { RECLAIM_INTERVAL + RECLAIM_RETRY })
            }
        };
        self.next = pause.map(|pause| Instant::now() + pause);
    }
}

/// One bounded step.
pub(super) struct Reclaim(ReclaimStep);

/// What a step achieved.
pub(super) struct Reclaimed {
    /// Messages removed.
    messages: u64,
    /// Deleted channels that still have some, or may have; `None` where the step found none to look at.
    pub(super) channels_left: Option<u64>,
}

impl Command for Reclaim {
    type Answer = Reclaimed;

    fn wants(&self, wants: &mut Wants) {
        wants.reclaim = Some(self.0);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Reclaimed, StorageError> {
        let Some(ReclaimSlice { channel_id, messages, channels }) = batch.rows.reclaim.take() else {
            return Ok(Reclaimed { messages: 0, channels_left: None });
        };
        let removed = messages.len();
        batch.writes.extend(messages.into_iter().map(|id| Write::ReclaimMessage { id, channel_id }));
        let is_last = removed < self.0.at_most;
        if is_last {
            batch.writes.push(Write::EndPurge(channel_id));
        }
        let channels_left = Some(channels.saturating_sub(is_last.into()));
        Ok(Reclaimed { messages: removed as u64, channels_left })
    }

    fn frees_room(&self) -> bool {
        true
    }
}
