//! The results as text.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use dcstore::terminal_safe_line;

use super::{
    groups::{Group, durability, groups},
    words,
};
use crate::{results::Results, targets::verdicts};

/// Writes the results for somebody who sees `width` columns.
pub(crate) fn table(results: &Results, width: usize, out: &mut dyn Write) -> io::Result<()> {
    if let Some(disk) = results.disk_rate() {
        writeln!(out, "F = {}: synced overwrites of this disk, one after the other\n", words::rate(disk))?;
    }
    for group in groups(results) {
        let shared: String = group.shared.iter().map(|shared| format!(", {shared}")).collect();
        writeln!(out, "{}: {}{shared}", group.workload, group.workload.about().trim_end_matches('.'))?;
        let rows: Vec<_> = group.rows.iter().map(|row| row.cells.clone()).collect();
        let table = columns(&group.header, group.named, rows);
        match table.iter().all(|line| line.chars().count() <= width) {
            true => table.iter().try_for_each(|line| writeln!(out, "{line}"))?,
            false => paragraphs(&group, width, out)?,
        }
        for (who, why) in &group.failures {
            writeln!(out, "{who}: FAILED: {}", terminal_safe_line(why))?;
        }
        writeln!(out)?;
    }
    for (word, meaning) in words::vocabulary(results) {
        writeln!(out, "{word:<16}{meaning}")?;
    }
    writeln!(out)?;
    let verdicts = verdicts(results);
    if !verdicts.is_empty() {
        writeln!(out, "promises")?;
    }
    for verdict in &verdicts {
        let kept = match verdict.kept {
            Some(true) => "kept",
            Some(false) => "NOT KEPT",
            None => "not measured",
        };
        let measured = verdict.measured.iter().map(|measured| format!(": {measured}")).collect::<String>();
        writeln!(out, "{kept:<14}{}{measured}", verdict.promise)?;
    }
    let durability = durability(results);
    if !durability.is_empty() {
        writeln!(out, "{}durability", if verdicts.is_empty() { "" } else { "\n" })?;
    }
    durability.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Lines whose columns line up: the first `named` to the left, figures to the right.
pub(super) fn columns(header: &[&str], named: usize, rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= named {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Where columns do not fit: who, and below it the figures, as many to a line as there is room for.
fn paragraphs(group: &Group, width: usize, out: &mut dyn Write) -> io::Result<()> {
    for row in &group.rows {
        writeln!(out, "{}", row.who)?;
        let figures = group.header.iter().zip(&row.cells).skip(group.named).filter(|(_, cell)| !cell.is_empty());
        let said = figures.map(|(name, cell)| match *name {
            "rate" | "time" => cell.clone(),
            "× F" => format!("{cell} F"),
            "refused" | "per commit" | "on disk" => format!("{cell} {name}"),
            name => format!("{name} {cell}"),
        });
        let mut line = String::new();
        for cell in said {
            if !line.is_empty() && line.chars().count() + cell.chars().count() + 5 > width {
                writeln!(out, "  {line},")?;
                line.clear();
            }
            if !line.is_empty() {
                line.push_str(", ");
            }
            line.push_str(&cell);
        }
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    fn text(results: &Results, width: usize) -> String {
        let mut out = vec![];
        table(results, width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_wide_terminal_shows_a_row_for_each_line() {
        insta::assert_snapshot!(text(&sample::full(), 200));
    }

    #[test]
    fn a_narrow_terminal_shows_the_same_in_lines_that_fit() {
        let narrow = text(&sample::full(), 60);
        let figures = narrow.lines().filter(|line| line.starts_with("  "));
        assert_eq!(figures.clone().find(|line| line.chars().count() > 60), None);
        assert!(figures.count() > sample::full().lines.len());
        insta::assert_snapshot!(narrow);
    }

    #[test]
    fn nothing_that_a_failure_says_acts_on_the_terminal() {
        let mut results = sample::full();
        results.lines[0].failure = Some("\u{1b}[2Jgone".into());
        assert!(text(&results, 200).contains("disk: FAILED: \\u001b[2Jgone"));
    }
}
