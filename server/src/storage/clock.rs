//! Where the store gets the time from.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Timestamp;

/// A source of the current time, injected so that tests never sleep.
pub trait Clock: Send + Sync {
    /// The current time. It may stand still or step back: the store keeps ids and times in order by itself.
    fn now(&self) -> Timestamp;

    /// Whether a store whose newest commit was made at `newest` may be opened and given ids by this clock.
    fn may_follow(&self, newest: Timestamp) -> bool {
        let _ = newest;
        true
    }
}

/// The operating system's wall clock, held to [`Timestamp::MIN`]..=[`Timestamp::MAX`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::MIN.checked_add(Duration::from_millis(since_epoch.as_millis() as u64)).unwrap_or(Timestamp::MAX)
    }
}

/// The operating system's wall clock, for a server: it does not go on with a store whose newest commit is more than a year
/// old, as one that was set wrong would. What it says is taken for granted once it was accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct CautiousClock;

/// A newest commit older than this says that the clock may be wrong.
const LONGEST_REST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Clock for CautiousClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn may_follow(&self, newest: Timestamp) -> bool {
        self.now().since(newest) <= LONGEST_REST
    }
}

/// Whether the operating system's clock can be right: else, why not. No clock was ever before 1970 by itself, and none is
/// before the day on which this program was built.
pub fn check_system_clock(is_before_build_allowed: bool) -> Result<(), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let Ok(now) = now.map(|now| Timestamp::MIN.checked_add(now).unwrap_or(Timestamp::MAX)) else {
        return Err("this computer's clock says that it is before 1970; set it".into());
    };
    let built = Timestamp::from_millis(BUILD_DAY_MILLIS.parse().unwrap_or(0)).unwrap_or(Timestamp::MIN);
    if now < built && !is_before_build_allowed {
        return Err(format!(
            "this computer's clock says {now}, but this program was built after {built}. Ids given out by a wrong clock \
             stay wrong: set the clock; or, if it is right, start with --accept-clock"
        ));
    }
    Ok(())
}

/// Midnight (UTC) before the program was built, or of the day that SOURCE_DATE_EPOCH names; see build.rs.
const BUILD_DAY_MILLIS: &str = env!("DECENTCOM_BUILD_DAY_MILLIS");

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock standing at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_millis()))
    }

    /// Moves the clock to `now`, forwards or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves the clock forwards, at most to [`Timestamp::MAX`].
    pub fn advance(&self, by: Duration) {
        self.set(self.now().checked_add(by).unwrap_or(Timestamp::MAX));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
