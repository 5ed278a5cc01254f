//! Which lines a run has, and about how long they take: one declaration for full and quick runs, of which the quick one
//! measures fewer and smaller sizes.

use std::time::Duration;

use super::{
    measure::Dataset,
    results::{Case, Subject, Variant, What, Workload},
};

/// How much is measured.
pub(super) struct Scale {
    /// How many messages are stored in the stores that are posted to and read.
    pub(super) stored: Vec<u64>,
    pub(super) dataset: Dataset,
    /// Sessions that are swept.
    pub(super) sessions: u64,
    /// Loads of the open loops, in hundredths of what the closed one reached.
    loads: &'static [u32],
    pub(super) rounds: u32,
    /// Of the largest stores, and of what takes longest.
    pub(super) rounds_of_large: u32,
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    /// How long the disk is measured beside what it bounds.
    pub(super) disk_seconds: f64,
}

/// A store is large from so many messages on.
const LARGE: u64 = 10_000_000;

impl Scale {
    pub(super) fn full() -> Self {
        Self {
            stored: vec![10_000, 1_000_000, LARGE],
            dataset: Dataset { largest: 1_000_000 },
            sessions: 1_000_000,
            loads: &[25, 50, 75, 90],
            rounds: 3,
            rounds_of_large: 2,
            seconds: 2.0,
            warm_up: 0.5,
            disk_seconds: 0.4,
        }
    }

    pub(super) fn quick() -> Self {
        Self {
            stored: vec![10_000, 300_000],
            dataset: Dataset { largest: 100_000 },
            sessions: 100_000,
            loads: &[50],
            rounds: 1,
            rounds_of_large: 1,
            seconds: 0.4,
            warm_up: 0.15,
            disk_seconds: 0.2,
        }
    }

    /// The size at which posts are looked at more closely: the second.
    fn reference(&self) -> u64 {
        self.stored.get(1).or(self.stored.first()).copied().unwrap_or_default()
    }

    fn rounds_of(&self, what: &What) -> u32 {
        match what.case.stored >= Some(LARGE) || what.workload == Workload::Memory {
            true => self.rounds_of_large,
            false => self.rounds,
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
    /// How often.
    pub(super) rounds: u32,
}

pub(super) const OWN: [Subject; 2] = [Subject::Redb, Subject::Sqlite];
const OWN_AND_RAW: [Subject; 4] = [Subject::Redb, Subject::RawRedb, Subject::Sqlite, Subject::RawSqlite];
const PER_CALL: [Subject; 2] = [Subject::PerCallRedb, Subject::PerCallSqlite];
/// Other engines, in a build that has them.
pub(super) const OTHERS: &[Subject] = if cfg!(feature = "engines") { &[Subject::Fjall] } else { &[] };

const CALLERS: [u32; 3] = [1, 64, 256];
/// A thousand evenly, and a few busy ones.
const CHANNELS: [u32; 2] = [1000, 16];

/// How long what happens beside posts is watched, in other measurements.
const LONG: f64 = 3.0;
/// How long memory is watched.
const LONGEST: f64 = 20.0;
/// Load of a server that is busy, and not at its limit: there every other work would show.
const BUSY_PERCENT: u32 = 25;

/// All lines of a workload; those that others build on come before them.
pub(super) fn lines(workload: Workload, scale: &Scale) -> Vec<Planned> {
    let mut plan = Plan { workload, scale, lines: Vec::new() };
    if What::of(workload).is_durable() {
        // In turns with them, so that F is that of the same minutes.
        plan.lines.push(Planned {
            what: What::of(Workload::Disk),
            base: None,
            times_as_long: 1.0,
            rounds: scale.rounds,
        });
    }
    let largest = scale.dataset.largest;
    match workload {
        Workload::Disk => plan.add(&[Subject::Disk], Case::default()),
        Workload::Post => plan.posts(),
        Workload::Read => plan.at_every_size(&Case::default()),
        Workload::Scroll => {
            for variant in [Variant::Newest, Variant::Deep] {
                plan.at_every_size(&Case::of(variant));
            }
            plan.sizes_of(&OWN, &Case::of(Variant::Cold));
            for rows in [1_000, largest] {
                plan.add(&OWN, Case { rows: Some(rows), ..Case::of(Variant::Deep) });
            }
        }
        Workload::Beside => {
            for variant in [Variant::Newest, Variant::Deep] {
                plan.sizes_of(&OWN, &Case::of(variant));
            }
        }
        Workload::Open => {
            for variant in [Variant::Clean, Variant::Killed] {
                plan.sizes_of(&OWN, &Case::of(variant));
            }
        }
        // Measured while the stores are made.
        Workload::Load => {}
        Workload::Join => plan.add(&OWN_AND_RAW, callers(1)),
        Workload::Mixed => {
            plan.add(&OWN, callers(64));
            plan.open_loops(&callers(64));
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
        Workload::Memory => {
            plan.add(&OWN, Case { rows: Some(largest), ..callers(16) });
            plan.lines.iter_mut().for_each(|line| line.times_as_long = LONGEST);
        }
    }
    plan.lines
}

struct Plan<'a> {
    workload: Workload,
    scale: &'a Scale,
    lines: Vec<Planned>,
}

impl Plan<'_> {
    fn add(&mut self, subjects: &[Subject], case: Case) {
        for subject in subjects {
            self.push(*subject, case.clone(), None);
        }
    }

    fn push(&mut self, subject: Subject, case: Case, base: Option<What>) {
        let what = What { workload: self.workload, subject, case };
        let rounds = self.scale.rounds_of(&what);
        self.lines.push(Planned { what, base, times_as_long: 1.0, rounds });
    }

    /// A subject's sizes are neighbours, so that one sees how it ages.
    fn sizes_of(&mut self, subjects: &[Subject], case: &Case) {
        for subject in subjects {
            for stored in &self.scale.stored {
                self.push(*subject, Case { stored: Some(*stored), ..case.clone() }, None);
            }
        }
    }

    /// Everybody.
    fn at_every_size(&mut self, case: &Case) {
        self.sizes_of(&OWN_AND_RAW, case);
        self.sizes_of(OTHERS, case);
    }

    fn posts(&mut self) {
        for channels in CHANNELS {
            for count in CALLERS {
                let case = Case { channels: Some(channels), ..callers(count) };
                self.at_every_size(&case);
                // As many rows per transaction as decentcom's store has per commit.
                for line in &mut self.lines {
                    let own = match line.what.subject {
                        Subject::RawRedb | Subject::Fjall => Subject::Redb,
                        Subject::RawSqlite => Subject::Sqlite,
                        _ => continue,
                    };
                    line.base = Some(What { subject: own, ..line.what.clone() });
                }
            }
        }
        let busiest = busiest_posts(self.scale.reference());
        self.add(&PER_CALL, busiest.clone());
        self.open_loops(&busiest);
    }

    /// Open loops at shares of what these callers reached.
    fn open_loops(&mut self, closed: &Case) {
        for load in self.scale.loads {
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
                let closed = busiest_posts(self.scale.reference());
                let base = What { workload: Workload::Post, subject, case: closed };
                self.push(subject, case, Some(base));
            }
        }
        for line in self.lines.iter_mut().filter(|line| line.what.workload == self.workload) {
            line.times_as_long = LONG;
        }
    }
}

/// The lines that these build on and that are not among them, to be measured first.
pub(super) fn bases_missing_in(plans: &[Vec<Planned>]) -> Vec<Planned> {
    let planned = |what: &What| plans.iter().flatten().any(|line| line.what == *what);
    let mut missing: Vec<Planned> = Vec::new();
    for line in plans.iter().flatten() {
        let Some(base) = line.base.clone() else { continue };
        if !planned(&base) && missing.iter().all(|line| line.what != base) {
            missing.push(Planned { what: base, base: None, times_as_long: 1.0, rounds: line.rounds });
        }
    }
    missing
}

/// About how long it takes to measure these, on stores that are there.
pub(super) fn expected(plans: &[Vec<Planned>], scale: &Scale) -> Duration {
    /// To start a process, open a store, close it.
    const OVERHEAD: f64 = 0.5;
    /// To copy a message.
    const COPYING: f64 = 2e-6;
    /// To walk past one after a crash.
    const CRASHED: f64 = 3e-6;
    let seconds = |line: &Planned| {
        let measured = scale.warm_up + scale.seconds * line.times_as_long + OVERHEAD;
        let disk = if line.what.is_durable() { scale.disk_seconds * 1.1 + 0.1 } else { 0.0 };
        let other = match line.what.workload {
            Workload::Sweep | Workload::Reclaim | Workload::Mixed | Workload::Http | Workload::Memory => {
                scale.dataset.messages() as f64 * COPYING
            }
            // Copied anew once it has grown by a tenth.
            Workload::Post => {
                line.what.case.stored.filter(|stored| *stored < LARGE).unwrap_or_default() as f64 * COPYING / 2.0
            }
            Workload::Open => 1.0 + line.what.case.stored.unwrap_or_default() as f64 * CRASHED / 4.0 - scale.seconds,
            _ => 0.0,
        };
        f64::from(line.rounds) * (measured + disk + other)
    };
    Duration::try_from_secs_f64(plans.iter().flatten().map(seconds).sum()).unwrap_or_default()
}

/// About how long it takes to make such stores.
pub(super) fn expected_making(stores: &[(Subject, u64)]) -> Duration {
    let each = |subject| match subject {
        Subject::Sqlite => 25e-6,
        _ => 12e-6,
    };
    let seconds = stores.iter().map(|(subject, stored)| *stored as f64 * each(*subject)).sum();
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The posts that shares are taken of.
pub(super) fn busiest_posts(stored: u64) -> Case {
    Case { stored: Some(stored), channels: Some(1000), ..callers(64) }
}

fn callers(count: u32) -> Case {
    Case { callers: Some(count), ..Case::default() }
}

impl What {
    fn of(workload: Workload) -> Self {
        Self { workload, subject: Subject::Disk, case: Case::default() }
    }
}

impl Case {
    pub(crate) fn of(variant: Variant) -> Self {
        Self { variant: Some(variant), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
    fn whoever_posts_does_it_at_every_size_by_as_many_callers_and_to_as_many_channels() {
        let scale = Scale::full();
        let posts = lines(Workload::Post, &scale);
        for subject in OWN_AND_RAW {
            let of_subject = posts.iter().filter(|line| line.what.subject == subject);
            let cases: BTreeSet<_> = of_subject
                .filter(|line| line.what.case.load_percent.is_none())
                .map(|line| (line.what.case.stored, line.what.case.callers, line.what.case.channels))
                .collect();
            assert_eq!(cases.len(), 3 * 3 * 2, "{subject}");
        }
    }

    #[test]
    fn a_run_is_not_too_long() {
        let minutes = |scale: Scale| {
            let all: Vec<_> = Workload::value_variants().iter().map(|it| lines(*it, &scale)).collect();
            expected(&all, &scale).as_secs_f64() / 60.0
        };
        assert!(minutes(Scale::full()) < 42.0, "{}", minutes(Scale::full()));
        assert!(minutes(Scale::quick()) < 3.5, "{}", minutes(Scale::quick()));
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
