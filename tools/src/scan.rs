//! `dcstore scan`.

use std::io::Write;

use decentcom_server::storage::inspect::Moment;

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    select::{Filter, Rows, key_range, table_named},
    show,
};

pub(crate) fn run(options: &cli::Scan, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::Steps)?;
    let store = &mut *store;
    let table = table_named(store, &options.table)?;
    let filter = Filter::new(options, table, store)?;
    let range = key_range(options, table, store)?;
    if options.count && filter.is_empty() && range.is_all() && options.skip == 0 && options.limit.is_none() {
        writeln!(out, "{}", store.count(table)?)?;
        return Ok(Outcome::Fine);
    }
    let mut rows = Rows::choose(options, table, range, &filter, store)?;
    let progress = session.progress("reading", None);
    let (mut passed, mut shown, mut damaged) = (0, 0, 0_u64);
    let wanted = options.limit.unwrap_or(u64::MAX);
    while shown < wanted {
        let Some(row) = rows.next(store)? else { break };
        progress.step()?;
        let looked = show::look(store, table, &row)?;
        // Of a damaged row nobody can say whether it is one that was asked for, so it is shown.
        if looked.damage.is_none() && !filter.takes(&looked) {
            continue;
        }
        if passed < options.skip {
            passed += 1;
            continue;
        }
        shown += 1;
        damaged += u64::from(looked.damage.is_some());
        if options.count {
            continue;
        }
        match (options.raw, options.format) {
            (false, TextOrJson::Text) => show::line(&looked, &row, out),
            (false, TextOrJson::Json) => show::json(table, &looked, &row, out),
            (true, TextOrJson::Text) => show::annotated(table, &looked, &row, out),
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
