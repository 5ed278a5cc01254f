//! The memory of this process, as Linux counts it; nothing elsewhere.

use std::{
    fs,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Bytes of memory that this process has now.
pub(crate) fn resident() -> Option<u64> {
    of_status("VmRSS")
}

/// The most it has had, since it began or since [`reset_peak`]. The kernel notes it from counters that each processor has
/// a part of, so it may be some hundred kilobytes less than the largest [`resident`].
pub(crate) fn peak() -> Option<u64> {
    of_status("VmHWM")
}

/// Lets [`peak`] begin anew; where that is not allowed, the peak goes on counting from the start of the process.
pub(crate) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5"); // see proc_pid_clear_refs(5)
}

fn of_status(field: &str) -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

/// Bytes in the field of a text with lines such as `VmRSS:      1234 kB`.
pub(super) fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Looks at the memory of this process at even distances until it is stopped.
pub(crate) struct MemorySampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<u64>>,
}

impl MemorySampler {
    /// Looks now, and then again each time so much time has passed.
    pub(crate) fn start(distance: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut samples = Vec::new();
            loop {
                samples.extend(resident());
                // From the start on, so that distances do not grow by the time it takes to look.
                let next = distance.saturating_mul(samples.len().try_into().unwrap_or(u32::MAX));
                match stopped.recv_timeout(next.saturating_sub(start.elapsed())) {
                    Err(RecvTimeoutError::Timeout) if !samples.is_empty() => {}
                    _ => return samples, // stopped, dropped, or nothing can be seen here
                }
            }
        });
        Self { stop, thread }
    }

    /// What was seen, in bytes.
    pub(crate) fn stop(self) -> Vec<u64> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::again::{again, role};

    const MANY: usize = 64 << 20;

    /// Memory that is really there: each page was written to.
    fn pages(bytes: usize) -> Vec<u8> {
        vec![1; bytes]
    }

    #[test]
    fn sizes_are_read_from_a_status() {
        let status = "Name:\tdcbench\nVmPeak:\t  123 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t4\n";
        assert_eq!(kibibytes(status, "VmRSS"), Some(1 << 20));
        assert_eq!(kibibytes(status, "VmHWM"), Some(2 << 20));
        assert_eq!(kibibytes(status, "Vm"), None);
        assert_eq!(kibibytes(status, "Threads"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_was_given_back_stays_in_the_peak_until_it_begins_anew() {
        let test = "memory_that_was_given_back_stays_in_the_peak_until_it_begins_anew";
        if role().is_none() {
            // Alone: other tests need memory too.
            let alone = again(module_path!(), test, "alone").output().unwrap();
            assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
            return;
        }
        let held = pages(MANY);
        assert!(resident().unwrap() >= MANY as u64);
        drop(std::hint::black_box(held));
        assert!(resident().unwrap() < MANY as u64);
        assert!(peak().unwrap() >= MANY as u64);
        reset_peak();
        let is_allowed = fs::write("/proc/self/clear_refs", "5").is_ok();
        assert_eq!(peak().unwrap() < MANY as u64, is_allowed);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_sampler_looks_at_once_and_then_at_its_distance() {
        let held = pages(MANY);
        let at_once = MemorySampler::start(Duration::from_secs(3600)).stop();
        assert_eq!(at_once.len(), 1);
        assert!(at_once[0] >= MANY as u64);
        drop(std::hint::black_box(held));

        let distance = Duration::from_millis(5);
        for attempt in 1.. {
            let begun = Instant::now();
            let sampler = MemorySampler::start(distance);
            thread::sleep(distance * 10 * attempt);
            let samples = sampler.stop().len() as u128;
            assert!(samples <= begun.elapsed().as_nanos() / distance.as_nanos() + 1);
            if samples > 2 {
                return;
            }
            assert!(attempt < 10, "{samples} samples");
        }
    }
}
