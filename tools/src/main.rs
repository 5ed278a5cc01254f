//! `dcstore`: see into a decentcom store, check it, repair it, move it. See the library of the same name.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::{Parser, error::ErrorKind};
use dcstore::{Code, Failure, Outcome, Safe, Session, cli::Cli, complain, run, terminal_safe, with_config_as_store};
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
        complain(&format!("this is a bug in dcstore: {said}"));
        ExitCode::from(PANICKED)
    })
}

fn call() -> ExitCode {
    let cli = match Cli::try_parse_from(with_config_as_store(std::env::args_os())) {
        Ok(cli) => cli,
        Err(said) => return parsed(&said),
    };
    let stdout = io::stdout().lock();
    let is_terminal = stdout.is_terminal();
    let mut out = Safe::new(BufWriter::new(stdout), is_terminal);
    let clock = check_system_clock(true).map_err(|problem| Failure::new(Code::Io, problem));
    let session = match clock.and_then(|()| Session::start(cli.quiet)) {
        Ok(session) => session,
        Err(failure) => return failed(failure),
    };
    let result = run(cli.command, &session, &mut out);
    let flushed = out.flush();
    if out.is_closed() {
        // Whoever wanted to know has seen enough: no failure, and what was found by then was found.
        return if session.has_found() { ExitCode::from(1) } else { ExitCode::SUCCESS };
    }
    match result.and_then(|outcome| Ok(flushed.map(|()| outcome)?)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Err(failure) => failed(failure),
    }
}

fn failed(Failure { code, message }: Failure) -> ExitCode {
    complain(&message);
    ExitCode::from(code as u8)
}

/// Help was asked for, or the call is wrong: then what was typed is in what is said.
fn parsed(said: &clap::Error) -> ExitCode {
    match said.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = said.print();
        }
        _ => {
            let _ = write!(io::stderr(), "{}", terminal_safe(&said.render().to_string()));
        }
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2))
}
