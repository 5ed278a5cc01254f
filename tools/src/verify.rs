//! `dcstore verify`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use decentcom_server::storage::{
    Backend,
    inspect::{Finding, Level, Moment, maintain, verify},
};
use serde::Serialize;

use crate::{
    Failure, Outcome, Session,
    address::Address,
    cli::{self, TextOrJson},
    outcome::Code,
    safe::{json_line, one_line},
    show::abbreviated,
    space,
};

/// Findings of one level that text shows; of more it says how many.
const SHOWN: usize = 1000;

pub(crate) fn run(options: &cli::Verify, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let Checked { report, holder } = check(options, session, out)?;
    if !options.repair || report.total() == 0 {
        return Ok(report.outcome());
    }
    let plan = Plan::of(&report, options);
    plan.write(options.format, out)?;
    if !options.yes || plan.mends == 0 || plan.refusal.is_some() {
        return Ok(Outcome::Findings);
    }
    let store = &options.store;
    if let Some(holder) = holder {
        return Err(in_use(format!("{} is in use by {holder}", store.path.display())));
    }
    let (file_bytes, _) = maintain::sizes(store.backend, &store.path);
    // The copy, and what the new indexes take before the old ones are gone.
    space::require(&store.path, 2 * file_bytes, "repairing, with a copy of the files,")?;
    let progress = session.progress("keeping a copy, making the indexes anew", None);
    let repaired = maintain::repair(store.backend, &store.path);
    drop(progress);
    let copy = repaired.map_err(|error| match Failure::from(error) {
        Failure { code: Code::InUse, message } => in_use(message),
        other => other,
    })?;
    let copy = copy.display().to_string();
    match options.format {
        TextOrJson::Json => json_line(&Repaired { repaired: true, copy: &copy }, out)?,
        TextOrJson::Text => writeln!(out, "\nrepaired; the files as they were are in {}\n", one_line(&copy))?,
    }
    Ok(check(options, session, out)?.report.outcome())
}

fn in_use(message: String) -> Failure {
    let message = message.trim_end_matches(". Stop it first");
    Failure::new(
        Code::InUse,
        format!("{message}: repairing needs the store to itself. Stop it first; nothing was changed"),
    )
}

struct Checked {
    report: Report,
    holder: Option<String>,
}

/// Checks the store, writing what is found as JSON at once, as text at the end.
fn check(options: &cli::Verify, session: &Session, out: &mut dyn Write) -> Result<Checked, Failure> {
    let mut store = session.open(&options.store, Moment::One).map_err(|failure| match failure.code {
        Code::Corrupt => {
            Failure::new(Code::Corrupt, format!("{failure}. No repair can begin with a file that does not open"))
        }
        _ => failure,
    })?;
    let progress = session.progress("checking pages and indexes", None);
    let mut report = Report::default();
    let mut written = Ok(());
    let mut checked = 0;
    let verified = verify(
        &mut *store,
        &mut |finding| {
            if options.format == TextOrJson::Json && written.is_ok() {
                written = json_line(&finding, out);
            }
            session.found();
            report.take(finding);
        },
        &mut |rows| {
            // First the engine counts what it reads, then the records are counted anew.
            if rows < checked {
                progress.phase("checking records");
            }
            checked = rows;
            progress.to(rows)
        },
    );
    drop(progress);
    session.check()?;
    written?;
    verified?;
    if options.format == TextOrJson::Text {
        report.write(&options.store, checked, out)?;
    }
    Ok(Checked { report, holder: store.holder().map(Into::into) })
}

/// What was found.
#[derive(Default)]
struct Report {
    /// The store was open when it was copied, without its log.
    is_a_copy: bool,
    levels: BTreeMap<Level, (u64, Vec<Finding>)>,
    mendable: u64,
    /// Pages that hold something else than was written.
    bad_pages: u64,
}

impl Report {
    fn take(&mut self, finding: Finding) {
        self.is_a_copy |= finding.table == "meta" && finding.key == "open_since";
        self.mendable += u64::from(is_mendable(&finding));
        // A page that SQLite has lost holds nothing.
        self.bad_pages += u64::from(finding.level == Level::Pages && !finding.problem.ends_with(": never used"));
        let (count, shown) = self.levels.entry(finding.level).or_default();
        *count += 1;
        if shown.len() < SHOWN {
            shown.push(finding);
        }
    }

    fn total(&self) -> u64 {
        self.levels.values().map(|(count, _)| count).sum()
    }

    fn outcome(&self) -> Outcome {
        if self.total() == 0 { Outcome::Fine } else { Outcome::Findings }
    }

    fn write(&self, store: &Address, checked: u64, out: &mut dyn Write) -> io::Result<()> {
        for (level, (count, shown)) in &self.levels {
            writeln!(out, "{} ({count})", name_of(*level))?;
            for finding in shown {
                let Finding { table, key, problem, .. } = finding;
                let space = if key.is_empty() { "" } else { " " };
                writeln!(out, "  {}{space}{}: {}", one_line(table), abbreviated(key), one_line(problem))?;
            }
            if *count > shown.len() as u64 {
                writeln!(out, "  … and {} more; --format json names all", count - shown.len() as u64)?;
            }
        }
        let path = store.to_string();
        let counted = |number: u64, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let records = counted(checked, "record");
        match self.total() {
            0 => writeln!(out, "{}: {records} checked, nothing wrong was found", one_line(&path)),
            total => {
                let (path, mendable) = (one_line(&path), self.mendable);
                let problems = counted(total, "problem");
                writeln!(out, "{path}: {records} checked, {problems}; --repair can mend {mendable}")
            }
        }
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::File => "file",
        Level::Pages => "pages",
        Level::Records => "records",
        Level::Indexes => "indexes",
        Level::References => "references",
        Level::Times => "times",
    }
}

/// Whether making the indexes anew, and recording the largest id, mends it.
fn is_mendable(finding: &Finding) -> bool {
    match finding.level {
        // Two rows that an index cannot both have stay two rows.
        Level::Indexes => !finding.problem.starts_with("non-unique"),
        Level::Times => (finding.table.as_str(), finding.key.as_str()) == ("meta", "high_water_id"),
        Level::File => finding.table == "meta" && matches!(finding.key.as_str(), "catalogue" | "open_since"),
        _ => false,
    }
}

/// What a repair would do.
#[derive(Serialize)]
struct Plan {
    repair: &'static str,
    mends: u64,
    cannot_mend: u64,
    steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
}

impl Plan {
    fn of(report: &Report, options: &cli::Verify) -> Self {
        let cannot_mend = report.total() - report.mendable;
        let refusal = (report.bad_pages > 0).then_some(
            "pages are damaged, so indexes made from them could be wrong too: restore a backup, or save what can be read \
             with `dcstore dump --skip-damaged` and load it into a new store",
        );
        let indexes = match options.store.backend {
            Backend::Redb => "make every index anew from the records",
            Backend::Sqlite => "make every index anew from the records (REINDEX)",
        };
        let mut steps = match report.mendable {
            0 => Vec::new(),
            _ => vec![
                format!("keep a copy of the files as {}.before-repair", options.store.path.display()),
                indexes.into(),
                "record the largest id there is, if a smaller one is recorded".into(),
            ],
        };
        if report.is_a_copy {
            steps.push("take what is in the file for all there is; what its log had stays lost".into());
        }
        let repair = if options.yes && refusal.is_none() && report.mendable > 0 { "doing" } else { "would" };
        Self { repair, mends: report.mendable, cannot_mend, steps, refusal }
    }

    fn write(&self, format: TextOrJson, out: &mut dyn Write) -> io::Result<()> {
        if format == TextOrJson::Json {
            return json_line(self, out);
        }
        writeln!(out)?;
        if let Some(refusal) = self.refusal {
            return writeln!(out, "no repair: {refusal}");
        }
        if !self.steps.is_empty() {
            let title = if self.repair == "doing" { "repairing:" } else { "--repair --yes would:" };
            writeln!(out, "{title}")?;
            for step in &self.steps {
                writeln!(out, "  - {}", one_line(step))?;
            }
            writeln!(out, "that mends {} of the problems", self.mends)?;
        }
        if self.cannot_mend > 0 {
            let rest = "`dcstore dump --skip-damaged` saves what is whole, `dcstore load` makes a store of it";
            writeln!(out, "{} of the problems no repair can mend: {rest}", self.cannot_mend)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Repaired<'a> {
    repaired: bool,
    copy: &'a str,
}
