//! `dcstore bench`: what both backends do on this machine, beside what the disk and the engines alone do.
//!
//! ```text
//!  plan.rs ──> mod.rs: for every round, for every line of a workload ──> results.rs ──> table, page, comparison
//!  (which lines)        │  a process of its own: `dcstore bench --measure TASK`            (report/)
//!                       └─> measure/: opens its store, warms up, measures, says a Sample
//!                             │    closed.rs, open.rs: who calls when
//!                             └─> subject/: the stores, raw engines, a transaction per call
//!                       watch/: what is seen from outside: syncs, the device, memory, the machine
//! ```
//!
//! Each measurement is a process of its own, so that none has the memory, caches or left-overs of another, and one that
//! fails costs only its line. The rounds of a workload's lines alternate, so that a machine which slows down for a minute
//! slows them all.

#![allow(dead_code)] // while it is being built

mod measure;
mod report;
mod results;
mod subject;
mod targets;
mod watch;
