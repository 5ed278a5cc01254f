//! `dcstore`: see into a decentcom store, check it, repair it, move it. See the library of the same name.

use std::{
    io::{self, BufWriter, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::Parser;
use dcstore::{Code, Failure, Outcome, Session, cli::Cli, run, terminal_safe, with_config_as_store};
use decentcom_server::storage::check_system_clock;

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// What Rust programs exit with after a panic.
const PANICKED: u8 = 101;

/// The engines panic over some damaged pages. That is caught where they are called and told in plain words; only a panic
/// that nobody expected is shown as one.
fn main() -> ExitCode {
    panic::set_hook(Box::new(|panic| *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string()));
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(io::stderr(), "dcstore: this is a bug in dcstore: {}", terminal_safe(&said));
        ExitCode::from(PANICKED)
    })
}

fn call() -> ExitCode {
    let cli = Cli::parse_from(with_config_as_store(std::env::args_os()));
    let mut out = BufWriter::new(io::stdout().lock());
    let clock = check_system_clock(true).map_err(|problem| Failure::new(Code::Io, problem));
    let result =
        clock.and_then(|()| Session::start(cli.quiet)).and_then(|session| run(cli.command, &session, &mut out));
    let flushed = out.flush();
    match result.and_then(|outcome| Ok(flushed.map(|()| outcome)?)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Err(Failure { code: Code::ReaderGone, .. }) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            let _ = writeln!(io::stderr(), "dcstore: {}", terminal_safe(&message));
            ExitCode::from(code as u8)
        }
    }
}
