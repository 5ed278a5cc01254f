//! `dcstore`: checks a decentcom store and describes what lies in it.

mod address;
mod schema;
mod verify;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use self::address::Address;

/// Looks into a decentcom store.
#[derive(Parser)]
#[command(
    name = "dcstore",
    version,
    after_help = "\
Examples:
  dcstore verify redb:data/decentcom.redb                      check everything, change nothing
  dcstore verify redb:data/decentcom.redb --rebuild-indexes    make the indexes anew, then check
  dcstore verify sqlite:data/decentcom.sqlite
  dcstore schema                                               the tables of the key-value layout
  dcstore schema --markdown > schema-docs/key-value.md

Exit codes: 0 fine, 1 something was found wrong, 2 wrong usage, 3 in use by another process, 4 damaged or no store,
5 written by a newer version, 6 input/output error"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check that every row decodes, indexes and records agree and references exist. Stop the server first.
    Verify {
        /// `sqlite:PATH` or `redb:PATH`
        store: Address,
        /// First make every index of a redb store anew from its records.
        #[arg(long)]
        rebuild_indexes: bool,
    },
    /// Describe the tables, keys, records and indexes of the key-value layout.
    Schema {
        /// As the page that stands in schema-docs/.
        #[arg(long)]
        markdown: bool,
    },
}

/// How a command ends: what it found, or what kept it from looking.
enum Outcome {
    Fine,
    FoundProblems,
    Failed { code: u8, message: String },
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let outcome = match Arguments::parse().command {
        Command::Verify { store, rebuild_indexes } => verify::run(&store, rebuild_indexes, &mut out),
        Command::Schema { markdown } => schema::run(markdown, &mut out),
    };
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::FoundProblems) => ExitCode::from(1),
        Ok(Outcome::Failed { code, message }) => fail(code, &message),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS, // `dcstore … | head`
        Err(error) => fail(6, &format!("cannot write the results: {error}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "dcstore: {message}");
    ExitCode::from(code)
}
