//! What the records of a store must be, by themselves and together. Written once: what a check finds in a store is what keeps
//! a record from being brought into one.

use std::collections::HashSet;

use ulid::Ulid;

use super::{Level, Row};
use crate::storage::{
    ChannelId, Entity, Timestamp, UserId,
    front::successor,
    limits::{MAX_CONTENT_BYTES, MAX_PUBKEY_BYTES, MAX_TEXT_BYTES},
};

/// The rules, and what of the records so far they need to know. Memory grows with users and channels only.
///
/// Not among them, as each has a place of its own: the order of records and that keys are there once (a store's tree, a
/// dump's order), and that public keys are unique (a store's index, whoever fills one). Nor is an id of times to come a fault:
/// a clock that ran ahead made it, and what was posted then must be moved and backed up like the rest.
pub struct Rules {
    users: HashSet<UserId>,
    channels: HashSet<ChannelId>,
    /// Kinds of which some records are not known, so that nobody can say that one does not exist.
    incomplete: Vec<Entity>,
    newest: Option<Ulid>,
}

impl Default for Rules {
    /// Rules for records of which none has come yet.
    fn default() -> Self {
        Self { users: HashSet::new(), channels: HashSet::new(), incomplete: Vec::new(), newest: None }
    }
}

impl Rules {
    /// From now on nobody can say that a record of this kind does not exist.
    pub fn cannot_know(&mut self, entity: Entity) {
        self.incomplete.push(entity);
    }

    /// Takes it that there is a record with this key, though it cannot be read.
    pub fn remember(&mut self, entity: Entity, key: &str) {
        match entity {
            Entity::User => self.users.extend(UserId::parse(key)),
            Entity::Channel => self.channels.extend(ChannelId::parse(key)),
            _ => {}
        }
    }

    /// What is wrong with a record by itself.
    pub fn check(&mut self, row: &Row, found: &mut dyn FnMut(Level, String)) {
        for (field, text, least, most) in texts(row) {
            if !(least..=most).contains(&text.len()) {
                found(Level::Records, format!("its {field} has {} bytes; {least} to {most} are allowed", text.len()));
            }
        }
        match row {
            Row::User(user) => {
                self.check_times(user.id.ulid(), user.created_at, Some(("updated_at", user.updated_at)), found);
            }
            Row::Channel(channel) => {
                let updated = Some(("updated_at", channel.updated_at));
                self.check_times(channel.id.ulid(), channel.created_at, updated, found);
            }
            Row::Category(category) => self.check_times(category.id.ulid(), category.created_at, None, found),
            Row::Message(message) => {
                let edited = message.edited_at.map(|time| ("edited_at", time));
                self.check_times(message.id.ulid(), message.created_at, edited, found);
            }
            Row::Session(session) => {
                if session.expires_at <= session.created_at {
                    found(Level::Times, format!("it expires at {}, not after it was created", session.expires_at));
                }
            }
        }
    }

    fn check_times(
        &mut self,
        id: Ulid,
        created_at: Timestamp,
        changed: Option<(&str, Timestamp)>,
        found: &mut dyn FnMut(Level, String),
    ) {
        self.newest = self.newest.max(Some(id));
        if created_at.as_millis() != id.timestamp_ms() {
            found(Level::Times, format!("its created_at is {created_at}, which is not the time within its id"));
        }
        if let Some((field, time)) = changed.filter(|(_, time)| *time < created_at) {
            found(Level::Times, format!("its {field} is {time}, before it was created"));
        }
    }

    /// Takes a record in among those before it; what it refers to must be there.
    pub fn admit(&mut self, row: &Row, found: &mut dyn FnMut(Level, String)) {
        match row {
            Row::User(user) => {
                self.users.insert(user.id);
            }
            Row::Channel(channel) => {
                self.channels.insert(channel.id);
            }
            Row::Category(_) => {}
            Row::Message(message) => {
                if self.is_missing(Entity::Channel, self.channels.contains(&message.channel_id)) {
                    found(Level::References, format!("its channel {} does not exist", message.channel_id));
                }
                if self.is_missing(Entity::User, self.users.contains(&message.author_id)) {
                    found(Level::References, format!("its author {} does not exist", message.author_id));
                }
            }
            Row::Session(session) => {
                if self.is_missing(Entity::User, self.users.contains(&session.user_id)) {
                    found(Level::References, format!("its user {} does not exist", session.user_id));
                }
            }
        }
    }

    fn is_missing(&self, entity: Entity, is_known: bool) -> bool {
        !is_known && !self.incomplete.contains(&entity)
    }

    /// What is wrong with the recorded largest id, once all records were checked: what is given out next must be above
    /// everything there is, and there must be something above it.
    pub fn check_high_water(&self, recorded: Option<Ulid>, found: &mut dyn FnMut(Level, String)) {
        if let Some(newest) = self.newest.filter(|newest| recorded.is_none_or(|recorded| recorded < *newest)) {
            found(Level::Times, format!("the largest id in the store is {newest}, which is not the one recorded"));
        }
        if let Some(last) = self.newest.max(recorded).filter(|last| successor(*last).is_none()) {
            let remedy = "`dcstore dump --exclude meta --skip-damaged` and `dcstore load` make one that goes on after its \
                          largest record";
            let problem =
                "is the last one there is: no larger id can be given out, so nothing can ever be written again";
            found(Level::File, format!("{last} {problem}; {remedy}"));
        }
    }
}

/// The texts of a row, with the fewest and most bytes they may have. Absent ones are left out.
pub fn texts(row: &Row) -> Vec<(&'static str, &str, usize, usize)> {
    let text = |field, text| Some((field, text, 1, MAX_TEXT_BYTES));
    let texts = match row {
        Row::User(user) => [
            Some(("pubkey", user.pubkey.as_str(), 1, MAX_PUBKEY_BYTES)),
            optional("display_name", &user.display_name),
            optional("avatar_hash", &user.avatar_hash),
        ],
        Row::Channel(channel) => [
            text("name", channel.name.as_str()),
            optional("topic", &channel.topic),
            optional("category_id", &channel.category_id),
        ],
        Row::Category(category) => [text("name", category.name.as_str()), None, None],
        Row::Message(message) => [Some(("content", message.content.as_str(), 0, MAX_CONTENT_BYTES)), None, None],
        Row::Session(_) => [None; 3],
    };
    texts.into_iter().flatten().collect()
}

fn optional<'a>(field: &'static str, text: &'a Option<String>) -> Option<(&'static str, &'a str, usize, usize)> {
    text.as_deref().map(|text| (field, text, 1, MAX_TEXT_BYTES))
}
