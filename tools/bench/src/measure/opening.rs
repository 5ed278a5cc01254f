//! `open`: from the start of opening a store to its first answer.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{Role, Task, dataset, failure};
use crate::{
    failure::Failure,
    results::{Latency, Sample, Variant},
    run::again,
    subject::community,
};

/// How long a process writes before it is killed.
const WRITING: Duration = Duration::from_secs(1);

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let store = task.store();
    if task.what.case.variant == Some(Variant::Killed) {
        kill_while_writing(task)?;
    }
    let began = Instant::now();
    let opened = runtime.block_on(async {
        let store = community::open(task.backend()?, &store).await?;
        store.get_message(&dataset::message(0).text()).await?.ok_or_else(|| failure("the first message is gone"))?;
        Ok::<_, Failure>(store)
    })?;
    let took = began.elapsed();
    runtime.block_on(opened.close())?;
    let micros = took.as_secs_f64() * 1e6;
    Ok(Sample {
        seconds: took.as_secs_f64(),
        operations: 1,
        latency: Latency { p50: micros, p90: micros, p99: micros, p999: micros, max: micros },
        ..Sample::default()
    })
}

/// Another process writes to the store and gets SIGKILL in the middle.
fn kill_while_writing(task: &Task) -> Result<(), Failure> {
    let writing = Task { role: Role::UntilKilled, ..task.clone() };
    let mut command: Command = again(&writing)?;
    let mut writer = command.stdout(Stdio::null()).spawn()?;
    std::thread::sleep(WRITING);
    if let Some(status) = writer.try_wait()? {
        return Err(failure(format!("the writer should have been killed, and ended by itself: {status}")));
    }
    writer.kill()?;
    writer.wait()?;
    Ok(())
}
