//! Many scripts, on every core, until one fails; that one shrinks.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::time::timeout;

use super::{Observer, Step, calls_at_once, calls_in_turn, listing, run};
use crate::Setup;

/// Scripts that CI runs; `MODEL_CASES` replaces it for a long hunt.
const CASES: u32 = 1_200;
/// Attempts at making a shorter script of callers at once fail: what a race shows once, it does not show every time.
const ATTEMPTS: usize = 20;
/// A script over a store that never answers fails instead of hanging; the longest takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// A failing script may be made shorter for this long.
const SHRINKING_MILLIS: u32 = 120_000;

/// This many in a hundred of the scripts to run.
pub fn cases(percent: u32) -> u32 {
    let cases = env::var("MODEL_CASES").map_or(CASES, |cases| cases.parse().expect("MODEL_CASES is a number"));
    cases.saturating_mul(percent).div_ceil(100)
}

/// What to run random scripts over.
pub struct Hunt {
    /// How many scripts.
    pub cases: u32,
    /// The stores, each of which every script runs over.
    pub setups: Vec<Setup>,
    /// Whether there are callers at the same time.
    pub at_once: bool,
}

/// A script over which a store and the model disagree, as short as it was found to get.
#[derive(Debug)]
pub struct Disagreement {
    /// The script.
    pub script: Vec<Step>,
    /// What was answered, and what the contract says instead.
    pub problem: String,
}

impl Hunt {
    /// Panics with a script that can be typed again, if one is found that a store fails.
    pub fn run(&self, observer: &Observer<'_>) {
        if let Some(found) = self.search(observer) {
            panic!("{}\nin the script\n{}", found.problem, listing(&found.script));
        }
    }

    /// A disagreement, if there is one.
    pub fn search(&self, observer: &Observer<'_>) -> Option<Disagreement> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let has_failed = AtomicBool::new(false);
        let cases = self.cases.div_ceil(threads as u32);
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| self.search_alone(cases, observer, &has_failed))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).next()
        })
    }

    fn search_alone(&self, cases: u32, observer: &Observer<'_>, has_failed: &AtomicBool) -> Option<Disagreement> {
        let mut runtime = match self.at_once {
            true => tokio::runtime::Builder::new_multi_thread(),
            false => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let config =
            Config { cases, failure_persistence: None, max_shrink_time: SHRINKING_MILLIS, ..Config::default() };
        let is_shrinking = Arc::new(AtomicBool::new(false));
        let check = |script: Vec<Step>| {
            let shrinking = is_shrinking.load(Ordering::SeqCst);
            if !shrinking && has_failed.load(Ordering::SeqCst) {
                return Ok(()); // another thread has one
            }
            let attempts = if shrinking && self.at_once { ATTEMPTS } else { 1 };
            for setup in self.setups.iter().cycle().take(attempts * self.setups.len()) {
                let result = runtime.block_on(async { timeout(PATIENCE, run(*setup, &script, observer)).await });
                if let Err(problem) = result.unwrap_or_else(|_| Err("the store kept the script waiting".into())) {
                    is_shrinking.store(true, Ordering::SeqCst);
                    has_failed.store(true, Ordering::SeqCst);
                    return Err(TestCaseError::fail(problem));
                }
            }
            Ok(())
        };
        let reopening = self.setups.iter().any(Setup::is_kept);
        let shorter_will_do = {
            let is_shrinking = is_shrinking.clone();
            move || is_shrinking.load(Ordering::SeqCst)
        };
        let mut runner = TestRunner::new(config);
        let result = match self.at_once {
            true => runner.run(&calls_at_once(reopening, shorter_will_do), check),
            false => runner.run(&calls_in_turn(reopening, shorter_will_do), check),
        };
        match result {
            Ok(()) => None,
            Err(TestError::Fail(problem, script)) => Some(Disagreement { script, problem: problem.to_string() }),
            Err(TestError::Abort(reason)) => panic!("no scripts: {reason}"),
        }
    }
}
