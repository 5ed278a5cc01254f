//! The results in a paragraph, for somebody who has to choose.

use super::{figures::busy_posts, groups::file_bytes, words};
use crate::results::{Case, Line, Results, Subject, Variant, Workload};

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

fn posting(results: &Results) -> Option<String> {
    let lines = busy_posts(results);
    let case = lines.first()?.what.case.clone();
    let rates = each(&lines, |line| {
        let in_f =
            results.disk_rate().map(|disk| format!(" ({})", words::in_f(line.rate().unwrap_or_default() / disk)));
        Some(format!("posts {} durable messages a second{}", words::number(line.rate()?), in_f.unwrap_or_default()))
    })?;
    let callers = case.callers.unwrap_or_default();
    let f =
        results.disk_rate().map(|disk| format!(" F, the disk's own rate of synced writes, is {}.", words::rate(disk)));
    let people = if callers == 1 { "one person".into() } else { format!("{} people", words::count(callers.into())) };
    Some(format!("On this machine, with {people} writing: {rates}.{}", f.unwrap_or_default()))
}

/// The lines that have most rows of those that are like this.
fn largest(results: &Results, workload: Workload, like: impl Fn(&Case) -> bool) -> Vec<&Line> {
    let lines: Vec<_> = results.of(workload).filter(|line| like(&line.what.case) && !line.rounds.is_empty()).collect();
    let most = lines.iter().map(|line| line.what.case.rows).max().flatten();
    lines.into_iter().filter(|line| line.what.case.rows == most).collect()
}

fn pages(results: &Results) -> Option<String> {
    let time = |line: &Line| line.median_of(|it| it.latency.p50).map(words::time);
    let newest = largest(results, Workload::Scroll, |case| case.variant == Some(Variant::Newest));
    let rows = newest.first()?.what.case.rows?;
    let deep =
        largest(results, Workload::Scroll, |case| case.variant == Some(Variant::Deep) && case.rows == Some(rows));
    let deep = each(&deep, time).map(|deep| format!("; a page from anywhere in it: {deep}"));
    Some(format!(
        "The newest 50 messages of a channel of {}: {}{}.",
        words::count(rows),
        each(&newest, time)?,
        deep.unwrap_or_default()
    ))
}

fn reading(results: &Results) -> Option<String> {
    let lines =
        largest(results, Workload::Read, |case| case.variant == Some(Variant::Random) && case.callers == Some(1));
    Some(format!(
        "Any message by its id: {}.",
        each(&lines, |line| line.median_of(|it| it.latency.p50).map(words::time))?
    ))
}

fn size(results: &Results) -> Option<String> {
    let lines = largest(results, Workload::Load, |_| true);
    let rows = lines.first()?.what.case.rows?;
    let sizes = each(&lines, |line| Some(format!("takes {}", words::bytes(file_bytes(line)?))))?;
    Some(format!("On disk, {} messages: {sizes}.", words::count(rows)))
}

fn memory(results: &Results) -> Option<String> {
    let lines: Vec<_> = results.of(Workload::Memory).filter(|line| !line.rounds.is_empty()).collect();
    let peaks = each(&lines, |line| Some(words::bytes(line.worst_of(|it| it.peak_memory_bytes as f64)?)))?;
    Some(format!("Most memory under mixed load: {peaks}."))
}
