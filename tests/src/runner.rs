//! The suite as a program: every sentence over every store, with the options of `cargo test`.

use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::{Context, Provider, Sentence, Setup, sentences};

/// A test that waits for something that never comes fails instead of hanging; the longest takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Holds stores of these providers to every sentence of the contract, in each way they can live, and ends the process as
/// `cargo test` expects it.
///
/// This is the whole `main` of a test program (`harness = false` in its `[[test]]`), for a backend anywhere:
///
/// ```no_run
/// # use std::{path::Path, sync::Arc};
/// # use decentcom_server::storage::{self, Backend, ManualClock};
/// use decentcom_tests::{Kept, Opened, Provider, async_trait, run_suite};
///
/// struct Mine;
///
/// #[async_trait]
/// impl Provider for Mine {
///     fn name(&self) -> &str {
///         "mine"
///     }
///
///     fn kept(&self) -> Kept {
///         Kept::Nowhere
///     }
///
///     async fn open(&self, _directory: &Path, clock: Arc<ManualClock>) -> Opened {
///         Ok(storage::open_in_memory(Backend::Redb, clock).await?) // the store under test
///     }
/// }
///
/// fn main() {
///     run_suite(&[&Mine]);
/// }
/// ```
///
/// `tests/another_backend.rs` is such a program.
pub fn run_suite(providers: &[&'static dyn Provider]) -> ! {
    let setups = providers.iter().flat_map(|provider| Setup::every(*provider));
    let trials = setups.flat_map(|setup| sentences().map(move |sentence| trial(setup, sentence))).collect();
    let mut arguments = Arguments::from_args();
    // Opening and closing waits for the disk about as long as it computes.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * cores);
    libtest_mimic::run(&arguments, trials).exit()
}

fn trial(setup: Setup, sentence: &'static Sentence) -> Trial {
    let name = sentence.name.trim_start_matches("decentcom_tests::contract::");
    Trial::test(format!("{}::{name}", setup.name()), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let test = async { (sentence.test)(Context::new(setup).await).await };
            tokio::time::timeout(PATIENCE, test).await.expect("the store kept the test waiting");
        });
        Ok(())
    })
}
