//! What `tests/src/fuzz/` does with bytes as http.

#![no_main]

use decentcom_tests::fuzz::HTTP;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (HTTP.run)(bytes));
