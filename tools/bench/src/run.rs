//! A run: every line of a plan in every round, each in a process of its own; and what is shown of it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum as _;
use dcstore::{Code, Outcome, Session};
use decentcom_server::storage::{Backend, Clock as _, SystemClock};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;

use crate::{
    cli::Cli,
    failure::Failure,
    measure::{Prepared, Role, TEXT_BYTES, Task, backend_of},
    plan::{self, Planned, Scale},
    report,
    results::{Case, FORMAT, Line, Results, Sample, Settings, Subject, SyncCount, Variant, What, Workload},
    watch::{
        machine,
        syncs::{NotCounted, count_syncs},
    },
};

/// Changes made one after the other while syncs are counted.
const COUNTED_CHANGES: u64 = 100;
/// How long that may take.
const COUNTING_LIMIT: Duration = Duration::from_secs(60);
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
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| Failure::new(Code::Corrupt, format!("{} holds no results: {error}", file.display())))?;
    if results.format > FORMAT {
        return Err(Failure::new(Code::Newer, format!("a newer dcbench wrote {}", file.display())));
    }
    Ok(results)
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
    lines: Vec<Line>,
    bar: ProgressBar,
}

impl<'a> Bencher<'a> {
    fn new(options: &Cli, session: &'a Session) -> Result<Self, Failure> {
        let mut scale = if options.quick { Scale::quick() } else { Scale::full() };
        scale.rounds = options.rounds.unwrap_or(scale.rounds);
        scale.seconds = options.seconds.unwrap_or(scale.seconds);
        if let Some(messages) = options.messages {
            (scale.dataset.largest, scale.sessions) = (messages, messages);
        }
        let parent = options.directory.as_deref().unwrap_or(Path::new("."));
        let directory = tempfile::Builder::new().prefix("dcbench-").tempdir_in(parent).map_err(|error| {
            Failure::new(Code::Io, format!("cannot make a directory in {}: {error}", parent.display()))
        })?;
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
        Ok(Self { session, scale, quick: options.quick, workloads, parent, directory, lines: Vec::new(), bar })
    }

    fn results(mut self) -> Result<Results, Failure> {
        let began = Instant::now();
        let started_at = SystemClock.now().to_string();
        let machine = machine::machine(self.directory.path());
        let mut plans: Vec<_> = self.workloads.iter().map(|workload| plan::lines(*workload, &self.scale)).collect();
        plans.insert(0, plan::bases_missing_in(&plans));
        let measurements: usize = plans.iter().map(Vec::len).sum();
        self.bar.set_length(measurements as u64 * u64::from(self.scale.rounds));
        let durability = self.count_syncs()?;
        self.prepare()?;
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
        for round in 0..self.scale.rounds {
            for planned in plan {
                self.session.check()?;
                self.bar.set_message(format!("{} {}", planned.what.workload, planned.what.subject));
                let sample = match self.task(planned) {
                    Some(task) => self.sample(&task),
                    None => Err(Failure::new(Code::Io, "the line that this one depends on is missing")),
                };
                self.session.check()?;
                self.keep(round, &planned.what, sample);
                self.bar.inc(1);
            }
        }
        Ok(())
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
            dataset: self.scale.dataset,
            warm_up_seconds: self.scale.warm_up,
            measured_seconds: self.scale.seconds * planned.times_as_long,
            rate,
            rows_per_commit: last.and_then(|sample| sample.per_commit).map(|rows| rows.round().max(1.0) as u64),
        })
    }

    /// Has a process of its own measure, in an empty directory.
    fn sample(&self, task: &Task) -> Result<Sample, Failure> {
        self.empty(&task.directory)?;
        let ended = again(task)?.stderr(Stdio::piped()).output()?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            return Err(Failure::new(Code::Io, format!("{} ({})", said.trim(), ended.status)));
        }
        serde_json::from_slice(&ended.stdout).map_err(|error| Failure::new(Code::Io, error.to_string()))
    }

    fn empty(&self, directory: &Path) -> Result<(), Failure> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        Ok(fs::create_dir(directory)?)
    }

    /// Makes the stores that are read, where something reads them.
    fn prepare(&mut self) -> Result<(), Failure> {
        use Workload::{Disk, Load, Login, Post, Sweep};
        let needs_dataset = self.workloads.iter().any(|it| ![Disk, Post, Load, Login, Sweep].contains(it));
        let needs_sessions = self.workloads.contains(&Sweep);
        for (prepared, needed) in [(Prepared::Dataset, needs_dataset), (Prepared::Sessions, needs_sessions)] {
            for subject in [Subject::Redb, Subject::Sqlite] {
                let Some(backend) = backend_of(subject).filter(|_| needed) else { continue };
                self.session.check()?;
                self.bar.set_message(format!("preparing {}", subject.name()));
                self.prepare_one(prepared, subject, backend)?;
            }
        }
        Ok(())
    }

    fn prepare_one(&self, prepared: Prepared, subject: Subject, backend: Backend) -> Result<(), Failure> {
        let case = match prepared {
            Prepared::Dataset => Case { rows: Some(self.scale.dataset.largest), ..Case::default() },
            Prepared::Sessions => {
                Case { rows: Some(self.scale.sessions), variant: Some(Variant::Sessions), ..Case::default() }
            }
        };
        let planned =
            Planned { what: What { workload: Workload::Load, subject, case }, base: None, times_as_long: 1.0 };
        let Some(task) = self.task(&planned) else { return Ok(()) };
        self.sample(&task)?;
        fs::rename(task.directory.join("store"), prepared.path(self.directory.path(), backend))?;
        Ok(())
    }

    /// Whether each durable change is synced, by counting.
    fn count_syncs(&self) -> Result<Vec<SyncCount>, Failure> {
        use Subject::{PerCallRedb, PerCallSqlite, RawRedb, RawSqlite, Redb, Sqlite};
        self.bar.set_message("counting syncs");
        let mut counts = Vec::new();
        for subject in [Redb, Sqlite, RawRedb, RawSqlite, PerCallRedb, PerCallSqlite] {
            self.session.check()?;
            let what = What { workload: Workload::Post, subject, case: Case::default() };
            let Some(task) = self.task(&Planned { what, base: None, times_as_long: 1.0 }) else { continue };
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
