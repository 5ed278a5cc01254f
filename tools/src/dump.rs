//! `dcstore dump`.

use std::io::Write;

use decentcom_server::storage::{
    Entity,
    inspect::{DamagedRow, Moment, Row},
};

use crate::{
    Code, Failure, Outcome, Session,
    cli::{self, DumpFormat},
    format::{
        META,
        frame::Header,
        record::Record,
        redact::Redactor,
        rules::Rules,
        shapes::{Csv, Drawn, Json},
        tables,
        writer::{Ndjson, Sink},
    },
    output::Output,
    store::contents::{self, Contents, Store, describe},
};

pub(crate) fn run(options: &cli::Dump, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let tables = chosen(options)?;
    let Some(path) = &options.output else {
        let mut store = session.open(&options.store, Moment::One)?;
        return write(options, &tables, store.as_mut(), session, out);
    };
    let mut file = Output::create(path, options.force)?;
    let mut store = session.open(&options.store, Moment::One)?;
    let outcome = write(options, &tables, store.as_mut(), session, &mut file)?;
    file.keep()?;
    Ok(outcome)
}

/// The tables that were asked for, in the order of a dump.
fn chosen(options: &cli::Dump) -> Result<Vec<&'static str>, Failure> {
    let sessions = Entity::Session.table();
    for name in options.only.iter().chain(&options.exclude) {
        if !tables().any(|table| table == name) {
            let all = tables().collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("there is no table `{name}`; there are {all}")));
        }
    }
    if options.only.iter().any(|name| name == sessions) && !options.include_sessions {
        return Err(Failure::usage("sessions are private; add --include-sessions to have them in the dump"));
    }
    let is_chosen = |table: &&str| {
        let is_named = |names: &[String]| names.iter().any(|name| name == table);
        (options.only.is_empty() || is_named(&options.only))
            && !is_named(&options.exclude)
            && (*table != sessions || options.include_sessions)
    };
    let chosen: Vec<_> = tables().filter(is_chosen).collect();
    if options.format == DumpFormat::Csv && chosen.len() != 1 {
        return Err(Failure::usage("CSV holds exactly one table; name it with --only"));
    }
    Ok(chosen)
}

fn write(
    options: &cli::Dump,
    tables: &[&'static str],
    store: &mut Store,
    session: &Session,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let header = Header::of(store, tables, options.redact_content)?;
    let mut sink: Box<dyn Sink + '_> = match options.format {
        DumpFormat::Ndjson => Box::new(Ndjson::new(out, header)?),
        DumpFormat::Json => Box::new(Json::new(out, &header)?),
        DumpFormat::Csv => Box::new(Csv::new(out, tables.first().copied().unwrap_or_default())?),
        DumpFormat::Table => Box::new(Drawn::new(out)),
    };
    if let Some(id) = contents::high_water(store)?.filter(|_| tables.contains(&META)) {
        sink.take(&Record::high_water(id))?;
    }
    let entities: Vec<_> = Entity::ALL.into_iter().filter(|entity| tables.contains(&entity.table())).collect();
    let progress = session.progress("dumping", Some(contents::count(store, &entities)?));
    let mut redactor = Redactor::new(options.redact_content);
    let mut rules = Rules::new(tables);
    let mut rows = Contents::of(store, entities);
    let mut outcome = Outcome::Fine;
    while let Some(row) = rows.next_or_damaged()? {
        match sound(&mut rules, row) {
            Ok(row) => sink.take(&Record::of(&row, &mut redactor))?,
            Err(problem) if options.skip_damaged => {
                eprintln!("dcstore: left out: {problem}");
                outcome = Outcome::Findings;
            }
            Err(problem) => {
                return Err(Failure::new(Code::Corrupt, format!("{problem}. --skip-damaged leaves such rows out")));
            }
        }
        progress.step()?;
    }
    sink.finish()?;
    Ok(outcome)
}

/// The record, if a load would take it.
fn sound(rules: &mut Rules, row: Result<Row, DamagedRow>) -> Result<Row, String> {
    let row = row.map_err(|damaged| describe(&damaged))?;
    let checked = rules.check_form(&row).and_then(|()| rules.admit(&row));
    checked
        .map_err(|problem| format!("the row {} of {} cannot be loaded: {problem}", row.key(), row.entity().table()))?;
    Ok(row)
}
