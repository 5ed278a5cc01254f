//! Which lines a run has: one declaration for full and quick runs, of which the quick one measures fewer sizes.

use super::{
    measure::Dataset,
    results::{Case, Subject, Variant, What, Workload},
};

/// How much is measured.
pub(super) struct Scale {
    pub(super) dataset: Dataset,
    /// Sessions that are swept.
    pub(super) sessions: u64,
    callers: &'static [u32],
    channels: &'static [u32],
    /// Loads of the open loops, in hundredths of what the closed one reached.
    loads: &'static [u32],
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
}

impl Scale {
    pub(super) fn full() -> Self {
        Self {
            dataset: Dataset { largest: 1_000_000 },
            sessions: 1_000_000,
            callers: &[1, 16, 64, 256],
            channels: &[1000, 16],
            loads: &[25, 50, 75, 90],
            rounds: 3,
            seconds: 2.0,
            warm_up: 0.5,
        }
    }

    pub(super) fn quick() -> Self {
        Self {
            dataset: Dataset { largest: 100_000 },
            sessions: 100_000,
            callers: &[1, 64],
            channels: &[1000],
            loads: &[50],
            rounds: 1,
            seconds: 0.4,
            warm_up: 0.15,
        }
    }
}

/// A line to be measured.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) what: What,
    /// The line whose rate an open loop takes its share of, or whose rows per commit an engine used directly takes.
    pub(super) base: Option<What>,
    /// How many times as long as others it is measured.
    pub(super) times_as_long: f64,
}

const OWN: [Subject; 2] = [Subject::Redb, Subject::Sqlite];
const OWN_AND_RAW: [Subject; 4] = [Subject::Redb, Subject::RawRedb, Subject::Sqlite, Subject::RawSqlite];

/// How long what happens beside posts is watched, in other measurements.
const LONG: f64 = 3.0;
/// How long memory is watched.
const LONGEST: f64 = 20.0;
/// Load of a server that is busy, and not at its limit: there every other work would show.
const BUSY_PERCENT: u32 = 25;

/// All lines of a workload; those that others build on come before them.
pub(super) fn lines(workload: Workload, scale: &Scale) -> Vec<Planned> {
    let mut plan = Plan { workload, lines: Vec::new() };
    if workload.is_durable() {
        // In turns with them, so that F is that of the same minutes.
        let what = What { workload: Workload::Disk, subject: Subject::Disk, case: Case::default() };
        plan.lines.push(Planned { what, base: None, times_as_long: 1.0 });
    }
    let largest = scale.dataset.largest;
    match workload {
        Workload::Disk => plan.add(&[Subject::Disk], Case::default()),
        Workload::Post => plan.posts(scale),
        Workload::Read => {
            for variant in [Variant::Random, Variant::Recent] {
                plan.add(&OWN_AND_RAW, Case { callers: Some(1), ..Case::of(variant) });
                plan.add(&OWN, Case { callers: Some(2), ..Case::of(variant) });
            }
        }
        Workload::Scroll => {
            for variant in [Variant::Newest, Variant::Deep] {
                for rows in [1_000, largest / 10, largest] {
                    plan.add(&OWN_AND_RAW, Case { callers: Some(1), rows: Some(rows), ..Case::of(variant) });
                }
            }
        }
        Workload::Join => plan.add(&OWN_AND_RAW, callers(1)),
        Workload::Mixed => {
            plan.add(&OWN, callers(64));
            plan.open_loops(scale.loads, &callers(64));
        }
        Workload::Beside => {
            for variant in [Variant::Alone, Variant::Together, Variant::OlderAlone, Variant::OlderTogether] {
                plan.add(&OWN, Case::of(variant));
            }
        }
        Workload::Login => {
            for count in [1, 64] {
                plan.add(&OWN, callers(count));
            }
        }
        Workload::Sweep => plan.beside_posts(scale.sessions),
        Workload::Reclaim => plan.beside_posts(largest),
        Workload::Http => {
            plan.add(&OWN, Case { variant: Some(Variant::Posts), ..callers(64) });
            let all = [Subject::Redb, Subject::Sqlite, Subject::Held];
            plan.add(&all, Case { variant: Some(Variant::History), ..callers(64) });
        }
        Workload::Load => plan.add(&OWN_AND_RAW, Case { rows: Some(largest), ..Case::default() }),
        Workload::Open => {
            for variant in [Variant::Clean, Variant::Killed] {
                plan.add(&OWN, Case { rows: Some(largest), ..Case::of(variant) });
            }
        }
        Workload::Memory => {
            plan.add(&OWN, Case { rows: Some(largest), ..callers(16) });
            plan.lines.iter_mut().for_each(|line| line.times_as_long = LONGEST);
        }
    }
    plan.lines
}

struct Plan {
    workload: Workload,
    lines: Vec<Planned>,
}

impl Plan {
    fn add(&mut self, subjects: &[Subject], case: Case) {
        for subject in subjects {
            self.push(*subject, case.clone(), None);
        }
    }

    fn push(&mut self, subject: Subject, case: Case, base: Option<What>) {
        let what = What { workload: self.workload, subject, case };
        self.lines.push(Planned { what, base, times_as_long: 1.0 });
    }

    fn posts(&mut self, scale: &Scale) {
        for channels in scale.channels {
            for count in scale.callers {
                let case = Case { channels: Some(*channels), ..callers(*count) };
                self.add(&OWN, case.clone());
                self.add(&[Subject::PerCallRedb, Subject::PerCallSqlite], case.clone());
                let mut raw = vec![(Subject::RawRedb, Subject::Redb), (Subject::RawSqlite, Subject::Sqlite)];
                if cfg!(feature = "engines") {
                    raw.push((Subject::Fjall, Subject::Redb));
                }
                for (subject, own) in raw {
                    let base = What { workload: Workload::Post, subject: own, case: case.clone() };
                    self.push(subject, case.clone(), Some(base));
                }
            }
        }
        self.open_loops(scale.loads, &busiest_posts());
    }

    /// Open loops at shares of what these callers reached.
    fn open_loops(&mut self, loads: &[u32], closed: &Case) {
        for load in loads {
            for subject in OWN {
                let case = Case { callers: None, load_percent: Some(*load), ..closed.clone() };
                let base = What { workload: self.workload, subject, case: closed.clone() };
                self.push(subject, case, Some(base));
            }
        }
    }

    fn beside_posts(&mut self, rows: u64) {
        for variant in [Variant::Alone, Variant::Together] {
            for subject in OWN {
                let case = Case { rows: Some(rows), load_percent: Some(BUSY_PERCENT), ..Case::of(variant) };
                let base = What { workload: Workload::Post, subject, case: busiest_posts() };
                self.push(subject, case, Some(base));
            }
        }
        for line in self.lines.iter_mut().filter(|line| line.what.workload != Workload::Disk) {
            line.times_as_long = LONG;
        }
    }
}

impl Workload {
    /// Whether its figures move with the disk.
    fn is_durable(self) -> bool {
        matches!(self, Self::Post | Self::Login | Self::Sweep | Self::Reclaim)
    }
}

/// The lines that these build on and that are not among them, to be measured first.
pub(super) fn bases_missing_in(plans: &[Vec<Planned>]) -> Vec<Planned> {
    let planned = |what: &What| plans.iter().flatten().any(|line| line.what == *what);
    let mut missing: Vec<Planned> = Vec::new();
    for base in plans.iter().flatten().filter_map(|line| line.base.clone()) {
        if !planned(&base) && missing.iter().all(|line| line.what != base) {
            missing.push(Planned { what: base, base: None, times_as_long: 1.0 });
        }
    }
    missing
}

/// The posts that shares are taken of.
pub(super) fn busiest_posts() -> Case {
    Case { channels: Some(1000), ..callers(64) }
}

fn callers(count: u32) -> Case {
    Case { callers: Some(count), ..Case::default() }
}

impl Case {
    fn of(variant: Variant) -> Self {
        Self { variant: Some(variant), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_line_is_there_once_and_after_the_one_it_builds_on() {
        for scale in [Scale::full(), Scale::quick()] {
            let all: Vec<_> = Workload::value_variants().iter().flat_map(|it| lines(*it, &scale)).collect();
            for (place, line) in all.iter().enumerate() {
                let is_new = all[..place].iter().all(|earlier| earlier.what != line.what);
                assert!(is_new || line.what.workload == Workload::Disk, "{line:?} twice");
                if let Some(base) = &line.base {
                    assert!(all[..place].iter().any(|earlier| earlier.what == *base), "{line:?} before its base");
                }
            }
        }
    }
    #[test]
    fn a_workload_alone_brings_along_what_it_builds_on() {
        let plans = [lines(Workload::Sweep, &Scale::quick())];
        let missing = bases_missing_in(&plans);
        assert_eq!(missing.iter().map(|line| line.what.subject).collect::<Vec<_>>(), [Subject::Redb, Subject::Sqlite]);
        assert!(missing.iter().all(|line| line.what.workload == Workload::Post && line.base.is_none()));
        let all: Vec<_> = Workload::value_variants().iter().map(|it| lines(*it, &Scale::full())).collect();
        assert!(bases_missing_in(&all).is_empty());
    }
}
