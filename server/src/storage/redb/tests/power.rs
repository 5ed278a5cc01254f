//! Power loss. A run is logged once; then the power is cut at a moment of the log, what no sync had followed is lost,
//! kept or torn, the file is opened again, and everything in it is held against what the callers had been told.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use decentcom_kvstore::{Options, Store, redb::Database};
use sha2::{Digest as _, Sha256};

use super::{
    super::{SCHEMA, inspect, open_error},
    disk::{Disk, Event, Fate, Platter},
    random::{Random, setting},
    start,
    workload::{Call, Caller, Contents, a_clock},
};
use crate::storage::{OpenError, Storage};

/// `POWER_CUTS=20000 POWER_SEED=7 cargo test -p decentcom-server --lib power -- --nocapture` for a long run.
const CUTS: u64 = 120;
const SEED: u64 = 1;

/// Small, so that pages leave the cache and are written before their commit.
const CACHE_BYTES: usize = 64 * 1024;

pub(super) fn open_on(disk: Disk, quick_repair: bool) -> Result<Store, OpenError> {
    let options = Options { cache_bytes: CACHE_BYTES, quick_repair, progress: |_| {} };
    options.open_over(disk, &SCHEMA).map_err(|error| open_error(Path::new(":disk:"), error))
}

/// What the store owes a caller after each of its acknowledged calls, and the newest id it was told.
type History = Vec<(Contents, String)>;

/// A run with its log.
struct Run {
    /// What was on the disk before it.
    before: Vec<u8>,
    log: Vec<Event>,
    callers: Vec<Caller>,
    histories: Vec<History>,
    quick_repair: bool,
}

/// Makes the calls of one caller, one after the other.
async fn make_calls(
    store: Arc<dyn Storage>,
    disk: Disk,
    number: usize,
    mut caller: Caller,
    calls: usize,
) -> (Caller, History) {
    let mut history = History::new();
    for _ in 0..calls {
        let call: Call = caller.next_call();
        caller.call(&*store, &call).await.unwrap();
        disk.acknowledge(number);
        history.push((caller.owed.clone(), caller.newest_id()));
    }
    (caller, history)
}

/// Lets callers work at the same time, closes the store half-way and opens it again.
async fn record(callers: usize, calls: usize, seed: u64, quick_repair: bool) -> Run {
    let disk = Disk::default();
    let clock = a_clock();
    let mut callers: Vec<_> =
        (0..callers).map(|number| Caller::new(&format!("caller {number}"), &clock, seed + number as u64)).collect();
    if let [_, _, ..] = callers[..] {
        callers.iter_mut().for_each(|caller| caller.moves_clock = false);
    }
    let mut histories: Vec<History> = vec![vec![(Contents::default(), String::new())]; callers.len()];
    for _ in 0..2 {
        clock.advance(Duration::from_millis(2));
        let store = start(open_on(disk.clone(), quick_repair).unwrap(), clock.clone()).unwrap();
        let tasks: Vec<_> = callers
            .drain(..)
            .enumerate()
            .map(|(number, caller)| tokio::spawn(make_calls(store.clone(), disk.clone(), number, caller, calls / 2)))
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            let (caller, history) = task.await.unwrap();
            callers.push(caller);
            histories[number].extend(history);
        }
        store.close().await.unwrap();
    }
    Run { before: Vec::new(), log: disk.log(), callers, histories, quick_repair }
}

/// Opens what the disk held and holds it against what had been acknowledged.
async fn check(run: &Run, image: Vec<u8>, acknowledged: &[usize]) {
    let disk = Disk::holding(image);
    let store = open_on(disk.clone(), run.quick_repair).unwrap();
    let mut findings = Vec::new();
    inspect::check(&store, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
    let store = start(store, a_clock()).unwrap();
    let mut newest = String::new();
    for ((caller, history), count) in run.callers.iter().zip(&run.histories).zip(acknowledged) {
        let found = caller.read(&*store).await.unwrap();
        let (owed, newest_of_caller) = &history[*count];
        newest = newest.max(newest_of_caller.clone());
        let underway = history.get(count + 1);
        assert!(
            found == *owed || underway.is_some_and(|(underway, _)| found == *underway),
            "{}: found {found:#?}, owed {owed:#?}, or perhaps {underway:#?}",
            caller.name
        );
    }
    // Goes on, with ids above all that anybody ever saw.
    let user = store.create_user("late", None).await.unwrap();
    assert!(*user.id.text() > *newest, "{} is no larger than {newest}", user.id);
    assert_eq!(store.list_users().await.unwrap().last(), Some(&user));
}

/// Cuts the power before each event that `is_chosen` chooses.
async fn cut(run: &Run, seed: u64, fates: usize, mut is_chosen: impl FnMut(usize) -> bool) -> usize {
    let mut platter = Platter::holding(run.before.clone());
    let mut acknowledged = vec![0; run.callers.len()];
    let mut random = Random(seed);
    let mut seen = HashSet::new();
    let mut cuts = 0;
    for (moment, event) in run.log.iter().map(Some).chain([None]).enumerate() {
        // A cut after an acknowledgement asks for more than one before it.
        if !matches!(event, Some(Event::Acknowledged(_))) && is_chosen(moment) {
            let first = random.below(Fate::ALL.len());
            for fate in Fate::ALL.into_iter().cycle().skip(if fates < Fate::ALL.len() { first } else { 0 }).take(fates)
            {
                let image = platter.after_power_loss(fate, &mut random);
                // The same bytes that owe the same need no second look.
                if seen.insert((Sha256::digest(&image), acknowledged.clone())) {
                    let _context = Context { moment, fate, seed };
                    check(run, image, &acknowledged).await;
                    cuts += 1;
                }
            }
        }
        match event {
            Some(Event::Acknowledged(caller)) => acknowledged[*caller] += 1,
            Some(event) => platter.advance(event),
            None => {}
        }
    }
    cuts
}

/// Says where a check failed.
struct Context {
    moment: usize,
    fate: Fate,
    seed: u64,
}

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { moment, fate, seed } = self;
            eprintln!("the power was cut before event {moment}; unsynced writes: {fate:?}; POWER_SEED={seed}");
        }
    }
}

async fn cut_everywhere(quick_repair: bool) {
    let run = record(1, 40, SEED, quick_repair).await;
    let cuts = cut(&run, SEED, Fate::ALL.len(), |_| true).await;
    eprintln!("quick_repair {quick_repair}: {} events, {cuts} files", run.log.len());
}

#[tokio::test]
async fn power_may_fail_at_any_moment_of_a_run_with_calls_of_every_kind() {
    cut_everywhere(false).await;
}

#[tokio::test]
async fn power_may_fail_at_any_moment_with_quick_repair() {
    cut_everywhere(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_may_fail_under_callers_that_share_commits() {
    let (seed, cuts) = (setting("POWER_SEED", SEED), setting("POWER_CUTS", CUTS));
    for quick_repair in [false, true] {
        let run = record(8, 60, seed, quick_repair).await;
        let mut random = Random(seed);
        let moments: BTreeSet<_> = (0..cuts).map(|_| random.below(run.log.len() + 1)).collect();
        let cuts = cut(&run, seed, 1, |moment| moments.contains(&moment)).await;
        eprintln!("quick_repair {quick_repair}: {} events, {cuts} files, POWER_SEED={seed}", run.log.len());
    }
}

/// Opens a file that a power loss left and works on it: the run of a second start.
async fn start_again(first: &Run, image: Vec<u8>) -> Run {
    let disk = Disk::holding(image.clone());
    let clock = a_clock();
    clock.advance(Duration::from_secs(1)); // so that ids lost with the power are not given out again
    let store = start(open_on(disk.clone(), first.quick_repair).unwrap(), clock.clone()).unwrap();
    let mut run = Run { before: image, log: Vec::new(), callers: Vec::new(), histories: Vec::new(), ..*first };
    for caller in &first.callers {
        let found = caller.read(&*store).await.unwrap();
        run.callers.push(caller.clone());
        run.histories.push(vec![(found, String::new())]); // what was found once stays
    }
    let late = Caller::new("caller after", &clock, SEED);
    let (late, history) = make_calls(store.clone(), disk.clone(), run.callers.len(), late, 6).await;
    run.callers.push(late);
    run.histories.push([vec![(Contents::default(), String::new())], history].concat());
    drop(store);
    run.log = disk.log();
    assert!(Database::builder().create_with_backend(disk).unwrap().check_integrity().unwrap());
    run
}

#[tokio::test]
async fn power_may_fail_again_while_the_store_recovers_and_goes_on() {
    let seed = setting("POWER_SEED", SEED);
    let mut random = Random(seed);
    let mut cuts = 0;
    for quick_repair in [false, true] {
        let first = record(2, 40, seed, quick_repair).await;
        for _ in 0..setting("POWER_CUTS", CUTS) / 30 {
            let mut platter = Platter::default();
            // Past the creation of the file, which the other tests cut.
            let moment = first.log.len() / 4 + random.below(first.log.len() * 3 / 4);
            first.log[..moment].iter().for_each(|event| platter.advance(event));
            let image = platter.after_power_loss(Fate::Sectors, &mut random);
            let second = start_again(&first, image).await;
            cuts += cut(&second, random.next(), 2, |_| true).await;
        }
    }
    eprintln!("{cuts} files, POWER_SEED={seed}");
}
