//! Letting the power go, over and over: what the disk may hold afterwards is opened and held against the ledger.

use std::{path::Path, sync::Arc, time::Instant};

use decentcom_server::storage::{
    self, Backend, ManualClock, RedbOptions, StorageOptions, Timestamp, inspect::verify_file,
};

use super::{
    disk::{Dice, Image, Loss, PowerModel, Record},
    ledger::Ledger,
};

/// How many moments to try: `usual`, or `POWER_CUTS=1000`, or `POWER_CUTS=all` of a log.
pub(crate) fn moments(usual: usize) -> usize {
    match std::env::var("POWER_CUTS") {
        Ok(text) if text == "all" => usize::MAX,
        Ok(text) => text.parse().expect("POWER_CUTS is a number or `all`"),
        Err(_) => usual,
    }
}

/// What chance depends on: 1, or `POWER_SEED`.
pub(crate) fn seed() -> u64 {
    std::env::var("POWER_SEED").ok().map_or(1, |text| text.parse().expect("POWER_SEED is a number"))
}

/// What one series of power cuts came to.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(crate) moments: usize,
    pub(crate) images: usize,
}

/// Lets the power go after `moments` of the `records`, each as likely as any other, with every kind of loss, `often`
/// times for those that depend on chance. `told_by` makes of a record's end the moment up to which the ledger's
/// acknowledgements count.
pub(crate) async fn cut_the_power(
    backend: &str,
    ledger: &Ledger,
    (mut disk, records): (PowerModel, &[Record]),
    (moments, often): (usize, usize),
    told_by: impl Fn(u64) -> u64,
) -> Tried {
    let mut dice = Dice(seed());
    let mut tried = Tried::default();
    let began = Instant::now();
    for (number, record) in records.iter().enumerate() {
        disk.apply(&record.event);
        let (open, left) = (moments.min(records.len()) - tried.moments, records.len() - number);
        if dice.below(left as u64) >= open as u64 {
            continue;
        }
        tried.moments += 1;
        let mut seen = Vec::new();
        let more = [Loss::Writes, Loss::Sectors].into_iter().cycle().take(2 * (often - 1));
        for loss in Loss::ALL.into_iter().chain(more) {
            let image = disk.after_power_cut(loss, &mut dice);
            if seen.contains(&image) {
                continue;
            }
            let wrongs = wrongs_of(&image, backend, ledger, told_by(record.end)).await;
            assert!(
                wrongs.is_empty(),
                "{backend}, seed {}, power cut after record {number} of {} ({:?}), losing {loss:?}:\n{}",
                seed(),
                records.len(),
                record.event,
                wrongs.join("\n")
            );
            tried.images += 1;
            seen.push(image);
        }
    }
    eprintln!("{backend}: {} records, {tried:?}, nothing lost, {:.1?}", records.len(), began.elapsed());
    tried
}

/// Opens what a power cut left and holds it against what the ledger knows at `cut`. Answers what is wrong.
pub(crate) async fn wrongs_of(image: &Image, backend: &str, ledger: &Ledger, cut: u64) -> Vec<String> {
    // In memory where that goes: this is only read back, so nothing of it needs to reach a disk.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    image.write_to(directory.path());
    wrongs_in(directory.path(), backend, ledger, cut).await
}

/// The same for a directory in which a server ran.
pub(crate) async fn wrongs_in(directory: &Path, backend: &str, ledger: &Ledger, cut: u64) -> Vec<String> {
    let path = directory.join(format!("data/decentcom.{backend}"));
    let backend = if backend == "redb" { Backend::Redb } else { Backend::Sqlite };
    let options =
        StorageOptions { backend, path: path.clone(), redb: RedbOptions::default(), min_free: Default::default() };
    // The clock's battery went, too: only what the store remembers can keep ids increasing.
    let clock = Arc::new(ManualClock::at(Timestamp::MIN));
    let store = match storage::open(&options, clock).await {
        Ok(store) => store,
        Err(error) => return vec![format!("it does not open: {error}")],
    };
    let mut wrongs = ledger.wrongs(&ledger.contents(store.as_ref()).await, cut);
    match store.create_channel("after-the-cut", None, 0).await {
        Ok(channel) if *channel.id.text() > *ledger.newest_id(cut) => {}
        Ok(channel) => wrongs.push(format!("the next id is {}, after {}", channel.id, ledger.newest_id(cut))),
        Err(error) => wrongs.push(format!("it takes no changes: {error}")),
    }
    if let Err(error) = store.close().await {
        wrongs.push(format!("it does not close: {error}"));
    }
    let verified = verify_file(backend, &path, |finding| wrongs.push(finding.to_string()));
    wrongs.extend(verified.err().map(|error| error.to_string()));
    wrongs
}
