//! `dcstore checksum`.

use std::io::Write;

use decentcom_server::storage::{Entity, inspect::Moment};
use serde_json::json;

use crate::{
    Failure, Outcome, Session,
    cli::{self, TextOrJson},
    safe::json_line,
    store::contents,
};

pub(crate) fn run(options: &cli::Checksum, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut store = session.open(&options.store, Moment::One)?;
    let progress =
        session.progress("reading", Some(contents::count(store.as_mut(), &Entity::dumped().collect::<Vec<_>>())?));
    let sums = contents::sums(store.as_mut(), &progress)?;
    drop(progress);
    match options.format {
        TextOrJson::Text => {
            for sum in sums {
                writeln!(out, "{:<10} {:>10}  {}", sum.table, sum.rows, sum.sha256)?;
            }
        }
        TextOrJson::Json => json_line(&json!({ "store": options.store.to_string(), "tables": sums }), out)?,
    }
    Ok(Outcome::Fine)
}
