//! How many syncs a process makes: counted at the system calls themselves, so none is missed and none is guessed.
//!
//! ```text
//!  this process                                            the one that is looked at
//!  count_syncs: starts it ───────────────────────────────> prepares what it needs
//!  counting.rs: attaches to all of its threads <─ "ready" ─ marks::ready() waits
//!  tracer.rs:   counts at every system call ─── go on ───> works
//!  counting.rs: takes the number <─────────────── "done" ─ marks::done() waits
//!               ─────────────────────────────── go on ───> closes what it has, ends
//! ```
//!
//! Not seen: what is synced without such a call (files opened with `O_DSYNC`, io_uring), so a count may be too small for a
//! program that does so, never too large.

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod counting;
pub(crate) mod marks;
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tracer;

use std::{
    fmt,
    process::{Command, ExitStatus},
    time::Duration,
};

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) status: ExitStatus,
    /// All that it said, but for the marks.
    pub(crate) stdout: String,
    /// Calls of fsync, fdatasync, syncfs, sync and msync (with `MS_SYNC`) that succeeded between its marks.
    pub(crate) syncs: u64,
}

/// Why there is no number.
#[derive(Debug)]
pub(crate) enum NotCounted {
    /// This system does not let syncs be counted, and why; the process was killed.
    Uncountable(String),
    /// The program did not do what it should have.
    Failed(String),
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncountable(why) => write!(f, "syncs cannot be counted here: {why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Runs a program that calls [`marks::ready`] and [`marks::done`], and counts the syncs between the two. Its stdin and
/// stdout are used for the marks. After `limit`, it is killed; it is too when this process dies.
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn count_syncs(command: &mut Command, limit: Duration) -> Result<Counted, NotCounted> {
    let counted = std::thread::scope(|scope| scope.spawn(|| counting::count(command, limit)).join());
    counted.unwrap_or_else(|_| Err(NotCounted::Failed("counting ended in a panic".into())))
}

/// As on Linux, but that nothing is run.
#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn count_syncs(_command: &mut Command, _limit: Duration) -> Result<Counted, NotCounted> {
    Err(NotCounted::Uncountable("that needs Linux on x86_64 or aarch64, with the GNU C library".into()))
}

#[cfg(test)]
mod tests;
