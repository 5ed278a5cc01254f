//! Every option of `dcbench`.

use std::path::PathBuf;

use clap::Parser;

use crate::results::Workload;

/// How fast both backends are on this machine, beside the disk and the engines alone.
///
/// Each line is measured in a process of its own, several times, in turns with the others. F is how often a second this disk
/// takes 4 KiB over old data, synced. Everything is durable unless a line says otherwise, and syncs are counted. How to read
/// the results is in tools/BENCH.md.
#[derive(Parser)]
#[command(
    name = "dcbench",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  dcbench --quick                            about four minutes, and the order of magnitude
  dcbench -o bench-results --keep stores     an hour; writes results.json and report.html there
  dcbench --only post,scroll -d /srv/data    two workloads, on the disk that the server will use
  dcbench --compare before after             what changed, beyond the noise (exit code 1 if something did)
  dcbench --from after -o after              the table and the page of an earlier run again"
)]
pub(crate) struct Cli {
    /// No progress, no remarks: results and errors only.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Fewer sizes, rows and rounds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these workloads, and the disk.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    pub(crate) only: Vec<Workload>,
    /// The directory in which stores are made, and removed again: on the disk that is to be measured.
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// Where results.json and report.html are written.
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
    /// Where the stores of several sizes are, or are made and left, for the next run: some 10 GB. Without it they are made anew
    /// each time.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) keep: Option<PathBuf>,
    /// How many messages these stores hold, instead of ten thousand, a million and ten million.
    #[arg(long, value_delimiter = ',', value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) stored: Vec<u64>,
    /// How often each line is measured.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// How long, each time.
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// Messages in the largest channel of the community that other lines are measured on, and sessions that are swept.
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub(crate) messages: Option<u64>,
    /// Measure nothing: show what changed between two earlier runs.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["quick", "only", "output"])]
    pub(crate) compare: Vec<PathBuf>,
    /// Measure nothing: show the results of an earlier run.
    #[arg(long, value_name = "RESULTS")]
    pub(crate) from: Option<PathBuf>,
    /// What a process that measures is told; not for people.
    #[arg(long, hide = true)]
    pub(crate) measure: Option<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.05..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.05 to 3600 are allowed".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_text_is_as_committed() {
        let help = Cli::command().term_width(100).render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
