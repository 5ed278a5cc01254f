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
        table_named, tables,
        writer::{Ndjson, Sink},
    },
    output::Output,
    store::contents::{self, Contents, Store, describe},
};

pub(crate) fn run(options: &cli::Dump, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let tables = chosen(options)?;
    let Some(path) = options.output.as_ref().filter(|path| path.as_os_str() != "-") else {
        let mut store = session.open(&options.store, Moment::One)?;
        return write(options, &tables, store.as_mut(), session, out);
    };
    if path.canonicalize().is_ok_and(|path| options.store.path.canonicalize().is_ok_and(|store| store == path)) {
        return Err(Failure::usage(format!("{} is the store itself", path.display())));
    }
    let mut file = Output::create(path, options.force)?;
    let mut store = session.open(&options.store, Moment::One)?;
    let outcome = write(options, &tables, store.as_mut(), session, &mut file)?;
    let progress = session.progress("putting it on disk", None);
    file.keep()?;
    drop(progress);
    Ok(outcome)
}

/// The tables that were asked for, in the order of a dump.
fn chosen(options: &cli::Dump) -> Result<Vec<&'static str>, Failure> {
    let sessions = Entity::Session.table();
    let named = |names: &[String]| names.iter().map(|name| table_named(name)).collect::<Result<Vec<_>, _>>();
    let (only, exclude) = (named(&options.only)?, named(&options.exclude)?);
    if only.contains(&sessions) && !options.include_sessions {
        return Err(Failure::usage("sessions are private; add --include-sessions to have them in the dump"));
    }
    let is_chosen = |table: &&'static str| {
        (only.is_empty() || only.contains(table))
            && !exclude.contains(table)
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
        DumpFormat::Csv => Box::new(Csv::new(out, tables.first().copied().unwrap_or_default(), options.raw_formulas)?),
        DumpFormat::Table => Box::new(Drawn::new(out)),
    };
    let mut rules = Rules::new(tables);
    let mut outcome = Outcome::Fine;
    let mut leave_out = |problem: String| {
        if !options.skip_damaged {
            return Err(Failure::new(Code::Corrupt, format!("{problem}. --skip-damaged leaves such rows out")));
        }
        session.complain(&format!("left out: {problem}"));
        outcome = Outcome::Findings;
        Ok(())
    };
    let high_water = if tables.contains(&META) { contents::high_water(store)? } else { None };
    if let Some(id) = high_water {
        match rules.check_high_water(id) {
            Ok(()) => sink.take(&Record::high_water(id))?,
            Err(problem) => leave_out(format!("the high_water_id of {META} cannot be loaded: {problem}"))?,
        }
    }
    let entities: Vec<_> = Entity::dumped().filter(|entity| tables.contains(&entity.table())).collect();
    let progress = session.progress("dumping", Some(contents::count(store, &entities)?));
    let mut redactor = Redactor::new(options.redact_content);
    let mut rows = Contents::of(store, entities);
    while let Some(row) = rows.next_or_damaged()? {
        match sound(&mut rules, row) {
            Ok(row) => sink.take(&Record::of(&row, &mut redactor))?,
            Err(problem) => leave_out(problem)?,
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
