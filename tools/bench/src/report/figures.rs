//! What the charts show.

use super::{
    charts::{Axis, Chart, Series},
    groups::{file_bytes, finite},
    words,
};
use crate::results::{Line, Results, Subject, Variant, Workload};

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

/// Every chart of lines that there are figures for; one of fewer than two points draws nothing and is left out.
pub(super) fn charts(results: &Results) -> Vec<Chart> {
    let mut charts = vec![];
    let mut channels: Vec<_> = results.of(Workload::Post).filter_map(|line| line.what.case.channels).collect();
    channels.sort_unstable_by(|one, other| other.cmp(one));
    channels.dedup();
    charts.extend(channels.iter().map(|channels| posts(results, *channels)));
    charts.extend([latency_by_load(results), page_cost(results), memory(results)]);
    charts
}

/// One line for each subject, of those of its lines that `point` makes a point of.
fn series(lines: &[&Line], name: &str, dashed: bool, point: impl Fn(&Line) -> Option<(f64, f64)>) -> Vec<Series> {
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

fn posts(results: &Results, channels: u32) -> Chart {
    let lines: Vec<_> = results.of(Workload::Post).filter(|line| line.what.case.channels == Some(channels)).collect();
    let mut all = series(&lines, "", false, |line| {
        let closed = line.what.case.load_percent.is_none();
        Some((line.what.case.callers.filter(|_| closed)?.into(), line.rate()?))
    });
    for per_call in &mut all {
        per_call.dashed = matches!(per_call.subject, Subject::PerCallRedb | Subject::PerCallSqlite);
    }
    let level = results.disk_rate().filter(|_| !all.is_empty()).map(|rate| Series {
        name: "F, the disk".into(),
        subject: Subject::Disk,
        dashed: true,
        points: all.first().and_then(|series| Some((series.points.first()?.0, rate))).into_iter().collect(),
    });
    all.extend(level);
    Chart {
        title: format!(
            "Posts a second, by people who write at once, in {}. Higher is better.",
            words::counted(channels.into(), "channel")
        ),
        x: Axis {
            label: "callers (raw: rows a transaction)".into(),
            logarithmic: true,
            marks_values: true,
            show: words::number_whole,
        },
        y: Axis { label: "posts per second".into(), logarithmic: true, marks_values: false, show: words::number_whole },
        series: all,
    }
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

fn page_cost(results: &Results) -> Chart {
    let mut all = vec![];
    for (variant, dashed) in [(Variant::Newest, false), (Variant::Deep, true)] {
        let lines: Vec<_> =
            results.of(Workload::Scroll).filter(|line| line.what.case.variant == Some(variant)).collect();
        all.extend(series(&lines, &format!(" {variant}"), dashed, |line| {
            Some((line.what.case.rows? as f64, line.median_of(|it| it.latency.p50)?))
        }));
    }
    Chart {
        title: "What a page of 50 messages costs as its channel grows. Lower is better, level is best.".into(),
        x: Axis {
            label: "messages in the channel".into(),
            logarithmic: true,
            marks_values: true,
            show: words::number_whole,
        },
        y: Axis {
            label: "time of a page, p50".into(),
            logarithmic: true,
            marks_values: false,
            show: words::time_whole,
        },
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
    let mut all = vec![size_on_disk(results), write_amplification(results)];
    all.extend([Workload::Sweep, Workload::Reclaim].map(|workload| beside(results, workload)));
    all.retain(|bars| !bars.bars.is_empty());
    all
}

fn size_on_disk(results: &Results) -> Bars {
    let bar = |line: &Line| {
        let bytes = file_bytes(line)?;
        let each = line.what.case.rows.filter(|rows| *rows > 0).map(|rows| words::bytes(bytes / rows as f64));
        let texts = vec![words::bytes(bytes), each.unwrap_or_default()];
        Some(Bar { subject: line.what.subject, name: line.what.subject.to_string(), value: bytes, texts })
    };
    let rows = results.of(Workload::Load).find_map(|line| line.what.case.rows).map(words::count);
    Bars {
        title: format!("Size on disk after {} messages were imported. Less is better.", rows.unwrap_or_default()),
        columns: vec!["on disk", "a message"],
        bars: results.of(Workload::Load).filter_map(bar).collect(),
    }
}

/// The posts of most channels by 64 callers, or as many as were measured.
pub(super) fn busy_posts(results: &Results) -> Vec<&Line> {
    let closed: Vec<_> = results
        .of(Workload::Post)
        .filter(|line| !words::is_open_loop(&line.what.case) && !line.rounds.is_empty())
        .collect();
    let of_case = |line: &&Line| (line.what.case.callers == Some(64), line.what.case.channels, line.what.case.callers);
    let Some(case) = closed.iter().map(of_case).max() else { return vec![] };
    closed.into_iter().filter(|line| of_case(line) == case).collect()
}

fn write_amplification(results: &Results) -> Bars {
    let lines = busy_posts(results);
    let bar = |line: &&Line| {
        let value = line.median_of(|it| it.write_amplification().unwrap_or(f64::NAN)).and_then(finite)?;
        Some(Bar {
            subject: line.what.subject,
            name: line.what.subject.to_string(),
            value,
            texts: vec![words::times(value)],
        })
    };
    let callers = lines.first().and_then(|line| line.what.case.callers).unwrap_or_default();
    Bars {
        title: format!(
            "Bytes written to the disk for each byte stored, {} posting. Less is better.",
            words::counted(callers.into(), "caller")
        ),
        columns: vec!["written"],
        bars: lines.iter().filter_map(bar).collect(),
    }
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
