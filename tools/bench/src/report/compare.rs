//! Two runs beside each other: what changed, and what is only noise.

use std::io::{self, Write};

use dcstore::terminal_safe_line;

use super::{
    measure::{Measure, range},
    table::columns,
    words,
};
use crate::results::{Line, Results, Workload, median};

/// A difference smaller than this is none, however little the rounds varied.
const LEAST_DIFFERENCE: f64 = 0.05;
/// Rounds that it takes to see how much they vary.
const LEAST_ROUNDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Better,
    Worse,
    /// They differ, but it is not known how much they vary.
    Unknown,
    Noise,
}

/// What two runs say of the same thing.
struct Pair<'a> {
    line: &'a Line,
    measure: Measure,
    one: f64,
    other: f64,
    /// The ratio that is left when the disk's own is taken out; of durable lines.
    in_f: Option<f64>,
    change: Change,
}

/// Writes what is different in the second run, and says whether anything is.
pub(crate) fn compare(one: &Results, other: &Results, out: &mut dyn Write) -> io::Result<bool> {
    writeln!(out, "A: {}\nB: {}", terminal_safe_line(&one.started_at), terminal_safe_line(&other.started_at))?;
    warnings(one, other).iter().try_for_each(|warning| writeln!(out, "WARNING: {}", terminal_safe_line(warning)))?;
    let disks = one.of(Workload::Disk).next().zip(other.of(Workload::Disk).next());
    let disk = disks.and_then(|(one, other)| pair(one, other, None));
    let factor = disk.as_ref().map(|disk| Disk {
        factor: disk.other / disk.one,
        changed: matches!(disk.change, Change::Better | Change::Worse),
    });
    if let (Some(disk), Some(factor)) = (&disk, factor) {
        let said = match disk.change {
            Change::Better | Change::Worse => "the disk itself changed, so durable lines are judged in F",
            Change::Unknown => "the disk may have changed: too few rounds to tell",
            Change::Noise => "the disk is as it was",
        };
        let (one, other) = (words::rate(disk.one), words::rate(disk.other));
        writeln!(out, "F: {one} in A, {other} in B ({}): {said}", words::times(factor.factor))?;
    }
    let of = |line: &Line, results: &Results| {
        results.find(line.what.workload, line.what.subject, &line.what.case).is_some_and(|line| !line.rounds.is_empty())
    };
    let both: Vec<Pair<'_>> = one
        .lines
        .iter()
        .filter_map(|line| {
            let found = other.find(line.what.workload, line.what.subject, &line.what.case)?;
            pair(line, found, factor)
        })
        .collect();
    for (change, title) in [
        (Change::Better, "better in B"),
        (Change::Worse, "worse in B"),
        (Change::Unknown, "different, but with fewer than 3 rounds the noise is unknown"),
    ] {
        section(title, both.iter().filter(|pair| pair.change == change), out)?;
    }
    let noise = both.iter().filter(|pair| pair.change == Change::Noise).count();
    writeln!(out, "\nwithin the noise: {} of {}", noise, words::counted(both.len() as u64, "line"))?;
    for (title, here, there) in [("only in A", one, other), ("only in B", other, one)] {
        for line in here.lines.iter().filter(|line| !line.rounds.is_empty() && !of(line, there)) {
            writeln!(out, "{title}: {} {}", line.what.workload, words::who(&line.what))?;
        }
    }
    Ok(both.iter().any(|pair| matches!(pair.change, Change::Better | Change::Worse)))
}

/// What became of the disk.
#[derive(Clone, Copy)]
struct Disk {
    factor: f64,
    changed: bool,
}

fn pair<'a>(line: &'a Line, other: &Line, disk: Option<Disk>) -> Option<Pair<'a>> {
    let measure = Measure::of(&line.what);
    let (ones, others) = (measure.values(line), measure.values(other));
    let disk = disk.filter(|_| line.what.is_durable());
    // Twice the F makes twice the rate and half the time.
    let without_disk = |disk: Disk| if measure.less_is_better { disk.factor } else { disk.factor.recip() };
    let judged: Vec<f64> = match disk {
        Some(disk) if disk.changed => others.iter().map(|value| value * without_disk(disk)).collect(),
        _ => others.clone(),
    };
    let (one, other) = (median(&ones)?, median(&others)?);
    Some(Pair {
        line,
        measure,
        one,
        other,
        in_f: disk.map(|disk| other / one * without_disk(disk)),
        change: change(&ones, &judged, measure.less_is_better)?,
    })
}

fn change(ones: &[f64], others: &[f64], less_is_better: bool) -> Option<Change> {
    let ((least, most), (other_least, other_most)) = (range(ones)?, range(others)?);
    let ratio = median(others)? / median(ones)?;
    let overlap = least <= other_most && other_least <= most;
    Some(match (ratio - 1.0).abs() > LEAST_DIFFERENCE && !overlap {
        false => Change::Noise,
        true if ones.len().min(others.len()) < LEAST_ROUNDS => Change::Unknown,
        true if (ratio < 1.0) == less_is_better => Change::Better,
        true => Change::Worse,
    })
}

fn section<'a>(title: &str, pairs: impl Iterator<Item = &'a Pair<'a>>, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<Vec<String>> = pairs
        .map(|pair| {
            let what = &pair.line.what;
            let show = pair.measure.show;
            vec![
                what.workload.to_string(),
                what.subject.to_string(),
                words::circumstances(what),
                pair.measure.name.into(),
                show(pair.one),
                show(pair.other),
                words::times(pair.other / pair.one),
                pair.in_f.map(words::times).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    let header = ["workload", "subject", "circumstances", "judged by", "A", "B", "B / A", "in F"];
    columns(&header, 4, rows).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Why the runs may not be alike.
fn warnings(one: &Results, other: &Results) -> Vec<String> {
    let mut warnings = vec![];
    let mut differs = |what: &str, one: String, other: String| {
        if one != other {
            warnings.push(format!("{what}: {one} in A, {other} in B"));
        }
    };
    let (a, b) = (&one.machine, &other.machine);
    differs("processor", a.processor.clone(), b.processor.clone());
    differs("cores", a.cores.to_string(), b.cores.to_string());
    differs("memory", words::bytes(a.memory_bytes as f64), words::bytes(b.memory_bytes as f64));
    differs("system", a.system.clone(), b.system.clone());
    differs("file system", a.file_system.clone(), b.file_system.clone());
    differs("device", a.device.clone().unwrap_or_default(), b.device.clone().unwrap_or_default());
    let (a, b) = (&one.settings, &other.settings);
    differs("--quick", a.quick.to_string(), b.quick.to_string());
    let sizes = |stored: &[u64]| stored.iter().map(|it| words::count(*it)).collect::<Vec<_>>().join(" and ");
    differs("messages stored", sizes(&a.stored), sizes(&b.stored));
    differs("messages", words::count(a.messages), words::count(b.messages));
    differs("bytes a message", words::count(a.message_bytes), words::count(b.message_bytes));
    differs("seconds measured", a.measured_seconds.to_string(), b.measured_seconds.to_string());
    for name in one.versions.keys().chain(other.versions.keys().filter(|name| !one.versions.contains_key(*name))) {
        let version = |results: &Results| results.versions.get(name).map_or("none", String::as_str).to_owned();
        differs(name, version(one), version(other));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::results::Sample;

    fn said(one: &Results, other: &Results) -> (bool, String) {
        let mut out = vec![];
        let changed = compare(one, other, &mut out).unwrap();
        (changed, String::from_utf8(out).unwrap())
    }

    /// Results whose lines are changed where they are like that.
    fn changed(like: impl Fn(&Line) -> bool, change: impl Fn(&mut Sample)) -> Results {
        let mut results = sample::full();
        for line in results.lines.iter_mut().filter(|line| like(line)) {
            line.rounds.iter_mut().for_each(&change);
        }
        results
    }

    fn faster(factor: f64) -> impl Fn(&mut Sample) {
        move |sample| sample.operations = (sample.operations as f64 * factor) as u64
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let (changed, said) = said(&sample::full(), &sample::full());
        assert!(!changed, "{said}");
        assert!(!said.contains("WARNING") && said.contains("within the noise"), "{said}");
    }

    #[test]
    fn what_changed_is_better_or_worse_and_what_is_missing_is_said() {
        let mut other = changed(
            |line| matches!(line.what.workload, Workload::Scroll) && line.what.case.stored == Some(10_000),
            faster(1.5),
        );
        for line in &mut other.lines {
            let slower = line.what.case.load_percent == Some(90);
            line.rounds.iter_mut().filter(|_| slower).for_each(|round| round.latency.p99 *= 2.0);
        }
        other.lines.retain(|line| line.what.workload != Workload::Http);
        other.settings.quick = true;
        other.versions.insert("redb".into(), "5.0.0".into());
        let (changed, said) = said(&sample::full(), &other);
        assert!(changed);
        insta::assert_snapshot!(said);
    }

    #[test]
    fn rounds_that_overlap_are_noise_however_far_apart_their_medians_are() {
        assert_eq!(change(&[100.0, 110.0, 190.0], &[150.0, 160.0, 170.0], false), Some(Change::Noise));
        assert_eq!(change(&[100.0, 110.0, 120.0], &[150.0, 160.0, 170.0], false), Some(Change::Better));
        assert_eq!(change(&[100.0, 110.0, 120.0], &[150.0, 160.0, 170.0], true), Some(Change::Worse));
    }

    #[test]
    fn a_difference_of_little_is_noise_however_steady_the_rounds_are() {
        assert_eq!(change(&[100.0; 3], &[104.0; 3], false), Some(Change::Noise));
        assert_eq!(change(&[100.0; 3], &[106.0; 3], false), Some(Change::Better));
        assert_eq!(change(&[100.0; 3], &[94.0; 3], false), Some(Change::Worse));
    }

    #[test]
    fn fewer_than_three_rounds_do_not_show_a_change() {
        assert_eq!(change(&[100.0; 2], &[200.0; 3], false), Some(Change::Unknown));
        assert_eq!(change(&[], &[200.0; 3], false), None);
    }

    #[test]
    fn durable_lines_that_move_with_the_disk_did_not_change() {
        let both = |line: &Line| line.what.workload == Workload::Disk || line.what.workload == Workload::Post;
        let mut other = changed(|line| both(line) && line.what.case.load_percent.is_none(), faster(2.0));
        for line in
            other.lines.iter_mut().filter(|line| line.what.is_durable() && line.what.case.load_percent.is_some())
        {
            line.rounds.iter_mut().for_each(|round| round.latency.p99 /= 2.0);
        }
        for line in other.lines.iter_mut().filter(|line| line.what.workload == Workload::Http) {
            line.rounds.iter_mut().for_each(faster(2.0));
        }
        let (_, said) = said(&sample::full(), &other);
        assert!(said.contains("the disk itself changed"), "{said}");
        let better: Vec<_> = said
            .lines()
            .skip_while(|line| *line != "better in B")
            .skip(2)
            .take_while(|line| !line.is_empty())
            .collect();
        assert!(better.len() == 1 && better[0].starts_with("disk"), "{said}");
    }

    #[test]
    fn durable_lines_that_stay_as_they_were_on_a_faster_disk_are_worse() {
        let (_, said) = said(&sample::full(), &changed(|line| line.what.workload == Workload::Disk, faster(2.0)));
        let worse: Vec<_> = said.lines().skip_while(|line| *line != "worse in B").collect();
        assert!(worse.iter().any(|line| line.starts_with("post") && line.ends_with("× 0.50")), "{said}");
    }
}
