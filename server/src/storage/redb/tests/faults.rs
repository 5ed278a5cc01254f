//! Disks that fail. Every call that a run makes of its disk fails once, in turn and in every way; the callers hear of
//! it, nothing acknowledged is lost, and what was not acknowledged happened wholly or not at all.

use std::{
    io,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    super::inspect,
    disk::{Disk, Failure, Fate, Fault, Kind, Platter},
    power::open_on,
    random::{Random, setting},
    start,
    workload::{Call, Caller, a_clock},
};
use crate::storage::{OpenError, Storage, StorageError};

/// Far more than any case takes: one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `FAULT_ROUNDS=6 cargo test -p decentcom-server --lib faults -- --nocapture`: every call fails in every way, and twice.
const ROUNDS: u64 = 1;
const SEED: u64 = 1;

/// Calls between two starts; at least one of every kind.
const CALLS: usize = 20;

/// The ways in which a call of this kind can fail.
fn failures(kind: Kind) -> &'static [Failure] {
    const EIO: Failure = Failure::Whole(io::ErrorKind::Other);
    const FULL: Failure = Failure::Whole(io::ErrorKind::StorageFull);
    match kind {
        Kind::Len | Kind::Read => &[EIO],
        Kind::SetLen | Kind::Sync => &[EIO, FULL],
        Kind::Write => &[EIO, FULL, Failure::Short],
    }
}

/// What a caller may be told of a disk that fails.
fn is_honest(error: &StorageError) -> bool {
    matches!(error, StorageError::Unavailable { .. } | StorageError::Full { .. } | StorageError::Corrupt { .. })
}

/// Which calls of a run are to fail: of several in a row of one kind the first, the last, and by chance one between them,
/// which fails like its neighbours. In a run of several rounds, all.
fn chosen(calls: &[Kind], rounds: u64, random: &mut Random) -> Vec<usize> {
    let mut chosen = Vec::new();
    let mut first = 0;
    for row in calls.chunk_by(|one, other| one == other) {
        let last = first + row.len() - 1;
        match row.len() {
            length if length <= 3 || rounds > 1 => chosen.extend(first..=last),
            length => chosen.extend([first, first + 1 + random.below(length - 2), last]),
        }
        first = last + 1;
    }
    chosen
}

/// Runs one case on a thread of its own, so that one that hangs is a failure.
fn within_patience(what: &str, case: impl Future<Output = ()> + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case);
        let _ = done.send(());
    });
    match is_done.recv_timeout(PATIENCE) {
        Ok(()) => thread.join().unwrap(),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{what}: it failed"),
    }
}

/// One run on a disk that may fail.
struct Run {
    disk: Disk,
    caller: Caller,
    quick_repair: bool,
    /// Whether the store is to go on after a failure, without a new start.
    goes_on: bool,
    /// A call that was not acknowledged when the store stopped.
    underway: Option<Call>,
}

impl Run {
    fn new(quick_repair: bool, goes_on: bool, seed: u64) -> Self {
        let caller = Caller::new("caller", &a_clock(), seed);
        Self { disk: Disk::default(), caller, quick_repair, goes_on, underway: None }
    }

    /// Starts, works, and stops.
    async fn work(&mut self) -> Result<(), OpenError> {
        let store = start(open_on(self.disk.clone(), self.quick_repair)?, self.caller.clock())?;
        for _ in 0..CALLS {
            let call = self.caller.next_call();
            let Err(error) = self.caller.call(&*store, &call).await else { continue };
            assert!(is_honest(&error), "{call:?}: {error:?}");
            if !self.goes_on {
                self.underway = Some(call);
                break;
            }
            until_it_works(&*store).await;
            let found = self.caller.read(&*store).await.unwrap();
            match self.disk.last_failure() {
                Some(Kind::Write | Kind::Sync) => assert_eq!(found, self.caller.owed, "{call:?} failed, and is there"),
                // It may have failed when all was on the disk and redb went on to tidy up.
                _ => self.caller.settle(&call, &found),
            }
        }
        if self.underway.is_none() {
            look(&*store, &self.disk, &self.caller).await;
        }
        let _ = store.close().await;
        Ok(())
    }

    /// Works through two starts. One that fails is a fault as well, over when the next one comes.
    async fn work_twice(&mut self) {
        for _ in 0..2 {
            if let Err(error) = self.work().await {
                assert!(self.disk.failures() > 0, "{error}");
            }
            if self.underway.is_some() {
                return;
            }
        }
    }

    /// What the disk holds should the power go now.
    fn after_power_loss(&self, fate: Fate, random: &mut Random) -> Disk {
        let mut platter = Platter::default();
        self.disk.log().iter().for_each(|event| platter.advance(event));
        Disk::holding(platter.after_power_loss(fate, random))
    }

    /// Opens the store again on a disk that works, holds it against what it owes, and goes on a little.
    async fn hold_to_account(&self, disk: Disk) -> Caller {
        let mut caller = self.caller.clone();
        let store = open_on(disk, self.quick_repair).unwrap();
        let mut findings = Vec::new();
        inspect::check(&store, &mut |finding| findings.push(finding)).unwrap();
        assert_eq!(findings, []);
        let store = start(store, caller.clock()).unwrap();
        let found = caller.read(&*store).await.unwrap();
        match &self.underway {
            Some(call) => caller.settle(call, &found),
            None => assert_eq!(found, caller.owed),
        }
        for _ in 0..3 {
            let call = caller.next_call();
            caller.call(&*store, &call).await.unwrap();
        }
        assert_eq!(caller.read(&*store).await.unwrap(), caller.owed);
        caller
    }
}

/// A call that failed has changed nothing that anybody sees, and one that succeeded is seen, as far as reads answer.
async fn look(store: &dyn Storage, disk: &Disk, caller: &Caller) {
    match caller.read(store).await {
        Ok(found) => assert_eq!(found, caller.owed),
        Err(error) => {
            assert!(is_honest(&error), "{error:?}");
            assert!(disk.failures() > 0, "reads fail though the disk never did: {error:?}");
        }
    }
}

/// Waits until the store takes calls, as the disk works again.
async fn until_it_works(store: &dyn Storage) {
    let began = Instant::now();
    while let Err(error) = store.delete_session("nobody's").await {
        assert!(is_honest(&error) && began.elapsed() < PATIENCE / 2, "{error:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// One run in which calls of the disk fail; then power losses and new starts.
async fn case(mut run: Run, fault: Fault, seed: u64) {
    run.disk.set_fault(fault);
    run.work_twice().await;
    run.disk.set_fault(None);
    let mut random = Random(seed);
    let fate = *random.pick(&Fate::ALL).unwrap();
    run.hold_to_account(run.after_power_loss(fate, &mut random)).await;
    run.caller = run.hold_to_account(run.disk.clone()).await;
    // After a sync that failed, the operating system takes the pages for clean: reading shows them, another sync
    // succeeds, and the disk may not have them. What was acknowledged since must not stand on them.
    run.underway = None;
    run.hold_to_account(run.after_power_loss(Fate::Lost, &mut random)).await;
}

/// The calls that a run without a fault makes of its disk.
fn calls_of_a_run(quick_repair: bool, seed: u64) -> Vec<Kind> {
    let mut run = Run::new(quick_repair, true, seed);
    let disk = run.disk.clone();
    within_patience("without a fault", async move { run.work_twice().await });
    disk.calls()
}

fn every_call_fails_once(quick_repair: bool) {
    let (seed, rounds) = (setting("FAULT_SEED", SEED), setting("FAULT_ROUNDS", ROUNDS));
    let calls = calls_of_a_run(quick_repair, seed);
    let mut random = Random(seed);
    for round in 0..rounds {
        for number in chosen(&calls, rounds, &mut random) {
            let kind = calls[number];
            let ways = failures(kind);
            let failure = ways[(number + usize::try_from(round).unwrap()) % ways.len()];
            let goes_on = random.coin();
            let what = format!("call {number}, {kind:?}: {failure:?}, goes on: {goes_on}, FAULT_SEED={seed}");
            let fault = Fault { calls: number..number + 1, kinds: Kind::ALL, failure };
            within_patience(&what, case(Run::new(quick_repair, goes_on, seed), fault, random.next()));
        }
    }
    eprintln!("quick_repair {quick_repair}: {} calls, {rounds} rounds", calls.len());
}

#[test]
fn any_call_of_the_disk_may_fail() {
    every_call_fails_once(false);
}

#[test]
fn any_call_of_the_disk_may_fail_with_quick_repair() {
    every_call_fails_once(true);
}

/// Half of the calls that a run makes find the disk full; then there is space again.
#[test]
fn a_disk_that_was_full_takes_changes_again_without_a_new_start() {
    const MOMENTS: usize = 12;
    for quick_repair in [false, true] {
        let calls = calls_of_a_run(quick_repair, SEED).len();
        for number in (calls / 8..calls).step_by(calls / MOMENTS) {
            let failure = Failure::Whole(io::ErrorKind::StorageFull);
            let fault = Fault { calls: number..usize::MAX, kinds: Kind::CHANGES, failure };
            let what = format!("full from call {number} on, quick_repair {quick_repair}");
            within_patience(&what, full_for_a_while(Run::new(quick_repair, true, SEED), fault));
        }
    }
}

async fn full_for_a_while(mut run: Run, fault: Fault) {
    let Run { disk, caller, quick_repair, .. } = &mut run;
    let store = start(open_on(disk.clone(), *quick_repair).unwrap(), caller.clock()).unwrap();
    disk.set_fault(fault);
    let mut refused = 0;
    for _ in 0..3 * CALLS {
        let call = caller.next_call();
        let answer = caller.call(&*store, &call).await;
        assert!(
            matches!(answer, Ok(()) | Err(StorageError::Full { .. } | StorageError::Unavailable { .. })),
            "{call:?}: {answer:?}"
        );
        refused += usize::from(answer.is_err());
        look(&*store, disk, caller).await;
    }
    assert!(refused > 0);
    disk.set_fault(None);
    until_it_works(&*store).await;
    // None of the calls that were refused is there, and all the others are.
    assert_eq!(caller.read(&*store).await.unwrap(), caller.owed);
    for _ in 0..CALLS {
        let call = caller.next_call();
        caller.call(&*store, &call).await.unwrap();
    }
    assert_eq!(caller.read(&*store).await.unwrap(), caller.owed);
    store.close().await.unwrap();
    run.hold_to_account(run.disk.clone()).await;
}
