//! What the computer's clock does while the server runs: a clock that is set, or a computer that slept, shows as a jump
//! against the time that passed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::storage::{Clock, Timestamp};

/// How often the clocks are compared.
const PACE: Duration = Duration::from_secs(1);
/// What differs by less is the computer's slowness, not a jump.
const JUMP: Duration = Duration::from_secs(2);
/// Reading two clocks takes no time; where it does, this process stood still in between, and the readings say nothing.
const ONE_MOMENT: Duration = Duration::from_millis(250);
/// Ids given out by a clock that is further ahead than this stay wrong for years.
pub(super) const LONGEST_LEAP: Duration = Duration::from_secs(366 * 24 * 3600);

/// Counter of jumps of the clock.
const CLOCK_JUMPS: &str = "decentcom_clock_jumps_total";

/// The clock, as shown to operators.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct ClockState {
    /// What it says.
    now: String,
    /// How often it jumped since the server started.
    jumps: u64,
    /// The last jump; null when there was none.
    last_jump: Option<Jump>,
    /// How far all jumps together have taken it ahead.
    #[serde(skip)]
    pub(super) leapt_ahead: Duration,
}

/// A jump.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Jump {
    /// What the clock said after it.
    at: String,
    /// By how much, in milliseconds; negative for a jump back.
    milliseconds: i64,
}

/// Compares the clock with the time that passes.
#[derive(Default)]
pub(super) struct ClockWatch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    last: Option<(Instant, Timestamp)>,
    state: ClockState,
    /// All jumps together, in milliseconds.
    net: i64,
}

impl ClockWatch {
    /// Looks at the clock; a jump since the last look is logged and kept.
    pub(super) fn look(&self, clock: &dyn Clock) {
        let before = Instant::now();
        let now = clock.now();
        if before.elapsed() < ONE_MOMENT {
            self.saw(before, now);
        }
    }

    pub(super) fn state(&self) -> ClockState {
        self.seen().state.clone()
    }

    fn saw(&self, at: Instant, now: Timestamp) {
        let mut seen = self.seen();
        let last = seen.last.replace((at, now));
        seen.state.now = now.to_string();
        let Some((last_at, last_now)) = last else { return };
        let passed = at.saturating_duration_since(last_at).as_millis() as i64;
        let jump = now.as_millis() as i64 - last_now.as_millis() as i64 - passed;
        if jump.unsigned_abs() < JUMP.as_millis() as u64 {
            return;
        }
        seen.net = seen.net.saturating_add(jump);
        seen.state.jumps += 1;
        seen.state.last_jump = Some(Jump { at: now.to_string(), milliseconds: jump });
        seen.state.leapt_ahead = Duration::from_millis(u64::try_from(seen.net).unwrap_or(0));
        drop(seen);
        metrics::counter!(CLOCK_JUMPS).increment(1);
        let direction = if jump > 0 { "ahead" } else { "back" };
        tracing::warn!(
            %now,
            seconds = jump as f64 / 1000.0,
            "the clock jumped {direction}: it was set, or this computer slept"
        );
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches for as long as the server runs.
pub(super) async fn watch(app: App) {
    let mut due = tokio::time::interval(PACE);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        app.clock_watch.look(&*app.clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_what_the_clock_moved_beyond_the_time_that_passed() {
        let watch = ClockWatch::default();
        let (began, day) = (Instant::now(), 24 * 3600 * 1000_i64);
        let start = 1_704_067_200_000_i64;
        // Milliseconds that passed, and what the clock says.
        let look = |passed: u64, says: i64| {
            let now = Timestamp::from_millis((start + says) as u64).unwrap();
            watch.saw(began + Duration::from_millis(passed), now);
            let ClockState { jumps, last_jump, leapt_ahead, .. } = watch.state();
            (jumps, last_jump.map(|jump| jump.milliseconds), leapt_ahead.as_millis() as i64)
        };
        assert_eq!(look(0, 0), (0, None, 0));
        assert_eq!(look(60_000, 61_500), (0, None, 0), "slow, not a jump");
        assert_eq!(look(61_000, 62_500 + day), (1, Some(day), day));
        assert_eq!(look(62_000, 63_500 + day), (1, Some(day), day));
        assert_eq!(look(63_000, 64_500), (2, Some(-day), 0));
        assert_eq!(look(64_000, 65_500 - 3000), (3, Some(-3000), 0));
        assert_eq!(look(65_000, 66_500 - 3000 + 400 * day), (4, Some(400 * day), 400 * day - 3000));
    }
}
