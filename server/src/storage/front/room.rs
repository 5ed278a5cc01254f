//! A full disk is a mode: while it lasts, changes that need room are refused at once, without a look at the engine; reads,
//! log-outs and deletions go on.
//!
//! ```text
//!            a commit found no room, or less than `min_free` is left
//!            even when the engine has put its files in order
//!  taking ────────────────────────────────────────────────────────────────> full
//!    ^                                                                        │
//!    └──────── room again: the reserve is taken again <── looked every second ┘
//! ```
//!
//! The reserve is given back when a commit finds no room, and not before: whoever else fills the disk would have it.
//!
//! The commit thread's [`Keeper`] decides; everybody else sees the [`Room`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::storage::{
    Condition, StorageError, Trouble,
    condition::in_words,
    disk::{Disk, Look, wanted},
    port::Writer,
};

/// Gauge: 1 while changes are refused for lack of room, else 0.
pub const FULL: &str = "decentcom_storage_full";
/// Gauge of free bytes on the store's disk, as the server may use them.
pub const FREE_BYTES: &str = "decentcom_storage_free_bytes";

/// How often the disk is looked at when nothing else asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Where a commit was refused though the disk seems to have room (a quota, a limit on file sizes), another one is tried
/// after this long; each time it is in vain, after twice as long.
const FIRST_TRY: Duration = Duration::from_secs(5);
const LATEST_TRY: Duration = Duration::from_secs(60);
/// So much more room than when a deletion was refused is worth another try.
const WORTH_A_TRY: u64 = 64 * 1024;

/// Whether there is room, for everybody.
pub struct Room {
    disk: Option<Box<dyn Disk>>,
    is_full: AtomicBool,
    /// A commit under way took the reserve.
    was_pressed: AtomicBool,
}

impl Room {
    /// Of a store in memory.
    pub fn unbounded() -> Arc<Self> {
        Arc::new(Self { disk: None, is_full: AtomicBool::new(false), was_pressed: AtomicBool::new(false) })
    }

    /// On a disk.
    pub fn on(disk: impl Disk) -> Arc<Self> {
        let disk: Option<Box<dyn Disk>> = Some(Box::new(disk));
        Arc::new(Self { disk, is_full: AtomicBool::new(false), was_pressed: AtomicBool::new(false) })
    }

    /// For an engine whose commit finds no room: answers whether it is worth another try, because some was made or
    /// nothing of the kind is to be seen. Where the reserve was given for it, the mode begins after that commit.
    pub fn make_room(&self) -> bool {
        if self.look().is_some_and(|look| !look.is_short() && look.free >= look.reserve) {
            return true;
        }
        let released = self.disk.as_ref().is_some_and(|disk| disk.release_reserve());
        if released {
            self.was_pressed.store(true, Ordering::Release);
        }
        released
    }

    /// Refuses a command that would need room.
    pub(super) fn check(&self, frees_room: bool) -> Result<(), StorageError> {
        if self.is_full.load(Ordering::Acquire) && !frees_room { Err(no_room()) } else { Ok(()) }
    }

    /// What is wrong, if anything is. Looks at the disk.
    pub(super) fn condition(&self) -> Condition {
        let look = self.look();
        let is_full = self.is_full.load(Ordering::Acquire) || look.is_some_and(|look| look.is_short());
        let trouble = Trouble::Full { free: look.map(|it| it.free), min_free: look.map(|it| it.min_free) };
        Condition { troubles: if is_full { vec![trouble] } else { Vec::new() } }
    }

    fn look(&self) -> Option<Look> {
        let look = self.disk.as_ref()?.look()?;
        metrics::gauge!(FREE_BYTES).set(look.free as f64);
        metrics::gauge!(FULL).set(if self.is_full.load(Ordering::Acquire) { 1.0 } else { 0.0 });
        Some(look)
    }

    fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Release);
        self.look();
    }
}

/// The refusal.
pub(super) fn no_room() -> StorageError {
    StorageError::Full { reason: "the disk is full; free some space".into(), source: None }
}

/// The commit thread's part of it.
pub(super) struct Keeper {
    room: Arc<Room>,
    full: Option<Full>,
    next_look: Instant,
    /// When the mode ended last, and how long it had waited for a try in the dark.
    left: Option<(Instant, Duration)>,
    /// When a commit found no room though the disk seemed to have some.
    doubted: Option<Instant>,
}

/// The mode.
struct Full {
    /// A commit found no room.
    refused: Option<Refused>,
    /// A deletion did, too.
    refused_deletion: Option<Refused>,
}

/// A commit that found no room.
#[derive(Clone, Copy)]
struct Refused {
    /// What the disk had when all was done that could be.
    free: Option<u64>,
    /// When another may be tried even if there is no more room to be seen.
    next_try: Instant,
    pause: Duration,
}

impl Refused {
    fn again(free: Option<u64>, pause: Duration) -> Self {
        Self { free, next_try: Instant::now() + pause, pause }
    }

    fn may_try(&self, free: Option<u64>, more: u64) -> bool {
        let has_more = free.zip(self.free).is_some_and(|(free, then)| free >= then.saturating_add(more));
        has_more || Instant::now() >= self.next_try
    }
}

impl Keeper {
    /// Of a room that nobody has looked at yet.
    pub(super) fn of(room: Arc<Room>) -> Self {
        Self { room, full: None, next_look: Instant::now(), left: None, doubted: None }
    }

    /// Looks for the first time: takes the reserve, or begins in the mode, as where an earlier run was in it and had given
    /// the reserve back.
    pub(super) fn begin(&mut self, writer: &mut dyn Writer) {
        self.look(writer);
        let has_no_room = |look: Look| look.free < wanted(&look, false);
        if !self.is_full() && !self.has_reserve() && self.room.look().is_some_and(has_no_room) {
            self.enter(writer);
        }
    }

    /// When the disk is to be looked at without a commit; `None` if there is none.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.room.disk.as_ref().map(|_| self.next_look)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Looks at the disk: begins or ends the mode, if it is time to.
    pub(super) fn look(&mut self, writer: &mut dyn Writer) {
        self.next_look = Instant::now() + LOOK_INTERVAL;
        let Some(look) = self.room.look() else {
            // Nobody can tell; only another try can.
            let is_due = |refused: Refused| Instant::now() >= refused.next_try;
            if self.full.as_ref().is_some_and(|full| full.refused.is_none_or(is_due)) {
                self.leave("unknown".into());
            }
            return;
        };
        writer.note_free(look.free);
        match &self.full {
            None if self.room.was_pressed.swap(false, Ordering::AcqRel) => self.enter(writer),
            None if look.is_short() && !self.finds_room_in_the_store(writer) => self.enter(writer),
            None => self.keep_the_reserve(&look),
            Some(full) if self.is_over(full, &look) => self.leave(in_words(look.free)),
            Some(_) => {}
        }
    }

    /// Before a commit: answers which of the commands there is room for.
    pub(super) fn takes(&mut self, frees_room: bool) -> bool {
        let Some(full) = &self.full else { return true };
        let may_try = |refused: Refused| refused.may_try(self.room.look().map(|it| it.free), WORTH_A_TRY);
        frees_room && full.refused_deletion.is_none_or(may_try)
    }

    /// A commit found no room. Gives back the reserve and has the engine put things in order; answers whether that made some.
    /// Once in a while it happens though the disk seems to have room, and the next commit finds it.
    pub(super) fn refused(&mut self, writer: &mut dyn Writer) -> bool {
        if self.room.disk.is_none() {
            self.settle(writer);
            return false;
        }
        let was_full = self.is_full();
        let seems_to_have_room = self.room.look().is_some_and(|look| look.free >= wanted(&look, self.has_reserve()));
        let is_doubted = self.doubted.is_some_and(|when| when.elapsed() < LATEST_TRY);
        if !was_full && seems_to_have_room && !is_doubted {
            self.doubted = Some(Instant::now());
            self.settle(writer);
            return false;
        }
        let had_reserve = self.has_reserve();
        self.release_reserve();
        self.enter(writer);
        let free = self.room.look().map(|it| it.free);
        let pause = match self.left {
            Some((left, pause)) if left.elapsed() < LATEST_TRY => (pause * 2).min(LATEST_TRY),
            _ => FIRST_TRY,
        };
        let Some(full) = &mut self.full else { return false };
        if was_full && !had_reserve {
            let pause = full.refused_deletion.map_or(FIRST_TRY, |it| (it.pause * 2).min(LATEST_TRY));
            full.refused_deletion = Some(Refused::again(free, pause));
        } else {
            full.refused = Some(Refused::again(free, pause));
        }
        had_reserve
    }

    /// After a commit: one that took the reserve was the last.
    pub(super) fn committed(&mut self, writer: &mut dyn Writer) {
        if self.room.was_pressed.swap(false, Ordering::AcqRel) {
            self.enter(writer);
        }
        if let Some(full) = &mut self.full {
            full.refused_deletion = None;
        }
    }

    fn enter(&mut self, writer: &mut dyn Writer) {
        let look = self.room.look();
        if self.full.is_none() {
            self.full = Some(Full { refused: None, refused_deletion: None });
            self.room.set_full(true);
            let free = look.map_or_else(|| "unknown".into(), |it| in_words(it.free));
            let min_free = look.map_or_else(|| "unknown".into(), |it| in_words(it.min_free));
            tracing::warn!(
                %free,
                %min_free,
                "the disk is full; free some space: until then changes are refused (507), reads, log-outs and deletions go on"
            );
        }
        self.settle(writer);
    }

    /// A mode that only its own tidying up would end does not begin.
    fn finds_room_in_the_store(&self, writer: &mut dyn Writer) -> bool {
        self.settle(writer);
        self.room.look().is_none_or(|look| look.free >= wanted(&look, self.has_reserve()))
    }

    fn settle(&self, writer: &mut dyn Writer) {
        if let Err(error) = writer.settle() {
            tracing::debug!(error = &error as &dyn std::error::Error, "the store could not be put in order");
        }
    }

    fn has_reserve(&self) -> bool {
        self.room.disk.as_ref().is_some_and(|disk| disk.has_reserve())
    }

    fn release_reserve(&self) {
        if let Some(disk) = &self.room.disk {
            disk.release_reserve();
        }
    }

    fn keep_the_reserve(&self, look: &Look) {
        if let Some(disk) = &self.room.disk
            && !disk.has_reserve()
            && look.free >= wanted(look, false)
        {
            disk.take_reserve();
        }
    }

    fn is_over(&self, full: &Full, look: &Look) -> bool {
        let has_more = |refused: Refused| refused.may_try(Some(look.free), look.reserve / 2);
        look.free >= wanted(look, self.has_reserve()) && full.refused.is_none_or(has_more)
    }

    fn leave(&mut self, free: String) {
        if self.room.disk.as_ref().is_some_and(|disk| !disk.take_reserve()) {
            return; // there is not as much as it seemed
        }
        let pause = self.full.take().and_then(|full| full.refused).map_or(FIRST_TRY, |refused| refused.pause);
        self.left = Some((Instant::now(), pause));
        self.room.set_full(false);
        tracing::info!(%free, "the disk has room again: changes are taken");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use ulid::Ulid;

    use super::*;
    use crate::storage::port::{Rows, Staged, Wants};

    const MIN_FREE: u64 = 80;
    const RESERVE: u64 = 20;

    /// A disk of a few bytes, shared with the test.
    #[derive(Clone, Default)]
    struct FewBytes(Arc<Held>);

    #[derive(Default)]
    struct Held {
        free: AtomicU64,
        min_free: AtomicU64,
        has_reserve: AtomicBool,
        /// The reserve cannot be made, whatever is free: by a quota.
        is_bounded: AtomicBool,
    }

    impl FewBytes {
        fn with(free: u64, has_reserve: bool) -> Self {
            let disk = Self::default();
            disk.0.free.store(free, SeqCst);
            disk.0.min_free.store(MIN_FREE, SeqCst);
            disk.0.has_reserve.store(has_reserve, SeqCst);
            disk
        }
    }

    impl Disk for FewBytes {
        fn look(&self) -> Option<Look> {
            let (free, min_free) = (self.0.free.load(SeqCst), self.0.min_free.load(SeqCst));
            Some(Look { free, min_free, reserve: RESERVE })
        }
        fn has_reserve(&self) -> bool {
            self.0.has_reserve.load(SeqCst)
        }
        fn release_reserve(&self) -> bool {
            self.0.has_reserve.swap(false, SeqCst)
        }
        fn take_reserve(&self) -> bool {
            let is_taken = !self.0.is_bounded.load(SeqCst);
            self.0.has_reserve.fetch_or(is_taken, SeqCst);
            is_taken
        }
    }

    /// Stores nothing; what it can give back of its files, it gives once.
    struct Untidy(FewBytes, u64);

    impl Writer for Untidy {
        fn transact(&mut self, _: &Wants, _: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError> {
            Ok(())
        }
        fn settle(&mut self) -> Result<(), StorageError> {
            self.0.0.free.fetch_add(std::mem::take(&mut self.1), SeqCst);
            Ok(())
        }
        fn store_high_water(&mut self, _: Ulid) -> Result<(), StorageError> {
            Ok(())
        }
        fn close(self: Box<Self>) -> Result<(), StorageError> {
            Ok(())
        }
    }

    #[test]
    fn a_commit_gets_the_reserve_only_where_the_disk_has_too_little() {
        for (free, has_reserve, is_worth_a_try, keeps_it) in [
            (200, true, true, true),
            (MIN_FREE, true, true, true),
            (MIN_FREE - 1, true, true, false),
            (MIN_FREE - 1, false, false, false),
            (200, false, true, false),
        ] {
            let disk = FewBytes::with(free, has_reserve);
            let room = Room::on(disk.clone());
            assert_eq!((room.make_room(), disk.has_reserve()), (is_worth_a_try, keeps_it), "{free} {has_reserve}");
        }
        // Where less is to stay free than the reserve takes, with less than that a commit may have found nothing.
        for (free, keeps_it) in [(RESERVE, true), (RESERVE - 1, false)] {
            let disk = FewBytes::with(free, true);
            disk.0.min_free.store(0, SeqCst);
            assert!(Room::on(disk.clone()).make_room());
            assert_eq!(disk.has_reserve(), keeps_it, "{free}");
        }
    }

    #[test]
    fn the_mode_begins_and_ends_as_often_as_the_disk_fills_and_says_so_meanwhile() {
        let disk = FewBytes::with(200, false);
        let room = Room::on(disk.clone());
        let (mut keeper, mut writer) = (Keeper::of(room.clone()), Untidy(disk.clone(), 0));
        keeper.begin(&mut writer);
        for _ in 0..3 {
            assert!(!keeper.is_full() && room.condition().troubles.is_empty() && disk.has_reserve());
            disk.0.free.store(MIN_FREE - 1, SeqCst);
            keeper.look(&mut writer);
            assert!(keeper.is_full());
            let said = room.condition().troubles;
            assert!(matches!(*said, [Trouble::Full { free: Some(79), min_free: Some(MIN_FREE) }]), "{said:?}");
            // Somewhat more is to be free before it ends, so that the two do not alternate.
            disk.0.free.store(MIN_FREE + MIN_FREE / 8 - 1, SeqCst);
            keeper.look(&mut writer);
            assert!(keeper.is_full());
            disk.0.free.store(MIN_FREE + MIN_FREE / 8, SeqCst);
            keeper.look(&mut writer);
        }
    }

    #[test]
    fn the_mode_goes_on_until_the_reserve_is_there_again() {
        let disk = FewBytes::with(MIN_FREE - 1, true);
        let (mut keeper, mut writer) = (Keeper::of(Room::on(disk.clone())), Untidy(disk.clone(), 0));
        keeper.begin(&mut writer);
        assert!(keeper.is_full() && keeper.refused(&mut writer), "the reserve is worth another try");
        assert!(!disk.has_reserve());
        let wanted = MIN_FREE + MIN_FREE / 8 + RESERVE + RESERVE / 2;
        for (free, is_bounded, goes_on) in [(wanted - 1, false, true), (wanted, true, true), (wanted, false, false)] {
            disk.0.free.store(free, SeqCst);
            disk.0.is_bounded.store(is_bounded, SeqCst);
            keeper.look(&mut writer);
            assert_eq!((keeper.is_full(), disk.has_reserve()), (goes_on, !goes_on), "{free} {is_bounded}");
        }
    }

    #[test]
    fn a_mode_that_tidying_up_would_end_does_not_begin() {
        for (untidy, begins) in [(30, false), (10, true)] {
            let disk = FewBytes::with(MIN_FREE - 10, true);
            let (mut keeper, mut writer) = (Keeper::of(Room::on(disk.clone())), Untidy(disk.clone(), untidy));
            keeper.look(&mut writer);
            assert_eq!(keeper.is_full(), begins, "{untidy}");
        }
    }
}
