//! The gate. What it builds, it builds once: all steps share the development profile and the target directory, and the
//! features that cargo unites over the workspace, so that a dependency is checked once (lints, documentation) and compiled
//! once (tests).

use crate::{
    step::{Failed, Steps, cargo},
    testing, tracked,
};

/// What is off by default, so that lints see it too: other engines in `dcbench`, and the fuzz targets.
const OPTIONAL_FEATURES: &str = "decentcom-bench/engines,decentcom-fuzz/targets";

/// Everything that must pass before anything lands.
pub(crate) fn all(steps: &mut Steps) -> Result<(), Failed> {
    quick_checks(steps)?;
    steps.command(&mut cargo([
        "clippy",
        "--package=decentcom-server",
        "--package=decentcom-tests",
        "--no-default-features",
        "--locked",
        "--",
        "-Dwarnings",
    ]))?;
    steps.command(cargo(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    testing::all(steps)
}

/// What takes less than three minutes in a built tree.
pub(crate) fn fast(steps: &mut Steps) -> Result<(), Failed> {
    quick_checks(steps)?;
    testing::units(steps)
}

fn quick_checks(steps: &mut Steps) -> Result<(), Failed> {
    steps.step("what is committed", tracked::check)?;
    steps.command(&mut cargo(["fmt", "--all", "--check"]))?;
    steps.command(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        OPTIONAL_FEATURES,
        "--locked",
        "--",
        "-Dwarnings",
    ]))
}
