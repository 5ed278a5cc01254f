//! Texts that do nothing to a terminal. What a store holds, and what files are called, was written by strangers: nothing of
//! it reaches a terminal, a pipe or a file for people as it is.
//!
//! What acts (the server's `terminal.rs` has the list) is written as JSON does, `\u001b`: that is right within a string of JSON
//! and can be read everywhere else. Whoever formats a text uses [`one_line`] or [`text`], whoever writes JSON [`json`]; and
//! [`Safe`], around all results in text, escapes what they were not asked for.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use decentcom_server::terminal::{acts, escaped};
use serde::Serialize;

/// A text in lines of its own; all but its line ends is safe.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |character| acts(character) && character != '\n')
}

/// A text in one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// JSON in one line, without its end. The characters that act can only be within its strings.
pub(crate) fn json(value: &impl Serialize) -> io::Result<String> {
    let line = serde_json::to_string(value)?;
    Ok(match escaped(&line, acts) {
        Cow::Borrowed(_) => line,
        Cow::Owned(safe) => safe,
    })
}

/// Writes a value as one line of JSON, with its line end.
pub(crate) fn json_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", json(value)?)
}

/// Where the results of a command go.
pub trait Results: Write {
    /// Whether what is between two calls stands out for whoever sees it on a terminal.
    fn stand_out(&mut self, _does: bool) -> io::Result<()> {
        Ok(())
    }
}

impl Results for Vec<u8> {}

/// A stream of UTF-8 to a terminal or pipe on which nothing acts but line ends and tabs.
pub(crate) struct Safe<W> {
    inner: W,
    is_terminal: bool,
    /// The beginning of a character.
    begun: Vec<u8>,
    /// Whether nobody reads any more.
    is_closed: bool,
}

impl<W: Write> Safe<W> {
    /// Around a stream.
    pub(crate) fn new(inner: W, is_terminal: bool) -> Self {
        Self { inner, is_terminal, begun: Vec::new(), is_closed: false }
    }

    /// Whether whoever read this has gone, as in `dcstore … | head`.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        let safe = escaped(text, |character| acts(character) && !matches!(character, '\n' | '\t'));
        self.inner.write_all(safe.as_bytes())
    }

    /// Writes the whole characters of `bytes` and keeps the beginning of the next one.
    fn put_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        let bytes = match begun.is_empty() {
            true => Cow::Borrowed(bytes),
            false => {
                begun.extend_from_slice(bytes);
                Cow::Owned(begun)
            }
        };
        let mut rest: &[u8] = &bytes;
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => return self.put(text),
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            self.put(std::str::from_utf8(valid).unwrap_or_default())?;
            let Some(length) = error.error_len() else {
                self.begun = after.to_vec();
                return Ok(());
            };
            self.put("\u{FFFD}")?;
            rest = after.get(length..).unwrap_or_default();
        }
    }
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.put_bytes(bytes);
        self.noting(written).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.noting(flushed)
    }
}

impl<W: Write> Results for Safe<W> {
    fn stand_out(&mut self, does: bool) -> io::Result<()> {
        let sequence: &[u8] = match (self.is_terminal, does) {
            (false, _) => b"",
            (true, true) => b"\x1b[1;7m",
            (true, false) => b"\x1b[0m",
        };
        let written = self.inner.write_all(sequence);
        self.noting(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[2J\u{9b}31m\rb\u{202e}c\u{7f}\u{2028}d\te\u{2067}f\u{200f}";

    fn is_safe(text: &str) -> bool {
        !text.contains(|character: char| acts(character) && character != '\n')
    }

    #[test]
    fn nothing_that_acts_is_let_through() {
        for safe in [text(NASTY), one_line(NASTY)] {
            assert!(is_safe(&safe), "{safe:?}");
            assert!(safe.starts_with(r"a\u001b[2J\u009b31m\rb\u202ec"), "{safe}");
        }
        assert_eq!(text("two\nlines"), "two\nlines");
        assert_eq!(one_line("two\nlines"), "two\\nlines");
        assert_eq!(one_line("ø ¯\\_(ツ)_/¯ 👩‍👩‍👧"), "ø ¯\\_(ツ)_/¯ 👩‍👩‍👧");
    }

    #[test]
    fn json_is_safe_and_reads_back_the_same() {
        let nasty = format!("{NASTY}\"\\👩");
        let line = json(&nasty).unwrap();
        assert!(is_safe(&line), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), nasty);
    }

    #[test]
    fn a_stream_is_safe_however_it_is_cut() {
        let whole = format!("{NASTY} é 👩\n\ttail");
        let expected = format!("{} é 👩\n\ttail", text(NASTY).replace("\\t", "\t"));
        for size in 1..8 {
            let mut safe = Safe::new(Vec::new(), false);
            whole.as_bytes().chunks(size).for_each(|chunk| safe.write_all(chunk).unwrap());
            assert_eq!(String::from_utf8(safe.inner).unwrap(), expected);
        }
        let mut safe = Safe::new(Vec::new(), false);
        safe.write_all(b"\x9b31m\xff\xe2\x80").unwrap();
        safe.write_all(b"x").unwrap();
        assert_eq!(String::from_utf8(safe.inner).unwrap(), "\u{FFFD}31m\u{FFFD}\u{FFFD}x");
    }

    #[test]
    fn only_a_terminal_is_told_what_stands_out() {
        for (is_terminal, expected) in [(true, "\u{1b}[1;7mfound\u{1b}[0m"), (false, "found")] {
            let mut safe = Safe::new(Vec::new(), is_terminal);
            safe.stand_out(true).unwrap();
            safe.write_all(b"found").unwrap();
            safe.stand_out(false).unwrap();
            assert_eq!(String::from_utf8(safe.inner).unwrap(), expected);
        }
    }
}
