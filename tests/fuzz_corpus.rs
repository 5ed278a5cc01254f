//! The fuzz targets on a stable compiler: every committed seed, strings that programs stumble over, and random bytes and
//! mutations of all these. `FUZZ_CASES=100000` for a long run; `tests/fuzz/` is the real thing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test program

use std::{fs, path::Path};

use decentcom_tests::fuzz::{CONFIG, DUMPS, HTTP, RECORDS, TARGETS, Target};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

const NAUGHTY: &str = include_str!("data/blns.json");

/// The committed seeds of a target.
fn corpus(target: Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn seeds(target: Target) -> Vec<Vec<u8>> {
    let naughty: Vec<String> = serde_json::from_str(NAUGHTY).unwrap();
    corpus(target).into_iter().chain(naughty.iter().flat_map(|text| (target.around)(text))).collect()
}

fn every_seed_passes(target: Target) {
    assert!(corpus(target).len() >= 5, "{} has a corpus", target.name);
    for seed in seeds(target) {
        run(target, &seed);
    }
}

/// Runs the target; a panic says on what.
fn run(target: Target, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    assert!(outcome.is_ok(), "{} does not stand {:?}", target.name, String::from_utf8_lossy(input));
}

/// One change to a seed: where, and what to put there in place of how many bytes.
type Edit = (Index, Vec<u8>, u8);

fn mutated(seeds: &[Vec<u8>], which: Index, edits: Vec<Edit>, cut: Option<Index>) -> Vec<u8> {
    let mut bytes = which.get(seeds).clone();
    for (place, new, removed) in edits {
        let start = place.index(bytes.len() + 1);
        let end = (start + usize::from(removed % 8)).min(bytes.len());
        bytes.splice(start..end, new);
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    bytes
}

fn random_bytes_and_mutated_seeds_pass(target: Target) {
    let cases = std::env::var("FUZZ_CASES").map_or(512, |text| text.parse().unwrap());
    let seeds = seeds(target);
    let edits = vec((any::<Index>(), vec(any::<u8>(), 0..6), any::<u8>()), 0..5);
    let mutations = (any::<Index>(), edits, any::<Option<Index>>());
    let mutations = mutations.prop_map(move |(which, edits, cut)| mutated(&seeds, which, edits, cut));
    let inputs = prop_oneof![4 => mutations, 1 => vec(any::<u8>(), 0..200)];
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&inputs, |input| {
            (target.run)(&input);
            Ok(())
        })
        .unwrap();
}

macro_rules! stands_everything {
    ($($name:ident: $target:ident;)*) => {
        $(
            mod $name {
                #[test]
                fn every_seed_passes() {
                    super::every_seed_passes(super::$target);
                }

                #[test]
                fn random_bytes_and_mutated_seeds_pass() {
                    super::random_bytes_and_mutated_seeds_pass(super::$target);
                }
            }
        )*

        #[test]
        fn every_target_is_run_here() {
            assert_eq!([$($target.name),*].to_vec(), TARGETS.iter().map(|it| it.name).collect::<Vec<_>>());
        }
    };
}

stands_everything! {
    records: RECORDS;
    config: CONFIG;
    dumps: DUMPS;
    http: HTTP;
}
