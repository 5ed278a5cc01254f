//! How many changes shared a commit: read from the histogram that the storage layer keeps for whoever wants it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use decentcom_server::storage::BATCH_COMMANDS;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit, set_global_recorder,
};

use super::failure;
use crate::failure::Failure;

/// Commits, and what was in them.
#[derive(Default)]
pub(super) struct Commits {
    commits: AtomicU64,
    changes: AtomicU64,
}

impl Commits {
    /// Counts from now on, in all stores of this process.
    pub(super) fn count() -> Result<Arc<Self>, Failure> {
        let commits = Arc::new(Self::default());
        set_global_recorder(Listening(commits.clone())).map_err(failure)?;
        Ok(commits)
    }

    /// Forgets what was counted so far.
    pub(super) fn restart(&self) {
        self.commits.store(0, Ordering::Relaxed);
        self.changes.store(0, Ordering::Relaxed);
    }

    /// Changes per commit; `None` without any.
    pub(super) fn mean(&self) -> Option<f64> {
        let (commits, changes) = (self.commits.load(Ordering::Relaxed), self.changes.load(Ordering::Relaxed));
        (commits > 0).then(|| changes as f64 / commits as f64)
    }
}

impl HistogramFn for Commits {
    fn record(&self, changes: f64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
    }
}

struct Listening(Arc<Commits>);

impl Recorder for Listening {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == BATCH_COMMANDS { Histogram::from_arc(self.0.clone()) } else { Histogram::noop() }
    }
}
