//! What `tests/src/fuzz/` does with bytes as dumps.

#![no_main]

use decentcom_tests::fuzz::DUMPS;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (DUMPS.run)(bytes));
