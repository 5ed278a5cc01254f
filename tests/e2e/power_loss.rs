//! A power cut at any moment: what was acknowledged is there, all else is there wholly or not at all.
//!
//! A library below the built server logs what it does to its files. Afterwards every moment of the log can be
//! the one at which the power goes: the disk is put together as it may look then, and opened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;
use support::{
    disk::{Dice, Disk, Image, Loss},
    ledger::Ledger,
    power_cuts::{cut_the_power, moments, seed},
    town::Town,
};

/// Writers in the crowd.
const WRITERS: u64 = 6;
/// Bytes of the larger messages; many pages.
const LARGE: usize = 60_000;
const SETTINGS: &[(&str, &str)] = &[("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "100000")];

/// Three servers, one after the other: one is killed among six writers, one stops in good order, one is killed.
///
/// A kill between a call and its record leaves a log that lacks what the next server finds on disk. That is rare, and
/// such a log proves nothing: it is thrown away.
async fn three_servers(backend: &str) -> Town {
    for _ in 0..10 {
        if let Some(town) = try_three_servers(backend).await {
            return town;
        }
    }
    panic!("each of ten logs lacks something that was written: that is no accident");
}

/// What the log lacks of the files as they are.
fn missing_in_the_log(disk: &Disk) -> Vec<String> {
    let mut model = disk.before();
    disk.records().iter().for_each(|record| model.apply(&record.event));
    model.after_power_cut(Loss::Nothing, &mut Dice(0)).differences(&Image::of(&disk.root()))
}

async fn try_three_servers(backend: &str) -> Option<Town> {
    let town = Arc::new(Town::on(Disk::empty()));
    let server = town.disk.start(backend, SETTINGS);
    let admin = town.log_in(&server, 0).await;
    let general = town.general(&admin).await;
    town.live_and_die(&admin, "early").await.unwrap();
    town.write(&admin, &general, "alone", 4, LARGE).await.unwrap();
    let mut writing = Vec::new();
    for seed in 1..=WRITERS {
        let (town, channel) = (town.clone(), general.clone());
        let user = town.log_in(&server, seed).await;
        writing.push(tokio::spawn(async move {
            town.write(&user, &channel, &format!("crowd{seed}"), usize::MAX, 3000).await
        }));
    }
    let enough = town.told() + 100;
    while town.told() < enough {
        assert!(writing.iter().all(|writer| !writer.is_finished()), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    for writer in writing {
        writer.await.unwrap();
    }
    if !missing_in_the_log(&town.disk).is_empty() {
        return None;
    }

    let server = town.disk.start(backend, SETTINGS);
    let admin = town.log_in(&server, 0).await;
    town.write(&admin, &general, "second", 6, LARGE).await.unwrap();
    town.live_and_die(&admin, "middle").await.unwrap();
    let leaving = town.log_in(&server, 1).await;
    town.log_out(&leaving).await.done().unwrap();
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());

    let server = town.disk.start(backend, SETTINGS);
    let admin = town.log_in(&server, 0).await;
    town.write(&admin, &general, "third", 4, 3000).await.unwrap();
    server.kill();
    Some(Arc::into_inner(town).unwrap())
}

async fn what_was_acknowledged_survives_a_power_cut_at_any_moment(backend: &str) {
    let town = three_servers(backend).await;
    let ledger = town.ledger();
    assert!(ledger.told() > 100);
    let records = town.disk.records();
    cut_the_power(backend, &ledger, (town.disk.before(), &records), (moments(40), 1), |end| end).await;
}

/// Each of the moments in which a database comes into being.
async fn a_power_cut_during_the_first_start_leaves_a_place_where_the_second_one_works(backend: &str) {
    const CREATION: usize = 30;
    let disk = Disk::empty();
    disk.start(backend, SETTINGS).kill();
    let (records, mut ledger) = (disk.records(), Ledger::default());
    ledger.ask(0, "channel general", Some(""));
    let creation = &records[..records.len().min(CREATION)];
    let tried = cut_the_power(backend, &ledger, (disk.before(), creation), (CREATION, 6), |end| end).await;
    assert!(tried.moments > 10);
}

async fn a_power_cut_while_a_start_mends_the_last_one_loses_nothing_either(backend: &str) {
    let town = three_servers(backend).await;
    let ledger = town.ledger();
    let records = town.disk.records();
    let mut disk = town.disk.before();
    let mut dice = Dice(seed());
    let step = (records.len() / moments(6)).max(1);
    for chunk in records.chunks(step) {
        chunk.iter().for_each(|record| disk.apply(&record.event));
        let cut = chunk.last().unwrap().end;
        let loss = Loss::ALL[dice.below(Loss::ALL.len() as u64) as usize];
        let second = Disk::holding(&disk.after_power_cut(loss, &mut dice));
        second.start(backend, SETTINGS).kill();
        let mending = second.records();
        cut_the_power(backend, &ledger, (second.before(), &mending), (4, 1), |_| cut).await;
    }
}

/// Otherwise the other tests would prove nothing.
async fn the_log_has_everything_the_servers_did(backend: &str) {
    let town = three_servers(backend).await;
    assert_eq!(missing_in_the_log(&town.disk), Vec::<String>::new());
}

over_each_backend! {
    a_power_cut_during_the_first_start_leaves_a_place_where_the_second_one_works
    a_power_cut_while_a_start_mends_the_last_one_loses_nothing_either
    what_was_acknowledged_survives_a_power_cut_at_any_moment
    the_log_has_everything_the_servers_did
}
