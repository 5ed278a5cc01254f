//! `dcstore copy`.

use std::io::Write;

use decentcom_server::storage::{
    Entity, OpenError,
    inspect::{Claim, Moment, Row},
};
use ulid::Ulid;

use crate::{
    Code, Failure, Outcome, Session, cli,
    format::{
        rules::Rules,
        sums::{Sum, Sums},
    },
    safe::one_line,
    session::Progress,
    store::{
        build::build,
        contents::{self, Contents, Rows, Store},
    },
};

pub(crate) fn run(options: &cli::Copy, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let (from, to) = (&options.from, &options.to);
    let mut source = session.open(from, Moment::One)?;
    let (claim, mut existing) = Claim::on(to.backend, &to.path)?;
    let mut high_water = contents::high_water(source.as_mut())?;
    if let Some(existing) = existing.as_deref_mut() {
        if !contents::is_empty(existing)? {
            let progress = session.progress("comparing", None);
            if contents::sums(existing, &progress)? != contents::sums(source.as_mut(), &progress)? {
                return Err(Failure::usage(format!("{to} has records, and not the same ones as {from}")));
            }
            writeln!(out, "{} is a copy of {} already", one_line(&to.to_string()), one_line(&from.to_string()))?;
            return Ok(Outcome::Fine);
        }
        high_water = high_water.max(contents::high_water(existing)?);
    }
    let made = match make(&claim, source.as_mut(), high_water, session) {
        Ok(made) => made,
        Err(failure @ Failure { code: Code::Corrupt, .. }) => {
            claim.discard()?;
            return Err(failure);
        }
        Err(failure) => {
            let partial = claim.partial();
            let remark =
                format!("what is done so far is kept in {}; the same command goes on from there", partial.display());
            return Err(Failure::new(failure.code, format!("{failure}; {remark}")));
        }
    };
    claim.install(existing)?;
    let counts: Vec<_> = made.iter().map(|sum| format!("{} {}", sum.rows, sum.table)).collect();
    writeln!(out, "copied and compared: {}", counts.join(", "))?;
    Ok(Outcome::Fine)
}

/// Makes the copy beside its place, from where an interrupted one stopped.
fn make(claim: &Claim, source: &mut Store, high_water: Option<Ulid>, session: &Session) -> Result<Vec<Sum>, Failure> {
    let total = contents::count(source, &Entity::dumped().collect::<Vec<_>>())?;
    let mut may_go_on = true;
    loop {
        let progress = session.progress("copying", Some(total));
        let mut sums = Sums::new(high_water)?;
        let rules = Rules::of_a_whole_store();
        if let Some(id) = high_water {
            let cannot = |problem| Failure::new(Code::Corrupt, format!("the store cannot be copied: {problem}"));
            rules.check_high_water(id).map_err(cannot)?;
        }
        let mut rows = Sound { rows: Contents::all(source), rules };
        if may_go_on {
            match pass_over(claim, &mut rows, &mut sums, &progress)? {
                Passed::Nothing => {}
                Passed::Equal(count) => session.say(&format!(
                    "going on after {count} records that an interrupted copy left in {}",
                    claim.partial().display()
                )),
                Passed::Different(why) => {
                    session.say(&format!("starting over: what an interrupted copy left cannot be used ({why})"));
                    claim.discard()?;
                    may_go_on = false;
                    continue;
                }
            }
        }
        return build(claim, &mut rows, high_water, sums, session, &progress);
    }
}

/// What an interrupted copy left.
enum Passed {
    Nothing,
    /// The first so many records of the source.
    Equal(u64),
    /// Something else.
    Different(String),
}

/// Goes through what an interrupted copy left and through the source in step, for as long as they are equal: copies are
/// made in order, so what is left is where the source begins.
fn pass_over(claim: &Claim, rows: &mut Sound<'_>, sums: &mut Sums, progress: &Progress<'_>) -> Result<Passed, Failure> {
    let mut partial = match claim.unfinished() {
        Ok(None) => return Ok(Passed::Nothing),
        Ok(Some(partial)) => partial,
        Err(error @ OpenError::InUse { .. }) => return Err(error.into()),
        Err(error) => return Ok(Passed::Different(error.to_string())),
    };
    let mut done = Contents::all(partial.as_mut());
    let mut count = 0;
    loop {
        let copied = match done.next() {
            Ok(None) => return Ok(Passed::Equal(count)),
            Ok(Some(copied)) => copied,
            Err(failure) => return Ok(Passed::Different(failure.message)),
        };
        let row = rows.next()?;
        if row.as_ref() != Some(&copied) {
            let (entity, key) = (copied.entity(), copied.key());
            return Ok(Passed::Different(format!("the {entity} {key} is not what the source has there now")));
        }
        sums.add(&copied)?;
        count += 1;
        progress.step()?;
    }
}

/// The records of a store, each checked, so that nothing that cannot be stored elsewhere is copied.
struct Sound<'a> {
    rows: Contents<'a>,
    rules: Rules,
}

impl Rows for Sound<'_> {
    fn next(&mut self) -> Result<Option<Row>, Failure> {
        let row = self.rows.next()?;
        if let Some(row) = &row {
            let checked = self.rules.check_form(row).and_then(|()| self.rules.admit(row));
            checked.map_err(|problem| {
                let (key, table) = (row.key(), row.entity().table());
                Failure::new(Code::Corrupt, format!("the row {key} of {table} cannot be copied: {problem}"))
            })?;
        }
        Ok(row)
    }
}
