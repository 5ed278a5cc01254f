//! Holds every backend to every sentence of the contract, in each way a store can live.

#![allow(clippy::expect_used)] // a test program

use std::time::Duration;

use decentcom_server::storage::Backend;
use decentcom_tests::{Context, Place, Setup, sentences};
use libtest_mimic::{Arguments, Trial};

/// A new backend is one more line.
const BACKENDS: &[Backend] = &[Backend::Sqlite, Backend::Redb];

const PLACES: [(&str, Place); 3] =
    [("in_memory", Place::Memory), ("on_disk", Place::Disk), ("reopened_after_every_change", Place::Reopened)];

/// A test that waits for something that never comes fails instead of hanging; the longest takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let mut trials = Vec::new();
    for backend in BACKENDS {
        for (place_name, place) in PLACES {
            let setup = Setup { backend: *backend, place };
            trials.extend(sentences().map(|sentence| {
                let name = sentence.name.trim_start_matches("decentcom_tests::contract::");
                Trial::test(format!("{}::{place_name}::{name}", backend.name()), move || {
                    run(setup, sentence.test);
                    Ok(())
                })
            }));
        }
    }
    let mut arguments = Arguments::from_args();
    // Opening and closing waits for the disk about as long as it computes.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * cores);
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(setup: Setup, test: fn(Context) -> futures::future::LocalBoxFuture<'static, ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let test = async { test(Context::new(setup).await).await };
        tokio::time::timeout(PATIENCE, test).await.expect("the store kept the test waiting");
    });
}
