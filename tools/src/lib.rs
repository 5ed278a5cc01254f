//! `dcstore`: see into a decentcom store, check it, repair it, move it.
//!
//! ```text
//!  main.rs ─ cli.rs (every command and option) ─> run() ─> a module per command ─> storage::inspect
//!            address.rs (sqlite:PATH …)                    session.rs (progress, Ctrl-C, opening)
//!            program.rs (the call, exit codes)               select.rs (which rows), show.rs (how they look),
//!            outcome.rs (how commands end)                   format/ (dumps), store/ (whole stores)
//! ```
//!
//! What a program has around its commands ([`Program`], [`Session`], [`Failure`]) is `dcbench`'s too.
//!
//! Commands write results to a writer, so that tests can read them, and nothing else to stdout. What strangers wrote goes
//! through safe.rs.

mod address;
pub mod cli;
mod format;
mod outcome;
mod output;
mod program;
mod safe;
mod said;
mod session;
mod store;

mod checksum;
mod compact;
mod completions;
mod copy;
mod diff;
mod dump;
mod get;
mod ids;
mod info;
mod load;
mod names;
mod phrase;
mod scan;
mod schema;
mod select;
mod show;
mod space;
mod stats;
mod times;
mod verify;

pub use self::{
    address::{Address, with_config_as_store},
    format::check_dump,
    outcome::{Code, Failure, Outcome},
    program::Program,
    safe::{Results, one_line as terminal_safe_line, text as terminal_safe},
    session::Session,
    times::Zone,
};
use crate::cli::Command;

/// Runs a command; its results go to `out`.
pub fn run(command: Command, session: &Session, out: &mut dyn Results) -> Result<Outcome, Failure> {
    match command {
        Command::Info(options) => info::run(&options, session, out),
        Command::Stats(options) => stats::run(&options, session, out),
        Command::Get(options) => get::run(&options, session, out),
        Command::Scan(options) => scan::run(&options, session, out),
        Command::Dump(options) => dump::run(&options, session, out),
        Command::Load(options) => load::run(&options, session, out),
        Command::Copy(options) => copy::run(&options, session, out),
        Command::Checksum(options) => checksum::run(&options, session, out),
        Command::Diff(options) => diff::run(&options, session, out),
        Command::Verify(options) => verify::run(&options, session, out),
        Command::Compact(options) => compact::run(&options, session, out),
        Command::Ids(options) => ids::run(&options, session, out),
        Command::Schema(options) => schema::run(&options, session, out),
        Command::Completions(options) => completions::run(&options, session, out),
    }
}
