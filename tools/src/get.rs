//! `dcstore get`.

use decentcom_server::storage::{
    Backend,
    inspect::{Direction, Inspection, Moment, Stored},
};

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    names::Names,
    safe::Results,
    select::table_named,
    show::{self, View},
};

pub(crate) fn run(options: &cli::Get, session: &Session, out: &mut dyn Results) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::Steps)?;
    let table = table_named(&*store, &options.table)?;
    let Some(range) = store.range_of(table, &options.key) else {
        return Err(Failure::usage(format!("`{}` is not how keys of {table} are written", options.key)));
    };
    let rows = store.read(table, &range.clone().into(), Direction::Forward, 2)?;
    let row = match rows.as_slice() {
        // A whole key is the first of those that begin with it.
        [first, ..] if first.key == range.start => first,
        [only] => {
            session.say("no key is exactly this; one begins so");
            only
        }
        [] => {
            session.say(&format!("{table} has no row with the key `{}`", options.key));
            return Ok(Outcome::Findings);
        }
        _ => {
            let remedy = format!("`dcstore scan {} {table} --prefix {}` shows them", options.store, options.key);
            return Err(Failure::usage(format!("more than one key of {table} begins so; {remedy}")));
        }
    };
    write(&mut *store, table, row, options, out)
}

fn write(
    store: &mut dyn Inspection,
    table: &str,
    row: &Stored,
    options: &cli::Get,
    out: &mut dyn Results,
) -> Result<Outcome, Failure> {
    let mut looked = show::look(store, table, row)?;
    let backend: Backend = store.backend();
    match (options.raw, options.format) {
        (false, TextOrJson::Text) => {
            looked.names = Names::default().of(&looked.explained, store);
            show::paragraph(&looked, row, out)
        }
        (false, TextOrJson::Json) => show::json(table, &looked, row, out),
        (true, TextOrJson::Text) => show::annotated(table, &looked, row, &View::default(), out),
        (true, TextOrJson::Json) => show::raw_json(backend, table, &looked, row, out),
    }?;
    Ok(if looked.damage.is_some() { Outcome::Findings } else { Outcome::Fine })
}
