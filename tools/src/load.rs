//! `dcstore load`.

use std::io::Write;

use crate::{Failure, Outcome, Session, cli};

pub(crate) fn run(_options: &cli::Load, _session: &Session, _out: &mut dyn Write) -> Result<Outcome, Failure> {
    Err(Failure::usage("this command is not there yet"))
}
