//! What `tests/src/fuzz/` does with bytes as records.

#![no_main]

use decentcom_tests::fuzz::RECORDS;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (RECORDS.run)(bytes));
