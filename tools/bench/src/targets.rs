//! The speed that is promised, as figures of a run: one declaration, read by the table and the page.

use decentcom_server::storage::RedbOptions;

use super::{
    plan::busiest_posts,
    results::{Case, Line, Results, Sample, Subject, Variant, Workload},
};

/// Memory that a store may take besides its cache.
const BESIDES_THE_CACHE_MB: f64 = 100.0;

/// A promise, and what a run says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What is promised, in words, with the bound: `redb, 64 callers, 1,000 channels: posts at 2.3 F or more`.
    pub(crate) promise: String,
    /// What was measured, in words: `3.1 F`; `None` where the run has no such lines.
    pub(crate) measured: Option<String>,
    /// Whether it is kept; `None` where the run has no such lines.
    pub(crate) kept: Option<bool>,
}

/// What is allowed.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

/// What a run says of every promise.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let run = Run(results);
    let posts = |channels| Case { channels: Some(channels), ..busiest_posts() };
    let one_caller = Case { callers: Some(1), ..busiest_posts() };
    let mut verdicts = vec![
        verdict(
            "redb, 64 callers, 1,000 channels: posts per F",
            AtLeast(2.3),
            run.posts_in_f(Subject::Redb, &posts(1000)),
        ),
        verdict("redb, 64 callers, 16 channels: posts per F", AtLeast(3.5), run.posts_in_f(Subject::Redb, &posts(16))),
        verdict(
            "redb, 64 callers, 1,000 channels: p99 of a post in p50s",
            AtMost(2.5),
            run.tail(Subject::Redb, &posts(1000)),
        ),
        verdict(
            "redb, 1 caller: posts in those of redb used directly",
            AtLeast(0.9),
            run.posts(Subject::Redb, Subject::RawRedb, &one_caller),
        ),
        verdict(
            "redb, 64 callers: posts in those of redb used directly, as many a transaction",
            AtLeast(0.9),
            run.posts(Subject::Redb, Subject::RawRedb, &posts(1000)),
        ),
        verdict(
            "SQLite, 64 callers, 1,000 channels: posts per F",
            AtLeast(1.75),
            run.posts_in_f(Subject::Sqlite, &posts(1000)),
        ),
        verdict(
            "SQLite, 64 callers: the slowest post in milliseconds",
            AtMost(100.0),
            run.worst_post(Subject::Sqlite, &posts(1000)),
        ),
        verdict(
            "redb, 64 callers: posts in those of a transaction per call",
            AtLeast(6.0),
            run.posts(Subject::Redb, Subject::PerCallRedb, &posts(1000)),
        ),
        verdict(
            "SQLite, 64 callers: posts in those of a transaction per call",
            AtLeast(4.0),
            run.posts(Subject::Sqlite, Subject::PerCallSqlite, &posts(1000)),
        ),
    ];
    for (own, raw, subjects) in
        [(Subject::Redb, Subject::RawRedb, "redb"), (Subject::Sqlite, Subject::RawSqlite, "SQLite")]
    {
        let is_redb = own == Subject::Redb;
        for (variant, words, bound) in
            [(Variant::Random, "any", 1.3), (Variant::Recent, "a recent", if is_redb { 2.0 } else { 1.3 })]
        {
            let case = Case { variant: Some(variant), callers: Some(1), ..Case::default() };
            let times = run.times(Workload::Read, own, raw, &case);
            verdicts.push(verdict(
                &format!("{subjects}: time to get {words} message, in that of {raw}"),
                AtMost(bound),
                times,
            ));
        }
        let largest = results.of(Workload::Scroll).filter_map(|line| line.what.case.rows).max();
        for (variant, words, bound) in
            [(Variant::Deep, "any page", 1.3), (Variant::Newest, "the newest page", if is_redb { 2.0 } else { 1.3 })]
        {
            let case = Case { variant: Some(variant), callers: Some(1), rows: largest, ..Case::default() };
            let times = run.times(Workload::Scroll, own, raw, &case);
            verdicts.push(verdict(
                &format!("{subjects}: time of {words} of the largest channel, in that of {raw}"),
                AtMost(bound),
                times,
            ));
            let smallest = Case { rows: Some(1000), ..case.clone() };
            let by_size = run.ratio((Workload::Scroll, own, &smallest), (Workload::Scroll, own, &case));
            verdicts.push(verdict(
                &format!("{subjects}: time of {words} of the largest channel, in that of one of 1,000"),
                AtMost(1.3),
                by_size,
            ));
        }
        for (alone, together, words) in [
            (Variant::Alone, Variant::Together, "newest pages"),
            (Variant::OlderAlone, Variant::OlderTogether, "older pages"),
        ] {
            let [alone, together] = [alone, together].map(|it| Case { variant: Some(it), ..Case::default() });
            let beside = run.ratio((Workload::Beside, own, &together), (Workload::Beside, own, &alone));
            verdicts.push(verdict(
                &format!("{subjects}: {words} read while 64 callers post, in those alone"),
                AtLeast(0.7),
                beside,
            ));
        }
        for (workload, words) in
            [(Workload::Sweep, "sessions are swept"), (Workload::Reclaim, "a large channel is reclaimed")]
        {
            verdicts.push(verdict(
                &format!("{subjects}: p99 of a post while {words}, in that without"),
                AtMost(3.0),
                run.stall(workload, own),
            ));
        }
        verdicts.push(run.memory(own, subjects));
    }
    let history = Case { variant: Some(Variant::History), callers: Some(64), ..Case::default() };
    let http = run.ratio((Workload::Http, Subject::Redb, &history), (Workload::Http, Subject::Held, &history));
    verdicts.push(verdict("redb: pages over HTTP, in those of a page held in memory", AtLeast(0.8), http));
    verdicts
}

fn verdict(what: &str, bound: Bound, measured: Option<f64>) -> Verdict {
    let (promise, kept) = match bound {
        AtLeast(least) => (format!("{what}: at least {least}"), measured.map(|it| it >= least)),
        AtMost(most) => (format!("{what}: at most {most}"), measured.map(|it| it <= most)),
    };
    Verdict { promise, measured: measured.map(|it| format!("{it:.2}")), kept }
}

struct Run<'a>(&'a Results);

type LineOf<'a> = (Workload, Subject, &'a Case);

impl Run<'_> {
    fn line(&self, (workload, subject, case): LineOf<'_>) -> Option<&Line> {
        self.0.find(workload, subject, case)
    }

    /// The rate of one line in that of another.
    fn ratio(&self, one: LineOf<'_>, other: LineOf<'_>) -> Option<f64> {
        Some(self.line(one)?.rate()? / self.line(other)?.rate()?)
    }

    fn posts(&self, one: Subject, other: Subject, case: &Case) -> Option<f64> {
        self.ratio((Workload::Post, one, case), (Workload::Post, other, case))
    }

    /// The mean time of one subject in that of another: what they do in a second, the other way round.
    fn times(&self, workload: Workload, one: Subject, other: Subject, case: &Case) -> Option<f64> {
        self.ratio((workload, other, case), (workload, one, case))
    }

    fn posts_in_f(&self, subject: Subject, case: &Case) -> Option<f64> {
        Some(self.line((Workload::Post, subject, case))?.rate()? / self.0.disk_rate()?)
    }

    fn tail(&self, subject: Subject, case: &Case) -> Option<f64> {
        self.line((Workload::Post, subject, case))?.median_of(|round| round.latency.p99 / round.latency.p50)
    }

    fn worst_post(&self, subject: Subject, case: &Case) -> Option<f64> {
        self.line((Workload::Post, subject, case))?.worst_of(|round| round.latency.max / 1000.0)
    }

    fn stall(&self, workload: Workload, subject: Subject) -> Option<f64> {
        let p99 = |variant| {
            let of = |line: &&Line| line.what.subject == subject && line.what.case.variant == Some(variant);
            self.0.of(workload).find(of)?.median_of(|round| round.latency.p99)
        };
        Some(p99(Variant::Together)? / p99(Variant::Alone)?)
    }

    /// The most memory under a long mixed load; how it grew is told beside it, because a cache that is being filled grows.
    fn memory(&self, subject: Subject, name: &str) -> Verdict {
        let most = (RedbOptions::default().cache_bytes as f64 / 1e6 + BESIDES_THE_CACHE_MB).round();
        let line = self.0.of(Workload::Memory).find(|line| line.what.subject == subject);
        let peak = line.and_then(|line| line.worst_of(|round| round.peak_memory_bytes as f64 / 1e6));
        let what = format!("{name}: MB of memory under a long mixed load, the cache and {BESIDES_THE_CACHE_MB} MB");
        let mut verdict = verdict(&what, AtMost(most), peak);
        let growth = line.and_then(|line| line.median_of(|round| growth(round).unwrap_or(0.0)));
        if let (Some(measured), Some(growth)) = (&mut verdict.measured, growth) {
            measured.push_str(&format!(", growing by {growth:.1} a minute in the second half"));
        }
        verdict
    }
}

/// The slope through the second half of the samples, by least squares.
fn growth(round: &Sample) -> Option<f64> {
    let samples = round.memory_over_time.get(round.memory_over_time.len() / 2..).filter(|half| half.len() > 1)?;
    let minutes_apart = round.seconds / 60.0 / round.memory_over_time.len() as f64;
    let count = samples.len() as f64;
    let points =
        || samples.iter().enumerate().map(|(place, bytes)| (place as f64 * minutes_apart, *bytes as f64 / 1e6));
    let (mean_x, mean_y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let covariance: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points().map(|(x, _)| (x - mean_x).powi(2)).sum();
    Some(covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_second_half_in_megabytes_a_minute() {
        let steady_then_growing = (0..60_u64).map(|place| 100_000_000 + place.saturating_sub(30) * 1_000_000).collect();
        let round = Sample { seconds: 60.0, memory_over_time: steady_then_growing, ..Sample::default() };
        assert!((growth(&round).unwrap() - 60.0).abs() < 0.01);
    }

    #[test]
    fn a_bound_is_kept_from_itself_on() {
        assert_eq!(verdict("a", AtLeast(2.0), Some(2.0)).kept, Some(true));
        assert_eq!(verdict("a", AtLeast(2.0), Some(1.99)).kept, Some(false));
        assert_eq!(verdict("a", AtMost(2.0), Some(2.01)).kept, Some(false));
        assert_eq!(verdict("a", AtMost(2.0), None).kept, None);
    }
}
