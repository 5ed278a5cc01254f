//! `dcstore diff`.

use std::io::Write;

use decentcom_server::storage::{
    Entity,
    inspect::{Moment, Row},
};
use serde_json::{Map, Value, json};

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    format::{META, record::Record, redact::Redactor, table_named},
    safe::{json, json_line, one_line},
    store::{
        contents::{self, Contents},
        merge::{Merge, Pair},
    },
};

pub(crate) fn run(options: &cli::Diff, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let excluded = options.exclude.iter().map(|name| table_named(name)).collect::<Result<Vec<_>, _>>()?;
    let entities: Vec<_> = Entity::dumped().filter(|entity| !excluded.contains(&entity.table())).collect();
    let mut one = session.open(&options.one, Moment::One)?;
    let mut other = session.open(&options.other, Moment::One)?;
    let total = contents::count(one.as_mut(), &entities)?.max(contents::count(other.as_mut(), &entities)?);
    let progress = session.progress("comparing", Some(total));
    let mut report = Report { options, session, out, only_in_one: 0, only_in_other: 0, different: 0 };

    let facts = match excluded.contains(&META) {
        true => [None; 2],
        false => [contents::high_water(one.as_mut())?, contents::high_water(other.as_mut())?],
    };
    match facts.map(|id| id.map(Record::high_water)) {
        [Some(one), Some(other)] => report.compare("high_water_id", &one, &other)?,
        [Some(one), None] => report.only_in_one("high_water_id", &one)?,
        [None, Some(other)] => report.only_in_other("high_water_id", &other)?,
        [None, None] => {}
    }
    let mut rows = Merge::new(Contents::of(one.as_mut(), entities.clone()), Contents::of(other.as_mut(), entities));
    while let Some(pair) = rows.next()? {
        match pair {
            Pair::Left(row) => report.only_in_one(&row.key().to_string(), &record(&row))?,
            Pair::Right(row) => report.only_in_other(&row.key().to_string(), &record(&row))?,
            Pair::Both(one, other) if one != other => {
                report.compare(&one.key().to_string(), &record(&one), &record(&other))?;
            }
            Pair::Both(..) => {}
        }
        progress.step()?;
    }
    drop(progress);
    report.finish()
}

fn record(row: &Row) -> Record {
    Record::of(row, &mut Redactor::Open)
}

/// Differences, as they are found.
struct Report<'a> {
    options: &'a cli::Diff,
    session: &'a Session,
    out: &'a mut dyn Write,
    only_in_one: u64,
    only_in_other: u64,
    different: u64,
}

impl Report<'_> {
    fn only_in_one(&mut self, key: &str, record: &Record) -> Result<(), Failure> {
        self.only_in_one += 1;
        self.only_in("one", &self.options.one.to_string(), key, record)
    }

    fn only_in_other(&mut self, key: &str, record: &Record) -> Result<(), Failure> {
        self.only_in_other += 1;
        self.only_in("other", &self.options.other.to_string(), key, record)
    }

    fn only_in(&mut self, side: &str, store: &str, key: &str, record: &Record) -> Result<(), Failure> {
        self.session.found();
        let table = record.table();
        match self.options.format {
            TextOrJson::Text => {
                writeln!(self.out, "{table} {key} is only in {}", one_line(store))?;
                for (name, value) in record.fields() {
                    writeln!(self.out, "  {name:<12} {}", json(&value)?)?;
                }
            }
            TextOrJson::Json => {
                let line = json!({ "only_in": side, "table": table, "key": key, "record": record });
                json_line(&line, self.out)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, key: &str, one: &Record, other: &Record) -> Result<(), Failure> {
        let table = one.table();
        let fields = one.fields().iter().zip(other.fields());
        let different: Vec<_> = fields.filter(|((_, one), (_, other))| one != other).collect();
        if different.is_empty() {
            return Ok(());
        }
        self.different += 1;
        self.session.found();
        match self.options.format {
            TextOrJson::Text => {
                writeln!(self.out, "{table} {key} differs")?;
                for ((name, one), (_, other)) in different {
                    writeln!(self.out, "  {name:<12} {}\n  {:<12} {}", json(&one)?, "", json(&other)?)?;
                }
            }
            TextOrJson::Json => {
                let fields: Map<String, Value> = different
                    .into_iter()
                    .map(|((name, one), (_, other))| ((*name).to_owned(), json!({ "one": one, "other": other })))
                    .collect();
                json_line(&json!({ "table": table, "key": key, "fields": fields }), self.out)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome, Failure> {
        let Self { options, out, only_in_one, only_in_other, different, .. } = self;
        let is_equal = only_in_one + only_in_other + different == 0;
        if options.format == TextOrJson::Text {
            let (one, other) = (options.one.to_string(), options.other.to_string());
            let (one, other) = (one_line(&one), one_line(&other));
            match is_equal {
                true => writeln!(out, "{one} and {other} hold the same")?,
                false => writeln!(
                    out,
                    "{only_in_one} only in {one}, {only_in_other} only in {other}, {different} with other values"
                )?,
            }
        }
        Ok(if is_equal { Outcome::Fine } else { Outcome::Findings })
    }
}
