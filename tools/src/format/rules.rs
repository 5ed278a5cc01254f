//! What the records of a store must be: a dump never holds what a load would refuse.

use std::collections::HashSet;

use decentcom_server::storage::{
    ChannelId, Entity, Timestamp, UserId,
    inspect::{Row, texts},
};
use ulid::Ulid;

/// Where a record stands in a dump.
pub(crate) type Position = (usize, String);

/// Where a record stands: by table, then by key.
pub(crate) fn position(row: &Row) -> Position {
    let entity = row.entity();
    (Entity::ALL.iter().position(|it| *it == entity).unwrap_or_default(), row.key())
}

/// Checks records as they come. Memory grows with users and channels only.
pub(crate) struct Rules {
    last: Option<Position>,
    users: HashSet<UserId>,
    channels: HashSet<ChannelId>,
    pubkeys: HashSet<String>,
    /// Whether users and channels come too, so that references can be followed.
    users_come: bool,
    channels_come: bool,
}

impl Rules {
    /// For records of these tables.
    pub(crate) fn new(tables: &[&str]) -> Self {
        Self {
            last: None,
            users: HashSet::new(),
            channels: HashSet::new(),
            pubkeys: HashSet::new(),
            users_come: tables.contains(&Entity::User.table()),
            channels_come: tables.contains(&Entity::Channel.table()),
        }
    }

    /// For records of a store by itself.
    pub(crate) fn of_a_whole_store() -> Self {
        Self::new(&Entity::ALL.map(Entity::table))
    }

    /// Whether a record by itself is what the contract allows, and in its place.
    pub(crate) fn check_form(&mut self, row: &Row) -> Result<(), String> {
        let position = position(row);
        if let Some(last) = self.last.as_ref().filter(|last| **last >= position) {
            let last = &last.1;
            return Err(if last == row.key().as_str() {
                "there is another one with the same key".into()
            } else {
                format!("it is out of order, after {last}: tables come in a fixed order, records by key")
            });
        }
        self.last = Some(position);
        for (field, text, least, most) in texts(row) {
            if !(least..=most).contains(&text.len()) {
                return Err(format!("its {field} has {} bytes; {least} to {most} are allowed", text.len()));
            }
        }
        match row {
            Row::User(user) => check_time(user.id.ulid(), user.created_at),
            Row::Channel(channel) => check_time(channel.id.ulid(), channel.created_at),
            Row::Category(category) => check_time(category.id.ulid(), category.created_at),
            Row::Message(message) => check_time(message.id.ulid(), message.created_at),
            Row::Session(_) => Ok(()),
        }
    }

    /// Takes a record in among those before it, if it can be there.
    pub(crate) fn admit(&mut self, row: &Row) -> Result<(), String> {
        match row {
            Row::User(user) => {
                if !self.pubkeys.insert(user.pubkey.clone()) {
                    return Err("another user has its pubkey".into());
                }
                self.users.insert(user.id);
            }
            Row::Channel(channel) => {
                self.channels.insert(channel.id);
            }
            Row::Category(_) => {}
            Row::Message(message) => {
                if self.channels_come && !self.channels.contains(&message.channel_id) {
                    return Err(format!("its channel {} does not exist", message.channel_id));
                }
                self.check_user("author", message.author_id)?;
            }
            Row::Session(session) => self.check_user("user", session.user_id)?,
        }
        Ok(())
    }

    fn check_user(&self, role: &str, id: UserId) -> Result<(), String> {
        if self.users_come && !self.users.contains(&id) {
            return Err(format!("its {role} {id} does not exist"));
        }
        Ok(())
    }
}

/// A creation time is not kept by every backend: it is the time within the id.
fn check_time(id: Ulid, created_at: Timestamp) -> Result<(), String> {
    if created_at.as_millis() == id.timestamp_ms() {
        return Ok(());
    }
    Err(format!("its created_at is {created_at}, which is not the time within its id"))
}
