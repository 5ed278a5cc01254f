//! The lines of a workload as columns of text: what the table and the page show alike.

use super::{
    measure::Measure,
    words::{self, CIRCUMSTANCES},
};
use crate::results::{Line, Results, Sample, Subject, Workload};

/// A workload's lines.
pub(super) struct Group {
    pub(super) workload: Workload,
    /// The circumstances that all of its lines share.
    pub(super) shared: Vec<String>,
    pub(super) header: Vec<&'static str>,
    /// As many columns on the left as say who and how; the others are figures.
    pub(super) named: usize,
    /// In the columns of `header`; empty where there is nothing to say.
    pub(super) rows: Vec<Row>,
    /// Who could not be measured, and why.
    pub(super) failures: Vec<(String, String)>,
}

/// A line.
pub(super) struct Row {
    pub(super) subject: Subject,
    /// Who, under which circumstances other than the shared ones.
    pub(super) who: String,
    pub(super) cells: Vec<String>,
}

type Figure = (&'static str, fn(&Line, Option<f64>) -> Option<String>);

const FIGURES: [Figure; 12] = [
    ("rate", |line, _| match line.what.workload {
        Workload::Open => None,
        Workload::Load => None,
        _ => line.rate().map(words::rate),
    }),
    ("time", |line, _| match line.what.workload {
        Workload::Open | Workload::Load => {
            let measure = Measure::of(&line.what);
            line.median_of(measure.of).map(measure.show)
        }
        _ => None,
    }),
    ("× F", |line, disk| {
        line.what.is_durable().then_some(())?;
        in_f(line, disk).map(words::number)
    }),
    ("p50", |line, _| latency(line, |line| line.median_of(|sample| sample.latency.p50))),
    ("p99", |line, _| latency(line, |line| line.median_of(|sample| sample.latency.p99))),
    ("worst", |line, _| latency(line, |line| line.worst_of(|sample| sample.latency.max))),
    ("spread", |line, _| Measure::of(&line.what).spread(line).map(words::percent)),
    ("refused", |line, _| {
        let refused: u64 = line.rounds.iter().map(|sample| sample.refused).sum();
        (refused > 0).then(|| words::count(refused))
    }),
    ("per commit", |line, _| line.median_if_any(|sample| sample.per_commit).map(words::number)),
    ("written a post", |line, _| line.median_if_any(Sample::written_per_post).map(words::bytes)),
    ("a message", |line, _| line.median_if_any(Sample::bytes_per_message).map(|bytes| format!("{bytes:.0} B"))),
    ("on disk", |line, _| {
        let bytes = line.median_if_any(|sample| sample.file_bytes.map(|bytes| bytes as f64));
        bytes.filter(|_| line.what.workload == Workload::Load).map(words::bytes)
    }),
];

/// The rate in F, each round in that of its own moment; where that was not measured, in that of the whole run.
pub(super) fn in_f(line: &Line, disk: Option<f64>) -> Option<f64> {
    line.median_if_any(Sample::in_f).or_else(|| Some(line.rate()? / disk?))
}

/// A bulk import is one call, so percentiles say nothing of it.
fn latency(line: &Line, of: impl Fn(&Line) -> Option<f64>) -> Option<String> {
    of(line).filter(|time| *time > 0.0 && line.what.workload != Workload::Load).map(words::time)
}

fn memory(line: &Line, _: Option<f64>) -> Option<String> {
    line.worst_of(|sample| sample.peak_memory_bytes as f64).filter(|bytes| *bytes > 0.0).map(words::bytes)
}

/// All lines, by workload, in the order of the run.
pub(super) fn groups(results: &Results) -> Vec<Group> {
    let mut workloads: Vec<Workload> = vec![];
    for line in &results.lines {
        if !workloads.contains(&line.what.workload) {
            workloads.push(line.what.workload);
        }
    }
    let disk = results.disk_rate();
    workloads.into_iter().map(|workload| group(workload, &results.of(workload).collect::<Vec<_>>(), disk)).collect()
}

fn group(workload: Workload, lines: &[&Line], disk: Option<f64>) -> Group {
    let mut shared = vec![];
    let mut own = vec![];
    let mut columns: Vec<(&'static str, Vec<Option<String>>)> = vec![];
    for circumstance in &CIRCUMSTANCES {
        let cells: Vec<_> = lines.iter().map(|line| (circumstance.cell)(&line.what)).collect();
        match cells.split_first() {
            Some((first, others)) if others.iter().all(|cell| cell == first) => {
                shared.extend(lines.first().and_then(|line| (circumstance.phrase)(&line.what)));
            }
            _ => {
                own.push(circumstance.phrase);
                columns.push((circumstance.name, cells));
            }
        }
    }
    let named = columns.len() + 1;
    for (name, figure) in FIGURES.into_iter().chain([("memory", memory as fn(&Line, Option<f64>) -> Option<String>)]) {
        let cells: Vec<_> = lines.iter().map(|line| figure(line, disk)).collect();
        if cells.iter().any(Option::is_some) {
            columns.push((name, cells));
        }
    }
    let rows = lines.iter().enumerate().filter(|(_, line)| !line.rounds.is_empty()).map(|(at, line)| {
        let cells = columns.iter().map(|(_, cells)| cells.get(at).cloned().flatten().unwrap_or_default());
        let subject = line.what.subject;
        let named = [subject.to_string()];
        let phrases = named.iter().cloned().chain(own.iter().filter_map(|phrase| phrase(&line.what)));
        let who = phrases.collect::<Vec<_>>().join(", ");
        Row { subject, who, cells: named.iter().cloned().chain(cells).collect() }
    });
    let failures = lines.iter().filter_map(|line| Some((words::who(&line.what), line.failure.clone()?)));
    Group {
        workload,
        shared,
        named,
        rows: rows.collect(),
        failures: failures.collect(),
        header: ["subject"].into_iter().chain(columns.iter().map(|(name, _)| *name)).collect(),
    }
}

/// The durability check in words.
pub(super) fn durability(results: &Results) -> Vec<String> {
    let counts = results.durability.iter().map(|count| {
        let (who, changes) = (count.subject, words::counted(count.changes, "change"));
        let verdict = match count.is_durable() {
            Some(true) => "durable",
            Some(false) => "NOT durable",
            None => return format!("{who}: {changes}, syncs cannot be counted here: not known"),
        };
        format!("{who}: {changes}, {}: {verdict}", words::counted(count.syncs.unwrap_or_default(), "sync"))
    });
    counts.collect()
}
