//! Looks at every system call of another process, with `ptrace(2)`.
//!
//! All of it has to be done by one thread: to the kernel, the thread is the tracer, not the process.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    errno::Errno,
    libc::{self, c_long, user_regs_struct},
    sys::{
        ptrace::{self, Options},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Counts the syncs of a process, of all of its threads, and of the processes that it starts.
pub(super) struct Tracer {
    process: Pid,
    syncs: Arc<AtomicU64>,
    /// Threads that were asked to stop and have not yet: their calls are not seen before.
    starting: BTreeSet<Pid>,
    ended: Option<ExitStatus>,
}

impl Tracer {
    /// For a child of this thread.
    pub(super) fn new(process: u32, syncs: Arc<AtomicU64>) -> Self {
        let process = Pid::from_raw(process.cast_signed());
        Self { process, syncs, starting: BTreeSet::new(), ended: None }
    }

    /// Begins to count. The process should be waiting for this: all that its threads do after this returns is seen, and
    /// what they do meanwhile may be.
    pub(super) fn attach(&mut self) -> Result<(), Errno> {
        self.seize(self.process)?;
        // A thread that is not traced yet may start another one meanwhile.
        let mut known = BTreeSet::from([self.process]);
        loop {
            let threads = self.threads().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
            let new: Vec<Pid> = threads.into_iter().filter(|thread| known.insert(*thread)).collect();
            if new.is_empty() {
                break;
            }
            for thread in new {
                match self.seize(thread) {
                    Err(Errno::ESRCH) => {}                           // has ended
                    Err(Errno::EPERM) if self.is_traced(thread) => {} // was started by one that is traced
                    result => result?,
                }
            }
        }
        while !self.starting.is_empty() && self.ended.is_none() {
            self.step()?;
        }
        Ok(())
    }

    /// Lets the process work, and counts, until it ends.
    pub(super) fn follow(&mut self) -> Result<ExitStatus, Errno> {
        loop {
            match self.ended {
                Some(status) => return Ok(status),
                None => self.step()?,
            }
        }
    }

    /// Waits for the end of a process that was killed. Threads that are traced have to be waited for too.
    pub(super) fn bury(&mut self) {
        while self.follow().is_err_and(|error| error != Errno::ECHILD) {}
    }

    fn seize(&mut self, thread: Pid) -> Result<(), Errno> {
        let options = Options::PTRACE_O_EXITKILL // nobody is left behind stopped if this process dies
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK;
        ptrace::seize(thread, options)?;
        ptrace::interrupt(thread)?;
        self.starting.insert(thread);
        Ok(())
    }

    fn threads(&self) -> io::Result<Vec<Pid>> {
        let entries = fs::read_dir(format!("/proc/{}/task", self.process))?;
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).map(Pid::from_raw).collect())
    }

    fn is_traced(&self, thread: Pid) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/task/{thread}/status", self.process)).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    }

    /// Waits until one thread stops or ends, and lets it go on.
    fn step(&mut self) -> Result<(), Errno> {
        // __WALL: threads too. __WNOTHREAD: no children of other threads of this process, who wait for them themselves.
        let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Err(Errno::EINTR) => return Ok(()),
            status => status?,
        };
        if let Some(thread) = status.pid() {
            self.starting.remove(&thread);
        }
        let gone_on = match status {
            WaitStatus::Exited(process, code) => {
                self.note_end(process, code << 8);
                Ok(())
            }
            WaitStatus::Signaled(process, signal, _) => {
                self.note_end(process, signal as i32);
                Ok(())
            }
            WaitStatus::PtraceSyscall(thread) => has_synced(thread).and_then(|yes| {
                self.syncs.fetch_add(u64::from(yes), Ordering::SeqCst);
                ptrace::syscall(thread, None)
            }),
            WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
            // A thread was started, or has just been attached, or would stop for a SIGSTOP, which nobody sends.
            WaitStatus::PtraceEvent(thread, ..) => ptrace::syscall(thread, None),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => Ok(()),
        };
        match gone_on {
            Err(Errno::ESRCH) => Ok(()), // killed meanwhile; its end is told next
            result => result,
        }
    }

    /// `status` is as `wait(2)` has it.
    fn note_end(&mut self, process: Pid, status: i32) {
        if process == self.process {
            self.ended = Some(ExitStatus::from_raw(status));
        }
    }
}

/// Whether a thread that is stopped by a system call has just synced something: at the end of the call, which is where it
/// is known to have succeeded, and only there, or each would count twice.
fn has_synced(thread: Pid) -> Result<bool, Errno> {
    if ptrace::syscall_info(thread)?.op != libc::PTRACE_SYSCALL_INFO_EXIT {
        return Ok(false);
    }
    let call = Call::of(ptrace::getregs(thread)?);
    Ok(call.is_sync() && call.result == 0)
}

/// A system call that is over.
struct Call {
    number: c_long,
    /// The third argument: the flags, of those that matter here.
    flags: u64,
    result: u64,
}

impl Call {
    #[cfg(target_arch = "x86_64")]
    fn of(registers: user_regs_struct) -> Self {
        Self { number: registers.orig_rax.cast_signed(), flags: registers.rdx, result: registers.rax }
    }

    #[cfg(target_arch = "aarch64")]
    fn of(registers: user_regs_struct) -> Self {
        let [result, _, flags, _, _, _, _, _, number, ..] = registers.regs;
        Self { number: number.cast_signed(), flags, result }
    }

    /// Whether it is one that returns when data is on the disk. sync_file_range(2) is none: it flushes no cache of the disk
    /// and writes no metadata, so what it wrote may be lost with the power.
    fn is_sync(&self) -> bool {
        match self.number {
            libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_syncfs | libc::SYS_sync => true,
            libc::SYS_msync => self.flags & libc::MS_SYNC as u64 != 0,
            _ => false,
        }
    }
}
