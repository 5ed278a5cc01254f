//! `dcstore completions`.

use std::io::Write;

use clap::CommandFactory;

use crate::{Failure, Outcome, Session, cli};

pub(crate) fn run(options: &cli::Completions, _session: &Session, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut command = cli::Cli::command();
    let mut made = Vec::new(); // the generator of completions panics where it cannot write
    match options.shell.shell() {
        Some(shell) => clap_complete::generate(shell, &mut command, "dcstore", &mut made),
        None => manual(command, &mut made)?,
    }
    out.write_all(&made)?;
    Ok(Outcome::Fine)
}

/// One page: the program, then each command.
fn manual(mut command: clap::Command, out: &mut Vec<u8>) -> Result<(), Failure> {
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        writeln!(out, ".SH \"DCSTORE {}\"", sub.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(sub.clone());
        page.render_description_section(out)?;
        page.render_synopsis_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_and_the_manual_know_every_command() {
        for shell in cli::ShellOrMan::value_variants() {
            let mut made = Vec::new();
            let _ = run(&cli::Completions { shell: *shell }, &Session::silent(), &mut made).unwrap();
            let made = String::from_utf8(made).unwrap();
            for name in ["info", "stats", "scan", "verify", "compact", "since", "repair"] {
                assert!(made.contains(name), "{shell:?} {name}");
            }
        }
    }
}
