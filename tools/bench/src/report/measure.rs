//! Which figure of a line answers the question that its workload asks.

use super::words;
use crate::results::{Line, Sample, What, Workload, median};

/// The figure that a line is judged by.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) of: fn(&Sample) -> f64,
    pub(super) less_is_better: bool,
    pub(super) show: fn(f64) -> String,
}

impl Measure {
    /// A fixed rate says nothing, so there it is how long the slow ones took; otherwise mostly the rate.
    pub(super) fn of(what: &What) -> Self {
        match what.workload {
            Workload::Open => {
                Self { name: "p50", of: |sample| sample.latency.p50, less_is_better: true, show: words::time }
            }
            Workload::Load => {
                Self { name: "time", of: |sample| sample.seconds * 1e6, less_is_better: true, show: words::time }
            }
            Workload::Memory => Self {
                name: "memory",
                of: |sample| sample.peak_memory_bytes as f64,
                less_is_better: true,
                show: words::bytes,
            },
            _ if words::is_open_loop(&what.case) => {
                Self { name: "p99", of: |sample| sample.latency.p99, less_is_better: true, show: words::time }
            }
            _ => Self { name: "rate", of: Sample::rate, less_is_better: false, show: words::rate },
        }
    }

    pub(super) fn values(&self, line: &Line) -> Vec<f64> {
        line.rounds.iter().map(self.of).collect()
    }

    /// Half the distance between the best and the worst round, as a share of the median; `None` of fewer than two.
    pub(super) fn spread(&self, line: &Line) -> Option<f64> {
        let values = self.values(line);
        let (least, most) = range(&values)?;
        (values.len() > 1).then_some((most - least) / 2.0 / median(&values)?)
    }
}

/// The least and the most.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most))
}
