//! Curves over the number of stored messages: where one sees at once what ages.

use super::{
    charts::{Axis, Chart},
    figures::series,
    groups::in_f,
    words,
};
use crate::results::{Case, Line, Results, Sample, Subject, Variant, Workload};

/// What is asked of every size.
struct Question {
    title: String,
    workload: Workload,
    /// The circumstances besides the size.
    case: Case,
    unit: &'static str,
    figure: Figure,
    show: fn(f64) -> String,
}

type Figure = fn(&Line) -> Option<f64>;

const P50: Figure = |line| line.median_of(|sample| sample.latency.p50);
const P99: Figure = |line| line.median_of(|sample| sample.latency.p99);

/// A chart for each question: decentcom's stores as lines, what they are compared with as dashed ones.
pub(super) fn charts(results: &Results) -> Vec<Chart> {
    questions(results).iter().map(|question| chart(question, results)).collect()
}

fn chart(question: &Question, results: &Results) -> Chart {
    let lines: Vec<_> = results
        .of(question.workload)
        .filter(|line| Case { stored: None, ..line.what.case.clone() } == question.case)
        .collect();
    let point = |line: &Line| Some((line.what.case.stored? as f64, (question.figure)(line)?));
    let mut all = series(&lines, "", false, point);
    for yardstick in &mut all {
        yardstick.dashed = !matches!(yardstick.subject, Subject::Redb | Subject::Sqlite);
    }
    Chart {
        title: question.title.clone(),
        x: Axis { label: "messages stored".into(), logarithmic: true, marks_values: true, show: words::number_whole },
        y: Axis { label: question.unit.into(), logarithmic: true, marks_values: false, show: question.show },
        series: all,
    }
}

fn questions(results: &Results) -> Vec<Question> {
    let mut all = posts(results);
    for (workload, case, what) in [
        (Workload::Scroll, Case::of(Variant::Deep), "A page of 50 from anywhere"),
        (Workload::Scroll, Case::of(Variant::Newest), "The newest page of any channel"),
        (Workload::Beside, Case::of(Variant::Deep), "A page of 50 from anywhere, while 64 callers post"),
        (Workload::Beside, Case::of(Variant::Newest), "The newest page, while 64 callers post"),
        (Workload::Read, Case::default(), "Any message by its id"),
    ] {
        all.push(time(format!("{what}: half take at most this."), workload, &case, P50));
        all.push(time(format!("{what}: all but 1 % take at most this."), workload, &case, P99));
    }
    let killed = Case::of(Variant::Killed);
    all.push(time("Opening after a kill.".into(), Workload::Open, &killed, P50));
    all
}

/// Of each number of channels and callers the rate; of the busiest what it costs.
fn posts(results: &Results) -> Vec<Question> {
    let mut cases: Vec<Case> = vec![];
    for line in results.of(Workload::Post).filter(|line| !words::is_open_loop(&line.what.case)) {
        let case = Case { stored: None, ..line.what.case.clone() };
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let post = |case: &Case, title: String, unit, figure, show| Question {
        title,
        workload: Workload::Post,
        case: case.clone(),
        unit,
        figure,
        show,
    };
    let mut all: Vec<_> = cases
        .iter()
        .map(|case| post(case, rate_title(case), "F", |line| in_f(line, None), words::number_whole))
        .collect();
    let Some(busiest) = cases.iter().max_by_key(|case| (case.callers == Some(64), case.channels)) else { return all };
    let callers = words::counted(busiest.callers.unwrap_or_default().into(), "caller");
    let mut cost = |title: String, unit, figure: Figure, show| all.push(post(busiest, title, unit, figure, show));
    cost(
        format!("The slowest post by {callers}."),
        "time",
        |line| line.worst_of(|sample| sample.latency.max),
        words::time_whole,
    );
    cost(
        format!("Written to the disk for a post, by {callers}."),
        "bytes",
        |line| line.median_if_any(Sample::written_per_post),
        words::number_whole,
    );
    cost(
        "On disk for each message stored.".into(),
        "bytes",
        |line| line.median_if_any(Sample::bytes_per_message),
        words::number_whole,
    );
    cost(
        format!("Most memory while {callers} post."),
        "MiB",
        |line| line.worst_of(|sample| sample.peak_memory_bytes as f64 / f64::from(1 << 20)),
        words::number_whole,
    );
    all
}

fn rate_title(case: &Case) -> String {
    let callers = words::counted(case.callers.unwrap_or_default().into(), "caller");
    let channels = match case.channels.unwrap_or_default() {
        busy @ ..1000 => format!("{busy} busy channels"),
        many => words::counted(many.into(), "channel"),
    };
    format!("Posts by {callers} to {channels}, in F: higher is better.")
}

fn time(title: String, workload: Workload, case: &Case, figure: Figure) -> Question {
    Question { title, workload, case: case.clone(), unit: "time", figure, show: words::time_whole }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_chart_shows_every_size_of_everybody_and_who_is_a_yardstick() {
        let charts = charts(&sample::full());
        let post =
            charts.iter().find(|chart| chart.title.starts_with("Posts by 64 callers to 1,000 channels")).unwrap();
        let redb = post.series.iter().find(|series| series.subject == Subject::Redb).unwrap();
        assert_eq!(redb.points.iter().map(|(stored, _)| *stored).collect::<Vec<_>>(), [1e4, 1e6, 1e7]);
        assert!(redb.points.windows(2).all(|pair| pair[0].1 > pair[1].1), "the sample ages");
        let yardsticks: Vec<_> = post.series.iter().filter(|it| it.dashed).map(|it| it.subject).collect();
        assert_eq!(yardsticks, [Subject::RawRedb, Subject::RawSqlite, Subject::Fjall]);
    }

    #[test]
    fn rates_are_in_the_f_of_their_own_moment() {
        let mut results = sample::full();
        for line in results.lines.iter_mut().filter(|line| line.what.workload == Workload::Post) {
            for round in &mut line.rounds {
                round.disk_rate = Some(round.rate() / 2.0);
            }
        }
        let charts = charts(&results);
        let rates = charts.iter().filter(|chart| chart.title.starts_with("Posts by")).flat_map(|chart| &chart.series);
        assert!(rates.flat_map(|series| &series.points).all(|(_, in_f)| (in_f - 2.0).abs() < 1e-9));
    }
}
