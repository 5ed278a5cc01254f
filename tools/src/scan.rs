//! `dcstore scan`.

use decentcom_server::storage::inspect::Moment;

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    names::Names,
    phrase::Phrase,
    safe::Results,
    select::{Filter, key_range, rows, table_named},
    show::{self, View},
};

pub(crate) fn run(options: &cli::Scan, session: &Session, out: &mut dyn Results) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::Steps)?;
    let store = &mut *store;
    let table = table_named(store, &options.table)?;
    let filter = Filter::new(options, table, store)?;
    let range = key_range(options, table, store)?;
    if options.count && filter.is_empty() && range.is_all() && options.skip == 0 && options.limit.is_none() {
        writeln!(out, "{}", store.count(table)?)?;
        return Ok(Outcome::Fine);
    }
    let view = View { zone: options.tz.clone(), phrase: options.search.as_deref().map(Phrase::new) };
    let mut names = Names::default();
    let mut rows = rows(options, table, &range, &filter, store);
    let progress = session.progress("reading", None);
    let (mut passed, mut shown, mut damaged) = (0, 0, 0_u64);
    let wanted = options.limit.unwrap_or(u64::MAX);
    while shown < wanted {
        let Some(row) = rows.next(store)? else { break };
        progress.step()?;
        let mut looked = show::look(store, table, &row)?;
        // Of a damaged row nobody can say whether it is one that was asked for, so it is shown.
        if looked.damage.is_none() && !filter.takes(&looked) {
            continue;
        }
        if passed < options.skip {
            passed += 1;
            continue;
        }
        shown += 1;
        if looked.damage.is_some() {
            damaged += 1;
            session.found();
        }
        if options.count {
            continue;
        }
        match (options.raw, options.format) {
            (false, TextOrJson::Text) => {
                looked.names = names.of(&looked.explained, store);
                show::line(&looked, &row, &view, out)
            }
            (false, TextOrJson::Json) => show::json(table, &looked, &row, out),
            (true, TextOrJson::Text) => show::annotated(table, &looked, &row, &view, out),
            (true, TextOrJson::Json) => show::raw_json(store.backend(), table, &looked, &row, out),
        }?;
    }
    drop(progress);
    if options.count {
        writeln!(out, "{shown}")?;
    }
    if damaged > 0 {
        session.say(&format!("{damaged} of these rows are damaged; `dcstore verify {}` says more", options.store));
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}
