//! The results in a paragraph, for somebody who has to choose.

use super::{groups::in_f, words};
use crate::{
    plan::busiest_posts,
    results::{Line, Results, Sample, Subject, Variant, Workload},
};

const BACKENDS: [(Subject, &str); 2] = [(Subject::Redb, "redb"), (Subject::Sqlite, "SQLite")];

/// Sentences, each of what was measured; what was not is said at the end.
pub(super) fn answer(results: &Results) -> Vec<String> {
    let mut sentences = vec![];
    let mut missing = vec![];
    let mut say = |what: &'static str, sentence: Option<String>| match sentence {
        Some(sentence) => sentences.push(sentence),
        None => missing.push(what),
    };
    say("posting", posting(results));
    say("pages of history", pages(results));
    say("reading by id", reading(results));
    say("size on disk", size(results));
    say("memory", memory(results));
    if !missing.is_empty() {
        sentences.push(format!("Not measured in this run: {}.", missing.join(", ")));
    }
    if results.settings.quick {
        sentences.push(
            "This was a quick run: fewer circumstances, fewer rows and fewer rounds, so small differences mean nothing."
                .into(),
        );
    }
    sentences
}

/// `redb A, SQLite B`, of the backends that have it.
fn each(lines: &[&Line], say: impl Fn(&Line) -> Option<String>) -> Option<String> {
    let said: Vec<_> = BACKENDS
        .iter()
        .filter_map(|(subject, name)| {
            let line = lines.iter().find(|line| line.what.subject == *subject)?;
            Some(format!("{name} {}", say(line)?))
        })
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Lines of the largest stores, of a workload and a variant.
fn largest(results: &Results, workload: Workload, variant: Option<Variant>) -> Vec<&Line> {
    let lines: Vec<_> =
        results.of(workload).filter(|line| line.what.case.variant == variant && !line.rounds.is_empty()).collect();
    let most = lines.iter().map(|line| line.what.case.stored).max().flatten();
    lines.into_iter().filter(|line| line.what.case.stored == most).collect()
}

/// The posts to most channels by 64 callers, into the largest stores.
fn posts(results: &Results) -> Vec<&Line> {
    let mut lines = largest(results, Workload::Post, None);
    lines.retain(|line| line.what.case == busiest_posts(line.what.case.stored.unwrap_or_default()));
    lines
}

fn posting(results: &Results) -> Option<String> {
    let lines = posts(results);
    let case = &lines.first()?.what.case;
    let rates = each(&lines, |line| {
        let in_f = in_f(line, results.disk_rate()).map(|times| format!(" ({})", words::in_f(times)));
        Some(format!("posts {} durable messages a second{}", words::number(line.rate()?), in_f.unwrap_or_default()))
    })?;
    let f =
        results.disk_rate().map(|disk| format!(" F, the disk's own rate of synced writes, is {}.", words::rate(disk)));
    let people = words::count(case.callers.unwrap_or_default().into());
    let stored = words::count(case.stored?);
    Some(format!(
        "On this machine, with {stored} messages stored and {people} people writing: {rates}.{}",
        f.unwrap_or_default()
    ))
}

fn pages(results: &Results) -> Option<String> {
    let time = |line: &Line| line.median_of(|it| it.latency.p50).map(words::time);
    let newest = each(&largest(results, Workload::Scroll, Some(Variant::Newest)), time)?;
    let deep = each(&largest(results, Workload::Scroll, Some(Variant::Deep)), time);
    let deep = deep.map(|deep| format!("; 50 from anywhere in its past: {deep}"));
    Some(format!("The newest 50 messages of any channel: {newest}{}.", deep.unwrap_or_default()))
}

fn reading(results: &Results) -> Option<String> {
    let lines = largest(results, Workload::Read, None);
    Some(format!(
        "Any message by its id: {}.",
        each(&lines, |line| line.median_of(|it| it.latency.p50).map(words::time))?
    ))
}

fn size(results: &Results) -> Option<String> {
    let sizes = each(&posts(results), |line| {
        Some(format!("takes {:.0} bytes", line.median_if_any(Sample::bytes_per_message)?))
    })?;
    Some(format!("On disk, a message of {} bytes: {sizes}.", words::count(results.settings.message_bytes)))
}

fn memory(results: &Results) -> Option<String> {
    let lines: Vec<_> = results.of(Workload::Memory).filter(|line| !line.rounds.is_empty()).collect();
    let peaks = each(&lines, |line| Some(words::bytes(line.worst_of(|it| it.peak_memory_bytes as f64)?)))?;
    Some(format!("Most memory under mixed load: {peaks}."))
}
