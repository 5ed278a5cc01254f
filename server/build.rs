//! The day of the build is embedded into the program: a clock before it is wrong. SOURCE_DATE_EPOCH sets that day, so that
//! the same source can give the same program.

#![allow(clippy::print_stdout)] // how a build script speaks

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3600;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let told = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = told.unwrap_or(now).as_secs();
    println!("cargo:rustc-env=DECENTCOM_BUILD_DAY_MILLIS={}", (seconds - seconds % DAY) * 1000);
}
