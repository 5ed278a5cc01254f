//! What signals mean: stop in good order, read the configuration again, or nothing. None of them ends the process in the
//! midst of its work, but those that say that the program itself is broken, and SIGKILL.

use std::io;

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::logging::Logs;

/// Asking the process to end: by a terminal, by a service manager, at the end of its allowance of time.
const STOPPING: &[Signal] = &[
    Signal::INT,
    Signal::TERM,
    Signal::QUIT,
    Signal::XCPU,
    #[cfg(target_os = "linux")]
    Signal::POWER, // the machine, or the container, goes down
];

/// Sent by mistake, or by timers and limits that the operator set. Left alone, each would end the process. Writing past a
/// limit on the size of files is an error like any other once its signal (XFSZ) is taken.
const IGNORED: &[Signal] = &[
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::XFSZ,
    Signal::IO,
    #[cfg(target_os = "linux")]
    Signal::STKFLT,
];

/// The realtime signals of Linux that the C library leaves to programs; each ends a process that does not expect it.
#[cfg(target_os = "linux")]
const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What shells call a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// What has been asked of the process so far.
#[derive(Clone)]
pub(crate) struct Signals {
    stop: watch::Receiver<bool>,
    /// Counts the requests to read the configuration again.
    reload: watch::Receiver<u64>,
}

impl Signals {
    /// Takes the signals from now on. The first that asks the process to stop is for [`stopped`](Self::stopped); the second
    /// ends it at once.
    pub(crate) fn take(logs: Logs) -> io::Result<Self> {
        let (stopping, stop) = watch::channel(false);
        for kind in STOPPING {
            let mut asked = signal(SignalKind::from_raw(kind.as_raw()))?;
            let (stopping, logs) = (stopping.clone(), logs.clone());
            tokio::spawn(async move {
                while asked.recv().await.is_some() {
                    if stopping.send_replace(true) {
                        tracing::warn!("second signal: stopping at once");
                        logs.flush();
                        std::process::exit(INTERRUPTED);
                    }
                }
            });
        }
        let (reloading, reload) = watch::channel(0);
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                reloading.send_modify(|count| *count += 1);
            }
        });
        for kind in IGNORED {
            let mut sent = signal(SignalKind::from_raw(kind.as_raw()))?;
            tokio::spawn(async move {
                while sent.recv().await.is_some() {
                    tracing::info!("signal {kind:?} means nothing to this program; it goes on");
                }
            });
        }
        #[cfg(target_os = "linux")]
        for number in REALTIME {
            drop(signal(SignalKind::from_raw(number))?); // once taken, it stays taken
        }
        Ok(Self { stop, reload })
    }

    /// Resolves once the process was asked to stop.
    pub(crate) async fn stopped(mut self) {
        // An error says that nobody can ask any more, as nothing else ends the tasks above than the process's end.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    /// Resolves at the next request to read the configuration again, one that came since the last among them.
    pub(crate) async fn reload(&mut self) -> bool {
        self.reload.changed().await.is_ok()
    }
}
