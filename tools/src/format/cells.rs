//! Values as cells of a spreadsheet.

use decentcom_server::terminal::acts;
use serde_json::Value;

use crate::safe::one_line;

/// A value as people write it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as a cell: of a text, what would act on a terminal is escaped, but for line ends; and unless formulas are to stay,
/// an apostrophe makes text of what a spreadsheet would run,
/// <https://owasp.org/www-community/attacks/CSV_Injection>.
pub(super) fn cell(value: &Value, keeps_formulas: bool) -> String {
    let Value::String(text) = value else { return plain(value) };
    let lines: Vec<_> = text.split('\n').map(one_line).collect();
    let safe = lines.join("\n");
    if keeps_formulas || !is_formula(text) { safe } else { format!("'{safe}") }
}

/// Whether a spreadsheet might run a text: what it begins with, whatever comes before that which nobody sees, counts.
fn is_formula(text: &str) -> bool {
    let is_blank = |character: char| character.is_whitespace() || acts(character) || character == '\u{FEFF}';
    let begins_blank = text.starts_with(['\t', '\r', '\n']);
    // Spreadsheets in East Asia take the wide forms too.
    begins_blank || text.trim_start_matches(is_blank).starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=1", "  =1", "\u{a0}=1", "\u{feff}=1", "＝1"] {
            let made = cell(&text.into(), false);
            assert!(made.starts_with('\''), "{text:?} {made:?}");
            assert!(!cell(&text.into(), true).starts_with('\''), "{text:?}");
        }
        for text in ["", "a=1", "'=1", "1+1", "(-1)", "é", "a\n=1"] {
            assert_eq!(cell(&text.into(), false), text);
        }
        assert_eq!(cell(&Value::from(-2), false), "-2"); // a number is no text
        assert_eq!(cell(&Value::Null, false), "");
    }

    #[test]
    fn nothing_in_a_cell_acts() {
        assert_eq!(cell(&"a\u{1b}[2J\u{202e}\r\nb\tc".into(), false), "a\\u001b[2J\\u202e\\r\nb\\tc");
    }
}
