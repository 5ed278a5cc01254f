//! `cargo xtask`: what is done to this repository, the gate above all.
//!
//! ```text
//!  main.rs (every task and option) ─┬─ ci.rs        the gate: its steps, in order
//!                                   ├─ testing.rs   cargo test, and the sum over all test programs
//!                                   ├─ docs.rs      the made pages of schema-docs/
//!                                   ├─ tracked.rs   what must not be committed
//!                                   └─ optional.rs  programs that are not needed to build: coverage, mutants
//!                        step.rs    a command with a heading, its duration and its exit code
//! ```

mod ci;
mod docs;
mod optional;
mod step;
mod testing;
mod tracked;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use self::step::{Failed, Steps, cargo};

/// What is done to this repository.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    max_term_width = 110,
    after_help = "\
Examples:
  cargo xtask ci                    everything that must pass before anything lands
  cargo xtask ci --fast             the part of it that takes less than three minutes
  cargo xtask bench -- --quick      measure this machine"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The gate: what must pass before anything lands.
    ///
    /// What is committed, formatting, lints of every combination of features (fuzz targets, benches and examples among what is
    /// compiled), documentation, and every test; one of them has `dcbench` measure a moment of everything, and judges no time.
    #[command(after_help = "\
Examples:
  cargo xtask ci           all of it
  cargo xtask ci --fast    what is committed, formatting, lints and unit tests")]
    Ci {
        /// Leave out what takes long: other combinations of features, documentation, and all but unit tests.
        #[arg(long)]
        fast: bool,
    },
    /// Every test, and how many passed in all.
    #[command(after_help = "\
Examples:
  cargo xtask test                                      every test
  cargo xtask test -p decentcom-tools --test moving     some of them, chosen as for `cargo test`
  cargo xtask test -p decentcom-server -- --nocapture")]
    Test {
        /// Arguments of `cargo test`; without any, the whole workspace is tested.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Build `dcbench` for release and run it.
    #[command(after_help = "\
Examples:
  cargo xtask bench -- --quick                            about four minutes
  cargo xtask bench -- -o bench-results -d /srv/data      an hour, on the disk that the server will use
  cargo xtask bench -- --help                             what else it can do")]
    Bench {
        /// Arguments of `dcbench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Make the pages of schema-docs/ anew that are made by programs. Look at the difference before you commit it.
    #[command(after_help = "\
Examples:
  cargo xtask docs && git diff schema-docs")]
    Docs,
    /// Which lines the tests reach, by cargo-llvm-cov.
    #[command(after_help = "\
Examples:
  cargo xtask coverage                              of everything, as a page in target/llvm-cov/html
  cargo xtask coverage -p decentcom-kvstore         of one crate")]
    Coverage {
        /// Arguments of `cargo llvm-cov`; without any, `--workspace --html`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// What no test would notice, by cargo-mutants; `.cargo/mutants.toml` says what is known to survive, and why.
    #[command(after_help = "\
Examples:
  cargo xtask mutants --file tools/src/verify.rs    of one file
  cargo xtask mutants --shard 3/100                 a hundredth of everything, which takes days")]
    Mutants {
        /// Arguments of `cargo mutants`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let mut steps = Steps::default();
    let done = run(Cli::parse().task, &mut steps);
    steps.end(&done);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { code, .. }) => ExitCode::from(code),
    }
}

fn run(task: Task, steps: &mut Steps) -> Result<(), Failed> {
    match task {
        Task::Ci { fast: true } => ci::fast(steps),
        Task::Ci { fast: false } => ci::all(steps),
        Task::Test { arguments } if arguments.is_empty() => testing::all(steps),
        Task::Test { arguments } => testing::run(steps, cargo(["test", "--locked"]).args(arguments)),
        // Where the caller stands, because paths among the arguments are meant from there.
        Task::Bench { arguments } => step::run_here(
            cargo(["run", "--release", "--locked", "--package", "decentcom-bench", "--"]).args(arguments),
        ),
        Task::Docs => docs::make(steps),
        Task::Coverage { arguments } => optional::coverage(steps, arguments),
        Task::Mutants { arguments } => optional::mutants(steps, arguments),
    }
}

#[cfg(test)]
mod cli {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_task_says_what_it_does_and_gives_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for task in command.get_subcommands().filter(|task| task.get_name() != "help") {
            assert!(task.get_about().is_some(), "{}", task.get_name());
            let examples = task.get_after_help().unwrap_or_else(|| panic!("{}", task.get_name())).to_string();
            for line in examples.lines().skip(1) {
                assert!(line.starts_with(&format!("  cargo xtask {}", task.get_name())), "{line}");
            }
        }
    }

    #[test]
    fn the_examples_can_be_called() {
        let examples = include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("  cargo xtask "));
        let mut called = 0;
        for example in examples {
            let call = example.split("   ").next().unwrap().split("&&").next().unwrap().trim_end_matches("\")]");
            let parsed = Cli::try_parse_from(["xtask"].into_iter().chain(call.split_whitespace()));
            assert!(parsed.is_ok(), "{call}: {}", parsed.err().unwrap());
            called += 1;
        }
        assert!(called > 10, "{called}");
    }
}
