//! For tests that need a process of their own: each starts itself again, in another role.

use std::{env, process::Command};

const ROLE: &str = "DCBENCH_TEST_ROLE";

/// The part that this process plays; `None` in the one that runs all the tests.
pub(super) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The test of this name in `module`, its `module_path!()`, in a process of its own.
pub(super) fn again(module: &str, test: &str, role: &str) -> Command {
    let (_, module) = module.split_once("::").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--quiet", &format!("{module}::{test}")]).env(ROLE, role);
    command
}
