//! What the charts show.

use super::{
    charts::{Axis, Chart, Series},
    words,
};
use crate::results::{Line, Results, Subject, Workload};

/// A row of a chart of bars.
pub(super) struct Bar {
    pub(super) subject: Subject,
    pub(super) name: String,
    pub(super) value: f64,
    /// What is written beside it, a text for each column.
    pub(super) texts: Vec<String>,
}

/// A chart of bars.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) bars: Vec<Bar>,
}

/// Every chart of lines that there are figures for, other than those over sizes; one of fewer than two points draws nothing
/// and is left out.
pub(super) fn charts(results: &Results) -> Vec<Chart> {
    vec![latency_by_load(results), memory(results)]
}

/// One line for each subject, of those of its lines that `point` makes a point of.
pub(super) fn series(
    lines: &[&Line],
    name: &str,
    dashed: bool,
    point: impl Fn(&Line) -> Option<(f64, f64)>,
) -> Vec<Series> {
    let mut subjects: Vec<Subject> = lines.iter().map(|line| line.what.subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let of = |subject: Subject| {
        let of_subject = lines.iter().filter(|line| line.what.subject == subject);
        let mut points: Vec<_> = of_subject.filter_map(|line| point(line)).collect();
        points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Series { name: format!("{subject}{name}"), subject, dashed, points }
    };
    subjects.into_iter().map(of).filter(|series| series.points.len() > 1).collect()
}

fn latency_by_load(results: &Results) -> Chart {
    let lines: Vec<_> = results.of(Workload::Post).filter(|line| words::is_open_loop(&line.what.case)).collect();
    let mut all = series(&lines, " p50", false, |line| Some((line.rate()?, line.median_of(|it| it.latency.p50)?)));
    all.extend(series(&lines, " p99", true, |line| Some((line.rate()?, line.median_of(|it| it.latency.p99)?))));
    Chart {
        title: "How long a post takes when so many come in each second, whoever is ready. Lower and further right is better.".into(),
        x: Axis { label: "posts per second".into(), logarithmic: false, marks_values: false, show: words::number_whole },
        y: Axis { label: "time of a post".into(), logarithmic: true, marks_values: false, show: words::time_whole },
        series: all,
    }
}

fn memory(results: &Results) -> Chart {
    let of = |line: &Line| {
        let round = line.rounds.iter().max_by_key(|round| round.memory_over_time.len())?;
        let last = round.memory_over_time.len().checked_sub(1).filter(|last| *last > 0)?;
        let at =
            |(at, bytes): (usize, &u64)| (round.seconds * at as f64 / last as f64, *bytes as f64 / (1 << 20) as f64);
        let points = round.memory_over_time.iter().enumerate().map(at).collect();
        Some(Series { name: line.what.subject.to_string(), subject: line.what.subject, dashed: false, points })
    };
    Chart {
        title: "Memory under mixed load, over time. Level is good; a slope that goes on is a leak.".into(),
        x: Axis { label: "seconds".into(), logarithmic: false, marks_values: false, show: words::number_whole },
        y: Axis { label: "MiB".into(), logarithmic: false, marks_values: false, show: words::number_whole },
        series: results.of(Workload::Memory).filter_map(of).collect(),
    }
}

/// Every chart of bars that there are figures for.
pub(super) fn bars(results: &Results) -> Vec<Bars> {
    let all = [Workload::Sweep, Workload::Reclaim].map(|workload| beside(results, workload));
    all.into_iter().filter(|bars| !bars.bars.is_empty()).collect()
}

fn beside(results: &Results, workload: Workload) -> Bars {
    let bar = |line: &Line| {
        let p99 = line.median_of(|it| it.latency.p99)?;
        let times = [line.median_of(|it| it.latency.p50)?, p99, line.worst_of(|it| it.latency.max)?];
        let variant = line.what.case.variant?;
        Some(Bar {
            subject: line.what.subject,
            name: format!("{} {variant}", line.what.subject),
            value: p99,
            texts: times.map(words::time).to_vec(),
        })
    };
    let what = match workload {
        Workload::Sweep => "expired sessions are swept",
        _ => "a channel is deleted and reclaimed",
    };
    let rows = results.of(workload).find_map(|line| line.what.case.rows);
    let rows = rows.map(|rows| format!(" ({})", words::counted(rows, "row"))).unwrap_or_default();
    Bars {
        title: format!("What people who post notice while {what}{rows}. The bars are p99; less is better."),
        columns: vec!["p50", "p99", "worst"],
        bars: results.of(workload).filter_map(bar).collect(),
    }
}
