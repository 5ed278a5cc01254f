//! What `tests/src/fuzz/` does with bytes as config.

#![no_main]

use decentcom_tests::fuzz::CONFIG;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (CONFIG.run)(bytes));
