//! What it costs writers that `dcstore` looks into the store they write to.
//!
//! `cargo bench -p decentcom-tools --bench beside [-- MESSAGES SECONDS]`. Posts come at half the rate that the store can take,
//! at fixed times, whether or not those before are answered (an open loop: latency counts from the intended start). First
//! alone, then while `dcstore` runs one command after the other, then alone again. Everything is durable. Prints what it
//! measured, with its settings: quote ratios.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)] // a measuring program

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use decentcom_server::storage::{
    self, Backend, ChannelId, RedbOptions, Storage, StorageError, StorageOptions, SystemClock, UserId,
};
use tokio::sync::Mutex;

const CALLERS: u64 = 64;
const CHANNELS: usize = 100;
const TEXT: &str =
    "a message of about a hundred bytes, as people write them to each other in a channel on some evening";
const COMMANDS: [&[&str]; 4] = [&["dump"], &["verify"], &["stats"], &["scan", "messages", "--search", "no such text"]];

struct Community {
    store: Arc<dyn Storage>,
    user: UserId,
    channels: Vec<ChannelId>,
    next: AtomicU64,
}

impl Community {
    /// Answers whether there was room in the queue.
    async fn post(&self) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        match self.store.create_message(&self.channels[number % CHANNELS].text(), &self.user.text(), TEXT).await {
            Ok(_) => true,
            Err(StorageError::Unavailable { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(300_000);
    let time = Duration::from_secs(numbers.next().unwrap_or(10));
    let directory = tempfile::tempdir_in(".").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for backend in [Backend::Sqlite, Backend::Redb] {
        runtime.block_on(measure(backend, &directory.path().join(backend.name()), messages, time));
    }
}

async fn measure(backend: Backend, path: &Path, messages: u64, time: Duration) {
    let redb = RedbOptions { inspection_socket: true, ..RedbOptions::default() };
    let options = StorageOptions { backend, path: path.into(), redb, min_free: Default::default() };
    let store = storage::open(&options, Arc::new(SystemClock)).await.unwrap();
    let user = store.create_user("key", None).await.unwrap().id;
    let mut channels = Vec::new();
    for number in 0..CHANNELS {
        channels.push(store.create_channel(&number.to_string(), None, 0).await.unwrap().id);
    }
    let community = Arc::new(Community { store: store.clone(), user, channels, next: AtomicU64::new(0) });
    let began = Instant::now();
    closed_loop(&community, move |posted| posted < messages).await;
    let most = messages as f64 / began.elapsed().as_secs_f64();
    let rate = most / 2.0;
    println!(
        "{}: {messages} messages; at most {most:.0} posts/s by {CALLERS} callers; now {rate:.0}/s for {time:?} a line",
        backend.name()
    );
    println!("{:<34} {:>9} {:>9} {:>9} {:>9} {:>8}", "", "posts/s", "p50", "p99", "worst", "refused");
    open_loop("alone", &community, rate, time).await;
    for command in COMMANDS {
        let stop = Arc::new(AtomicBool::new(false));
        let tool = std::thread::spawn({
            let (address, stop) = (format!("{}:{}", backend.name(), path.display()), stop.clone());
            move || run_again_and_again(command, &address, &stop)
        });
        open_loop(&format!("beside dcstore {}", command[0]), &community, rate, time).await;
        stop.store(true, Ordering::Relaxed);
        let (runs, longest) = tokio::task::spawn_blocking(|| tool.join().unwrap()).await.unwrap();
        println!("{:<34} {runs} runs, the longest {longest:.1?}", "");
    }
    open_loop("alone again", &community, rate, time).await;
    store.close().await.unwrap();
}

/// Posts by many callers, each as soon as its last post is answered.
async fn closed_loop(community: &Arc<Community>, go_on: impl Fn(u64) -> bool + Copy + Send + 'static) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let community = community.clone();
            tokio::spawn(async move {
                while go_on(community.next.load(Ordering::Relaxed)) {
                    community.post().await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// Posts at fixed times.
async fn open_loop(name: &str, community: &Arc<Community>, rate: f64, time: Duration) {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let mut posts = Vec::new();
    let count = (rate * time.as_secs_f64()) as u64;
    for number in 0..count {
        let intended = began + Duration::from_secs_f64(number as f64 / rate);
        if intended > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(intended.into()).await;
        }
        let (community, latencies) = (community.clone(), latencies.clone());
        posts.push(tokio::spawn(async move {
            if community.post().await {
                latencies.lock().await.push(intended.elapsed());
            }
        }));
    }
    for post in posts {
        post.await.unwrap();
    }
    let mut latencies = std::mem::take(&mut *latencies.lock().await);
    let achieved = latencies.len() as f64 / began.elapsed().as_secs_f64();
    let refused = count - latencies.len() as u64;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("{name:<34} {achieved:>9.0} {:>9.1?} {:>9.1?} {:>9.1?} {refused:>8}", at(0.5), at(0.99), at(1.0));
}

fn run_again_and_again(command: &[&str], address: &str, stop: &AtomicBool) -> (u32, Duration) {
    let (mut runs, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut tool = Command::new(env!("CARGO_BIN_EXE_dcstore"));
        tool.arg(command[0]).arg(address).args(&command[1..]).stdout(Stdio::null());
        assert!(tool.arg("--quiet").status().unwrap().code().is_some_and(|code| code < 2));
        longest = longest.max(began.elapsed());
        runs += 1;
    }
    (runs, longest)
}
