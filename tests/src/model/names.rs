//! How a script names what does not exist yet when it is written.

use std::collections::BTreeMap;

use crate::context::NOBODY;

/// What has a name that only the store can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The id of a user.
    User,
    /// The id of a channel.
    Channel,
    /// The id of a category.
    Category,
    /// The id of a message.
    Message,
    /// The token of a session.
    Token,
}

/// A text given to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// This text.
    Is(&'static str),
    /// So many times `x`.
    Long(usize),
    /// The name of the n-th thing of a kind that was made, deleted or not: of the last if there are fewer, and the id of
    /// nothing while there is none. (Not counted from the end, so that a script keeps its meaning while it shrinks.)
    Made(Kind, usize),
    /// The same in the other case: ids in lower case, tokens in upper case.
    OtherCase(Kind, usize),
}

/// The names of everything that was made in one store, in the order of making.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<Kind, Vec<String>>);

impl Names {
    /// Notes the name of something, if it is new.
    pub fn learn(&mut self, kind: Kind, name: String) {
        let made = self.0.entry(kind).or_default();
        if !made.contains(&name) {
            made.push(name);
        }
    }

    /// How many things of a kind were made.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.get(&kind).map_or(0, Vec::len)
    }

    /// The text itself.
    pub fn text(&self, text: &Text) -> String {
        match text {
            Text::Is(text) => (*text).to_owned(),
            Text::Long(bytes) => "x".repeat(*bytes),
            Text::Made(kind, number) => self.made(*kind, *number).to_owned(),
            Text::OtherCase(Kind::Token, number) => self.made(Kind::Token, *number).to_uppercase(),
            Text::OtherCase(kind, number) => self.made(*kind, *number).to_lowercase(),
        }
    }

    /// The same for an argument that may be left out.
    pub fn optional(&self, text: &Option<Text>) -> Option<String> {
        text.as_ref().map(|text| self.text(text))
    }

    fn made(&self, kind: Kind, number: usize) -> &str {
        let made = self.0.get(&kind).map_or(&[][..], Vec::as_slice);
        made.get(number).or(made.last()).map_or(NOBODY, String::as_str)
    }

    /// The same text with every id in it replaced by what a script calls it.
    pub fn readable(&self, mut text: String) -> String {
        for (kind, names) in &self.0 {
            for (number, name) in names.iter().enumerate() {
                text = text.replace(name.as_str(), &format!("{kind:?} {number}"));
            }
        }
        text
    }
}
