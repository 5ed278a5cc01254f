//! `dcstore`: see into a decentcom store, check it, repair it, move it. See the library of the same name.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use clap::Parser;
use dcstore::{Code, Failure, Outcome, Session, cli::Cli, run, terminal_safe, with_config_as_store};

fn main() -> ExitCode {
    let cli = Cli::parse_from(with_config_as_store(std::env::args_os()));
    let mut out = BufWriter::new(io::stdout().lock());
    let result = Session::start(cli.quiet).and_then(|session| run(cli.command, &session, &mut out));
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
