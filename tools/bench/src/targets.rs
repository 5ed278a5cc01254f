//! The speed that is promised, as figures of a run: one declaration, read by the table and the page. Speed is promised of
//! stores of a million and of ten million messages, because a store only grows.

use decentcom_server::storage::RedbOptions;

use super::{
    plan::busiest_posts,
    results::{
        Case, Line, Results, Sample,
        Subject::{self, Held, PerCallRedb, PerCallSqlite, RawRedb, RawSqlite, Redb, Sqlite},
        Variant::{self, Deep, Newest},
        Workload::{self, Beside, Post, Read, Scroll},
    },
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

/// How many messages are stored where something is promised.
const SIZES: [(u64, &str); 2] = [(1_000_000, "1 M"), (10_000_000, "10 M")];

/// What is promised of a store of every one of these sizes.
type Promise = (&'static str, fn(&AtSize<'_>) -> Option<f64>, Bound);

const OF_EVERY_SIZE: [Promise; 22] = [
    ("redb: a page of 50 from anywhere, p50 in µs", |it| it.p50(Scroll, Redb, Some(Deep)), AtMost(80.0)),
    ("redb: a page of 50 from anywhere, p99 in µs", |it| it.p99(Scroll, Redb, Some(Deep)), AtMost(300.0)),
    ("redb: the newest page of any channel, p50 in µs", |it| it.p50(Scroll, Redb, Some(Newest)), AtMost(60.0)),
    ("redb: any message by its id, p50 in µs", |it| it.p50(Read, Redb, None), AtMost(15.0)),
    ("redb: bytes on disk for a message", |it| it.bytes_per_message(Redb), AtMost(320.0)),
    ("SQLite: a page of 50 from anywhere, p50 in µs", |it| it.p50(Scroll, Sqlite, Some(Deep)), AtMost(250.0)),
    ("SQLite: any message by its id, p50 in µs", |it| it.p50(Read, Sqlite, None), AtMost(90.0)),
    ("SQLite: bytes on disk for a message", |it| it.bytes_per_message(Sqlite), AtMost(330.0)),
    ("redb, 1 caller: posts in those of redb used directly", |it| it.posts(Redb, RawRedb, 1), AtLeast(0.9)),
    (
        "redb, 64 callers: posts in those of redb used directly, as many a transaction",
        |it| it.posts(Redb, RawRedb, 64),
        AtLeast(0.9),
    ),
    ("redb, 64 callers: p99 of a post in p50s", |it| it.tail(Redb, 64), AtMost(2.5)),
    ("redb, 64 callers: posts in those of a transaction per call", |it| it.posts(Redb, PerCallRedb, 64), AtLeast(6.0)),
    (
        "SQLite, 64 callers: posts in those of a transaction per call",
        |it| it.posts(Sqlite, PerCallSqlite, 64),
        AtLeast(4.0),
    ),
    ("SQLite, 64 callers: the slowest post in ms", |it| it.worst_post(Sqlite, 64), AtMost(100.0)),
    (
        "redb: time to get any message, in that of redb used directly",
        |it| it.times(Read, Redb, RawRedb, None),
        AtMost(1.3),
    ),
    (
        "SQLite: time to get any message, in that of SQLite used directly",
        |it| it.times(Read, Sqlite, RawSqlite, None),
        AtMost(1.3),
    ),
    (
        "redb: time of a page from anywhere, in that of redb used directly",
        |it| it.times(Scroll, Redb, RawRedb, Some(Deep)),
        AtMost(1.3),
    ),
    (
        "SQLite: time of a page from anywhere, in that of SQLite used directly",
        |it| it.times(Scroll, Sqlite, RawSqlite, Some(Deep)),
        AtMost(1.3),
    ),
    ("redb: pages from anywhere while 64 callers post, in those alone", |it| it.beside(Redb, Deep), AtLeast(0.7)),
    ("SQLite: pages from anywhere while 64 callers post, in those alone", |it| it.beside(Sqlite, Deep), AtLeast(0.7)),
    ("redb: newest pages while 64 callers post, in those alone", |it| it.beside(Redb, Newest), AtLeast(0.7)),
    ("SQLite: newest pages while 64 callers post, in those alone", |it| it.beside(Sqlite, Newest), AtLeast(0.7)),
];

/// What a run says of every promise.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let run = Run(results);
    let mut verdicts = vec![];
    for (stored, size) in SIZES {
        if !results.settings.stored.contains(&stored) {
            let promise = format!("{} promises of {size} messages stored", OF_EVERY_SIZE.len());
            verdicts.push(Verdict { promise, measured: None, kept: None });
            continue;
        }
        let sized = AtSize { run: &run, stored };
        for (what, figure, bound) in OF_EVERY_SIZE {
            verdicts.push(verdict(&format!("{size}, {what}"), bound, figure(&sized)));
        }
    }
    for (own, name) in [(Redb, "redb"), (Sqlite, "SQLite")] {
        let largest = results.of(Scroll).filter_map(|line| line.what.case.rows).max();
        let page = |rows| Case { rows, ..Case::of(Deep) };
        let by_size = run.ratio((Scroll, own, &page(Some(1_000))), (Scroll, own, &page(largest)));
        verdicts.push(verdict(
            &format!("{name}: time of any page of the largest channel, in that of one of 1,000"),
            AtMost(1.3),
            by_size.filter(|_| largest.is_some()),
        ));
        for (workload, words) in
            [(Workload::Sweep, "sessions are swept"), (Workload::Reclaim, "a large channel is reclaimed")]
        {
            verdicts.push(verdict(
                &format!("{name}: p99 of a post while {words}, in that without"),
                AtMost(3.0),
                run.stall(workload, own),
            ));
        }
        verdicts.push(run.memory(own, name));
    }
    let history = Case { callers: Some(64), ..Case::of(Variant::History) };
    let http = run.ratio((Workload::Http, Redb, &history), (Workload::Http, Held, &history));
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

/// What a run measured of stores of one size.
struct AtSize<'a> {
    run: &'a Run<'a>,
    stored: u64,
}

impl AtSize<'_> {
    fn case(&self, variant: Option<Variant>) -> Case {
        Case { variant, stored: Some(self.stored), ..Case::default() }
    }

    fn line(&self, workload: Workload, subject: Subject, variant: Option<Variant>) -> Option<&Line> {
        self.run.line((workload, subject, &self.case(variant)))
    }

    fn p50(&self, workload: Workload, subject: Subject, variant: Option<Variant>) -> Option<f64> {
        self.line(workload, subject, variant)?.median_of(|round| round.latency.p50)
    }

    fn p99(&self, workload: Workload, subject: Subject, variant: Option<Variant>) -> Option<f64> {
        self.line(workload, subject, variant)?.median_of(|round| round.latency.p99)
    }

    /// The mean time of one subject in that of another: what they do in a second, the other way round.
    fn times(&self, workload: Workload, one: Subject, other: Subject, variant: Option<Variant>) -> Option<f64> {
        let case = self.case(variant);
        self.run.ratio((workload, other, &case), (workload, one, &case))
    }

    /// Pages beside posts in those alone.
    fn beside(&self, subject: Subject, variant: Variant) -> Option<f64> {
        let case = self.case(Some(variant));
        self.run.ratio((Beside, subject, &case), (Scroll, subject, &case))
    }

    /// By so many callers, to a thousand channels.
    fn post_case(&self, callers: u32) -> Case {
        Case { callers: Some(callers), ..busiest_posts(self.stored) }
    }

    fn post(&self, subject: Subject, callers: u32) -> Option<&Line> {
        self.run.line((Post, subject, &self.post_case(callers)))
    }

    /// The posts of one subject in those of another.
    fn posts(&self, one: Subject, other: Subject, callers: u32) -> Option<f64> {
        let case = self.post_case(callers);
        self.run.ratio((Post, one, &case), (Post, other, &case))
    }

    fn tail(&self, subject: Subject, callers: u32) -> Option<f64> {
        self.post(subject, callers)?.median_of(|round| round.latency.p99 / round.latency.p50)
    }

    fn worst_post(&self, subject: Subject, callers: u32) -> Option<f64> {
        self.post(subject, callers)?.worst_of(|round| round.latency.max / 1000.0)
    }

    fn bytes_per_message(&self, subject: Subject) -> Option<f64> {
        self.post(subject, 64)?.median_if_any(Sample::bytes_per_message)
    }
}

impl Run<'_> {
    fn line(&self, (workload, subject, case): LineOf<'_>) -> Option<&Line> {
        self.0.find(workload, subject, case)
    }

    /// The rate of one line in that of another.
    fn ratio(&self, one: LineOf<'_>, other: LineOf<'_>) -> Option<f64> {
        Some(self.line(one)?.rate()? / self.line(other)?.rate()?)
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
