//! What sharing a commit is worth: durable posts by many callers, against the same posts each in a transaction of its own.
//!
//! `cargo bench -p decentcom-server --bench group_commit [-- SECONDS]`. Prints what it measured, with its settings. The
//! disk's own rate (4 KiB overwritten and synced) is measured in the same run: quote ratios, not times.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)] // a measuring program

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use decentcom_server::storage::{self, Backend, ChannelId, RedbOptions, Storage, StorageOptions, SystemClock, UserId};
use tokio::sync::Mutex;

const CHANNELS: usize = 1000;
const TEXT: &str =
    "a message of about a hundred bytes, as people write them to each other in a channel on some evening";

fn main() {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(2.0);
    let time = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir_in(".").unwrap();
    let disk = disk_rate(directory.path(), time);
    println!("disk: {disk:.0} synced 4 KiB overwrites a second (F); {seconds} s a line; {CHANNELS} channels; durable");
    println!("{:<8} {:>8} {:<24} {:>10} {:>7} {:>10} {:>10}", "backend", "callers", "", "posts/s", "xF", "p50", "p99");
    for backend in [Backend::Sqlite, Backend::Redb] {
        runtime.block_on(async {
            let options =
                StorageOptions { backend, path: directory.path().join(backend.name()), redb: RedbOptions::default() };
            let store = storage::open(&options, Arc::new(SystemClock)).await.unwrap();
            let user = store.create_user("key", None).await.unwrap().id;
            let mut channels = Vec::new();
            for number in 0..CHANNELS {
                channels.push(store.create_channel(&number.to_string(), None, 0).await.unwrap().id);
            }
            let channels: Arc<[ChannelId]> = channels.into();
            let mut rates = Vec::new();
            for (callers, alone) in [(1, false), (64, true), (64, false)] {
                let (rate, latencies) = post(&store, user, &channels, callers, alone, time).await;
                let how = if alone { "a transaction per call" } else { "group commit" };
                let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
                let (name, times_f) = (backend.name(), rate / disk);
                println!(
                    "{name:<8} {callers:>8} {how:<24} {rate:>10.0} {times_f:>7.2} {:>10.0?} {:>10.0?}",
                    at(0.5),
                    at(0.99)
                );
                rates.push(rate);
            }
            println!("{:<8} 64 callers by group commit are {:.1} times as fast", backend.name(), rates[2] / rates[1]);
            store.close().await.unwrap();
        });
    }
}

/// Posts for `time`; answers posts a second and the sorted latencies. `alone` lets one call at a time into the store.
async fn post(
    store: &Arc<dyn Storage>,
    user: UserId,
    channels: &Arc<[ChannelId]>,
    callers: usize,
    alone: bool,
    time: Duration,
) -> (f64, Vec<Duration>) {
    let turn = Arc::new(Mutex::new(()));
    let start = Instant::now();
    let posting: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, channels, turn) = (store.clone(), channels.clone(), turn.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut number = caller * 131;
                while start.elapsed() < time {
                    let began = Instant::now();
                    let _turn = if alone { Some(turn.lock().await) } else { None };
                    number += 7919;
                    store.create_message(&channels[number % CHANNELS], &user, TEXT).await.unwrap();
                    latencies.push(began.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in posting {
        latencies.extend(caller.await.unwrap());
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    (rate, latencies)
}

/// How often a second the disk takes 4 KiB over old data, synced.
fn disk_rate(directory: &Path, time: Duration) -> f64 {
    const BLOCKS: u64 = 256;
    let file = OpenOptions::new().write(true).create_new(true).open(directory.join("disk")).unwrap();
    file.write_all_at(&[1; 4096 * BLOCKS as usize], 0).unwrap();
    file.sync_all().unwrap();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        file.write_all_at(&[2; 4096], count % BLOCKS * 4096).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}
