//! What a run measured, as it is kept: `results.json`. Everything else (table, page, comparison) is made from this.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::measure::MESSAGE_BYTES;

/// The layout of [`Results`] that this program writes and reads.
pub(super) const FORMAT: u32 = 2;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// When it began, `YYYY-MM-DDTHH:MM:SSZ`.
    pub(crate) started_at: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What it was asked to do.
    pub(crate) settings: Settings,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Name and version of everything measured: dcbench, redb, SQLite, …
    pub(crate) versions: BTreeMap<String, String>,
    /// What was seen of the durability that the lines state.
    pub(crate) durability: Vec<SyncCount>,
    /// What was measured, in the order of the plan.
    pub(crate) lines: Vec<Line>,
}

/// How the run was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Whether this was `--quick`: fewer lines, fewer rows, fewer rounds.
    pub(crate) quick: bool,
    /// Times each line was measured, in turns with all others of its workload.
    pub(crate) rounds: u32,
    /// Seconds of each measurement, not counting the warm-up.
    pub(crate) measured_seconds: f64,
    /// Seconds before it that are thrown away.
    pub(crate) warm_up_seconds: f64,
    /// How many messages are stored where that is what lines differ in.
    pub(crate) stored: Vec<u64>,
    /// Messages in the prepared community that the other lines are measured on.
    pub(crate) messages: u64,
    /// Bytes of text in a message.
    pub(crate) message_bytes: u64,
    /// The directory the stores were in.
    pub(crate) directory: String,
}

/// The machine, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// Operating system and kernel.
    pub(crate) system: String,
    /// The file system of the directory, with its mount options.
    pub(crate) file_system: String,
    /// The block device below it; `None` where it cannot be told.
    pub(crate) device: Option<String>,
    /// Load average over a minute when the run began: above 0.5, the figures are noisy.
    pub(crate) load_average: f64,
}

/// Syncs counted while a few changes were made one after the other, each waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SyncCount {
    /// Who made them.
    pub(crate) subject: Subject,
    /// Changes acknowledged.
    pub(crate) changes: u64,
    /// Calls of fsync, fdatasync and their like meanwhile; `None` where this system does not let them be counted.
    pub(crate) syncs: Option<u64>,
}

impl SyncCount {
    /// Whether each change had a sync of its own, as it must when each was waited for; `None` where that is not known.
    pub(crate) fn is_durable(&self) -> Option<bool> {
        self.syncs.map(|syncs| syncs >= self.changes)
    }
}

/// One line of the results: who did what under which circumstances, measured several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) what: What,
    /// The rounds, in the order they were made; empty if `failure` says why.
    pub(crate) rounds: Vec<Sample>,
    /// Why there are no rounds, or fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// What a line measures. Two runs can be compared where these are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct What {
    pub(crate) workload: Workload,
    pub(crate) subject: Subject,
    #[serde(flatten)]
    pub(crate) case: Case,
}

/// The circumstances; what does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// How the workload varies: `newest`, `deep`, `clean`, `killed`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<Variant>,
    /// Messages in the store when the run began; posts of the run come on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<u64>,
    /// Calls under way at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callers: Option<u32>,
    /// Channels that are posted to: a thousand evenly, fewer by Zipf's law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channels: Option<u32>,
    /// Messages in the channel that is read, or rows that are worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
    /// Open loop: calls begin at fixed times, this many hundredths of the subject's own closed-loop rate, and latency
    /// counts from the time a call should have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load_percent: Option<u32>,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// Operations that ended well in that time.
    pub(crate) operations: u64,
    /// Operations that were refused because too much was waiting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) refused: u64,
    /// How long one took.
    pub(crate) latency: Latency,
    /// F right before and after: synced 4 KiB overwrites per second, where the disk bounds what is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disk_rate: Option<f64>,
    /// Operations per commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) per_commit: Option<f64>,
    /// Bytes written to the block device meanwhile, by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_bytes: Option<u64>,
    /// Bytes of the keys and fields stored meanwhile, as the contract counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_bytes: Option<u64>,
    /// Bytes that the store's files take on disk at the end (allocated, not their length).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file_bytes: Option<u64>,
    /// Messages in the store at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<u64>,
    /// Most memory that the measuring process had.
    pub(crate) peak_memory_bytes: u64,
    /// Memory over time, in bytes, at even distances; only where that is what is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory_over_time: Vec<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Latencies in microseconds, from a histogram with three significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

macro_rules! named {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $about:literal])+ $variant:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
        pub(crate) enum $name {
            $(
                $(#[doc = $about])+
                #[serde(rename = $text)]
                #[value(name = $text)]
                $variant,
            )*
        }

        impl $name {
            /// What it is called on the command line and in results.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it is, in a sentence.
            pub(crate) fn about(self) -> &'static str {
                match self { $(Self::$variant => concat!($($about),+).trim_ascii(),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// What people do.
    Workload {
        /// 4 KiB over old data, synced: the disk's own limit, F.
        Disk = "disk",
        /// Post durable messages into stores of several sizes.
        Post = "post",
        /// Get messages by id.
        Read = "read",
        /// Read pages of 50 messages of channels' histories, while nobody posts.
        Scroll = "scroll",
        /// 95 % newest pages, 5 % posts, in channels of very different popularity (Zipf).
        Mixed = "mixed",
        /// Read pages of 50 while 64 callers post.
        Beside = "beside",
        /// Create a session, check it ten times, delete it.
        Login = "login",
        /// Find users by public key.
        Join = "join",
        /// Post at a fixed rate, alone and while a million sessions are swept.
        Sweep = "sweep",
        /// Post at a fixed rate, alone and while a channel of a million messages is deleted and reclaimed.
        Reclaim = "reclaim",
        /// Post and read history through the server, over loopback, in channels of very different popularity (Zipf).
        Http = "http",
        /// Import messages in bulk, which makes the stores of several sizes.
        Load = "load",
        /// Open a store that was closed, and one whose process was killed.
        Open = "open",
        /// Memory over time under mixed load.
        Memory = "memory",
    }
}

named! {
    /// Who does it.
    Subject {
        /// The disk itself.
        Disk = "disk",
        /// decentcom's store on redb.
        Redb = "redb",
        /// decentcom's store on SQLite.
        Sqlite = "sqlite",
        /// redb used directly for the same rows, as many per transaction as decentcom's store has per commit.
        RawRedb = "redb-raw",
        /// SQLite used directly (sqlx, prepared statements) for the same rows, as many per transaction.
        RawSqlite = "sqlite-raw",
        /// redb used directly, a transaction per call on a blocking thread: what one would otherwise write.
        PerCallRedb = "redb-per-call",
        /// SQLite used directly, a pool of connections and a transaction per call: what one would otherwise write.
        PerCallSqlite = "sqlite-per-call",
        /// The server's own handlers over a page that is held in memory.
        Held = "held",
        /// fjall, the same rows in the same batches; a build with the feature `engines`.
        Fjall = "fjall",
    }
}

named! {
    /// How a workload varies.
    Variant {
        /// The newest page, which decentcom's stores hold in memory once it was read.
        Newest = "newest",
        /// A page from anywhere in a channel.
        Deep = "deep",
        /// A page from anywhere in a channel, of a file that nobody has read since the machine was started.
        Cold = "cold",
        /// Without the other work.
        Alone = "alone",
        /// With the other work beside it.
        Together = "together",
        /// Posts.
        Posts = "posts",
        /// Pages of history.
        History = "history",
        /// Closed in good order.
        Clean = "clean",
        /// Killed while it was written to.
        Killed = "killed",
        /// Sessions that have expired.
        Sessions = "sessions",
    }
}

impl What {
    /// Whether each operation ends when it is on disk, so that F bounds it.
    pub(crate) fn is_durable(&self) -> bool {
        match self.workload {
            Workload::Post | Workload::Login | Workload::Sweep | Workload::Reclaim => true,
            Workload::Http => self.case.variant == Some(Variant::Posts),
            _ => false,
        }
    }
}

impl Line {
    /// Operations per second, of each round.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.rounds.iter().map(Sample::rate).collect()
    }

    /// Operations per second: the median of the rounds; `None` without any.
    pub(crate) fn rate(&self) -> Option<f64> {
        median(&self.rates())
    }

    /// The median over the rounds of something each has.
    pub(crate) fn median_of(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(&self.rounds.iter().map(of).collect::<Vec<_>>())
    }

    /// The median over the rounds of something that each may have; `None` where one has it not.
    pub(crate) fn median_if_any(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(&self.rounds.iter().map(of).collect::<Option<Vec<_>>>()?)
    }

    /// The largest over the rounds of something each has.
    pub(crate) fn worst_of(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        self.rounds.iter().map(of).max_by(f64::total_cmp)
    }
}

impl Sample {
    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// Operations per second, in those of the disk right before and after.
    pub(crate) fn in_f(&self) -> Option<f64> {
        Some(self.rate() / self.disk_rate?)
    }

    /// Bytes written to the device for each message posted.
    pub(crate) fn written_per_post(&self) -> Option<f64> {
        let posts = self.payload_bytes.filter(|bytes| *bytes > 0)? as f64 / MESSAGE_BYTES as f64;
        Some(self.device_bytes? as f64 / posts)
    }

    /// Bytes that the files take for each message in them.
    pub(crate) fn bytes_per_message(&self) -> Option<f64> {
        Some(self.file_bytes? as f64 / self.messages.filter(|messages| *messages > 0)? as f64)
    }
}

impl Results {
    /// The line that measures this.
    pub(crate) fn find(&self, workload: Workload, subject: Subject, case: &Case) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.what.workload == workload && line.what.subject == subject && line.what.case == *case)
    }

    /// The lines of a workload.
    pub(crate) fn of(&self, workload: Workload) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.what.workload == workload)
    }

    /// F: synced 4 KiB overwrites per second of this disk in this run.
    pub(crate) fn disk_rate(&self) -> Option<f64> {
        self.of(Workload::Disk).next()?.rate()
    }
}

/// The middle value, or the mean of the two in the middle; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}
