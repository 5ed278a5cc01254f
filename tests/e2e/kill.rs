//! SIGKILL, or SIGTERM, in the middle of 64 clients over HTTP: whatever was acknowledged is there after the restart,
//! nothing is there by half, and the files are whole.
//!
//! `cargo test -p decentcom-server --test kill -- --rounds 1000` for a long run, `--seed N` for the moments of an earlier
//! one; KILL_ROUNDS and KILL_SEED say the same where arguments are in the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[path = "kill/found.rs"]
mod found;
#[path = "kill/ledger.rs"]
mod ledger;
mod support;
#[path = "kill/writers.rs"]
mod writers;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libtest_mimic::{Arguments, Trial};
use rustix::process::Signal;
use support::{Server, User, files};

use self::{
    ledger::Ledger,
    writers::{Cast, write_until_the_server_is_gone},
};

const BACKENDS: [&str; 2] = ["sqlite", "redb"];
const ROUNDS: u64 = 20;
/// Rounds that end with SIGTERM.
const TERM_ROUNDS: u64 = 4;
const WRITERS: u64 = 64;
/// Milliseconds that a server lives from its first write on.
const LIFE: std::ops::Range<u64> = 150..400;
/// Rounds after which a long run begins anew, so that it does not spend its time on reading what it has proved.
const ROUNDS_PER_STORE: u64 = 20;
/// Long enough for the slowest machine, short enough to tell a hang.
const PATIENCE_PER_ROUND: Duration = Duration::from_secs(60);

fn main() {
    let mut others = Vec::new();
    let mut given = std::env::args();
    let (mut rounds, mut seed) = (variable("KILL_ROUNDS"), variable("KILL_SEED"));
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--rounds" => rounds = Some(number("--rounds", &given.next().unwrap_or_default())),
            "--seed" => seed = Some(number("--seed", &given.next().unwrap_or_default())),
            _ => others.push(argument),
        }
    }
    let rounds = rounds.unwrap_or(ROUNDS);
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64);
    eprintln!("{rounds} rounds per backend, moments from seed {seed}");
    let trials = BACKENDS.into_iter().flat_map(|backend| {
        [
            trial(backend, "every_acknowledged_change_survives_sigkill_under_64_clients", Death::Kill, rounds, seed),
            trial(backend, "sigterm_under_64_clients_loses_nothing_and_refuses_nobody", Death::Term, TERM_ROUNDS, seed),
        ]
    });
    libtest_mimic::run(&Arguments::from_iter(others), trials.collect()).exit();
}

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Kill,
    Term,
}

fn trial(backend: &'static str, name: &str, death: Death, rounds: u64, seed: u64) -> Trial {
    Trial::test(format!("{backend}::{name}"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let patience = PATIENCE_PER_ROUND * u32::try_from(rounds).unwrap();
        let run = every_acknowledged_change_survives(death, backend, rounds, seed);
        runtime.block_on(async { tokio::time::timeout(patience, run).await.expect("a round hangs") });
        Ok(())
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| number(name, &text))
}

fn number(name: &str, text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {text:?}"))
}

/// Random enough to spread the moments of death.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let micros = (LIFE.end - LIFE.start) * 1000;
        Duration::from_millis(LIFE.start) + Duration::from_micros((self.0 >> 20) % micros)
    }
}

async fn every_acknowledged_change_survives(death: Death, backend: &str, rounds: u64, seed: u64) {
    let mut moments = Moments(seed);
    let (mut acknowledged, mut completed) = (0, 0);
    for first in (0..rounds).step_by(ROUNDS_PER_STORE as usize) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::default());
        let keys = Arc::new(AtomicU64::new(1000));
        let mut server = Server::start(directory.path(), backend);
        let mut users: Vec<User> = Vec::new();
        for seed in 0..8 {
            users.push(server.log_in(seed).await);
            ledger.somebody_logged_in(users.last().unwrap());
        }
        let general = users[0].channel("general").await;
        ledger.told_anew(ledger::Kind::Channel, &general, "general");
        for round in first..rounds.min(first + ROUNDS_PER_STORE) {
            let life = moments.next();
            let place = format!("{backend}, seed {seed}, round {round}, {death:?} after {life:?}");
            let cast = |number: u64| Cast {
                number,
                round,
                user: users[number as usize % users.len()].at(&server),
                stranger: server.stranger(0),
                general: general.clone(),
                ledger: ledger.clone(),
                keys: keys.clone(),
            };
            let writing: Vec<_> =
                (0..WRITERS).map(|it| tokio::spawn(write_until_the_server_is_gone(cast(it)))).collect();
            tokio::time::sleep(life).await;
            while !ledger.is_worth_a_crash() {
                tokio::time::sleep(Duration::from_millis(1)).await; // a slow machine
            }
            match death {
                Death::Kill => server.kill(),
                Death::Term => {
                    server.signal(Signal::TERM);
                    let (status, log) = tokio::task::spawn_blocking(|| server.wait()).await.unwrap();
                    assert_eq!(status.code(), Some(0), "{place}: {log}");
                    assert!(!log.contains("did not finish in time"), "{place}: {log}");
                }
            }
            for writer in writing {
                writer.await.unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            // A copy of what lies on disk, so that the server below meets the files as the crash left them.
            let findings = files::verify_copy(directory.path(), backend);
            assert_eq!(findings, [], "{place}");

            server = Server::start(directory.path(), backend);
            let found = found::read(&users[0].at(&server), &ledger).await;
            completed += ledger.settle(&found, &place);
        }
        acknowledged += ledger.acknowledged();
        if rounds > ROUNDS_PER_STORE {
            eprintln!("{backend}: {} of {rounds} rounds, {acknowledged} changes", first + ROUNDS_PER_STORE);
        }
    }
    eprintln!(
        "{backend}, {death:?}: {rounds} rounds, {acknowledged} acknowledged changes, none lost; {completed} more were stored \
         whose answers were cut off"
    );
}
