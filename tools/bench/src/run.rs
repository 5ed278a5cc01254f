//! A run: every line of a plan in every round, each in a process of its own; and what is shown of it.

use std::{
    cmp::Ordering,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum as _;
use dcstore::{Code, Outcome, Session};
use decentcom_server::storage::{Clock as _, SystemClock};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;

use crate::{
    cli::Cli,
    failure::Failure,
    measure::{Prepared, Role, TEXT_BYTES, Task, backend_of},
    plan::{self, Planned, Scale},
    report,
    results::{Case, FORMAT, Line, Results, Sample, Settings, Subject, SyncCount, Variant, What, Workload},
    stores::{Stores, maker_of},
    watch::{
        machine,
        syncs::{NotCounted, count_syncs},
    },
};

/// Changes made one after the other while syncs are counted.
const COUNTED_CHANGES: u64 = 100;
/// How long that may take.
const COUNTING_LIMIT: Duration = Duration::from_secs(60);
/// About as many messages as somebody posts who is killed.
const KILLED_POSTS: u64 = 20_000;
/// The files of `--output`.
const RESULTS_FILE: &str = "results.json";
const PAGE_FILE: &str = "report.html";

/// Measures, compares, or is one of the processes that measure.
pub(crate) fn run(options: &Cli, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    if let Some(task) = &options.measure {
        let task: Task = serde_json::from_str(task).map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(sample) = task.run()? {
            writeln!(out, "{}", serde_json::to_string(&sample).map_err(std::io::Error::from)?)?;
        }
        return Ok(Outcome::Fine);
    }
    if let [one, other] = &options.compare[..] {
        let changed = report::compare::compare(&read(one)?, &read(other)?, out)?;
        return Ok(if changed { Outcome::Findings } else { Outcome::Fine });
    }
    let results = match &options.from {
        Some(file) => read(file)?,
        None => Bencher::new(options, session)?.results()?,
    };
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    report::table::table(&results, if width == 0 { usize::MAX } else { width }, out)?;
    if let Some(directory) = &options.output {
        fs::create_dir_all(directory)?;
        let json = serde_json::to_string_pretty(&results).map_err(std::io::Error::from)?;
        fs::write(directory.join(RESULTS_FILE), json + "\n")?;
        fs::write(directory.join(PAGE_FILE), report::page::page(&results))?;
        session.say(&format!("wrote {RESULTS_FILE} and {PAGE_FILE} to {}", directory.display()));
    }
    Ok(Outcome::Fine)
}

/// The results in a file, or in a directory that `--output` named.
fn read(path: &Path) -> Result<Results, Failure> {
    let file = if path.is_dir() { path.join(RESULTS_FILE) } else { path.into() };
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::new(Code::Io, format!("cannot read {}: {error}", file.display())))?;
    let no_results = |error| Failure::new(Code::Corrupt, format!("{} holds no results: {error}", file.display()));
    let Format { format } = serde_json::from_str(&text).map_err(no_results)?;
    match format.cmp(&FORMAT) {
        Ordering::Greater => {
            return Err(Failure::new(Code::Newer, format!("a newer dcbench wrote {}", file.display())));
        }
        Ordering::Less => {
            let said = format!(
                "an older dcbench wrote {}, and measured something else; its page still shows it",
                file.display()
            );
            return Err(Failure::usage(said));
        }
        Ordering::Equal => {}
    }
    let results: Results = serde_json::from_str(&text).map_err(no_results)?;
    Ok(results)
}

/// What results of any age say.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

/// This program again, to do `task`.
pub(crate) fn again(task: &Task) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let task = serde_json::to_string(task).map_err(std::io::Error::from)?;
    command.args(["--measure", &task]).stdin(Stdio::null());
    Ok(command)
}

/// A run under way.
struct Bencher<'a> {
    session: &'a Session,
    scale: Scale,
    quick: bool,
    workloads: Vec<Workload>,
    /// The directory as it was named.
    parent: String,
    directory: TempDir,
    stores: Stores,
    lines: Vec<Line>,
    bar: ProgressBar,
}

impl<'a> Bencher<'a> {
    fn new(options: &Cli, session: &'a Session) -> Result<Self, Failure> {
        let mut scale = if options.quick { Scale::quick() } else { Scale::full() };
        scale.rounds_of_large = options.rounds.unwrap_or(scale.rounds_of_large);
        scale.rounds = options.rounds.unwrap_or(scale.rounds);
        if let Some(seconds) = options.seconds {
            scale.seconds = seconds;
            (scale.warm_up, scale.disk_seconds) = (scale.warm_up.min(seconds), scale.disk_seconds.min(seconds));
        }
        if !options.stored.is_empty() {
            scale.stored.clone_from(&options.stored);
            scale.stored.sort_unstable();
            scale.stored.dedup();
        }
        if let Some(messages) = options.messages {
            (scale.dataset.largest, scale.sessions) = (messages, messages);
        }
        let parent = options.directory.as_deref().unwrap_or(Path::new("."));
        let directory = tempfile::Builder::new().prefix("dcbench-").tempdir_in(parent).map_err(|error| {
            Failure::new(Code::Io, format!("cannot make a directory in {}: {error}", parent.display()))
        })?;
        let copies = directory.path().join("copies");
        let made = options.keep.clone().unwrap_or_else(|| directory.path().join("made"));
        let stores = Stores::new(made, copies)?;
        let bar = ProgressBar::no_length();
        bar.set_draw_target(if session.draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        if let Ok(style) = ProgressStyle::with_template("[{wide_bar}] {pos}/{len}  {msg}  {elapsed} so far, {eta} left")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut workloads: Vec<_> = Workload::value_variants().to_vec();
        if !options.only.is_empty() {
            workloads.retain(|workload| options.only.contains(workload) || *workload == Workload::Disk);
        }
        let parent = parent.display().to_string();
        Ok(Self { session, scale, quick: options.quick, workloads, parent, directory, stores, lines: Vec::new(), bar })
    }

    fn results(mut self) -> Result<Results, Failure> {
        let began = Instant::now();
        let started_at = SystemClock.now().to_string();
        let machine = machine::machine(self.directory.path());
        let mut plans: Vec<_> = self.workloads.iter().map(|workload| plan::lines(*workload, &self.scale)).collect();
        plans.insert(0, plan::bases_missing_in(&plans));
        let to_make = self.missing_stores(&plans);
        self.say_expected(&plans, &to_make);
        self.bar.set_length(plans.iter().flatten().map(|line| u64::from(line.rounds)).sum());
        let durability = self.count_syncs()?;
        self.prepare(&to_make)?;
        for plan in plans {
            self.measure(&plan)?;
        }
        self.bar.finish_and_clear();
        let versions = tokio::runtime::Runtime::new()?.block_on(machine::versions())?;
        Ok(Results {
            format: FORMAT,
            started_at,
            seconds: began.elapsed().as_secs_f64(),
            settings: Settings {
                quick: self.quick,
                rounds: self.scale.rounds,
                measured_seconds: self.scale.seconds,
                warm_up_seconds: self.scale.warm_up,
                stored: self.scale.stored.clone(),
                messages: self.scale.dataset.messages(),
                message_bytes: TEXT_BYTES,
                directory: self.parent,
            },
            machine,
            versions,
            durability,
            lines: self.lines,
        })
    }

    /// All lines of a workload, a round after the other.
    fn measure(&mut self, plan: &[Planned]) -> Result<(), Failure> {
        for round in 0..plan.iter().map(|line| line.rounds).max().unwrap_or_default() {
            for planned in plan.iter().filter(|line| round < line.rounds) {
                self.session.check()?;
                self.bar.set_message(format!("{} {}", planned.what.workload, planned.what.subject));
                let sample = self.measure_one(planned);
                self.session.check()?;
                self.keep(round, &planned.what, sample);
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    /// A line once: on the working copy of its size, or in an empty directory.
    fn measure_one(&mut self, planned: &Planned) -> Result<Sample, Failure> {
        let Some(mut task) = self.task(planned) else {
            return Err(Failure::new(Code::Io, "the line that this one depends on is missing"));
        };
        let Some(stored) = planned.what.case.stored else {
            self.empty(&task.directory)?;
            return sample(&task);
        };
        let (directory, copied) = self.stores.copy(planned.what.subject, stored)?;
        (task.messages, task.first_free) = (copied.messages, copied.first_free(stored));
        task.directory = directory;
        let sample = sample(&task)?;
        let uncounted = (planned.what.case.variant == Some(Variant::Killed)).then_some(copied.messages + KILLED_POSTS);
        if let Some(messages) = sample.messages.or(uncounted) {
            self.stores.grew(&task.directory, messages);
        }
        Ok(sample)
    }

    fn keep(&mut self, round: u32, what: &What, sample: Result<Sample, Failure>) {
        let place = match self.lines.iter().position(|line| line.what == *what) {
            Some(place) => place,
            None => {
                self.lines.push(Line { what: what.clone(), rounds: Vec::new(), failure: None });
                self.lines.len() - 1
            }
        };
        let Some(line) = self.lines.get_mut(place) else { return };
        match sample {
            Ok(sample) => line.rounds.push(sample),
            Err(failure) => {
                self.session.say(&format!("round {}: {} {}: {failure}", round + 1, what.workload, what.subject));
                line.failure = Some(failure.to_string());
            }
        }
    }

    /// What a process is told for a line; `None` if what it builds on was not measured.
    fn task(&self, planned: &Planned) -> Option<Task> {
        let base = match &planned.base {
            Some(base) => Some(self.lines.iter().find(|line| line.what == *base)?),
            None => None,
        };
        let share = planned.what.case.load_percent.map(|percent| f64::from(percent) / 100.0);
        let rate = match (share, base) {
            (Some(share), Some(base)) => Some(base.rate()? * share),
            (Some(_), None) => return None,
            (None, _) => None,
        };
        let last = base.and_then(|base| base.rounds.last());
        Some(Task {
            what: planned.what.clone(),
            role: Role::Measure,
            directory: self.directory.path().join("measured"),
            prepared: self.directory.path().into(),
            messages: 0,
            first_free: 0,
            dataset: self.scale.dataset,
            warm_up_seconds: self.scale.warm_up,
            measured_seconds: self.scale.seconds * planned.times_as_long,
            disk_seconds: self.scale.disk_seconds,
            rate,
            rows_per_commit: last.and_then(|sample| sample.per_commit).map(|rows| rows.round().max(1.0) as u64),
        })
    }

    fn empty(&self, directory: &Path) -> Result<(), Failure> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        Ok(fs::create_dir(directory)?)
    }

    /// The stores of several sizes that these lines are measured on and that are not there.
    fn missing_stores(&self, plans: &[Vec<Planned>]) -> Vec<(Subject, u64)> {
        let measured =
            plans.iter().flatten().filter_map(|line| Some((maker_of(line.what.subject), line.what.case.stored?)));
        let mut needed: Vec<_> = measured.collect();
        if self.workloads.contains(&Workload::Load) {
            let makers = || plan::OWN.iter().chain(plan::OTHERS);
            needed.extend(self.scale.stored.iter().flat_map(|stored| makers().map(|maker| (*maker, *stored))));
        }
        needed.sort_unstable_by_key(|(maker, stored)| (*stored, *maker));
        needed.dedup();
        needed.retain(|(maker, stored)| !self.stores.has(*maker, *stored));
        needed
    }

    fn say_expected(&self, plans: &[Vec<Planned>], to_make: &[(Subject, u64)]) {
        let [measuring, making] = [plan::expected(plans, &self.scale), plan::expected_making(to_make)];
        let minutes = |time: Duration| (time.as_secs_f64() / 60.0).ceil();
        let making = match to_make {
            [] => String::new(),
            _ => format!(", after about {} min to make stores", minutes(making)),
        };
        self.session.say(&format!("this will take about {} min{making}", minutes(measuring)));
    }

    /// Makes the stores that are not there, where something reads them.
    fn prepare(&mut self, to_make: &[(Subject, u64)]) -> Result<(), Failure> {
        use Workload::{Http, Join, Memory, Mixed, Reclaim, Scroll, Sweep};
        for (maker, stored) in to_make {
            let case = Case { stored: Some(*stored), ..Case::default() };
            let Some((what, task)) = self.making(*maker, case) else { continue };
            let task = Task { directory: self.stores.workshop()?, ..task };
            let made = sample(&task)?;
            self.stores.take(*maker, *stored, &task.directory)?;
            self.keep(0, &what, Ok(made));
        }
        let needs = |readers: &[Workload]| self.workloads.iter().any(|it| readers.contains(it));
        let large = Case { rows: Some(self.scale.dataset.largest), ..Case::default() };
        let sessions = Case { rows: Some(self.scale.sessions), ..Case::of(Variant::Sessions) };
        for (prepared, case, needed) in [
            (Prepared::Dataset, large, needs(&[Scroll, Join, Mixed, Reclaim, Http, Memory])),
            (Prepared::Sessions, sessions, needs(&[Sweep])),
        ] {
            for subject in plan::OWN {
                let Some(backend) = backend_of(subject).filter(|_| needed) else { continue };
                self.session.check()?;
                let Some((_, task)) = self.making(subject, case.clone()) else { continue };
                self.empty(&task.directory)?;
                sample(&task)?;
                fs::rename(task.directory.join("store"), prepared.path(self.directory.path(), backend))?;
            }
        }
        Ok(())
    }

    /// What a process is told that makes a store.
    fn making(&self, subject: Subject, case: Case) -> Option<(What, Task)> {
        self.bar.set_message(format!("making a store of {subject}"));
        let what = What { workload: Workload::Load, subject, case };
        let planned = Planned { what: what.clone(), base: None, times_as_long: 1.0, rounds: 1 };
        Some((what, self.task(&planned)?))
    }

    /// Whether each durable change is synced, by counting.
    fn count_syncs(&self) -> Result<Vec<SyncCount>, Failure> {
        use Subject::{PerCallRedb, PerCallSqlite, RawRedb, RawSqlite, Redb, Sqlite};
        self.bar.set_message("counting syncs");
        let mut counts = Vec::new();
        for subject in [Redb, Sqlite, RawRedb, RawSqlite, PerCallRedb, PerCallSqlite] {
            self.session.check()?;
            let what = What { workload: Workload::Post, subject, case: Case::default() };
            let Some(task) = self.task(&Planned { what, base: None, times_as_long: 1.0, rounds: 1 }) else { continue };
            let task = Task { role: Role::CountSyncs(COUNTED_CHANGES), ..task };
            self.empty(&task.directory)?;
            let syncs = match count_syncs(&mut again(&task)?, COUNTING_LIMIT) {
                Ok(counted) if counted.status.success() => Some(counted.syncs),
                Ok(counted) => {
                    let problem = format!("counting syncs of {subject}: {} {}", counted.status, counted.stdout);
                    return Err(Failure::new(Code::Io, problem));
                }
                Err(NotCounted::Failed(why)) => return Err(Failure::new(Code::Io, why)),
                Err(uncountable) => {
                    self.session.say(&uncountable.to_string());
                    None
                }
            };
            counts.push(SyncCount { subject, changes: COUNTED_CHANGES, syncs });
        }
        Ok(counts)
    }
}

/// Has a process of its own measure.
fn sample(task: &Task) -> Result<Sample, Failure> {
    let ended = again(task)?.stderr(Stdio::piped()).output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(Failure::new(Code::Io, format!("{} ({})", said.trim(), ended.status)));
    }
    serde_json::from_slice(&ended.stdout).map_err(|error| Failure::new(Code::Io, error.to_string()))
}
