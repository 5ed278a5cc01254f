//! What terminals do to text, and dialogs. Texts are written by strangers: before one is logged, printed or shown in a
//! dialog, what these lists name is written in another way. The labels of a store are refused by a rule of their own,
//! `storage/text.rs`, which asks Unicode's properties.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a terminal would act on a character, or show a line in another order than it is written: control characters (C0,
/// DEL, C1), line and paragraph separators, what marks, embeds, overrides or isolates a direction, and the deprecated
/// controls of shaping beside those, <https://www.unicode.org/reports/tr9/>.
///
/// The dump format escapes these characters, and its checksums are over the escaped lines: another list is another format.
pub fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{206F}')
}

/// Whether a character takes no room, so that two texts can look the same: soft hyphens, joiners, spaces of no width, marks
/// of annotations. A terminal does nothing with them, and scripts and emoji need some: replace them only in names that people
/// tell servers apart by.
pub fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{180E}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
    )
}

/// `text` with the characters that `acts` names written as JSON does, `\u001b`. All of them have to be below U+10000, as those
/// of [`acts`](fn@acts) are.
pub fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            character if !acts(character) => safe.push(character),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            other => {
                let _ = write!(safe, "\\u{:04x}", u32::from(other)); // a String takes everything
            }
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_separator_and_direction_acts_and_no_letter_does() {
        let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let separators = '\u{2028}'..='\u{2029}';
        let directions = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let directions = directions.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{206f}');
        for character in controls.chain(separators).chain(directions) {
            assert!(acts(character) && !is_unseen(character), "{character:?}");
            let text = format!("a{character}b");
            let safe = escaped(&text, acts);
            assert!(!safe.contains(acts), "{safe:?}");
            assert_eq!(serde_json::from_str::<String>(&format!("\"{safe}\"")).unwrap(), text);
        }
        for character in ['a', ' ', '\u{a0}', 'é', 'ש', 'م', '漢', '\u{1f469}', '\u{fe0f}', '\u{2027}', '\u{202f}']
        {
            assert!(!acts(character) && !is_unseen(character), "{character:?}");
        }
    }

    #[test]
    fn what_joins_emoji_and_letters_is_unseen_and_does_not_act() {
        let unseen = ['\u{ad}', '\u{180e}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{fff9}'];
        for character in unseen {
            assert!(is_unseen(character) && !acts(character), "{character:?}");
        }
        assert!(matches!(escaped("👩‍👩‍👧 می\u{200c}خواهم", acts), Cow::Borrowed(_)));
    }
}
