//! What every command has around it: progress on stderr, an ear for Ctrl-C, stores being opened.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use decentcom_server::storage::{
    StorageError,
    inspect::{self, Inspection, Moment},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    address::Address,
    outcome::{Code, Failure},
    safe::one_line,
};

/// Steps down from normal priority while reading beside a server, see `nice(2)`: people come first.
const NICENESS: i32 = 10;

/// One call of a program.
pub struct Session {
    program: &'static str,
    quiet: bool,
    interrupted: Arc<AtomicBool>,
    has_found: AtomicBool,
}

/// Says on stderr what is wrong, or left out.
pub(crate) fn complain(program: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{program}: {}", one_line(text));
}

impl Session {
    /// Listens for SIGINT and SIGTERM: the first ends the command at its next good moment, the second at once.
    pub fn start(program: &'static str, quiet: bool) -> Result<Self, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, Code::Interrupted as i32, interrupted.clone())?;
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        Ok(Self { program, quiet, interrupted, has_found: AtomicBool::new(false) })
    }

    /// A session that nobody sees or interrupts, for tests.
    pub fn silent() -> Self {
        Self { program: "dcstore", quiet: true, interrupted: Arc::default(), has_found: AtomicBool::new(false) }
    }

    /// Says something that is no result, on stderr, unless `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Says on stderr what is wrong, or left out, with `--quiet` too.
    pub fn complain(&self, text: &str) {
        complain(self.program, text);
    }

    /// Something was found that makes the exit code 1, whether or not anybody reads of it.
    pub fn found(&self) {
        self.has_found.store(true, Ordering::Relaxed);
    }

    /// Whether something was.
    pub fn has_found(&self) -> bool {
        self.has_found.load(Ordering::Relaxed)
    }

    /// A [`Code::Interrupted`] failure once somebody has pressed Ctrl-C. Long work asks for every row.
    pub fn check(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Code::Interrupted, "interrupted"));
        }
        Ok(())
    }

    /// Whether somebody sees what is drawn on stderr.
    pub fn draws(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A bar for long work, drawn on a terminal only: rows done, how fast, and how long the rest will take where `total`
    /// is known.
    pub fn progress(&self, what: &str, total: Option<u64>) -> Progress<'_> {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(if self.draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let line = match total {
            Some(_) => "{msg} [{wide_bar}] {human_pos}/{human_len} rows, {per_sec:0}, {eta} left",
            None => "{msg} {spinner} {human_pos} rows, {per_sec:0}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(line) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { session: self, bar }
    }

    /// Opens a store to look at it. Where a server has it open, says so, and stays out of its way.
    pub fn open(&self, store: &Address, moment: Moment) -> Result<Box<dyn Inspection>, Failure> {
        let progress = self.progress("opening", None);
        let opened = inspect::open(store.backend, &store.path, moment, &mut |rows| {
            if rows <= 1 {
                progress.phase("copying from the running server");
            }
            progress.to(rows)
        });
        drop(progress);
        self.check()?;
        let opened = opened?;
        if let Some(holder) = opened.holder() {
            let _ = rustix::process::setpriority_process(None, NICENESS);
            let how = match opened.moment() {
                Moment::One => "read beside it, as of one moment",
                Moment::Steps => "read through its socket in steps, so not all is of one moment",
            };
            self.say(&format!("{store} is open in {holder}: {how}"));
        }
        if let Some(doubt) = opened.doubt() {
            self.say(&format!("{store}: {doubt}"));
        }
        Ok(opened)
    }
}

/// Long work being done. Dropped, its bar is gone.
pub struct Progress<'a> {
    session: &'a Session,
    bar: ProgressBar,
}

impl Progress<'_> {
    /// Says what is being done from now on.
    pub fn phase(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// One more row is done; an error where it is time to stop.
    pub fn step(&self) -> Result<(), Failure> {
        self.bar.inc(1);
        self.session.check()
    }

    /// So many rows are done; for callbacks of the storage layer.
    pub fn to(&self, rows: u64) -> Result<(), StorageError> {
        self.bar.set_position(rows);
        self.session.check().map_err(|failure| StorageError::unavailable(failure.message))
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
