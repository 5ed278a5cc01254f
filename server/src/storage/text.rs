//! What texts may hold: labels nothing that misleads the eye, messages something for it.
//!
//! Labels (display names, names of channels and categories, topics) stand between other people's texts, so they hold no
//! character that breaks a line, turns the writing direction, or cannot be seen, save where a script or an emoji needs it.
//! Messages are data and hold any character; at least one must be visible. This is asked of what is written, never of what
//! is stored: rows older than a rule stay as they are.
//!
//! Texts are kept as given, byte for byte. Where names are compared, that is done in NFC.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed,
    props::{
        Alphabetic, BidiControl, CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier,
        ExtendedPictographic, GeneralCategory, Ideographic, IndicSyllabicCategory, JoiningType, LineBreak,
        NoncharacterCodePoint, PrependedConcatenationMark, WhiteSpace,
    },
};

use super::StorageError;

type Set = CodePointSetDataBorrowed<'static>;
type Map<T> = CodePointMapDataBorrowed<'static, T>;

const CATEGORY: Map<GeneralCategory> = CodePointMapData::<GeneralCategory>::new();
const COMBINING_CLASS: Map<CanonicalCombiningClass> = CodePointMapData::<CanonicalCombiningClass>::new();
const JOINING: Map<JoiningType> = CodePointMapData::<JoiningType>::new();
const INDIC: Map<IndicSyllabicCategory> = CodePointMapData::<IndicSyllabicCategory>::new();
const LINE_BREAK: Map<LineBreak> = CodePointMapData::<LineBreak>::new();

const ALPHABETIC: Set = CodePointSetData::new::<Alphabetic>();
const BIDI_CONTROL: Set = CodePointSetData::new::<BidiControl>();
const EMOJI: Set = CodePointSetData::new::<Emoji>();
const EMOJI_MODIFIER: Set = CodePointSetData::new::<EmojiModifier>();
const IDEOGRAPHIC: Set = CodePointSetData::new::<Ideographic>();
const IGNORABLE: Set = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const NO_CHARACTER: Set = CodePointSetData::new::<NoncharacterCodePoint>();
const PICTOGRAPHIC: Set = CodePointSetData::new::<ExtendedPictographic>();
const VISIBLE_FORMAT: Set = CodePointSetData::new::<PrependedConcatenationMark>();
const WHITE_SPACE: Set = CodePointSetData::new::<WhiteSpace>();

const ZERO_WIDTH_SPACE: char = '\u{200b}';
const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';
const MONGOLIAN_VOWEL_SEPARATOR: char = '\u{180e}';
const KEYCAP: char = '\u{20e3}';
/// The emoji that tags make a flag of: Scotland's is this, `gbsct` in tags, and the end of tags.
const BLACK_FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';
/// Characters with a blank glyph, which no property tells: the empty braille cell, what stands for an object, a note without
/// a head, fillers.
const BLANK: [char; 6] = ['\u{2800}', '\u{fffc}', '\u{1d159}', '\u{16fe4}', '\u{13441}', '\u{13442}'];

/// Whether there is anything to see in a text. White space, control and format characters, fillers and blank glyphs are
/// nothing.
pub fn shows_something(text: &str) -> bool {
    text.chars().any(is_visible)
}

fn is_visible(character: char) -> bool {
    character.is_ascii_graphic()
        || !(WHITE_SPACE.contains(character)
            || IGNORABLE.contains(character)
            || NO_CHARACTER.contains(character)
            || BLANK.contains(&character)
            || match CATEGORY.get(character) {
                GeneralCategory::Control => true,
                GeneralCategory::Format => !VISIBLE_FORMAT.contains(character),
                _ => false,
            })
}

/// Whether two names are the same to a reader: canonically equivalent.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    composed(one) == composed(other)
}

fn composed(text: &str) -> Cow<'_, str> {
    const { ComposingNormalizerBorrowed::new_nfc() }.normalize(text)
}

/// Refuses a label that could mislead, or in which there is nothing to see.
pub(super) fn check_label(field: &'static str, text: &str) -> Result<(), StorageError> {
    if let Some((character, problem)) = misleading(text) {
        return Err(StorageError::invalid(field, format!("it holds U+{:04X}, {problem}", u32::from(character))));
    }
    if !shows_something(text) {
        return Err(StorageError::invalid(field, "there is nothing to see in it"));
    }
    Ok(())
}

/// The first character that a label may not have, and what it is.
fn misleading(text: &str) -> Option<(char, &'static str)> {
    let mut before = Before::default();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let problem = match CATEGORY.get(character) {
            GeneralCategory::Control => Some("a control character"),
            GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => Some("which ends a line"),
            _ if BIDI_CONTROL.contains(character) => Some("which turns the writing direction"),
            _ if NO_CHARACTER.contains(character) => Some("which is no character"),
            _ if is_hidden(character) && !before.needs(character, rest.clone().next()) => {
                Some("an invisible character that means nothing there")
            }
            _ if before.last.is_none() && is_mark(character) => Some("a mark that would stand on another text"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Some((character, problem));
        }
        before.add(character);
        if character == BLACK_FLAG {
            skip_flag_tags(&mut rest);
        }
    }
    None
}

/// Whether a character shows nothing itself: it changes its neighbours, or nothing at all.
fn is_hidden(character: char) -> bool {
    let annotates = matches!(character, '\u{fff9}'..='\u{fffb}');
    annotates || IGNORABLE.contains(character)
}

fn is_mark(character: char) -> bool {
    matches!(CATEGORY.get(character), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Passes over the tags of a flag, if what follows are whole ones.
fn skip_flag_tags(rest: &mut std::str::Chars<'_>) {
    let is_tag = |character: &char| matches!(character, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
    let mut after = rest.clone();
    let tags = after.by_ref().take_while(is_tag).count();
    // `take_while` has taken what ended the tags.
    let end = rest.clone().nth(tags);
    if (3..=6).contains(&tags) && end == Some(END_OF_TAGS) {
        *rest = after;
    }
}

/// What stands before a character.
#[derive(Default)]
struct Before {
    last: Option<char>,
    /// The last one that carries others: no mark, no skin tone, nothing hidden.
    base: Option<char>,
}

impl Before {
    fn add(&mut self, character: char) {
        self.last = Some(character);
        if !(is_hidden(character) || is_mark(character) || EMOJI_MODIFIER.contains(character)) {
            self.base = Some(character);
        }
    }

    /// Whether a hidden character changes how these are shown. What does not would make names that look the same.
    fn needs(&self, hidden: char, next: Option<char>) -> bool {
        let (Some(last), Some(base)) = (self.last, self.base) else { return false };
        let is_complex = |character| LINE_BREAK.get(character) == LineBreak::ComplexContext;
        match hidden {
            // A text or an emoji: of digits only as keycaps.
            '\u{fe0e}' | '\u{fe0f}' => EMOJI.contains(last) && (!last.is_ascii() || next == Some(KEYCAP)),
            // Variants of symbols, of ideographs, of letters in some scripts of Asia.
            '\u{fe00}'..='\u{fe0d}' => {
                is_visible(last) && (!ALPHABETIC.contains(last) || IDEOGRAPHIC.contains(last) || is_indic(last))
            }
            '\u{e0100}'..='\u{e01ef}' => IDEOGRAPHIC.contains(last),
            '\u{180b}'..='\u{180d}' | '\u{180f}' => is_mongolian(last),
            NON_JOINER | JOINER | MONGOLIAN_VOWEL_SEPARATOR => self.joins(hidden, last, base, next),
            // Scripts written without spaces: where a line may be broken.
            ZERO_WIDTH_SPACE => is_complex(last) && next.is_some_and(is_complex),
            _ => false,
        }
    }

    /// Whether a joiner between `base` and `next` changes their shapes: in emoji, after a virama, in cursive scripts, in
    /// Brahmic ones. See <https://www.unicode.org/reports/tr31/#Layout_and_Format_Control_Characters>.
    fn joins(&self, joiner: char, last: char, base: char, next: Option<char>) -> bool {
        const VIRAMA: CanonicalCombiningClass = CanonicalCombiningClass::Virama;
        if matches!(last, NON_JOINER | JOINER | MONGOLIAN_VOWEL_SEPARATOR | ZERO_WIDTH_SPACE) {
            return false;
        }
        let is_within_a_word =
            next.is_some_and(|next| ALPHABETIC.contains(next) || CATEGORY.get(next) == GeneralCategory::NonspacingMark);
        if joiner == JOINER && PICTOGRAPHIC.contains(base) {
            return next.is_some_and(|next| PICTOGRAPHIC.contains(next));
        }
        if joiner != MONGOLIAN_VOWEL_SEPARATOR && COMBINING_CLASS.get(last) == VIRAMA {
            return true;
        }
        match JOINING.get(base) {
            // A letter that joins its follower shows that it would, also at a word's end.
            JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::JoinCausing => {
                is_within_a_word || joiner == JOINER
            }
            JoiningType::RightJoining => is_within_a_word,
            _ => is_indic(base) && is_within_a_word,
        }
    }
}

fn is_indic(character: char) -> bool {
    INDIC.get(character) != IndicSyllabicCategory::Other
        && (ALPHABETIC.contains(character) || CATEGORY.get(character) == GeneralCategory::NonspacingMark)
}

fn is_mongolian(character: char) -> bool {
    matches!(character, '\u{1800}'..='\u{18af}' | '\u{11660}'..='\u{1167f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        match check_label("name", text) {
            Ok(()) => None,
            Err(StorageError::InvalidInput { field: "name", reason }) => Some(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_of_all_the_world_pass() {
        for name in [
            "Ada",
            "José",
            "Jose\u{301}",
            "O’Brien-Łukasz",
            "李小龍",
            "やまだ 太郎",
            "葛\u{e0100}城市", // an ideographic variation
            "김철수",
            "محمد",
            "می\u{200c}خواهم", // Persian: a non-joiner between letters
            "کار\u{200c}ها",
            "ه\u{200d}",         // Arabic: a letter shown as if it joined
            "क\u{94d}\u{200d}ष", // Devanagari: half a letter
            "ന\u{d4d}\u{200d}",  // Malayalam: a chillu, at the end of a word
            "ර\u{dca}\u{200d}ය", // Sinhala
            "র\u{200d}\u{9cd}য", // Bengali: before the virama
            "ಕ\u{ccd}\u{200c}ಕ", // Kannada
            "ភាសា\u{200b}ខ្មែរ",   // Khmer: where a line may be broken
            "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ",   // Mongolian
            "สวัสดี",
            "שָׁלוֹם",
            "0\u{fe00}∩\u{fe00}", // a slashed zero, a set operator with serifs
            "\u{600}1",           // the Arabic number sign, a format character that is seen
            "\u{f8ff}",           // private use
            "a\u{a0}b c\u{3000}d",
            "!",
            "مرحبا hello שלום",
        ] {
            assert_eq!(problem(name), None, "{name:?}");
        }
    }

    #[test]
    fn emoji_pass_with_joiners_tones_selectors_and_tags() {
        for emoji in [
            "\u{1f600}",
            "❤\u{fe0f}",
            "☎\u{fe0e}",
            "❤\u{fe0f}\u{200d}\u{1f525}",
            "\u{1f469}\u{1f3fd}\u{200d}\u{1f680}",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "\u{1f3f4}\u{200d}☠\u{fe0f}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "\u{1f1e9}\u{1f1ea}",
            "1\u{fe0f}\u{20e3}",
            "\u{1f44b}\u{1f3ff}",
            "gaming \u{1f469}\u{200d}\u{1f4bb} and more",
        ] {
            assert_eq!(problem(emoji), None, "{emoji:?}");
        }
    }

    #[test]
    fn what_misleads_is_refused_wherever_it_stands() {
        let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let directions = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let directions = directions.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let lines = '\u{2028}'..='\u{2029}';
        let nothing = ('\u{fdd0}'..='\u{fdef}').chain(['\u{fffe}', '\u{ffff}', '\u{1fffe}', '\u{10ffff}']);
        let hidden = ['\u{ad}', '\u{34f}', '\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{17b4}', '\u{feff}'];
        let hidden = hidden.into_iter().chain('\u{2060}'..='\u{2065}').chain('\u{206a}'..='\u{206f}');
        let hidden =
            hidden.chain(['\u{200b}', '\u{200c}', '\u{200d}', '\u{fe0f}', '\u{fe00}', '\u{180e}', '\u{e0100}']);
        let tags = ['\u{e0001}', '\u{e0041}', '\u{e007f}', '\u{fff9}', '\u{fffa}', '\u{fffb}', '\u{1d173}'];
        for bad in controls.chain(directions).chain(lines).chain(nothing).chain(hidden).chain(tags) {
            for text in [format!("{bad}"), format!("{bad}ab"), format!("a{bad}b"), format!("ab{bad}")] {
                let reason = problem(&text).unwrap_or_else(|| panic!("{text:?} passes"));
                assert!(reason.contains(&format!("U+{:04X}", u32::from(bad))), "{reason}");
            }
        }
    }

    #[test]
    fn joiners_selectors_and_tags_are_refused_where_nothing_needs_them() {
        for text in [
            "admin\u{200d}",
            "ad\u{200c}min",
            "é\u{200d}x",
            "a\u{301}\u{200c}b",
            "می\u{200c}\u{200c}خواهم",
            "می\u{200c}",
            "room1\u{fe0f}",
            "a\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "\u{1f600}\u{200d}",
            "\u{1f600}\u{200d}a",
            "\u{1f3f4}\u{e0067}\u{e0062}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e0061}\u{e0062}\u{e007f}",
            "\u{1f600}\u{e0067}\u{e0062}\u{e0073}\u{e007f}",
            "\u{301}a",
        ] {
            assert!(problem(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn something_must_be_seen() {
        for text in ["", " ", "\u{a0}\u{2003}\u{3000}", "\u{2800}\u{2800}", "\u{fffc}", "\u{1d159}"] {
            assert!(!shows_something(text) && problem(text).is_some(), "{text:?}");
        }
        for text in ["\0\u{7f}\n", "\u{202e}", "\u{200b}\u{200d}", "\u{3164}", "\u{115f}\u{1160}", "\u{e0041}\u{e0042}"]
        {
            assert!(!shows_something(text), "{text:?}");
        }
        for text in ["x", "\u{202e}x", "\0x\0", "\u{600}", "\u{1f600}", "·", "\u{301}", "\u{e000}", "\u{2801}"] {
            assert!(shows_something(text), "{text:?}");
        }
    }

    #[test]
    fn names_are_the_same_if_they_are_canonically_equivalent() {
        assert!(is_same_name("Café", "Cafe\u{301}") && is_same_name("\u{212b}", "\u{c5}"));
        assert!(!is_same_name("Cafe", "Café") && !is_same_name("cafe", "Cafe") && !is_same_name("ﬁ", "fi"));
    }
}
