//! The model's state, and the rules that all calls share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use decentcom_server::storage::{
    Category, CategoryChoice, Change, Channel, Entity, Message, PageAt, Session, Timestamp, User,
};

use super::{Answer, Call, Names, Refusal, calls::shown};
use crate::context::at;

/// The limits, as the contract has them in words.
const MAX_PUBKEY_BYTES: usize = 256;
const MAX_TEXT_BYTES: usize = 1024;
const MAX_CONTENT_BYTES: usize = 1 << 20;

/// Rows by their canonical id or token. Shared until changed, because the search for an explanation copies the model.
pub(super) type Rows<T> = Arc<BTreeMap<String, T>>;

/// What a call comes to.
pub(super) type Outcome = Result<Answer, Refusal>;

/// A store as the contract describes it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// What the clock says.
    pub(super) now: Timestamp,
    /// The largest id ever given out; empty before the first.
    high_water: String,
    pub(super) users: Rows<User>,
    pub(super) channels: Rows<Channel>,
    pub(super) categories: Rows<Category>,
    /// Soft-deleted ones too; those of deleted channels are gone.
    pub(super) messages: Rows<Message>,
    /// Expired ones that no sweep has removed too.
    pub(super) sessions: Rows<Session>,
    /// Challenges that were used and not swept: slot, key, number.
    pub(super) used: Arc<BTreeSet<(u64, String, u32)>>,
    /// What is to be announced, in order.
    pub(super) changes: Vec<Change>,
}

impl Model {
    /// An empty store.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            high_water: String::new(),
            users: Rows::default(),
            channels: Rows::default(),
            categories: Rows::default(),
            messages: Rows::default(),
            sessions: Rows::default(),
            used: Arc::default(),
            changes: Vec::new(),
        }
    }

    /// What the call must answer. `told` is what the store answered: of it, new ids and tokens are taken.
    pub(super) fn step(&mut self, call: &Call, names: &Names, told: &Answer) -> Answer {
        let text = |text| names.text(text);
        let optional = |text| names.optional(text);
        let outcome = match call {
            Call::CreateUser(pubkey, name) => self.create_user(text(pubkey), optional(name), told),
            Call::GetUserById(id) => self.get_user_by_id(&text(id)),
            Call::GetUserByPubkey(pubkey) => self.get_user_by_pubkey(&text(pubkey)),
            Call::UpdateUser(id, name, avatar) => self.update_user(&text(id), optional(name), optional(avatar)),
            Call::ListUsers => Ok(Answer::Users(self.users.values().cloned().collect())),
            Call::SetMembership(id, is_member) => self.set_membership(&text(id), *is_member),
            Call::ListUsersPage(after, limit) => self.list_users_page(optional(after), *limit, false),
            Call::ListMembersPage(after, limit) => self.list_users_page(optional(after), *limit, true),
            Call::CreateMessage(channel, author, content) => {
                self.create_message(&text(channel), &text(author), text(content), told)
            }
            Call::GetMessage(id) => self.get_message(&text(id)),
            Call::ListMessages(channel, before, limit) => {
                let before = optional(before);
                self.list_messages(&text(channel), before.as_deref().map_or(PageAt::Newest, PageAt::Before), *limit)
            }
            Call::ListMessagesAfter(channel, after, limit) => {
                self.list_messages(&text(channel), PageAt::After(&text(after)), *limit)
            }
            Call::PageMessages(channel, at, limit, max_bytes) => {
                self.page_messages(&text(channel), at.with(&at.cursor(names)), *limit, *max_bytes)
            }
            Call::UpdateMessage(id, content) => self.update_message(&text(id), text(content)),
            Call::DeleteMessage(id) => self.delete_message(&text(id)),
            Call::CreateChannel(name, category, position) => {
                self.create_channel(text(name), optional(category), *position, told)
            }
            Call::CreateChannelIn(name, category, position) => {
                self.create_channel_in(text(name), category.with(names), *position, told)
            }
            Call::GetChannel(id) => self.get_channel(&text(id)),
            Call::ListChannels => self.list_channels(),
            Call::UpdateChannel(id, name, topic, position) => {
                self.edit_channel(&text(id), optional(name), optional(topic), None, *position, told)
            }
            Call::EditChannel(id, name, topic, category, position) => {
                let category = category.as_ref().map(|category| category.with(names));
                self.edit_channel(&text(id), optional(name), optional(topic), category, *position, told)
            }
            Call::DeleteChannel(id) => self.delete_channel(&text(id)),
            Call::CreateCategory(name, position) => self.create_category(text(name), *position, told),
            Call::GetCategory(id) => self.get_category(&text(id)),
            Call::ListCategories => self.list_categories(),
            Call::UpdateCategory(id, name, position) => self.update_category(&text(id), optional(name), *position),
            Call::DeleteCategory(id) => self.delete_category(&text(id)),
            Call::CreateSession(user, lasting) => self.create_session(&text(user), *lasting, told),
            Call::LogIn(pubkey, attempt, lasting) => self.log_in(text(pubkey), *attempt, *lasting, told),
            Call::NewestUsedChallenges(pubkey) => self.newest_used_challenges(&text(pubkey)),
            Call::DeleteSessionsOfUser(id) => self.delete_sessions_of_user(&text(id)),
            Call::GetSession(token) => self.get_session(&text(token)),
            Call::DeleteSession(token) => self.delete_session(&text(token)),
            Call::DeleteExpiredSessions => self.delete_expired_sessions(),
            Call::Ping => Ok(Answer::Done),
        };
        outcome.unwrap_or_else(Answer::Refused)
    }

    /// The new id in the answer, if it is one that may follow all ids before it: larger than each, its time now, or
    /// the time of the largest while the clock is behind that.
    pub(super) fn new_id(&mut self, told: &Answer) -> Result<String, Refusal> {
        self.new_id_of(told.made().map(|(_, id)| id))
    }

    /// The same for an id from another place of the answer.
    pub(super) fn new_id_of(&mut self, told: Option<String>) -> Result<String, Refusal> {
        let due = self.now.max(time_of(&self.high_water));
        match told {
            Some(id) if canonical(&id).as_deref() == Some(&id) && id > self.high_water && time_of(&id) == due => {
                self.high_water.clone_from(&id);
                Ok(id)
            }
            _ => Err(Refusal::Unexpected(format!("a new id above {:?}, of {due}, was due", self.high_water))),
        }
    }

    /// When a change now is said to have happened.
    pub(super) fn changed_at(&self, before: Timestamp, created_at: Timestamp) -> Timestamp {
        self.now.max(before).max(created_at)
    }
}

/// The canonical form of an id: 26 upper-case Crockford characters, of which the first is at most 7.
pub(super) fn canonical(text: &str) -> Option<String> {
    let id = text.to_ascii_uppercase();
    let is_one = id.len() == 26 && id.bytes().all(|byte| CROCKFORD.contains(&byte)) && id.as_bytes()[0] <= b'7';
    is_one.then_some(id)
}

const CROCKFORD: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The time in a canonical id, its first ten characters; the earliest for no id.
pub(super) fn time_of(id: &str) -> Timestamp {
    let digit = |byte| CROCKFORD.iter().position(|it| *it == byte).unwrap() as u64;
    at(id.bytes().take(10).fold(0, |millis, byte| millis * 32 + digit(byte)))
}

/// The id of a row, where one must exist: its canonical form for the error.
pub(super) fn not_found(entity: Entity, id: &str) -> Refusal {
    Refusal::NotFound(entity, shown(&canonical(id).unwrap_or_else(|| id.to_owned())))
}

/// An empty optional text is none.
pub(super) fn unless_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// As much of a page as the caller asked for, and never more than 500.
pub(super) fn page(limit: u32) -> usize {
    limit.min(500) as usize
}

/// Characters that scripts have and that nobody sees: of a mark for the writing direction and a filler.
const UNSEEN: [char; 2] = ['\u{202e}', '\u{3164}'];

/// Whether there is anything to see.
fn shows_something(text: &str) -> bool {
    text.chars().any(|character| !character.is_control() && !character.is_whitespace() && !UNSEEN.contains(&character))
}

/// Whether a text can stand as a label.
fn is_label(text: &str) -> bool {
    let misleads = |character: char| character.is_control() || UNSEEN.contains(&character);
    shows_something(text) && !text.chars().any(misleads)
}

/// Collects the fields that break a rule.
#[derive(Default)]
pub(super) struct Checks(Vec<&'static str>);

impl Checks {
    pub(super) fn pubkey(self, text: &str) -> Self {
        self.that((1..=MAX_PUBKEY_BYTES).contains(&text.len()), "pubkey")
    }

    pub(super) fn name(self, text: Option<&String>) -> Self {
        self.named(text, "name")
    }

    pub(super) fn named(self, text: Option<&String>, field: &'static str) -> Self {
        self.that(text.is_none_or(|text| text.len() <= MAX_TEXT_BYTES && is_label(text)), field)
    }

    pub(super) fn optional_label(self, text: Option<&String>, field: &'static str) -> Self {
        self.that(text.is_none_or(|text| text.is_empty() || text.len() <= MAX_TEXT_BYTES && is_label(text)), field)
    }

    pub(super) fn choice(self, category: Option<&CategoryChoice>) -> Self {
        match category {
            Some(CategoryChoice::Name(name)) => self.named(Some(name), "category"),
            _ => self,
        }
    }

    pub(super) fn optional(self, text: Option<&String>, field: &'static str) -> Self {
        self.that(text.is_none_or(|text| text.len() <= MAX_TEXT_BYTES), field)
    }

    pub(super) fn content(self, text: &str) -> Self {
        self.that(text.len() <= MAX_CONTENT_BYTES && shows_something(text), "content")
    }

    pub(super) fn that(mut self, holds: bool, field: &'static str) -> Self {
        if !holds {
            self.0.push(field);
        }
        self
    }

    pub(super) fn done(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::InvalidInput(self.0)) }
    }
}
