//! Callers at the same time: every history they see has a sequential explanation.

use decentcom_tests::{
    Setup,
    model::{Hunt, cases},
};

#[test]
fn every_history_of_concurrent_callers_is_linearizable() {
    Hunt { cases: cases(15), setups: Setup::in_memory(), at_once: true }.run(&|_, answer| answer);
}

#[test]
fn every_history_of_concurrent_callers_is_linearizable_across_reopens() {
    Hunt { cases: cases(5), setups: Setup::on_disk(), at_once: true }.run(&|_, answer| answer);
}
