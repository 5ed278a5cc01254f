//! `cargo test`, and the sum over all test programs; cargo itself ends with the documentation tests of the last crate.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use crate::step::{Failed, Steps, cargo, say, shown};

/// Every test of the workspace: the command of the README.
pub(crate) fn all(steps: &mut Steps) -> Result<(), Failed> {
    run(steps, &mut cargo(["test", "--workspace", "--no-fail-fast", "--locked"]))
}

/// The tests within the crates, without those that start programs.
pub(crate) fn units(steps: &mut Steps) -> Result<(), Failed> {
    run(steps, &mut cargo(["test", "--workspace", "--lib", "--bins", "--locked"]))
}

/// Runs tests and says how many passed in all.
pub(crate) fn run(steps: &mut Steps, command: &mut Command) -> Result<(), Failed> {
    let heading = shown(command);
    steps.step(&heading.clone(), || {
        let mut testing = command.env("CARGO_TERM_COLOR", "never").stdout(Stdio::piped()).spawn()?;
        let mut totals = Totals::default();
        if let Some(stdout) = testing.stdout.take() {
            let mut lines = BufReader::new(stdout);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line)? > 0 {
                io::stdout().write_all(&line)?;
                totals.add(&String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        let status = testing.wait()?;
        say(&format!("\n{} passed, {} failed", totals.passed, totals.failed));
        Failed::unless_success(&heading, status)
    })
}

/// How many tests there were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    /// Adds what a test program says at its end: `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<_> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            if let [number, what] = pair
                && let Ok(number) = number.parse::<u64>()
            {
                match *what {
                    "passed;" => self.passed += number,
                    "failed;" => self.failed += number,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_programs_are_added() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test one ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 3.01s",
        ] {
            totals.add(line);
        }
        assert_eq!(totals, Totals { passed: 43, failed: 2 });
    }
}
