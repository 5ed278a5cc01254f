//! Holds both backends to every sentence of the contract, in each way a store can live.

use decentcom_tests::{
    provider::{IN_MEMORY, ON_DISK},
    run_suite,
};

fn main() {
    run_suite(&[IN_MEMORY, ON_DISK].concat());
}
