//! Programs that are not needed to build or test, and take minutes to install: whoever wants them is told how.

use std::{ffi::OsString, process::Stdio};

use crate::step::{Failed, Steps, cargo};

/// `cargo llvm-cov`.
pub(crate) fn coverage(steps: &mut Steps, arguments: Vec<OsString>) -> Result<(), Failed> {
    installed("llvm-cov", "rustup component add llvm-tools && cargo install --locked cargo-llvm-cov")?;
    let arguments = if arguments.is_empty() { vec!["--workspace".into(), "--html".into()] } else { arguments };
    steps.command(cargo(["llvm-cov", "--locked"]).args(arguments))
}

/// `cargo mutants`, which finds `.cargo/mutants.toml` by itself.
pub(crate) fn mutants(steps: &mut Steps, arguments: Vec<OsString>) -> Result<(), Failed> {
    installed("mutants", "cargo install --locked cargo-mutants")?;
    steps.command(cargo(["mutants", "--workspace"]).args(arguments))
}

fn installed(subcommand: &str, how: &str) -> Result<(), Failed> {
    let asked = cargo([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failed::because(format!("cargo-{subcommand} is not installed; this installs it:\n{how}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_named_with_the_command_that_installs_it() {
        let failed = installed("no-such-subcommand", "how to get it").unwrap_err();
        assert!(failed.why.contains("cargo-no-such-subcommand") && failed.why.ends_with("how to get it"));
        assert!(installed("fmt", "").is_ok());
    }
}
