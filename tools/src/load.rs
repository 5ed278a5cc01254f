//! `dcstore load`.

use std::{collections::BTreeMap, io::Write, path::Path};

use decentcom_server::storage::{
    Entity,
    contract::field::Value,
    inspect::{Claim, Moment, Row, is_there},
};
use ulid::Ulid;

use crate::{
    Code, Failure, Outcome, Session, cli,
    format::{check_facts, frame::Trailer, input::Input, reader::Reader, rules::Rules, sums::Sums},
    store::{
        build::build,
        contents::{self, Contents, Rows, Store},
        merge::{Merge, Pair},
    },
};

pub(crate) fn run(options: &cli::Load, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = &options.store;
    let directory = store.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if options.dry_run {
        let mut input = Input::open(&options.file, directory)?;
        let is_there = is_there(store.backend, &store.path)?;
        let mut existing = if is_there { Some(session.open(store, Moment::One)?) } else { None };
        let plan = Plan::make(options, &mut input, existing.as_deref_mut(), session)?;
        plan.say("would load", out)?;
        return Ok(Outcome::Fine);
    }
    let (claim, mut existing) = Claim::on(store.backend, &store.path)?;
    let mut input = Input::open(&options.file, directory)?;
    let plan = Plan::make(options, &mut input, existing.as_deref_mut(), session)?;
    claim.discard()?; // what one that was killed has left
    if let Err(failure) = plan.carry_out(&mut input, &claim, existing.as_deref_mut(), session) {
        claim.discard()?;
        return Err(failure);
    }
    claim.install(existing)?;
    plan.say("loaded", out)?;
    Ok(Outcome::Fine)
}

/// What a dump brings to a store: known once all of it was checked.
struct Plan {
    /// New records by table.
    new: BTreeMap<&'static str, u64>,
    /// Records of the dump that the store has already.
    skipped: u64,
    /// Records that the store will have.
    total: u64,
    /// The largest id that was ever given out, by either.
    high_water: Option<Ulid>,
    trailer: Trailer,
}

impl Plan {
    fn make(
        options: &cli::Load,
        input: &mut Input,
        mut existing: Option<&mut Store>,
        session: &Session,
    ) -> Result<Self, Failure> {
        let mut rules = Rules::of_a_whole_store();
        let mut high_water = None;
        if let Some(store) = existing.as_deref_mut() {
            if !options.skip_existing && !contents::is_empty(store)? {
                return Err(Failure::usage(format!(
                    "{} has records; --skip-existing leaves those as they are and adds what is new",
                    options.store
                )));
            }
            high_water = contents::high_water(store)?;
            let mut referred_to = Contents::of(store, vec![Entity::User, Entity::Channel]);
            while let Some(row) = referred_to.next()? {
                // What is wrong with a store is not the dump's fault.
                let _ = rules.admit(&row);
            }
        }
        let progress = session.progress("checking the dump", None);
        let dump = Checked { reader: input.reader()?, rules };
        if dump.reader.header().redacted {
            session.say("the dump is redacted: its texts, names and keys are fillers");
        }
        let (mut new, mut skipped, mut total) = (BTreeMap::new(), 0, 0);
        high_water = high_water.max(dump.reader.high_water());
        let mut merge = Merge::new(existing.map(Contents::all), dump);
        while let Some(pair) = merge.next()? {
            total += 1;
            match pair {
                Pair::Left(_) => {}
                Pair::Both(..) => skipped += 1,
                Pair::Right(row) => {
                    let Checked { reader, rules } = merge.right();
                    rules.admit(&row).map_err(|problem| refuse(reader, &row, &problem))?;
                    *new.entry(row.entity().table()).or_default() += 1;
                    high_water = high_water.max(id_of(&row));
                }
            }
            progress.step()?;
        }
        let Checked { reader, rules } = merge.right();
        check_facts(reader, rules)?;
        let trailer = reader.trailer().cloned();
        let trailer = trailer.ok_or_else(|| Failure::new(Code::Corrupt, "the dump has no trailer"))?;
        Ok(Self { new, skipped, total, high_water, trailer })
    }

    /// Makes the store, beside its place.
    fn carry_out(
        &self,
        input: &mut Input,
        claim: &Claim,
        existing: Option<&mut Store>,
        session: &Session,
    ) -> Result<(), Failure> {
        let progress = session.progress("loading", Some(self.total));
        let dump = Checked { reader: input.reader()?, rules: Rules::of_a_whole_store() };
        let mut rows = Merged(Merge::new(existing.map(Contents::all), dump));
        build(claim, &mut rows, self.high_water, Sums::new(self.high_water)?, session, &progress)?;
        if rows.0.right().reader.trailer() != Some(&self.trailer) {
            return Err(Failure::new(Code::Corrupt, "the dump was replaced while it was loaded"));
        }
        Ok(())
    }

    fn say(&self, did: &str, out: &mut dyn Write) -> Result<(), Failure> {
        let tables = Entity::dumped().map(Entity::table);
        let counts = tables.map(|table| format!("{} {table}", self.new.get(table).copied().unwrap_or_default()));
        write!(out, "{did} {}", counts.collect::<Vec<_>>().join(", "))?; // names of tables and numbers
        if self.skipped > 0 {
            write!(out, "; {} records were there already", self.skipped)?;
        }
        Ok(writeln!(out)?)
    }
}

/// The records of a dump, each checked by itself.
struct Checked {
    reader: Reader,
    rules: Rules,
}

impl Rows for Checked {
    fn next(&mut self) -> Result<Option<Row>, Failure> {
        let row = self.reader.next()?;
        if let Some(row) = &row {
            self.rules.check_form(row).map_err(|problem| refuse(&self.reader, row, &problem))?;
        }
        Ok(row)
    }
}

/// What a store has, and what else a dump has.
struct Merged<'a>(Merge<Option<Contents<'a>>, Checked>);

impl Rows for Merged<'_> {
    fn next(&mut self) -> Result<Option<Row>, Failure> {
        Ok(match self.0.next()? {
            None => None,
            Some(Pair::Left(row) | Pair::Right(row) | Pair::Both(row, _)) => Some(row),
        })
    }
}

fn refuse(reader: &Reader, row: &Row, problem: &str) -> Failure {
    reader.refuse(&format!("the {} {}: {problem}", row.entity(), row.key()))
}

/// The id of a record that has one.
fn id_of(row: &Row) -> Option<Ulid> {
    if let Value::Id(id) = row.key().value() { Some(id) } else { None }
}
