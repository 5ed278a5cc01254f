//! One measurement, in a process of its own.

mod background;
mod commits;
mod dataset;
mod held;
mod history;
mod http;
mod load;
mod login;
mod mixed;
mod opening;
mod pace;
mod post;
mod read;

use std::{
    fs::File,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use dcstore::Code;
use decentcom_server::storage::Backend;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use self::pace::{Span, Tally};
pub(super) use self::{
    dataset::{Dataset, MESSAGE_BYTES, TEXT_BYTES, text},
    history::History,
};
use super::{
    results::{Sample, Subject, Variant, What, Workload},
    watch::{device::Device, disk::Overwrites, memory},
};
use crate::failure::Failure;

/// What a process is told to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) what: What,
    #[serde(default)]
    pub(super) role: Role,
    /// Where the store is: an empty directory for this measurement alone, or that of a working copy.
    pub(super) directory: PathBuf,
    /// Where the prepared stores are, one per backend.
    pub(super) prepared: PathBuf,
    /// Messages in the working copy.
    #[serde(default)]
    pub(super) messages: u64,
    /// The number of a message that is not in it, nor any after it.
    #[serde(default)]
    pub(super) first_free: u64,
    pub(super) dataset: Dataset,
    pub(super) warm_up_seconds: f64,
    pub(super) measured_seconds: f64,
    /// How long the disk is measured before and after, together.
    pub(super) disk_seconds: f64,
    /// Calls per second of an open loop.
    #[serde(default)]
    pub(super) rate: Option<f64>,
    /// Rows that a raw engine writes in a transaction: as many as decentcom's store did.
    #[serde(default)]
    pub(super) rows_per_commit: Option<u64>,
}

/// What such a process is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// To measure.
    #[default]
    Measure,
    /// To make so many changes one after the other, while its syncs are counted.
    CountSyncs(u64),
    /// To write until it is killed.
    UntilKilled,
}

impl Task {
    /// Does it; answers what was seen, if it measures.
    pub(super) fn run(&self) -> Result<Option<Sample>, Failure> {
        memory::reset_peak();
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        match self.role {
            Role::Measure => self.measure(&runtime).map(Some),
            Role::CountSyncs(changes) => runtime.block_on(post::one_by_one(self, changes)).map(|()| None),
            Role::UntilKilled => runtime.block_on(post::until_killed(self)).map(|()| None),
        }
    }

    fn measure(&self, runtime: &Runtime) -> Result<Sample, Failure> {
        // The disk's pace changes by the minute, so it is measured right before and right after.
        // Not where the store is, whose files are counted.
        let mut disk = self.what.is_durable().then(|| Overwrites::prepare(&self.prepared)).transpose()?;
        let before = self.overwrites(&mut disk)?;
        let mut sample = match self.what.workload {
            Workload::Disk => self.disk()?,
            Workload::Post => post::measure(self, runtime)?,
            Workload::Read | Workload::Scroll | Workload::Join => read::measure(self, runtime)?,
            Workload::Mixed | Workload::Beside | Workload::Memory => mixed::measure(self, runtime)?,
            Workload::Login => login::measure(self, runtime)?,
            Workload::Sweep | Workload::Reclaim => background::measure(self, runtime)?,
            Workload::Http => http::measure(self, runtime)?,
            Workload::Load => load::measure(self)?,
            Workload::Open => opening::measure(self, runtime)?,
        };
        sample.peak_memory_bytes = memory::peak().unwrap_or_default();
        let both = before.zip(self.overwrites(&mut disk)?);
        sample.disk_rate = both.map(|(before, after)| (before.0 + after.0) / (before.1 + after.1));
        Ok(sample)
    }

    /// Synced overwrites, and the seconds that they took.
    fn overwrites(&self, disk: &mut Option<Overwrites>) -> Result<Option<(f64, f64)>, Failure> {
        let Some(disk) = disk else { return Ok(None) };
        let time = Duration::from_secs_f64(self.disk_seconds / 2.0);
        let (latencies, seconds) = disk.measure(time / 10, time)?;
        Ok(Some((latencies.len() as f64, seconds)))
    }

    fn disk(&self) -> Result<Sample, Failure> {
        let span = self.span();
        let (latencies, seconds) = Overwrites::prepare(&self.directory)?.measure(span.warm_up, span.measured)?;
        let latency = pace::latency(&latencies);
        Ok(Sample { seconds, operations: latencies.len(), latency, ..Sample::default() })
    }

    fn span(&self) -> Span {
        Span {
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            measured: Duration::from_secs_f64(self.measured_seconds),
        }
    }

    /// The backend of decentcom's own stores; of the engines used directly, the one whose files they use.
    fn backend(&self) -> Result<Backend, Failure> {
        backend_of(self.what.subject).ok_or_else(|| self.cannot())
    }

    /// This subject does not do this.
    fn cannot(&self) -> Failure {
        Failure::usage(format!("{} does not do `{}`", self.what.subject, self.what.workload))
    }

    /// Where the store of this measurement is.
    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// What a store that holds so many messages holds.
    fn history(&self) -> Result<History, Failure> {
        Ok(History { stored: self.what.case.stored.ok_or_else(|| self.cannot())? })
    }

    /// The store to be read: the working copy, or, where no number of messages is said, the prepared community. The operating
    /// system has all of it in memory, or, where that is to be measured, nothing: other lines leave it in any state.
    fn read_store(&self) -> Result<PathBuf, Failure> {
        let path = if self.what.case.stored.is_some() { self.store() } else { self.dataset_store()? };
        let mut file = File::open(&path)?;
        match self.what.case.variant {
            Some(Variant::Cold) => {
                file.sync_all()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(std::io::Error::from)?;
            }
            _ => drop(std::io::copy(&mut file, &mut std::io::sink())?),
        }
        Ok(path)
    }

    /// The prepared community, to be read where it is.
    fn dataset_store(&self) -> Result<PathBuf, Failure> {
        Ok(Prepared::Dataset.path(&self.prepared, self.backend()?))
    }

    /// A prepared store, copied to be written to.
    fn own_copy(&self, of: Prepared) -> Result<PathBuf, Failure> {
        let own = self.store();
        std::fs::copy(of.path(&self.prepared, self.backend()?), &own)?;
        rustix::fs::sync(); // so that the copy is not written while something else is measured
        Ok(own)
    }
}

/// A store that is made once for many measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    /// A community with a past.
    Dataset,
    /// One with many sessions that have expired.
    Sessions,
}

impl Prepared {
    /// Where it is.
    pub(super) fn path(self, directory: &Path, backend: Backend) -> PathBuf {
        let name = match self {
            Self::Dataset => "dataset",
            Self::Sessions => "sessions",
        };
        directory.join(format!("{name}.{}", backend.name()))
    }
}

pub(super) fn backend_of(subject: Subject) -> Option<Backend> {
    match subject {
        Subject::Redb | Subject::RawRedb | Subject::PerCallRedb | Subject::Held => Some(Backend::Redb),
        Subject::Sqlite | Subject::RawSqlite | Subject::PerCallSqlite => Some(Backend::Sqlite),
        Subject::Disk | Subject::Fjall => None,
    }
}

/// Runs `writing`, which closes what it writes to, and notes what that cost the disk, and what the store has grown to.
/// `payload` are the bytes of one operation.
fn with_disk(
    task: &Task,
    runtime: &Runtime,
    payload: u64,
    writing: impl Future<Output = Result<Tally, Failure>>,
) -> Result<Sample, Failure> {
    let device = Device::under(&task.directory);
    let counted = || {
        rustix::fs::sync();
        device.as_ref().and_then(Device::counters)
    };
    let before = counted();
    let tally = runtime.block_on(writing)?;
    let after = counted();
    let mut sample = tally.sample();
    sample.device_bytes =
        before.zip(after).map(|(before, after)| after.bytes_written.saturating_sub(before.bytes_written));
    sample.payload_bytes = Some(tally.ever * payload);
    sample.file_bytes = Some(allocated(&task.directory)?);
    sample.messages = Some(task.messages + tally.ever);
    Ok(sample)
}

/// Bytes that the files in a directory, and those below, take on disk.
pub(super) fn allocated(directory: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    const UNIT: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { allocated(&entry.path())? } else { metadata.blocks() * UNIT };
    }
    Ok(bytes)
}

/// What went wrong that is no failure of a store.
fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Io, error.to_string())
}
