//! One call of the server's into the operating system fails, each in turn: the caller hears of it, nobody is lied to,
//! the server goes on, and everything acknowledged is there, also after a power cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use support::{
    Server, User,
    disk::{Dice, Disk, Fault, Image},
    power_cuts::{cut_the_power, moments, seed, wrongs_in},
    town::{Outcome, Town},
};

const SETTINGS: &[(&str, &str)] = &[("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "262144")];
/// The same without a log, for changes too large to be kept.
const UNLOGGED: &[(&str, &str)] = &[("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "262144"), ("DISK_LOG", "")];

/// Which of `calls` calls to fail: `usual` of them, or `FAULTS=1000`, or `FAULTS=all`.
fn chosen(calls: u64, usual: u64, dice: &mut Dice) -> Vec<u64> {
    let wanted = match std::env::var("FAULTS") {
        Ok(text) if text == "all" => calls,
        Ok(text) => text.parse().expect("FAULTS is a number or `all`"),
        Err(_) => usual,
    };
    let mut open = wanted.min(calls);
    let mut chosen = Vec::new();
    for nth in 1..=calls {
        if dice.below(calls - nth + 1) < open {
            chosen.push(nth);
            open -= 1;
        }
    }
    chosen
}

/// A client who does one of each, and how many of the calls failed.
struct Round<'a> {
    town: &'a Town,
    user: &'a User,
    channel: &'a str,
    /// What fails says that the disk is full.
    is_full: bool,
    failed: usize,
}

impl Round<'_> {
    async fn run(mut self, name: &str, large: usize) -> usize {
        let tokens = [0, 1, 2].map(|number| format!("{name}-{number}"));
        let [first, second, third] = &tokens;
        let posted = self.town.post(self.user, self.channel, first, "a small one").await;
        let posted = self.count(posted);
        let read = self.read().await;
        if let (Some(posted), Some(page)) = (&posted, self.count(read)) {
            assert_eq!(page["messages"][0]["id"], posted["id"], "what was acknowledged is seen");
        }
        let huge = self.town.post(self.user, self.channel, second, &"𝄞".repeat(large / 4)).await;
        let huge = self.count(huge);
        if let Some(id) = posted.as_ref().and_then(|it| it["id"].as_str()) {
            let edited = self.town.edit(self.user, self.channel, id, first, "another text").await;
            self.count(edited);
        }
        let renamed = self.town.rename(self.user, name).await;
        self.count(renamed);
        if let Some(id) = huge.as_ref().and_then(|it| it["id"].as_str()) {
            let deleted = self.town.delete(self.user, self.channel, id, second).await;
            self.count(deleted);
        }
        let last = self.town.post(self.user, self.channel, third, "the last one").await;
        self.count(last);
        self.failed
    }

    async fn read(&self) -> Outcome {
        let path = format!("/channels/{}/messages?limit=50", self.channel);
        match self.user.try_send(Method::GET, &path, Value::Null).await {
            Some(reply) if reply.status == StatusCode::OK => Outcome::Done(reply.body),
            Some(reply) => Outcome::Failed(reply.status),
            None => Outcome::Gone,
        }
    }

    fn count(&mut self, outcome: Outcome) -> Option<Value> {
        match outcome {
            Outcome::Done(body) => return Some(body),
            Outcome::Failed(StatusCode::INSUFFICIENT_STORAGE) if self.is_full => self.failed += 1,
            Outcome::Failed(StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE) if !self.is_full => {
                self.failed += 1
            }
            other => panic!("the server answers {other:?}"),
        }
        None
    }
}

/// A server whose calls are failed, opened again where that is what it takes.
struct Patient<'a> {
    town: &'a Town,
    backend: &'a str,
    settings: &'a [(&'a str, &'a str)],
    server: Server,
    user: User,
    channel: String,
    rounds: usize,
}

impl<'a> Patient<'a> {
    async fn new(town: &'a Town, backend: &'a str, settings: &'a [(&'a str, &'a str)]) -> Self {
        let server = town.disk.start(backend, settings);
        let user = town.log_in(&server, 0).await;
        let channel = town.general(&user).await;
        Self { town, backend, settings, server, user, channel, rounds: 0 }
    }

    /// How many calls failed.
    async fn round(&mut self, large: usize) -> usize {
        self.round_with(large, false).await
    }

    async fn round_with(&mut self, large: usize, is_full: bool) -> usize {
        self.rounds += 1;
        let round = Round { town: self.town, user: &self.user, channel: &self.channel, is_full, failed: 0 };
        round.run(&format!("round{}", self.rounds), large).await
    }

    async fn open_again(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.ended();
        self.server = self.town.disk.start(self.backend, self.settings);
        self.user = self.town.log_in(&self.server, 0).await;
    }

    /// Fails the `nth` call of a round that `fault` can happen to.
    async fn suffer(&mut self, nth: u64, fault: Fault, large: usize) -> bool {
        if fault == Fault::Full {
            self.open_again().await; // one commit without room costs its callers; a second one begins a mode that lasts
        }
        self.town.disk.order(nth, fault);
        let failed = self.round_with(large, fault == Fault::Full).await;
        let call = self.town.disk.failed();
        self.town.disk.order(0, fault);
        let what = format!("{} {fault:?}, call {nth} ({call:?})", self.backend);
        match call {
            Some(_) if fault == Fault::Short => {
                assert_eq!(failed, 0, "{what}: a short write is none of the caller's business")
            }
            Some(_) => assert!(failed <= 1, "{what} cost {failed} calls"),
            None => assert_eq!(failed, 0, "{what}: nothing failed below"),
        }
        let log = self.server.log();
        assert!(!log.contains("panicked"), "{what}:\n{log}");
        let after = self.round(10).await;
        assert_eq!(after, 0, "{what}: calls fail afterwards\n{}", self.server.log());
        call.is_some()
    }
}

/// Fails calls of rounds with a message of `large` bytes, `usual` for each kind of fault; answers how many failed.
async fn fail_one_call_after_the_other(patient: &mut Patient<'_>, large: usize, usual: u64) -> usize {
    let mut dice = Dice(seed());
    let mut failed = 0;
    patient.round(large).await;
    for fault in Fault::ALL {
        patient.town.disk.order(u64::MAX, fault);
        assert_eq!(patient.round(large).await, 0);
        let calls = patient.town.disk.counted();
        for nth in chosen(calls, usual, &mut dice) {
            failed += usize::from(patient.suffer(nth, fault, large).await);
        }
        eprintln!("{}: {fault:?} at {calls} calls of a round with {large} bytes", patient.backend);
    }
    failed
}

async fn a_call_that_fails_costs_one_request_and_nothing_acknowledged(backend: &str) {
    let town = Town::on(Disk::empty());
    let mut patient = Patient::new(&town, backend, SETTINGS).await;
    let failed = fail_one_call_after_the_other(&mut patient, 20_000, 12).await;
    assert!(failed >= 20, "only {failed} calls failed");
    patient.server.kill();

    let ledger = town.ledger();
    let records = town.disk.records();
    cut_the_power(backend, &ledger, (town.disk.before(), &records), (moments(30), 1), |end| end).await;
    assert_eq!(wrongs_in(&town.disk.root(), backend, &ledger, u64::MAX).await, Vec::<String>::new());
}

/// Four megabytes are more than SQLite lets its log grow before it writes it back, and make a redb file grow.
async fn a_call_that_fails_among_many_costs_nothing_acknowledged(backend: &str) {
    let town = Town::on(Disk::empty());
    let mut patient = Patient::new(&town, backend, UNLOGGED).await;
    fail_one_call_after_the_other(&mut patient, 990_000, 4).await;
    patient.server.kill();
    let ledger = town.ledger();
    assert_eq!(wrongs_in(&town.disk.root(), backend, &ledger, u64::MAX).await, Vec::<String>::new());
}

/// The system has in memory what it failed to write, so a restarted server reads it; only the power cut shows the truth.
async fn nothing_is_built_on_what_a_failed_sync_left_unwritten(backend: &str) {
    let town = Town::on(Disk::empty());
    let mut patient = Patient::new(&town, backend, SETTINGS).await;
    for token in ["first-0", "second-0", "third-0"] {
        town.disk.order(1, Fault::Unsynced);
        let posted = town.post(&patient.user, &patient.channel, token, "not on disk").await;
        assert!(matches!(posted, Outcome::Failed(_)), "{posted:?}");
        town.disk.order(0, Fault::Unsynced);
        patient.open_again().await;
        assert_eq!(patient.round(10).await, 0);
    }
    patient.server.kill();
    let records = town.disk.records();
    let disk = town.disk.before().distrustful();
    cut_the_power(backend, &town.ledger(), (disk, &records), (moments(25), 1), |end| end).await;
}

/// How many calls that `fault` can happen to a start on `image` makes.
fn calls_of_a_start(image: &Image, backend: &str, fault: Fault) -> u64 {
    let disk = Disk::holding(image);
    disk.order(u64::MAX, fault);
    disk.start(backend, SETTINGS).kill();
    disk.counted()
}

/// Starts a server that has its `nth` call fail. It works or stops and says why.
fn suffer_a_start(disk: &Disk, backend: &str, fault: Fault, nth: u64) {
    disk.order(nth, fault);
    let log = match disk.try_start(backend, SETTINGS) {
        Ok(server) => {
            let log = server.log();
            server.kill();
            log
        }
        Err(log) => {
            assert!(log.lines().any(|line| line.starts_with("decentcom-server: ")), "no reason is given:\n{log}");
            log
        }
    };
    assert!(!log.contains("panicked"), "{backend} {fault:?}, call {nth} ({:?}):\n{log}", disk.failed());
    disk.order(0, fault);
}

async fn a_call_that_fails_during_the_first_start_leaves_a_place_where_the_second_one_works(backend: &str) {
    let mut dice = Dice(seed());
    for fault in Fault::ALL {
        let calls = calls_of_a_start(&Image::default(), backend, fault);
        for nth in chosen(calls, 4, &mut dice) {
            let town = Town::on(Disk::empty());
            suffer_a_start(&town.disk, backend, fault, nth);
            let patient = Patient::new(&town, backend, SETTINGS).await;
            let posted = town.post(&patient.user, &patient.channel, "only-0", "one").await;
            assert!(posted.done().is_some(), "{fault:?}, call {nth}");
            patient.server.kill();
            let ledger = town.ledger();
            let last = town.disk.records().split_off(town.disk.records().len() - 1);
            let mut disk = town.disk.before();
            town.disk.records().iter().for_each(|record| disk.apply(&record.event));
            cut_the_power(backend, &ledger, (disk, &last), (1, 1), |end| end).await;
        }
    }
}

async fn a_call_that_fails_during_a_start_after_a_crash_costs_nothing_acknowledged(backend: &str) {
    let mut dice = Dice(seed());
    let town = Town::on(Disk::empty());
    let mut patient = Patient::new(&town, backend, SETTINGS).await;
    patient.round(20_000).await;
    patient.server.kill();
    let crashed = Image::of(&town.disk.root());
    let ledger = town.ledger();
    for fault in Fault::ALL {
        let calls = calls_of_a_start(&crashed, backend, fault);
        for nth in chosen(calls, 4, &mut dice) {
            let disk = Disk::holding(&crashed);
            suffer_a_start(&disk, backend, fault, nth);
            let wrongs = wrongs_in(&disk.root(), backend, &ledger, u64::MAX).await;
            assert_eq!(wrongs, Vec::<String>::new(), "{backend} {fault:?}, call {nth} of {calls}");
        }
    }
}

over_each_backend! {
    a_call_that_fails_during_a_start_after_a_crash_costs_nothing_acknowledged
    a_call_that_fails_during_the_first_start_leaves_a_place_where_the_second_one_works
    a_call_that_fails_costs_one_request_and_nothing_acknowledged
    a_call_that_fails_among_many_costs_nothing_acknowledged
    nothing_is_built_on_what_a_failed_sync_left_unwritten
}
