//! `dcstore compact`.

use std::io::Write;

use decentcom_server::storage::inspect::maintain;
use indicatif::HumanBytes;

use crate::{Failure, Outcome, Session, cli, info::sizes, outcome::Code, space};

pub(crate) fn run(options: &cli::Compact, session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = &options.store;
    let (file_bytes, allocated_bytes) = maintain::sizes(store.backend, &store.path);
    space::require(&store.path, file_bytes.min(allocated_bytes), "compacting, beside the file,")?;
    let progress = session.progress("compacting", None);
    let compacted = maintain::compact(store.backend, &store.path, &mut |phase| {
        progress.phase(phase);
        progress.to(0)
    });
    drop(progress);
    session.check()?;
    let is_smaller = compacted.map_err(|error| match Failure::from(error) {
        Failure { code: Code::InUse, message } => {
            Failure::new(Code::InUse, format!("{message}: compacting needs the store to itself. Nothing was changed"))
        }
        other => other,
    })?;
    let (file_after, allocated_after) = maintain::sizes(store.backend, &store.path);
    writeln!(out, "before  {}", sizes(file_bytes, allocated_bytes))?;
    writeln!(out, "after   {}", sizes(file_after, allocated_after))?;
    match is_smaller {
        true => writeln!(out, "gained  {} on disk", HumanBytes(allocated_bytes.saturating_sub(allocated_after)))?,
        false => writeln!(out, "gained  nothing: a compact copy takes no less, so the file stays as it is")?,
    }
    Ok(Outcome::Fine)
}
