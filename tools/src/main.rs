//! `dcstore`: see into a decentcom store, check it, repair it, move it. See the library of the same name.

use std::process::ExitCode;

use dcstore::{Program, cli::Cli, run, with_config_as_store};

fn main() -> ExitCode {
    let program = Program::<Cli> {
        name: "dcstore",
        is_quiet: |cli| cli.quiet,
        run: |cli, session, out| run(cli.command, session, out),
    };
    program.main(with_config_as_store(std::env::args_os()))
}
