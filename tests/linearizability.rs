//! Callers at the same time: every history they see has a sequential explanation.

use decentcom_tests::{
    Place,
    model::{Hunt, both, cases},
};

#[test]
fn every_history_of_concurrent_callers_is_linearizable() {
    Hunt { cases: cases(15), setups: both(Place::Memory), at_once: true }.run(&|_, answer| answer);
}

#[test]
fn every_history_of_concurrent_callers_is_linearizable_across_reopens() {
    Hunt { cases: cases(5), setups: both(Place::Disk), at_once: true }.run(&|_, answer| answer);
}
