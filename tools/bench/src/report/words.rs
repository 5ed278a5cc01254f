//! Figures as people read them.

use std::collections::BTreeSet;

use indicatif::{HumanBytes, HumanCount};

use crate::results::{Case, Results, Subject, What, Workload};

/// What the words in the columns of this run mean.
pub(super) fn vocabulary(results: &Results) -> Vec<(&'static str, &'static str)> {
    let subjects: BTreeSet<_> = results.lines.iter().map(|line| line.what.subject).collect();
    let variants: BTreeSet<_> = results.lines.iter().filter_map(|line| line.what.case.variant).collect();
    let subjects = subjects.into_iter().map(|it| (it.name(), it.about()));
    subjects.chain(variants.into_iter().map(|it| (it.name(), it.about()))).collect()
}

/// Three digits that count: `0.042`, `1.25`, `12.5`, `12,345`.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "?".into(),
        size if size < 0.0005 => "0".into(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => count(value.round() as u64),
    }
}

pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `12,345/s`.
pub(super) fn rate(per_second: f64) -> String {
    format!("{}/s", number(per_second))
}

/// Microseconds in the unit that fits: `840 µs`, `1.30 ms`, `2.50 s`.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        less if less < 999.5 => format!("{} µs", number(less)),
        less if less < 999_500.0 => format!("{} ms", number(less / 1e3)),
        more => format!("{} s", number(more / 1e6)),
    }
}

/// `45 MiB`.
pub(super) fn bytes(bytes: f64) -> String {
    HumanBytes(bytes.round() as u64).to_string().replace(".00 ", " ")
}

/// A share of one: `3.2 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `3.10 F`.
pub(super) fn in_f(times: f64) -> String {
    format!("{} F", number(times))
}

/// `× 1.25`.
pub(super) fn times(ratio: f64) -> String {
    format!("× {}", number(ratio))
}

/// Whether the figure that counts callers counts the rows of a transaction.
fn is_batch(what: &What) -> bool {
    what.workload == Workload::Post && matches!(what.subject, Subject::RawRedb | Subject::RawSqlite | Subject::Fjall)
}

/// One of the circumstances: its name above a column, and what it says in a sentence.
pub(super) struct Circumstance {
    pub(super) name: &'static str,
    /// As in a column; `None` where it does not apply.
    pub(super) cell: fn(&What) -> Option<String>,
    /// As in a sentence.
    pub(super) phrase: fn(&What) -> Option<String>,
}

/// All circumstances, in the order in which they are said.
pub(super) const CIRCUMSTANCES: [Circumstance; 6] = [
    Circumstance {
        name: "variant",
        cell: |what| Some(what.case.variant?.to_string()),
        phrase: |what| Some(what.case.variant?.to_string()),
    },
    Circumstance { name: "callers", cell: callers, phrase: caller_phrase },
    Circumstance {
        name: "channels",
        cell: |what| Some(count(what.case.channels?.into())),
        phrase: |what| Some(counted(what.case.channels?.into(), "channel")),
    },
    Circumstance {
        name: "stored",
        cell: |what| Some(count(what.case.stored?)),
        phrase: |what| Some(format!("{} stored", count(what.case.stored?))),
    },
    Circumstance {
        name: "rows",
        cell: |what| Some(count(what.case.rows?)),
        phrase: |what| Some(counted(what.case.rows?, "row")),
    },
    Circumstance {
        name: "load",
        cell: |what| Some(format!("{} %", what.case.load_percent?)),
        phrase: |what| Some(format!("{} % load", what.case.load_percent?)),
    },
];

fn callers(what: &What) -> Option<String> {
    let callers = what.case.callers?.into();
    Some(if is_batch(what) { counted(callers, "row") } else { count(callers) })
}

fn caller_phrase(what: &What) -> Option<String> {
    let callers = what.case.callers?.into();
    Some(if is_batch(what) { format!("{} a transaction", counted(callers, "row")) } else { counted(callers, "caller") })
}

/// `1 caller`, `64 callers`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The circumstances in a few words.
pub(super) fn circumstances(what: &What) -> String {
    let phrases: Vec<_> = CIRCUMSTANCES.iter().filter_map(|it| (it.phrase)(what)).collect();
    phrases.join(", ")
}

/// Who, under which circumstances.
pub(super) fn who(what: &What) -> String {
    match circumstances(what) {
        none if none.is_empty() => what.subject.to_string(),
        circumstances => format!("{}, {circumstances}", what.subject),
    }
}

/// Whether calls begin at fixed times.
pub(super) fn is_open_loop(case: &Case) -> bool {
    case.load_percent.is_some()
}

/// A round number of an axis: `0.5`, `20`, `5,000`, `20k`.
pub(super) fn number_whole(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", short(value / 1e6)),
        value if value >= 1e4 => format!("{}k", short(value / 1e3)),
        value if value >= 10.0 => count(value.round() as u64),
        value => short(value),
    }
}

/// A round time of an axis, of microseconds: `20 µs`, `5 ms`.
pub(super) fn time_whole(microseconds: f64) -> String {
    match microseconds {
        less if less < 999.5 => format!("{} µs", short(less)),
        less if less < 999_500.0 => format!("{} ms", short(less / 1e3)),
        more => format!("{} s", short(more / 1e6)),
    }
}

/// At most two decimals, and none that are zero.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
