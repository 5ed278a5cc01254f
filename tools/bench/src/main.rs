//! `dcbench`: what both backends do on this machine, beside what the disk and the engines alone do.
//!
//! ```text
//!  main.rs ── cli.rs (every option)
//!     │
//!  plan.rs ──> run.rs: for every round, for every line of a workload ──> results.rs ──> table, page, comparison
//!  (which lines)        │  a process of its own: `dcbench --measure TASK`                  (report/)
//!           stores.rs   │  (stores of several sizes, and working copies)
//!                       └─> measure/: opens its store, warms up, measures, says a Sample
//!                             │    pace.rs: who calls when
//!                             └─> subject/: the stores, raw engines, a transaction per call
//!                       watch/: what is seen from outside: syncs, the device, memory, the machine
//! ```
//!
//! Each measurement is a process of its own, so that none has the memory, caches or left-overs of another, and one that
//! fails costs only its line. The rounds of a workload's lines alternate, so that a machine which slows down for a minute
//! slows them all.

mod cli;
mod failure;
mod measure;
mod plan;
mod report;
mod results;
mod run;
mod stores;
mod subject;
mod targets;
mod watch;

use std::process::ExitCode;

use dcstore::Program;

use self::cli::Cli;

fn main() -> ExitCode {
    let program = Program::<Cli> {
        name: "dcbench",
        is_quiet: |cli| cli.quiet,
        run: |cli, session, out| Ok(run::run(&cli, session, out)?),
    };
    program.main(std::env::args_os())
}
