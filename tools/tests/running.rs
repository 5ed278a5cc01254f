//! Beside a store that is open and being written to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use decentcom_server::storage::Backend;
use support::*;

for_each_backend! {
    dumps_and_copies_are_of_one_moment
}

/// A writer posts numbers, one after the other, to two channels by turns. Whatever a dump has, it has all before it.
fn dumps_and_copies_are_of_one_moment(backend: Backend) {
    let place = Place::new();
    let store = place.store(backend, "store");
    large_store(backend, &place.path("store"), 5000, 100);
    let runtime = runtime();
    let open = runtime.block_on(opened(backend, &place.path("store")));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = runtime.spawn({
        let (open, stop) = (open.clone(), stop.clone());
        async move {
            let user = open.list_users().await.unwrap()[0].id;
            let first = open.create_channel("first", None, 0).await.unwrap().id;
            let second = open.create_channel("second", None, 0).await.unwrap().id;
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let channel = if number % 2 == 0 { first } else { second };
                open.create_message(&channel.text(), &user.text(), &format!("number {number}")).await.unwrap();
                number += 1;
            }
            number
        }
    });
    let mut seen = 0;
    for round in 0..3 {
        let dump = place.text(&format!("dump-{round}"));
        let said = expect(0, &["dump", &store, "-o", &dump]).err;
        assert!(said.contains("one moment"), "{said}");
        let text = std::fs::read_to_string(&dump).unwrap();
        let numbers: Vec<usize> = text
            .lines()
            .filter_map(|line| line.split_once(r#""content":"number "#)?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
        assert!(numbers.len() >= seen);
        seen = numbers.len();
        let loaded = place.store(other(backend), &format!("loaded-{round}"));
        expect(0, &["load", &loaded, &dump]);
        expect(1, &["diff", &loaded, &store]);
    }
    expect(0, &["copy", &store, &place.store(other(backend), "copied")]);
    expect(0, &["checksum", &store]);
    expect(3, &["load", &store, &place.text("dump-0"), "--skip-existing"]);
    stop.store(true, Ordering::Relaxed);
    let written = runtime.block_on(writer).unwrap();
    assert!(seen > 0 && written >= seen);
    runtime.block_on(close(&open));
}
