//! What somebody looks for, in upper or lower case, and where it is in a text.

use std::ops::Range;

/// Characters of a long text that are shown around what was found in it.
const SHOWN: usize = 100;
/// Of these, characters before it.
const BEFORE: usize = 30;

/// A phrase that is looked for.
pub(crate) struct Phrase(String);

/// The same for upper and lower case of a character, also where those have several: `ß` is found by `SS`.
fn folded(character: char) -> impl Iterator<Item = char> {
    character.to_uppercase().flat_map(char::to_lowercase)
}

/// A text with a phrase in it, cut to what is around that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excerpt<'a> {
    /// How many characters are left out at the beginning.
    pub(crate) skipped: usize,
    pub(crate) before: &'a str,
    pub(crate) found: &'a str,
    pub(crate) after: &'a str,
    /// How many characters are left out at the end.
    pub(crate) more: usize,
}

impl Phrase {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().flat_map(folded).collect())
    }

    /// Whether it is in a text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        if text.is_ascii() {
            return text.to_ascii_lowercase().contains(&self.0);
        }
        text.chars().flat_map(folded).collect::<String>().contains(&self.0)
    }

    /// Where it is in a text for the first time.
    fn find(&self, text: &str) -> Option<Range<usize>> {
        let mut whole = String::with_capacity(text.len());
        // Where each byte of the folded text comes from.
        let mut origins: Vec<Range<usize>> = Vec::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            whole.extend(folded(character));
            origins.resize(whole.len(), at..at + character.len_utf8());
        }
        let start = whole.find(&self.0)?;
        let last = (start + self.0.len()).checked_sub(1)?;
        Some(origins.get(start)?.start..origins.get(last)?.end)
    }

    /// A text that it is in, with as much around it as fits in a line.
    pub(crate) fn excerpt<'a>(&self, text: &'a str) -> Option<Excerpt<'a>> {
        let place = self.find(text)?;
        let (before, rest) = text.split_at_checked(place.start)?;
        let (found, after) = rest.split_at_checked(place.len())?;
        let (before_characters, found_characters) = (before.chars().count(), found.chars().count());
        let (skipped, before) =
            match before_characters + found_characters > SHOWN - BEFORE && before_characters > BEFORE {
                true => (before_characters - BEFORE, tail(before, BEFORE)),
                false => (0, before),
            };
        let room = SHOWN.saturating_sub(before_characters - skipped + found_characters).max(BEFORE);
        let end = after.char_indices().nth(room).map_or(after.len(), |(at, _)| at);
        let (after, left_out) = after.split_at_checked(end)?;
        Some(Excerpt { skipped, before, found, after, more: left_out.chars().count() })
    }
}

/// The last characters of a text.
fn tail(text: &str, characters: usize) -> &str {
    let start = text.char_indices().rev().nth(characters.saturating_sub(1)).map_or(0, |(at, _)| at);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_in_either_case() {
        for (phrase, text, found) in [
            ("lunch", "LUNCH", Some("LUNCH")),
            ("STRASSE", "die Straße", Some("Straße")),
            ("ος", "ΟΔΟΣ", Some("ΟΣ")),
            ("é", "CAFÉ!", Some("É")),
            ("lunch", "lunc h", None),
            ("kelvin", "5 \u{212a}elvin", Some("\u{212a}elvin")),
        ] {
            let phrase = Phrase::new(phrase);
            assert_eq!(phrase.is_in(text), found.is_some(), "{text}");
            assert_eq!(phrase.excerpt(text).map(|it| it.found), found, "{text}");
        }
        assert!(Phrase::new("").is_in("anything") && Phrase::new("").excerpt("anything").is_none());
    }

    #[test]
    fn a_long_text_is_cut_around_what_was_found() {
        let phrase = Phrase::new("needle");
        let excerpt = |before: usize, after: usize| {
            let text = format!("{}Needle{}", "é".repeat(before), "x".repeat(after));
            let it = phrase.excerpt(&text).unwrap();
            assert_eq!(it.found, "Needle");
            assert_eq!((it.skipped + it.before.chars().count(), it.more + it.after.len()), (before, after));
            (it.skipped, it.more)
        };
        assert_eq!(excerpt(0, 0), (0, 0));
        assert_eq!(excerpt(40, 54), (0, 0));
        assert_eq!(excerpt(40, 55), (0, 1));
        assert_eq!(excerpt(1000, 0), (970, 0));
        assert_eq!(excerpt(1000, 1000), (970, 1000 - 64));
        let long = Phrase::new(&"y".repeat(500));
        assert_eq!(long.excerpt(&format!("{}z", "Y".repeat(500))).unwrap().found.len(), 500);
    }
}
