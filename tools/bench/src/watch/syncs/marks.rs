//! What a process says when its syncs are counted: `ready`, then what is to be counted, then `done`, each a line of stdout.
//! After each it waits for a line on stdin, so that what comes before or after is surely not counted.

use std::io::{self, BufRead as _, Write as _};

pub(super) const READY: &str = "syncs count from here";
pub(super) const DONE: &str = "syncs count to here";

/// Returns once they are counted; an error if nobody wants to.
pub(crate) fn ready() -> io::Result<()> {
    say(READY)
}

/// Returns once they are no longer counted.
pub(crate) fn done() -> io::Result<()> {
    say(DONE)
}

fn say(mark: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{mark}")?;
    out.flush()?;
    match io::stdin().lock().read_line(&mut String::new())? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nobody counts")),
        _ => Ok(()),
    }
}
