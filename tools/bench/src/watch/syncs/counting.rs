//! Starts a process, hears what it says, has it traced between its marks, and kills it when its time is over.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::fd::OwnedFd,
    process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    Counted, NotCounted,
    marks::{DONE, READY},
    tracer::Tracer,
};

/// A process whose syncs are counted.
struct Counting {
    /// Not its number, which another process may have once it has ended.
    process: Arc<OwnedFd>,
    to_child: Arc<ChildStdin>,
    from_child: Receiver<Said>,
    tracer: Tracer,
    until: Instant,
    limit: Duration,
    stdout: String,
    syncs: Option<u64>,
    _alarm: Sender<()>,
}

/// A line of stdout.
enum Said {
    Ready,
    /// So many syncs after `Ready`.
    Done(u64),
    Other(String),
}

/// To be called on a thread that has no other children, and that ends afterwards: traced processes end with it.
pub(super) fn count(command: &mut Command, limit: Duration) -> Result<Counted, NotCounted> {
    let mut counting = Counting::start(command, limit)?;
    let ended = counting.run();
    if ended.is_err() {
        kill(&counting.process);
        counting.tracer.bury();
    }
    let status = ended?;
    match counting.syncs {
        Some(syncs) => Ok(Counted { status, stdout: counting.stdout, syncs }),
        None => Err(NotCounted::Failed(format!("the program ended ({status}) before it was done"))),
    }
}

impl Counting {
    fn start(command: &mut Command, limit: Duration) -> Result<Self, NotCounted> {
        let failed = |why: &str| NotCounted::Failed(format!("the program cannot be started: {why}"));
        let until = Instant::now().checked_add(limit).ok_or_else(|| failed("its time would never end"))?;
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| failed(&error.to_string()))?;
        let process = Arc::new(pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| {
            let _ = child.kill().and_then(|()| child.wait());
            NotCounted::Uncountable(format!("the program could not be stopped if it hung: {error}"))
        })?);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no stdin or stdout"));
        };
        let (to_child, syncs) = (Arc::new(stdin), Arc::new(AtomicU64::new(0)));
        Ok(Self {
            from_child: listen(stdout, to_child.clone(), syncs.clone()),
            tracer: Tracer::new(child.id(), syncs),
            _alarm: alarm(process.clone(), limit),
            process,
            to_child,
            until,
            limit,
            stdout: String::new(),
            syncs: None,
        })
    }

    fn run(&mut self) -> Result<ExitStatus, NotCounted> {
        // Only now: until here, the process has started threads, and would be slowed down by being looked at.
        if !self.hear()? {
            return Err(NotCounted::Failed("the program ended before it was ready".into()));
        }
        let uncountable = |error: nix::errno::Errno| NotCounted::Uncountable(format!("ptrace is refused: {error}"));
        self.tracer.attach().map_err(uncountable)?;
        let _ = writeln!(&*self.to_child); // where it has died, its end is told next
        let status = self.tracer.follow().map_err(uncountable)?;
        while self.hear()? {}
        if Instant::now() >= self.until {
            return Err(self.too_late());
        }
        Ok(status)
    }

    /// Takes in what the process says until it is ready; `false` when it has said all.
    fn hear(&mut self) -> Result<bool, NotCounted> {
        loop {
            match self.from_child.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
                Ok(Said::Ready) => return Ok(true),
                Ok(Said::Done(syncs)) => self.syncs = Some(syncs),
                Ok(Said::Other(line)) => self.stdout.extend([&line, "\n"]),
                Err(RecvTimeoutError::Disconnected) if Instant::now() < self.until => return Ok(false),
                Err(_) => return Err(self.too_late()),
            }
        }
    }

    fn too_late(&self) -> NotCounted {
        NotCounted::Failed(format!("the program was not done after {:?}, and was killed", self.limit))
    }
}

/// Kills the process when its time is over, unless what is returned is dropped before.
fn alarm(process: Arc<OwnedFd>, limit: Duration) -> Sender<()> {
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        if stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            kill(&process);
        }
    });
    stop
}

fn kill(process: &OwnedFd) {
    let _ = pidfd_send_signal(process, Signal::KILL); // it fails where the process has ended
}

/// Hears the process on a thread of its own: the one that traces must not wait for anything that a stopped process would
/// have to say. It is not waited for, as a grandchild might keep the pipe open for ever.
fn listen(stdout: ChildStdout, to_child: Arc<ChildStdin>, syncs: Arc<AtomicU64>) -> Receiver<Said> {
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let heard = match &*line {
                READY => Said::Ready,
                DONE => {
                    // The process waits: each sync before this line was counted, and there was none after it.
                    let done = Said::Done(syncs.load(Ordering::SeqCst));
                    let _ = writeln!(&*to_child);
                    done
                }
                _ => Said::Other(line.into_owned()),
            };
            if say.send(heard).is_err() {
                return;
            }
        }
    });
    said
}
