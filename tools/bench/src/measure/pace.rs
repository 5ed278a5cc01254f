//! Who calls when: a closed loop, where each caller waits for its answer before it calls again, and an open loop, where calls
//! come at fixed times whether or not those before are answered.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dcstore::Code;
use decentcom_server::storage::StorageError;
use hdrhistogram::Histogram;
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinSet},
};

use crate::{
    failure::Failure,
    results::{Latency, Sample},
};

/// How long a caller is measured, after how long a warm-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// What one caller, or all, saw.
pub(super) struct Tally {
    /// Nanoseconds.
    latencies: Histogram<u64>,
    /// Operations that ended well within the measured time.
    operations: u64,
    /// Operations that were refused within it.
    refused: u64,
    /// Operations that ended well, warm-up and all.
    pub(super) ever: u64,
    measured: Duration,
}

/// How a call ended.
pub(super) enum Ended {
    /// So many operations are done.
    Well(u64),
    /// There was no room for it.
    Refused,
}

impl Ended {
    /// What a call of a store ended with; only overload is something a measurement goes on after.
    pub(super) fn of<T>(result: Result<T, StorageError>) -> Result<Self, Failure> {
        match result {
            Ok(_) => Ok(Self::Well(1)),
            Err(StorageError::Unavailable { .. }) => Ok(Self::Refused),
            Err(error) => Err(error.into()),
        }
    }
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let latencies = Histogram::new(3).map_err(no_histogram)?;
        Ok(Self { latencies, operations: 0, refused: 0, ever: 0, measured: Duration::ZERO })
    }

    fn note(&mut self, began: Instant, ended: &Ended, counts: bool) {
        match ended {
            Ended::Well(operations) => {
                self.ever += operations;
                if counts {
                    self.operations += operations;
                    // A histogram grows with what it records, so this fails for no length of time.
                    let _ = self.latencies.record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
            }
            Ended::Refused => self.refused += u64::from(counts),
        }
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.latencies.add(&other.latencies).map_err(no_histogram)?;
        self.operations += other.operations;
        self.refused += other.refused;
        self.ever += other.ever;
        self.measured = self.measured.max(other.measured);
        Ok(())
    }

    /// What is kept of it.
    pub(super) fn sample(&self) -> Sample {
        Sample {
            seconds: self.measured.as_secs_f64(),
            operations: self.operations,
            refused: self.refused,
            latency: latency(&self.latencies),
            ..Sample::default()
        }
    }
}

fn no_histogram(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Io, format!("the histogram of latencies: {error}"))
}

/// The percentiles of a histogram of nanoseconds.
pub(super) fn latency(nanoseconds: &Histogram<u64>) -> Latency {
    let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    Latency {
        p50: micros(nanoseconds.value_at_quantile(0.5)),
        p90: micros(nanoseconds.value_at_quantile(0.9)),
        p99: micros(nanoseconds.value_at_quantile(0.99)),
        p999: micros(nanoseconds.value_at_quantile(0.999)),
        max: micros(nanoseconds.max()),
    }
}

/// One caller; `call` gets 0, 1, 2, …
pub(super) async fn alone(
    span: Span,
    mut call: impl AsyncFnMut(u64) -> Result<Ended, Failure>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::new()?;
    let start = Instant::now();
    let end = span.warm_up + span.measured;
    let mut measuring = None;
    for number in 0.. {
        let began = Instant::now();
        let since_start = began.duration_since(start);
        if since_start >= end {
            break;
        }
        if since_start >= span.warm_up {
            measuring.get_or_insert(began);
        }
        let ended = call(number).await?;
        tally.note(began, &ended, measuring.is_some());
    }
    tally.measured = measuring.map_or(Duration::ZERO, |since| since.elapsed());
    Ok(tally)
}

/// So many callers, each a task; `call` gets a number that no other call gets.
pub(super) async fn closed<F>(
    callers: u32,
    span: Span,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<Tally, Failure>
where
    F: Future<Output = Result<Ended, Failure>> + Send,
{
    let start = Instant::now();
    let end = span.warm_up + span.measured;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let call = call.clone();
        let mut number = u64::from(caller);
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            loop {
                let began = Instant::now();
                let since_start = began.duration_since(start);
                if since_start >= end {
                    break;
                }
                let ended = call(number).await?;
                number += u64::from(callers);
                // Whoever serves people waits for a socket after each call, which lets others run. A caller whose calls
                // are always ready would keep its thread for ever.
                tokio::task::consume_budget().await;
                // Only what ends in time counts, so that the rate is not that of a longer time.
                let counts = since_start >= span.warm_up && start.elapsed() <= end;
                tally.note(began, &ended, counts);
            }
            Ok::<_, Failure>(tally)
        });
    }
    let mut all = gather(tasks).await?;
    all.measured = span.measured;
    Ok(all)
}

/// Calls at fixed times, `rate` a second. Latency counts from the time a call should have begun, so a store that stalls is
/// charged for everybody who would have come meanwhile (no coordinated omission).
pub(super) async fn open<F>(rate: f64, span: Span, call: impl Fn(u64) -> F + Send + 'static) -> Result<Tally, Failure>
where
    F: Future<Output = Result<Ended, Failure>> + Send + 'static,
{
    let runtime = Handle::current();
    // A thread of its own: the runtime's timers are milliseconds apart.
    let calling = tokio::task::spawn_blocking(move || {
        let tally = Arc::new(Mutex::new(Tally::new()?));
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        let calls = (rate * (span.warm_up + span.measured).as_secs_f64()) as u64;
        for number in 0..calls {
            let due = Duration::from_secs_f64(number as f64 / rate);
            let intended = start + due;
            std::thread::sleep(intended.saturating_duration_since(Instant::now()));
            let (call, tally) = (call(number), tally.clone());
            let counts = due >= span.warm_up;
            tasks.spawn_on(
                async move {
                    let ended = call.await?;
                    tally.lock().unwrap_or_else(PoisonError::into_inner).note(intended, &ended, counts);
                    Ok(())
                },
                &runtime,
            );
            while let Some(ended) = tasks.try_join_next() {
                joined(ended)?;
            }
        }
        Ok::<_, Failure>((tasks, tally, start))
    });
    let (mut tasks, tally, start) = joined(calling.await)?;
    while let Some(ended) = tasks.join_next().await {
        joined(ended)?;
    }
    let mut tally = Arc::into_inner(tally)
        .map_or_else(Tally::new, |it| Ok(it.into_inner().unwrap_or_else(PoisonError::into_inner)))?;
    tally.measured = start.elapsed().saturating_sub(span.warm_up);
    Ok(tally)
}

/// What a task answered; a panic in it is a failure.
pub(super) fn joined<T>(ended: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    ended.map_err(|error| Failure::new(Code::Io, error.to_string()))?
}

async fn gather(mut tasks: JoinSet<Result<Tally, Failure>>) -> Result<Tally, Failure> {
    let mut all = Tally::new()?;
    while let Some(task) = tasks.join_next().await {
        all.add(&joined(task)?)?;
    }
    Ok(all)
}
