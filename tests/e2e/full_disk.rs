//! A disk that is really full: a mode in which changes are refused with 507 at once, while reads, log-outs and deletions
//! go on, and which ends by itself; nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use support::{
    Server, User,
    disk::{Disk, Image},
    metrics::METERED,
    power_cuts::wrongs_in,
    small_disk::SmallDisk,
    town::{Outcome, Town},
};

const MIB: usize = 1024 * 1024;
/// Texts of some length fill a disk sooner.
const SETTINGS: &[(&str, &str)] = &[("DECENTCOM_CONTENT__MAX_MESSAGE_LENGTH", "100000"), METERED];
/// What the log says when the mode begins and when it ends.
const BEGINS: &str = "the disk is full; free some space";
const ENDS: &str = "the disk has room again";
/// How long anything may take to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a small disk, an admin with a log-in, and everything that anybody was told.
struct House {
    town: Town,
    disk: SmallDisk,
    server: Server,
    admin: User,
    channel: String,
}

impl House {
    async fn on(disk: SmallDisk, backend: &str, settings: &[(&str, &str)]) -> Self {
        let town = Town::on(Disk::empty());
        let server = disk.try_start(backend, settings).unwrap();
        let admin = town.log_in(&server, 0).await;
        let channel = town.general(&admin).await;
        Self { town, disk, server, admin, channel }
    }

    /// The next start on the same disk; log-ins go on.
    async fn restarted(self, signal: Signal, backend: &str, settings: &[(&str, &str)]) -> Self {
        let Self { town, disk, server, admin, channel } = self;
        server.signal(signal);
        let (status, log) = server.wait();
        assert!(signal == Signal::KILL || status.success(), "it stops in good order: {log}");
        let server = disk.try_start(backend, settings).unwrap_or_else(|log| panic!("no start on a full disk:\n{log}"));
        let admin = admin.at(&server);
        Self { town, disk, server, admin, channel }
    }

    async fn post(&self, token: &str, length: usize) -> Outcome {
        self.town.post(&self.admin, &self.channel, token, &"z".repeat(length)).await
    }

    /// Posts until the disk is full; answers how long each of some refusals took.
    async fn post_until_refused(&self, writer: &str, length: usize) -> Vec<Duration> {
        let mut refusals = Vec::new();
        for number in 0..10_000 {
            let began = Instant::now();
            match self.post(&format!("{writer}-{number}"), length).await {
                Outcome::Done(_) => refusals.clear(),
                Outcome::Failed(StatusCode::INSUFFICIENT_STORAGE) => refusals.push(began.elapsed()),
                other => panic!("{other:?}\n{}", self.server.log()),
            }
            if refusals.len() == 20 {
                return refusals;
            }
        }
        panic!("the disk does not become full");
    }

    /// Posts until one is taken.
    async fn post_until_taken(&self, writer: &str) {
        let began = Instant::now();
        for number in 0.. {
            if self.post(&format!("{writer}-{number}"), 10).await.done().is_some() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{} free\n{}", self.disk.free(), self.server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The same beside somebody who posts all the time and is taken, or is refused.
    async fn median_read_beside_posts(&self, writer: &str, are_taken: bool) -> Duration {
        let posting = async {
            for number in 0.. {
                let posted = self.post(&format!("{writer}-{number}"), 10).await;
                assert_eq!(matches!(posted, Outcome::Done(_)), are_taken, "{posted:?}");
            }
        };
        tokio::select! {
            median = self.median_read() => median,
            () = posting => unreachable!("somebody posts for ever"),
        }
    }

    /// How long reads of old pages take, half of them; every one is answered.
    async fn median_read(&self) -> Duration {
        let newest = self.admin.get(&format!("/channels/{}/messages?limit=3", self.channel)).await;
        let before = newest["messages"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        let path = format!("/channels/{}/messages?limit=20&before={before}", self.channel);
        let mut times = Vec::new();
        for number in 0..60 {
            let path = if number % 3 == 0 { "/members" } else { &path };
            let began = Instant::now();
            let reply = self.admin.try_send(Method::GET, path, Value::Null).await.expect("the server is up");
            assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
            times.push(began.elapsed());
        }
        times.sort();
        times[times.len() / 2]
    }

    async fn log_out_works(&self, user: &User) {
        let out = self.town.log_out(user).await;
        assert!(matches!(out, Outcome::Done(_)), "{out:?}, {} free\n{}", self.disk.free(), self.server.log());
        let reply = user.try_send(Method::GET, "/members", Value::Null).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "logged out");
    }

    async fn deleting_works(&self, id: &str, token: &str) {
        let deleted = self.town.delete(&self.admin, &self.channel, id, token).await;
        assert!(matches!(deleted, Outcome::Done(_)), "{deleted:?}, {} free\n{}", self.disk.free(), self.server.log());
    }

    async fn begins_in_the_mode(&self) {
        let began = Instant::now();
        while self.logged(BEGINS) == 0 {
            assert!(began.elapsed() < PATIENCE, "{} free\n{}", self.disk.free(), self.server.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.logged(BEGINS), 1, "{}", self.server.log());
    }

    /// What the metrics and the health say of the disk is so, at the latest when it was looked at once more.
    async fn is_shown_as_full(&self, is_full: bool) {
        let ready = reqwest::get(self.server.url("/health/ready")).await.unwrap();
        let said = (ready.status() == StatusCode::OK, ready.text().await.unwrap());
        assert_eq!((!said.0, said.1.contains("disk is full")), (is_full, is_full), "{}", said.1);
        let is_free = |said: f64| (said - self.disk.free() as f64).abs() <= 64.0 * 1024.0;
        self.server
            .until(|it| {
                it.value("decentcom_storage_full", &[]) == f64::from(u8::from(is_full))
                    && is_free(it.value("decentcom_storage_free_bytes", &[]))
            })
            .await;
    }

    /// How often a line of the log has this.
    fn logged(&self, text: &str) -> usize {
        self.server.log().lines().filter(|line| line.contains(text)).count()
    }

    async fn everything_acknowledged_is_there(self, backend: &str) {
        let log = self.server.log();
        assert!(!log.contains("panicked"), "{log}");
        self.server.kill();
        let copy = tempfile::tempdir().unwrap();
        Image::of(&self.disk.root()).write_to(copy.path());
        assert_eq!(wrongs_in(copy.path(), backend, &self.town.ledger(), u64::MAX).await, Vec::<String>::new());
    }
}

fn id_of(message: Option<Value>) -> String {
    message.expect("posted")["id"].as_str().unwrap().to_owned()
}

async fn a_full_disk_is_a_mode_that_ends_by_itself(backend: &str) {
    let disk = SmallDisk::of(16 * MIB);
    disk.add_ballast(6 * MIB);
    let house = House::on(disk, backend, SETTINGS).await;
    let guest = house.town.log_in(&house.server, 1).await;
    let unwanted = id_of(house.post("unwanted-0", 10).await.done());
    for number in 0..30 {
        assert!(house.post(&format!("early-{number}"), 1000).await.done().is_some());
    }
    let usual = house.median_read_beside_posts("usual", true).await;

    house.post_until_refused("large", 50_000).await;
    let mut refusals = house.post_until_refused("small", 10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    refusals.extend(house.post_until_refused("later", 10).await);
    assert_eq!((house.logged(BEGINS), house.logged(ENDS)), (1, 0), "{}", house.server.log());
    refusals.sort();
    assert!(refusals[20] < Duration::from_millis(100), "refused at once: {refusals:?}");
    let said =
        house.admin.try_send(Method::PATCH, "/profile", serde_json::json!({ "display_name": "x" })).await.unwrap();
    assert_eq!(said.status, StatusCode::INSUFFICIENT_STORAGE, "{}", said.body);
    assert!(said.body["error"].as_str().unwrap().contains("disk is full"), "{}", said.body);

    house.is_shown_as_full(true).await;
    house.server.says("not ready").await;
    let lines = house.server.log().lines().count();
    let reads = house.median_read_beside_posts("beside", false).await;
    eprintln!("{backend}: reads beside posts that are taken {usual:?}, beside posts that are refused {reads:?}");
    assert!(reads < usual * 3 + Duration::from_millis(50), "reads take {reads:?}, before {usual:?}");
    house.post_until_refused("beside-large", 90_000).await;
    house.is_shown_as_full(true).await;
    house.log_out_works(&guest).await;
    house.deleting_works(&unwanted, "unwanted-0").await;
    assert_eq!(house.server.log().lines().count(), lines, "no line for a request:\n{}", house.server.log());
    assert_eq!((house.logged(BEGINS), house.logged(ENDS)), (1, 0), "{}", house.server.log());

    house.disk.drop_ballast();
    house.post_until_taken("again").await;
    house.is_shown_as_full(false).await;
    for number in 0..10 {
        assert!(house.post(&format!("space-{number}"), 50_000).await.done().is_some(), "{}", house.server.log());
    }
    house.server.says(ENDS).await;
    assert_eq!((house.logged(BEGINS), house.logged(ENDS)), (1, 1), "{}", house.server.log());
    house.everything_acknowledged_is_there(backend).await;
}

async fn to_the_last_byte_log_outs_and_deletions_go_on_also_after_a_restart(backend: &str) {
    let house = House::on(SmallDisk::of(16 * MIB), backend, SETTINGS).await;
    let mut guests = Vec::new();
    for number in 1..=24 {
        guests.push(house.town.log_in(&house.server, number).await);
    }
    let mut unwanted = Vec::new();
    for number in 0..24 {
        unwanted.push(id_of(house.post(&format!("unwanted-{number}"), 20_000).await.done()));
    }
    let doomed = house.town.open_channel(&house.admin, "doomed").await.done().unwrap();
    for number in 0..10 {
        let posted =
            house.town.post(&house.admin, doomed["id"].as_str().unwrap(), &format!("doomed-{number}"), "x").await;
        assert!(posted.done().is_some());
    }
    for number in 0..5 {
        assert!(house.post(&format!("kept-{number}"), 10).await.done().is_some());
    }
    house.disk.fill();
    house.post_until_refused("full", 10).await;
    let mut house = house;
    let (mut guests, mut unwanted) = (guests.iter(), unwanted.iter().enumerate());
    for signal in [None, Some(Signal::KILL), Some(Signal::TERM), Some(Signal::KILL)] {
        if let Some(signal) = signal {
            house = house.restarted(signal, backend, SETTINGS).await;
            house.begins_in_the_mode().await;
        }
        house.median_read().await;
        for _ in 0..6 {
            house.log_out_works(&guests.next().unwrap().at(&house.server)).await;
            let (number, id) = unwanted.next().unwrap();
            house.deleting_works(id, &format!("unwanted-{number}")).await;
        }
        house.post_until_refused(&format!("still-{signal:?}"), 10).await;
    }
    let closed = house.town.close_channel(&house.admin, doomed["id"].as_str().unwrap(), "doomed", "doomed").await;
    assert!(matches!(closed, Outcome::Done(_)), "{closed:?}\n{}", house.server.log());
    // Now there is nothing at all, not even what was kept in reserve.
    house.disk.fill();
    house.median_read().await;
    house.post_until_refused("nothing", 10).await;
    house.disk.drop_ballast();
    house.post_until_taken("again").await;
    house.everything_acknowledged_is_there(backend).await;
}

/// The store itself fills the disk up to what is to stay free; then somebody else takes all of that, twice.
async fn what_others_take_of_a_full_disk_is_not_the_reserve(backend: &str) {
    let disk = SmallDisk::of(16 * MIB);
    disk.add_ballast(6 * MIB);
    let house = House::on(disk, backend, SETTINGS).await;
    let guest = house.town.log_in(&house.server, 1).await;
    let mut unwanted = Vec::new();
    for number in 0..26 {
        unwanted.push(id_of(house.post(&format!("unwanted-{number}"), 5_000).await.done()));
    }
    house.post_until_refused("large", 50_000).await;
    house.begins_in_the_mode().await;
    house.disk.fill();
    tokio::time::sleep(Duration::from_millis(1500)).await; // it looks at the disk meanwhile
    house.log_out_works(&guest).await;
    for (number, id) in unwanted.iter().take(6).enumerate() {
        house.deleting_works(id, &format!("unwanted-{number}")).await;
    }

    house.disk.fill();
    house.median_read().await;
    let lines = house.server.log().lines().count();
    let mut refused = 0;
    for (number, id) in unwanted.iter().enumerate().skip(6) {
        let deleted = house.town.delete(&house.admin, &house.channel, id, &format!("unwanted-{number}")).await;
        refused += match deleted {
            Outcome::Done(_) => 0,
            Outcome::Failed(StatusCode::INSUFFICIENT_STORAGE) => 1,
            other => panic!("{other:?}\n{}", house.server.log()),
        };
    }
    house.median_read().await;
    let more = house.server.log().lines().count() - lines;
    eprintln!("{backend}: with the reserve taken too, {refused} of 20 deletions refused, {more} lines in the log");
    assert!(more <= 8, "a line for a change of state, not for each request:\n{}", house.server.log());
    house.everything_acknowledged_is_there(backend).await;
}

async fn what_is_to_stay_free_stays_free_whoever_takes_it(backend: &str) {
    let settings = &[SETTINGS[0], ("DECENTCOM_STORAGE__MIN_FREE", "5")];
    let house = House::on(SmallDisk::of(24 * MIB), backend, settings).await;
    let guest = house.town.log_in(&house.server, 1).await;
    assert!(house.post("before-0", 10).await.done().is_some());
    let spare = usize::try_from(house.disk.free()).unwrap() - 4 * MIB;
    house.disk.add_ballast(spare);
    house.post_until_refused("somebody-else", 10).await;
    assert!(house.disk.free() > 3 * MIB as u64, "{} free", house.disk.free());
    house.log_out_works(&guest).await;
    house.disk.drop_ballast();
    house.post_until_taken("again").await;
    house.post_until_refused("itself", 50_000).await;
    assert!(house.disk.free() > 4 * MIB as u64, "{} free", house.disk.free());
    house.everything_acknowledged_is_there(backend).await;
}

async fn a_disk_used_to_its_end_takes_as_much_as_fits_and_goes_on(backend: &str) {
    let settings = &[SETTINGS[0], ("DECENTCOM_STORAGE__MIN_FREE", "0")];
    let disk = SmallDisk::of(12 * MIB);
    disk.add_ballast(4 * MIB);
    let house = House::on(disk, backend, settings).await;
    let guest = house.town.log_in(&house.server, 1).await;
    let unwanted = id_of(house.post("unwanted-0", 10).await.done());
    house.post_until_refused("large", 90_000).await;
    house.median_read().await;
    house.log_out_works(&guest).await;
    house.deleting_works(&unwanted, "unwanted-0").await;
    let house = house.restarted(Signal::KILL, backend, settings).await;
    house.median_read().await;
    house.disk.drop_ballast();
    house.post_until_taken("again").await;
    house.everything_acknowledged_is_there(backend).await;
}

/// A limit on file sizes is met like a full disk; the signal that comes with it ends nobody.
async fn a_file_that_may_not_grow_is_a_full_disk(backend: &str) {
    let disk = SmallDisk::of(64 * MIB);
    let server = disk.try_start_after("ulimit -f 8192", backend, SETTINGS).unwrap();
    let town = Town::on(Disk::empty());
    let admin = town.log_in(&server, 0).await;
    let channel = town.general(&admin).await;
    let house = House { town, disk, server, admin, channel };
    house.post_until_refused("large", 90_000).await;
    house.median_read().await;
    house.everything_acknowledged_is_there(backend).await;
}

async fn a_first_start_without_room_leaves_nothing_and_the_next_one_works(backend: &str) {
    let disk = SmallDisk::of(8 * MIB);
    disk.fill();
    let log = disk.try_start(backend, SETTINGS).err().expect("no store can be made");
    assert!(log.contains("there is no room for a new one") && log.contains("Free some disk space"), "{log}");
    let left: Vec<_> = std::fs::read_dir(disk.root()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["ballast"]);
    disk.drop_ballast();
    let house = House::on(disk, backend, SETTINGS).await;
    assert!(house.post("first-0", 10).await.done().is_some());
    house.everything_acknowledged_is_there(backend).await;
}

/// A file system that has room and can hold no more files.
async fn without_inodes_a_first_start_says_so(backend: &str) {
    let disk = SmallDisk::with("size=64m,nr_inodes=16");
    let mut number = 0;
    while std::fs::write(disk.root().join(format!("file-{number}")), "").is_ok() {
        number += 1;
    }
    let log = disk.try_start(backend, SETTINGS).err().expect("no store can be made");
    assert!(log.contains("inodes") && !log.contains("backup"), "{log}");
    for number in 0..number {
        std::fs::remove_file(disk.root().join(format!("file-{number}"))).unwrap();
    }
    let house = House::on(disk, backend, SETTINGS).await;
    assert!(house.post("first-0", 10).await.done().is_some());
    house.everything_acknowledged_is_there(backend).await;
}

over_each_backend! {
    a_full_disk_is_a_mode_that_ends_by_itself
    to_the_last_byte_log_outs_and_deletions_go_on_also_after_a_restart
    what_others_take_of_a_full_disk_is_not_the_reserve
    what_is_to_stay_free_stays_free_whoever_takes_it
    a_disk_used_to_its_end_takes_as_much_as_fits_and_goes_on
    a_file_that_may_not_grow_is_a_full_disk
    a_first_start_without_room_leaves_nothing_and_the_next_one_works
    without_inodes_a_first_start_says_so
}
