//! `dcstore compact`.

use std::io::Write;

use decentcom_server::storage::{Backend, inspect::maintain};
use indicatif::HumanBytes;

use crate::{Failure, Outcome, Session, cli, info::sizes, outcome::Code, space};

pub(crate) fn run(options: &cli::Compact, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = &options.store;
    let (file_bytes, allocated_bytes) = maintain::sizes(store.backend, &store.path);
    let needed = match store.backend {
        // Pages are moved within the file, each commit before the pages it replaces are free.
        Backend::Redb => file_bytes / 10,
        // SQLite writes the whole content to a file of its own, and from there through the log.
        Backend::Sqlite => 2 * file_bytes,
    };
    space::require(&store.path, needed, "compacting")?;
    let progress = session.progress("compacting", None);
    let compacted = maintain::compact(store.backend, &store.path);
    drop(progress);
    compacted.map_err(|error| match Failure::from(error) {
        Failure { code: Code::InUse, message } => {
            Failure::new(Code::InUse, format!("{message}: compacting needs the store to itself. Nothing was changed"))
        }
        other => other,
    })?;
    let (file_after, allocated_after) = maintain::sizes(store.backend, &store.path);
    writeln!(out, "before  {}", sizes(file_bytes, allocated_bytes))?;
    writeln!(out, "after   {}", sizes(file_after, allocated_after))?;
    writeln!(out, "gained  {} on disk", HumanBytes(allocated_bytes.saturating_sub(allocated_after)))?;
    Ok(Outcome::Fine)
}
