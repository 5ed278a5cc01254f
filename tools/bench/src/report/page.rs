//! The results as a page: one file that loads nothing.

use std::{borrow::Cow, time::Duration};

use clap::ValueEnum;
use dcstore::terminal_safe;
use indicatif::HumanDuration;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    answer::answer,
    charts::{Chart, style},
    figures::{Bars, bars, charts},
    groups::{Group, durability, groups},
    sizes,
    words::{self, vocabulary},
};
use crate::{
    results::{Results, Subject},
    targets::verdicts,
};

/// Gives the embedded results to whoever follows the link.
const DOWNLOAD: &str = r#"
document.getElementById("download").addEventListener("click", event => {
  const text = document.getElementById("results").textContent;
  event.target.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
});
"#;

/// How to read it, a paragraph each.
const READING: [&str; 7] = [
    "F is how often this disk can overwrite 4 KiB and sync them in a second, one after the other; it is measured again \
     right before and after each durable line, which is given in that F. Nobody who waits for \
     each change can be faster than F; a store that puts the changes of many people into one commit can. Durable \
     figures are given as multiples of F too, because these carry over to other disks and the figures themselves do not.",
    "Stored is how many messages a store held when the run began. All lines of a size share one copy of it, so what is \
     posted comes on top: a tenth at most before a line begins, and while one posts as much as it posts, which is many \
     times the smallest store.",
    "Durable means that a post is acknowledged once a sync has put it on disk. The durability check counts the syncs.",
    "Callers work in a closed loop: each begins its next call when the last has ended. Lines with a load are an open \
     loop: calls begin at fixed times whether or not the store is ready, at that share of its closed-loop rate, and \
     their time counts from when they should have begun.",
    "p50 is the time that half of the calls took at most, p99 the time of all but one in a hundred; both are medians \
     over the rounds. Worst is the single slowest call of all rounds.",
    "Spread is half the distance between the best and the worst round. Differences smaller than that are noise.",
    "raw and per-call are no products but yardsticks: the engine alone with as many rows in a transaction, and the \
     engine with a transaction for each call.",
];

/// The results as one HTML page that needs no other file.
pub(crate) fn page(results: &Results) -> String {
    let title = "decentcom: storage on this machine";
    let promises = verdicts(results);
    let bars = bars(results);
    let drawn =
        |charts: Vec<Chart>| -> Vec<_> { charts.into_iter().filter_map(|chart| Some((chart.svg()?, chart))).collect() };
    let (ageing, drawn) = (drawn(sizes::charts(results)), drawn(charts(results)));
    let durability = durability(results);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(style(Subject::value_variants()))) }
            }
            body {
                main {
                    h1 { (title) }
                    p.quiet {
                        "dcbench" @if results.settings.quick { " --quick" } ", " (results.started_at) ", "
                        "took " (HumanDuration(Duration::try_from_secs_f64(results.seconds).unwrap_or_default()))
                    }
                    p.answer { @for sentence in answer(results) { (sentence) " " } }
                    (machine(results))
                    @if !promises.is_empty() {
                        h2 { "What is promised" }
                        div.scroll { table.promises {
                            tr { th { "" } th { "promise" } th { "measured" } }
                            @for verdict in &promises {
                                tr {
                                    td.verdict { @match verdict.kept {
                                        Some(true) => span.kept { "✓ kept" },
                                        Some(false) => span.broken { "✗ not kept" },
                                        None => span.quiet { "not measured" },
                                    } }
                                    td { (verdict.promise) }
                                    td { (verdict.measured.as_deref().unwrap_or_default()) }
                                }
                            }
                        } }
                    }
                    @if !ageing.is_empty() {
                        h2 { "What ages" }
                        p.quiet {
                            "Level is best. Dashed lines are no products, and what ours are compared with. Where a store holds "
                            "ten thousand messages in a thousand channels, a page is ten."
                        }
                        div.charts.small { @for (svg, chart) in &ageing { (figure(svg, chart)) } }
                    }
                    @if !drawn.is_empty() || !bars.is_empty() {
                        h2 { "Charts" }
                        div.charts {
                            @for (svg, chart) in &drawn { (figure(svg, chart)) }
                            @for bars in &bars { (bar_chart(bars)) }
                        }
                    }
                    h2 { "All lines" }
                    @for group in groups(results) { (lines(&group)) }
                    details {
                        summary { "Who is who, and what the words mean" }
                        dl { @for (word, meaning) in vocabulary(results) { dt { (word) } dd { (meaning) } } }
                    }
                    @if !durability.is_empty() {
                        h2 { "Durability check" }
                        p.quiet { "Changes made one after the other, each waited for, and the syncs meanwhile." }
                        ul { @for line in &durability { li { (line) } } }
                    }
                    h2 { "How to read this" }
                    @for paragraph in READING { p { (paragraph) } }
                    div.screen {
                        h2 { "Data" }
                        p { a #download href="#results" download="results.json" { "results.json" }
                            ", for " code { "dcbench --compare A.json B.json" } }
                    }
                }
                script #results type="application/json" { (PreEscaped(embedded(results))) }
                script { (PreEscaped(DOWNLOAD)) }
            }
        }
    };
    page.into_string()
}

/// JSON that does not end the element it is in.
fn embedded(results: &Results) -> String {
    // It consists of numbers, texts and lists of them, all of which JSON has.
    serde_json::to_string(results).unwrap_or_default().replace('<', "\\u003c")
}

fn shown(text: &str) -> Cow<'_, str> {
    if text.is_empty() { "not known".into() } else { terminal_safe(text) }
}

fn machine(results: &Results) -> Markup {
    let (machine, settings) = (&results.machine, &results.settings);
    let versions: Vec<_> = results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let plural = |number: u64, thing| words::counted(number, thing);
    let facts = [
        ("processor", format!("{}, {}", shown(&machine.processor), plural(machine.cores as u64, "core"))),
        ("memory", words::bytes(machine.memory_bytes as f64)),
        ("system", shown(&machine.system).into_owned()),
        ("file system", shown(&machine.file_system).into_owned()),
        ("device", shown(machine.device.as_deref().unwrap_or_default()).into_owned()),
        ("directory", shown(&settings.directory).into_owned()),
        ("F", results.disk_rate().map_or("not measured".into(), |rate| format!("{}, 4 KiB each", words::rate(rate)))),
        (
            "each line",
            format!(
                "{} of {} s after {} s of warm-up",
                plural(settings.rounds.into(), "round"),
                settings.measured_seconds,
                settings.warm_up_seconds
            ),
        ),
        ("stored", settings.stored.iter().map(|it| words::count(*it)).collect::<Vec<_>>().join(", ")),
        (
            "messages",
            format!(
                "{} of {} bytes in the community of the other lines",
                words::count(settings.messages),
                words::count(settings.message_bytes)
            ),
        ),
        ("versions", versions.join(", ")),
        (
            "load before",
            format!(
                "{:.2}{}",
                machine.load_average,
                if machine.load_average > 0.5 { ": the machine was busy, these figures are noisy" } else { "" }
            ),
        ),
    ];
    html! {
        h2 { "Machine and settings" }
        dl { @for (name, fact) in &facts { dt { (name) } dd { (fact) } } }
    }
}

fn figure(svg: &str, chart: &Chart) -> Markup {
    html! {
        figure {
            figcaption { (chart.title) }
            div.legend {
                @for series in &chart.series {
                    span class={ "key of-" (series.subject) @if series.dashed { " dashed" } } { (series.name) }
                }
            }
            div.scroll { (PreEscaped(svg)) }
            details {
                summary { "figures" }
                div.scroll { table {
                    tr { th { "" } th.number { (chart.x.label) } th.number { (chart.y.label) } }
                    @for series in &chart.series {
                        @for (x, y) in series.points.iter().take(16) {
                            tr {
                                td { span class={ "dot of-" (series.subject) } { (series.name) } }
                                td.number { ((chart.x.show)(*x)) }
                                td.number { ((chart.y.show)(*y)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn bar_chart(chart: &Bars) -> Markup {
    let most = chart.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        figure {
            figcaption { (chart.title) }
            div.scroll { table.bars {
                tr { th { "" } th { "" } @for column in &chart.columns { th.number { (column) } } }
                @for bar in &chart.bars {
                    tr {
                        td { (bar.name) }
                        td.bar { span class={ "of-" (bar.subject) } style={ "width:" (format!("{:.1}", bar.value / most * 100.0)) "%" } {} }
                        @for text in &bar.texts { td.number { (text) } }
                    }
                }
            } }
        }
    }
}

fn lines(group: &Group) -> Markup {
    html! {
        h3 { (group.workload) }
        p.quiet {
            (group.workload.about().trim_end_matches('.'))
            @for shared in &group.shared { ", " (shared) }
        }
        @if !group.rows.is_empty() {
            div.scroll { table {
                tr { @for (at, name) in group.header.iter().enumerate() { th.number[at >= group.named] { (name) } } }
                @for row in &group.rows {
                    tr { @for (at, cell) in row.cells.iter().enumerate() {
                        td.number[at >= group.named] {
                            @if at == 0 { span class={ "dot of-" (row.subject) } { (cell) } } @else { (cell) }
                        }
                    } }
                }
            } }
        }
        @for (who, why) in &group.failures { p.failure { (who) ": " (terminal_safe(why)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::results::Workload;

    fn svgs(page: &str) -> Vec<&str> {
        page.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap()).collect()
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page(&sample::full()).replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for reference in ["http:", "https:", "src=", "@import", "url(", "<link", "//cdn"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn what_came_from_outside_is_text() {
        let mut results = sample::full();
        let evil = "<script>alert(1)</script>";
        results.machine.processor = evil.into();
        results.settings.directory = evil.into();
        results.versions.insert(evil.into(), evil.into());
        results.started_at = evil.into();
        results.lines[0].failure = Some(evil.into());
        let page = page(&results);
        assert!(!page.contains(evil));
        assert_eq!(page.matches("&lt;script&gt;alert(1)").count(), 6);
    }

    #[test]
    fn the_results_can_be_read_back() {
        let mut results = sample::full();
        results.machine.processor = "</script><!-- & \" ' \u{2028}".into();
        let page = page(&results);
        let (_, rest) = page.split_once("<script id=\"results\" type=\"application/json\">").unwrap();
        let (json, _) = rest.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Results>(json).unwrap(), results);
    }

    #[test]
    fn every_chart_can_be_drawn_and_says_what_its_axes_are() {
        let page = page(&sample::full());
        let svgs = svgs(&page);
        assert_eq!(svgs.len(), 23);
        for svg in svgs {
            let whole = format!("<svg{svg}</svg>");
            let document = roxmltree::Document::parse(&whole).unwrap();
            let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
            let labels = ["posts per second", "messages stored", "seconds"];
            assert!(labels.iter().any(|label| texts.contains(label)), "{texts:?}");
        }
    }

    #[test]
    fn every_colour_of_a_chart_has_one_for_the_dark() {
        let style = style(Subject::value_variants());
        let page = page(&sample::full());
        for svg in svgs(&page) {
            for colour in svg.split("=\"#").skip(1).filter_map(|rest| rest.get(..6)) {
                assert!(style.contains(&format!("\"#{colour}\"]")), "{colour}");
            }
        }
    }

    #[test]
    fn a_chart_without_figures_is_left_out() {
        let mut results = sample::full();
        let left = |results: &Results| page(results).matches("<figure>").count();
        let all = left(&results);
        results.lines.retain(|line| line.what.workload != Workload::Scroll);
        assert_eq!(left(&results), all - 4);
        results.lines.retain(|line| line.what.workload != Workload::Sweep);
        assert_eq!(left(&results), all - 5);
        results.lines.clear();
        let bare = page(&results);
        assert_eq!(bare.matches("<figure>").count(), 0);
        assert!(!bare.contains("<h2>Charts</h2>") && bare.contains("Not measured in this run: posting"));
    }
}
