//! Where log lines go. Whoever logs puts a line into a bounded queue in memory; one thread writes, and only it waits for a
//! terminal that stands still, a pipe that nobody reads, or a full disk. What does not fit is lost, counted, and said as soon
//! as lines flow again.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use decentcom_server::terminal::{acts, escaped};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait, those being written among them.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that a waiting line takes besides its own.
const LINE_OVERHEAD: usize = 64;
/// How often a terminal that takes nothing at the moment is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// Counter of log lines that were lost.
const LINES_LOST: &str = "decentcom_log_lines_lost_total";

/// The queue's end for those who log. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
    /// Whether lines are coloured: then the escape character is the logger's own, which escapes those of others.
    coloured: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Something is there for the thread to do.
    work: Condvar,
    /// Everything is written.
    idle: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Where lines go from now on.
    sink: Option<Sink>,
    writing: bool,
    /// Lines lost since that was last said, and ever.
    unsaid: u64,
    lost: u64,
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    pub(crate) fn start(sink: Sink, coloured: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), work: Condvar::new(), idle: Condvar::new() });
        let writing = shared.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writing.write_to(sink))?;
        Ok(Self { shared, coloured })
    }

    /// Lines go to `sink` from now on.
    pub(crate) fn redirect(&self, sink: Sink) {
        self.shared.lock().sink = Some(sink);
        self.shared.work.notify_one();
    }

    /// Queues one line, which ends with a line end.
    pub(crate) fn push(&self, line: &[u8]) {
        let line = in_one_line(&String::from_utf8_lossy(line), self.coloured).into_owned().into_bytes();
        let mut waiting = self.shared.lock();
        let weight = line.len() + LINE_OVERHEAD;
        if waiting.bytes + weight > MAX_WAITING_BYTES {
            waiting.lose(1);
            return;
        }
        waiting.bytes += weight;
        waiting.lines.push_back(line);
        self.shared.work.notify_one();
    }

    /// Waits until all that was queued is written, but not for longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut waiting = self.shared.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return;
            };
            waiting = self.shared.idle.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: Sink) {
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() && waiting.sink.is_none() {
                waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut waiting.lines);
            if let Some(other) = waiting.sink.take() {
                sink = other;
            }
            waiting.writing = true;
            drop(waiting);

            let bytes: usize = lines.iter().map(|line| line.len() + LINE_OVERHEAD).sum();
            let failed = lines.iter().filter(|line| sink.write(line).is_err()).count() as u64;

            let mut waiting = self.lock();
            waiting.bytes -= bytes;
            waiting.lose(failed);
            let flows = failed == 0 && waiting.lines.is_empty();
            let (unsaid, lost) = (waiting.unsaid, waiting.lost);
            if flows {
                waiting.unsaid = 0;
            }
            drop(waiting);
            if flows && unsaid > 0 {
                tracing::error!(
                    lines = unsaid,
                    since_start = lost,
                    "log lines were lost: nobody took them in time, or there was no room"
                );
            }
            self.lock().writing = false;
            self.idle.notify_all();
        }
    }
}

impl Waiting {
    fn lose(&mut self, lines: u64) {
        self.unsaid += lines;
        self.lost += lines;
        metrics::counter!(LINES_LOST).increment(lines);
    }
}

/// Each event is written in one call.
impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;
    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

/// Takes the line of one event.
pub(crate) struct Event<'a>(&'a Lines);

impl io::Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `line` without what would make it look like several, or steer a terminal: such characters are written as JSON has them.
fn in_one_line(line: &str, coloured: bool) -> Cow<'_, str> {
    let is_kept = |character| character == '\t' || (coloured && character == '\u{1b}');
    let text = line.strip_suffix('\n').unwrap_or(line);
    match escaped(text, |character| acts(character) && !is_kept(character)) {
        Cow::Borrowed(_) if text.len() < line.len() => Cow::Borrowed(line),
        safe => Cow::Owned(safe.into_owned() + "\n"),
    }
}

/// What takes lines in the end.
pub(crate) struct Sink {
    to: File,
    /// What bounds a file; `None` for stderr, which has no bounds.
    file: Option<Bounds>,
    /// Whether the last line got through in part only.
    torn: bool,
}

struct Bounds {
    path: PathBuf,
    bytes: u64,
    max_bytes: u64,
}

impl Sink {
    /// The process's stderr, by a handle of its own: nobody else waits when it stands still.
    pub(crate) fn stderr() -> io::Result<Self> {
        Ok(Self { to: io::stderr().as_fd().try_clone_to_owned()?.into(), file: None, torn: false })
    }

    /// The file at `path`, made (mode 0600) if it is missing, added to if not.
    pub(crate) fn file(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let to = open(path)?;
        let bytes = to.metadata()?.len();
        Ok(Self { to, file: Some(Bounds { path: path.into(), bytes, max_bytes }), torn: false })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        if let Some(file) = &mut self.file {
            let bytes = file.bytes + line.len() as u64;
            if bytes > file.max_bytes && file.bytes > 0 {
                self.to = file.begin_anew(&self.to)?;
            }
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let whole = rest.len();
        while !rest.is_empty() {
            let written = match self.to.write(rest) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(RETRY);
                    Ok(0)
                }
                other => other,
            };
            match written {
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    if let Some(file) = &mut self.file {
                        file.bytes += written as u64;
                    }
                }
                Err(error) => {
                    self.torn |= rest.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Bounds {
    /// Puts the full file aside, in place of the one before, and begins another. Where that cannot be done it is emptied: it
    /// must not grow further.
    fn begin_anew(&mut self, full: &File) -> io::Result<File> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        let next = match std::fs::rename(&self.path, aside).and_then(|()| open(&self.path)) {
            Ok(next) => next,
            Err(_) => {
                full.set_len(0)?;
                full.try_clone()?
            }
        };
        self.bytes = 0;
        Ok(next)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe would keep whoever opens it waiting.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is there and no regular file"));
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_stays_in_its_line_and_steers_no_terminal() {
        for (line, written) in [
            ("plain äöü\t1\n", "plain äöü\t1\n"),
            ("one\ntwo\n", "one\\ntwo\n"),
            ("one\r\ntwo\n", "one\\r\\ntwo\n"),
            ("\u{1b}[31mred\u{7f}\u{9b}\n", "\\u001b[31mred\\u007f\\u009b\n"),
            ("a\u{202e}b\u{2028}c\u{2066}d\u{206a}\n", "a\\u202eb\\u2028c\\u2066d\\u206a\n"),
            ("no end", "no end\n"),
            ("", "\n"),
        ] {
            assert_eq!(in_one_line(line, false), written);
        }
        assert_eq!(in_one_line("\u{1b}[2mdim\u{1b}[0m\n", true), "\u{1b}[2mdim\u{1b}[0m\n");
    }

    #[test]
    fn a_file_and_the_one_before_it_stay_within_their_bound_and_hold_the_newest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for begun in [0, 1] {
            let mut sink = Sink::file(&path, 100).unwrap();
            for number in 0..50 {
                sink.write(format!("run {begun} line {number:02}\n").as_bytes()).unwrap();
                assert!(std::fs::metadata(&path).unwrap().len() <= 100);
            }
        }
        let both = ["log.1", "log"].map(|name| std::fs::read_to_string(directory.path().join(name)).unwrap()).concat();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        let numbers: Vec<usize> =
            both.lines().map(|line| line.strip_prefix("run 1 line ").unwrap().parse().unwrap()).collect();
        assert!(numbers.len() >= 7 && *numbers.last().unwrap() == 49, "{numbers:?}");
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_emptied_and_never_grows_past_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::create_dir_all(directory.path().join("log.1/in the way")).unwrap();
        let mut sink = Sink::file(&path, 100).unwrap();
        for number in 0..50 {
            sink.write(format!("line {number:02}\n").as_bytes()).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= 100);
        }
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 49\n"));
    }

    #[test]
    fn a_line_that_got_through_in_part_does_not_run_into_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut sink = Sink::file(&path, 1000).unwrap();
        sink.write_all(b"half of a li").unwrap();
        sink.torn = true;
        sink.write(b"whole\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half of a li\nwhole\n");
    }
}
