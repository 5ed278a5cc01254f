//! What each fuzz target does with its bytes. A [`Target`] panics when the product breaks a promise.
//!
//! Run by libFuzzer (`tests/fuzz/`, which needs a nightly compiler) and, over the committed corpus and some random bytes,
//! by `tests/fuzz_corpus.rs` on any. A new target is a function here, a line in [`TARGETS`], a file in
//! `tests/fuzz/fuzz_targets/` and a folder with its seeds in `tests/fuzz/corpus/`.

mod config;
mod dumps;
mod http;
mod records;

/// A way of feeding bytes to the product.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// Inputs made from a string that programs stumble over.
    pub around: fn(&str) -> Vec<Vec<u8>>,
}

/// Decoding what lies in a key-value file.
pub const RECORDS: Target = Target { name: "records", run: records::run, around: records::around };
/// Reading a configuration.
pub const CONFIG: Target = Target { name: "config", run: config::run, around: config::around };
/// Reading a dump.
pub const DUMPS: Target = Target { name: "dumps", run: dumps::run, around: dumps::around };
/// Answering requests.
pub const HTTP: Target = Target { name: "http", run: http::run, around: http::around };

/// Every target.
pub const TARGETS: &[Target] = &[RECORDS, CONFIG, DUMPS, HTTP];
