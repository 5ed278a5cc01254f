//! Every command and option, in one place: parsing, `--help`, completions and the manual page read this.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{address::Address, times::Zone};

/// See into a decentcom store, check it, repair it, move it.
///
/// A STORE is `redb:PATH` or `sqlite:PATH`, where PATH is the database file, or `config:FILE`, where FILE is the server's
/// configuration, which names the database file. `--config FILE` in place of the first STORE means the same.
///
/// Only load, copy (of its second store), verify --repair --yes, ids --lower --yes and compact change a store. The others
/// leave every byte as it is, of a store left by a crash too.
///
/// The server may be running: info, stats, get, scan, dump, checksum, diff, verify and copying from it work beside it.
/// load, compact, copying to it, a repair and ids --lower need it stopped.
#[derive(Parser)]
#[command(
    name = "dcstore",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  dcstore info redb:data/decentcom.redb                     what is this, and is it well?
  dcstore scan --config decentcom.toml messages --search breakfast
  dcstore dump sqlite:data/decentcom.sqlite -o backup.ndjson.zst
  dcstore load redb:new.redb backup.ndjson.zst              and back, into either backend
  dcstore copy sqlite:data/decentcom.sqlite redb:data/decentcom.redb
  dcstore verify redb:data/decentcom.redb --repair          says what it would do; --yes does it

Exit codes:
    0  fine                             4  damaged, or no store at all
    1  findings, differences, no row    5  written by a newer version
    2  wrong usage                      6  input/output error, or no such file
    3  in use by another process      130  interrupted (Ctrl-C)
That whoever reads the results goes away, as in `dcstore … | head`, is no failure: 0, or 1 for what was found by then."
)]
pub struct Cli {
    /// No progress, no remarks: results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// What the store is: backend, format, sizes, how it was left, who has it open.
    Info(Info),
    /// How much is in it: rows and bytes per table, the largest rows, messages per channel and day.
    Stats(Stats),
    /// Show one record or index entry.
    Get(Get),
    /// Show, search or count the records of a table, or the entries of an index, in key order.
    Scan(Scan),
    /// Write the whole store, as of one moment, in a format that any backend can load.
    Dump(Dump),
    /// Fill a store from a dump.
    Load(Load),
    /// Copy a store, to the same or another backend; goes on where an interrupted copy stopped.
    Copy(Copy),
    /// A hash per table of what it holds, the same for every backend.
    Checksum(Checksum),
    /// The records that differ between two stores.
    Diff(Diff),
    /// Check file, pages, records, indexes, references and times; --repair mends indexes.
    Verify(Verify),
    /// Give unused space back to the file system. The server must be stopped.
    Compact(Compact),
    /// The largest id ever given out; --lower takes it back to the largest one in use.
    Ids(Ids),
    /// The tables, keys, records and indexes of a backend.
    Schema(Schema),
    /// Completions for a shell; or the manual page, with `man`.
    Completions(Completions),
}

/// `dcstore info`
#[derive(Args)]
pub struct Info {
    /// The store.
    pub store: Address,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore stats`
#[derive(Args)]
pub struct Stats {
    /// The store.
    pub store: Address,
    /// How many of the largest rows, channels and days to name.
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore get`
#[derive(Args)]
pub struct Get {
    /// The store.
    pub store: Address,
    /// The table or index, such as `messages`; `dcstore stats STORE` lists them.
    pub table: String,
    /// The key: an id, a name, a digest, or enough of its beginning; `/` between the parts of an index's key.
    pub key: String,
    /// Show the bytes, and what each of them means.
    #[arg(long)]
    pub raw: bool,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore scan`
#[derive(Args)]
#[command(after_help = "\
Examples:
  dcstore scan redb:data/decentcom.redb messages --channel general --reverse --limit 20     the newest
  dcstore scan redb:data/decentcom.redb messages --since 2024-12-31 --search breakfast
  dcstore scan redb:data/decentcom.redb messages --since 2h --tz Europe/Berlin
  dcstore scan redb:data/decentcom.redb users --format json | jq .display_name

Names stand beside ids, for people. JSON has the fields of the store, and times in UTC.

A damaged row is shown as such, whatever was asked for, and makes the exit code 1; --raw shows its bytes.")]
pub struct Scan {
    /// The store.
    pub store: Address,
    /// The table or index, such as `messages`; `dcstore stats STORE` lists them.
    pub table: String,
    /// Only keys that begin so.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Only keys from this on.
    #[arg(long)]
    pub from: Option<String>,
    /// Only keys before this.
    #[arg(long)]
    pub to: Option<String>,
    /// From the last key down.
    #[arg(long)]
    pub reverse: bool,
    /// Pass over so many of those that would be shown.
    #[arg(long, default_value_t = 0)]
    pub skip: u64,
    /// Show at most so many.
    #[arg(long)]
    pub limit: Option<u64>,
    /// Only say how many there are.
    #[arg(long)]
    pub count: bool,
    /// Only messages of this channel: its id or its name.
    #[arg(long)]
    pub channel: Option<String>,
    /// Only messages of this author: an id or a public key.
    #[arg(long)]
    pub author: Option<String>,
    /// Only what was created at this time or later: `2024-12-31`, `2024-12-31T23:59:59` (also with `Z` or `+01:00`), so long
    /// ago (`2h`, `3d`), `today`, `yesterday`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what was created before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The zone of times that are read and, for people, shown: `Europe/Berlin`, `+02:00`, `local`.
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    pub tz: Zone,
    /// Only records with this text in them, in upper or lower case.
    #[arg(long)]
    pub search: Option<String>,
    /// Show the bytes, and what each of them means; with `--format json` just the bytes, in hexadecimal.
    #[arg(long)]
    pub raw: bool,
    /// For people, or an object a line.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore dump`
#[derive(Args)]
pub struct Dump {
    /// The store.
    pub store: Address,
    /// Where to; compressed if the name ends in `.zst`. Without it, or as `-`, to the terminal or pipe.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Only these tables.
    #[arg(long, value_delimiter = ',', conflicts_with = "exclude")]
    pub only: Vec<String>,
    /// All tables but these.
    #[arg(long, value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// Log-ins too. Their digests log nobody in, but say who was here when.
    #[arg(long)]
    pub include_sessions: bool,
    /// Replace texts, names and public keys by fillers of the same length, so that the dump can go into a bug report.
    #[arg(long)]
    pub redact_content: bool,
    /// Leave out rows that are damaged, and name them, instead of stopping at the first.
    #[arg(long)]
    pub skip_damaged: bool,
    /// Only `ndjson` can be loaded.
    #[arg(long, value_enum, default_value_t)]
    pub format: DumpFormat,
    /// In CSV, leave cells as they are that a spreadsheet would run as a formula, instead of an apostrophe before them.
    #[arg(long)]
    pub raw_formulas: bool,
}

/// `dcstore load`
#[derive(Args)]
pub struct Load {
    /// The store; made if it is not there.
    pub store: Address,
    /// The dump, compressed or not; `-` is standard input.
    pub file: PathBuf,
    /// Into a store that has records: those it has already stay as they are.
    #[arg(long)]
    pub skip_existing: bool,
    /// Check the dump, say what would be loaded, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `dcstore copy`
#[derive(Args)]
pub struct Copy {
    /// The store to read.
    pub from: Address,
    /// The store to make.
    pub to: Address,
}

/// `dcstore checksum`
#[derive(Args)]
pub struct Checksum {
    /// The store.
    pub store: Address,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore diff`
#[derive(Args)]
pub struct Diff {
    /// One store.
    pub one: Address,
    /// The other.
    pub other: Address,
    /// Leave out this table, such as `sessions`; can be given several times.
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    pub exclude: Vec<String>,
    /// For people, or an object a line.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore verify`
#[derive(Args)]
#[command(after_help = "\
What it looks at: the file, its pages, whether every record can be read, whether indexes and records agree, whether
what is referred to exists, whether ids and times are in order. Without --yes, nothing is changed.

With --repair --yes, a copy of the files is kept first, beside them. Lost or damaged records do not come back: for those
there are backups, and `dcstore dump --skip-damaged` to save the rest.

Exit codes: 0 nothing wrong, or all of it mended; 1 something is wrong; 4 so damaged that it does not open")]
pub struct Verify {
    /// The store.
    pub store: Address,
    /// Say what would mend the store (indexes are made anew from the records), and what nothing can mend.
    #[arg(long)]
    pub repair: bool,
    /// Do it, after keeping a copy of the files. The server must be stopped.
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// For people, or an object a line.
    #[arg(long, value_enum, default_value_t)]
    pub format: TextOrJson,
}

/// `dcstore compact`
#[derive(Args)]
#[command(after_help = "\
A compact copy is made beside the file and takes its place, unless it is no smaller. Free space is checked first: the copy
may need as much as the file has.")]
pub struct Compact {
    /// The store.
    pub store: Address,
}

/// `dcstore ids`
#[derive(Args)]
#[command(after_help = "\
Ids never go back by themselves: a store that was once used while the clock was years ahead keeps giving out ids of that
time. --lower --yes undoes that, as far as no row has such an id. The server must be stopped.")]
pub struct Ids {
    /// The store.
    pub store: Address,
    /// Take it back. Without --yes, only say what that would do.
    #[arg(long)]
    pub lower: bool,
    /// Do it.
    #[arg(long, requires = "lower")]
    pub yes: bool,
}

/// `dcstore schema`
#[derive(Args)]
pub struct Schema {
    /// Which backend's.
    #[arg(value_enum, default_value_t = SchemaOf::Redb)]
    pub backend: SchemaOf,
    /// As the page that stands in schema-docs/.
    #[arg(long)]
    pub markdown: bool,
}

/// `dcstore completions`
#[derive(Args)]
pub struct Completions {
    /// The shell, or `man` for the manual page.
    pub shell: ShellOrMan,
}

/// For whom a result is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How a dump is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// A header, a record a line, a trailer: what `load` reads.
    #[default]
    Ndjson,
    /// One JSON document.
    Json,
    /// One table, for spreadsheets.
    Csv,
    /// For people.
    Table,
}

/// Whose schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The key-value layout.
    Redb,
    /// The SQL schema.
    Sqlite,
}

/// What completions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ShellOrMan {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    Man,
}

impl ShellOrMan {
    /// The shell; `None` for the manual page.
    pub fn shell(self) -> Option<Shell> {
        match self {
            Self::Bash => Some(Shell::Bash),
            Self::Elvish => Some(Shell::Elvish),
            Self::Fish => Some(Shell::Fish),
            Self::Powershell => Some(Shell::PowerShell),
            Self::Zsh => Some(Shell::Zsh),
            Self::Man => None,
        }
    }
}
