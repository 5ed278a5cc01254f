//! What a program has around its commands: how it is called, where its results go, and with which exit code it ends.

use std::{
    ffi::OsString,
    io::{self, BufWriter, IsTerminal as _, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use clap::{Parser, error::ErrorKind};
use decentcom_server::storage::check_system_clock;

use crate::{
    outcome::{Code, Failure, Outcome},
    safe::{Results, Safe, text},
    said,
    session::{Session, complain},
};

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// What Rust programs exit with after a panic.
const PANICKED: u8 = 101;

/// A program whose calls are of the form `C`.
pub struct Program<C> {
    /// What it is called.
    pub name: &'static str,
    /// Whether a call asks for results and errors only.
    pub is_quiet: fn(&C) -> bool,
    /// Does what was asked for; its results go to the writer.
    pub run: fn(C, &Session, &mut dyn Results) -> Result<Outcome, Failure>,
}

impl<C: Parser> Program<C> {
    /// The whole program. The engines panic over some damaged pages. That is caught where they are called and told in plain
    /// words; only a panic that nobody expected is shown as one.
    pub fn main(&self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        panic::set_hook(Box::new(|panic| *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string()));
        panic::catch_unwind(AssertUnwindSafe(|| self.call(arguments))).unwrap_or_else(|_| {
            let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            complain(self.name, &format!("this is a bug in {}: {said}", self.name));
            ExitCode::from(PANICKED)
        })
    }

    fn call(&self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        let call = match C::try_parse_from(arguments) {
            Ok(call) => call,
            Err(said) => return parsed(&said),
        };
        let stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        let mut out = Safe::new(BufWriter::new(stdout), is_terminal);
        let clock = check_system_clock(true).map_err(|problem| Failure::new(Code::Io, problem));
        let session = match clock.and_then(|()| Session::start(self.name, (self.is_quiet)(&call))) {
            Ok(session) => session,
            Err(failure) => return self.failed(failure),
        };
        if !(self.is_quiet)(&call) {
            said::show();
        }
        let result = (self.run)(call, &session, &mut out);
        let flushed = out.flush();
        if out.is_closed() {
            // Whoever wanted to know has seen enough: no failure, and what was found by then was found.
            return if session.has_found() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
        match result.and_then(|outcome| Ok(flushed.map(|()| outcome)?)) {
            Ok(Outcome::Fine) => ExitCode::SUCCESS,
            Ok(Outcome::Findings) => ExitCode::from(1),
            Err(failure) => self.failed(failure),
        }
    }

    fn failed(&self, Failure { code, message }: Failure) -> ExitCode {
        complain(self.name, &message);
        ExitCode::from(code as u8)
    }
}

/// Help was asked for, or the call is wrong: then what was typed is in what is said.
fn parsed(said: &clap::Error) -> ExitCode {
    match said.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = said.print();
        }
        _ => {
            let _ = write!(io::stderr(), "{}", text(&said.render().to_string()));
        }
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2))
}
