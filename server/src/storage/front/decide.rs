//! The rules of every mutating call, in one place, free of any database: commands and rows in, answers and writes out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    command::{Answer, ChannelChange, Command, InCategory, Reclaimed, Step},
    engine::{PurgeSlice, Row, Rows, StoredSession, Wants, Write},
    mint::Mint,
};
use crate::storage::{
    Admission, Category, CategoryId, Change, Channel, ChannelId, Entity, LogIn, Message, MessageId, SessionDigest,
    StorageError, Timestamp, UsedChallenge, User, UserId, text,
};

/// One batch being decided. Each command sees what those before it did; one that is refused stages nothing.
pub(super) struct Batch<'a> {
    now: Timestamp,
    mint: &'a mut Mint,
    /// The rows as they will be once the writes so far are applied.
    rows: Rows,
    /// Channels deleted in this batch: their messages, which were loaded before that, no longer exist.
    deleted_channels: HashSet<ChannelId>,
    /// Sessions removed in this batch: what was loaded before that may still name them.
    ended_sessions: HashSet<SessionDigest>,
    /// Whether the rows of a sweep filled its limit, so that others may be left.
    more_expired: bool,
    /// The same of used challenges.
    more_challenges: bool,
    /// What is to be stored, in order.
    pub(super) writes: Vec<Write>,
    /// What is to be announced once it is stored, in order.
    pub(super) changes: Vec<Change>,
}

type Decision = Result<Answer, StorageError>;

/// A category that a channel is put into.
enum Chosen {
    /// What the channel notes of it.
    Known(Option<String>),
    New(Category),
}

impl<'a> Batch<'a> {
    /// Begins with the rows that `wants` asked for.
    pub(super) fn new(now: Timestamp, mint: &'a mut Mint, wants: &Wants, rows: Rows) -> Self {
        let is_full = |wanted: Option<(Timestamp, usize)>, found| wanted.is_some_and(|(_, at_most)| found >= at_most);
        Self {
            now,
            mint,
            more_expired: is_full(wants.expired, rows.expired.len()),
            more_challenges: is_full(wants.expired_challenges, rows.expired_challenges.len()),
            rows,
            deleted_channels: HashSet::new(),
            ended_sessions: HashSet::new(),
            writes: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Decides one command.
    pub(super) fn decide(&mut self, command: Command) -> Decision {
        match command {
            Command::CreateUser { pubkey, display_name } => self.create_user(pubkey, display_name),
            Command::UpdateUser { id, display_name, avatar_hash } => self.update_user(id, display_name, avatar_hash),
            Command::SetMembership { id, is_member } => self.set_membership(id, is_member),
            Command::CreateChannel { name, category, position } => self.create_channel(name, category, position),
            Command::UpdateChannel { id, change } => self.update_channel(id, change),
            Command::DeleteChannel { id } => self.delete_channel(id),
            Command::CreateCategory { name, position } => self.create_category(name, position),
            Command::UpdateCategory { id, name, position } => self.update_category(id, name, position),
            Command::DeleteCategory { id } => self.delete_category(id),
            Command::CreateMessage { channel_id, author_id, content } => {
                self.create_message(channel_id, author_id, content)
            }
            Command::UpdateMessage { id, content } => self.update_message(id, content),
            Command::DeleteMessage { id } => self.delete_message(id),
            Command::CreateSession { user_id, digest, duration } => self.create_session(user_id, digest, duration),
            Command::LogIn { log_in, used, digest } => self.log_in(log_in, used, digest),
            Command::DeleteSession { digest } => self.delete_session(digest),
            Command::EndSessions { user_id, at_most } => self.end_sessions(user_id, at_most),
            Command::SweepSessions { expired_at, at_most } => self.sweep_sessions(expired_at, at_most),
            Command::SweepChallenges { expired_at, at_most } => self.sweep_challenges(expired_at, at_most),
            Command::Purge(step) => self.purge(step.at_most),
            Command::Probe => {
                self.writes.push(Write::NoteProbe(self.now));
                Ok(Answer::Done)
            }
        }
    }

    fn create_user(&mut self, pubkey: String, display_name: Option<String>) -> Decision {
        if self.rows.pubkeys.contains_key(&pubkey) {
            return Err(StorageError::Conflict { entity: Entity::User, field: "pubkey" });
        }
        Ok(Answer::User(self.new_user(pubkey, display_name, false, true)?))
    }

    /// Stores a user with a key that nobody has.
    fn new_user(
        &mut self,
        pubkey: String,
        display_name: Option<String>,
        is_bot: bool,
        is_member: bool,
    ) -> Result<Arc<User>, StorageError> {
        let (id, created_at) = self.mint.next(self.now)?;
        let id = UserId::from(id);
        self.rows.pubkeys.insert(pubkey.clone(), id);
        let user = Arc::new(User {
            id,
            pubkey,
            display_name: non_empty(display_name),
            avatar_hash: None,
            is_bot,
            is_member,
            created_at,
            updated_at: created_at,
        });
        self.rows.users.insert(id, user.clone());
        self.writes.push(Write::Insert(Row::User(user.clone())));
        self.changes.push(Change::UserCreated(user.clone()));
        Ok(user)
    }

    fn update_user(&mut self, id: UserId, display_name: Option<String>, avatar_hash: Option<String>) -> Decision {
        let old = find(&self.rows.users, &id, Entity::User)?;
        let mut new = User::clone(&old);
        set_optional(&mut new.display_name, display_name);
        set_optional(&mut new.avatar_hash, avatar_hash);
        Ok(Answer::User(self.store_user(&old, new)))
    }

    fn set_membership(&mut self, id: UserId, is_member: bool) -> Decision {
        let old = find(&self.rows.users, &id, Entity::User)?;
        Ok(Answer::User(self.store_user(&old, User { is_member, ..User::clone(&old) })))
    }

    /// Stores an edited user, if it is edited at all. What is announced follows from what was written.
    fn store_user(&mut self, old: &Arc<User>, mut new: User) -> Arc<User> {
        if new == **old {
            return old.clone();
        }
        new.updated_at = self.now.max(old.updated_at).max(old.created_at);
        let new = Arc::new(new);
        self.rows.users.insert(new.id, new.clone());
        self.writes.push(Write::Replace(Row::User(new.clone())));
        self.changes.push(match (old.is_member, new.is_member) {
            (false, true) => Change::MemberJoined(new.clone()),
            (true, false) => Change::MemberLeft(new.clone()),
            _ => Change::UserUpdated(new.clone()),
        });
        new
    }

    fn create_channel(&mut self, name: String, category: InCategory, position: i32) -> Decision {
        let category = self.choose(category)?;
        let (id, created_at) = self.mint.next(self.now)?;
        let channel = Arc::new(Channel {
            id: id.into(),
            name,
            topic: None,
            category_id: self.enter(category),
            position,
            created_at,
            updated_at: created_at,
        });
        self.rows.channels.insert(channel.id, channel.clone());
        self.writes.push(Write::Insert(Row::Channel(channel.clone())));
        self.changes.push(Change::ChannelCreated(channel.clone()));
        Ok(Answer::Channel(channel))
    }

    fn update_channel(&mut self, id: ChannelId, change: ChannelChange) -> Decision {
        let old = find(&self.rows.channels, &id, Entity::Channel)?;
        let category = change.category.map(|category| self.choose(category)).transpose()?;
        let mut new = Channel::clone(&old);
        set(&mut new.name, change.name);
        set_optional(&mut new.topic, change.topic);
        set(&mut new.category_id, category.map(|category| self.enter(category)));
        set(&mut new.position, change.position);
        Ok(Answer::Channel(self.store_channel(&old, new)))
    }

    /// Finds the category that is meant, or decides on a new one, which nothing knows of before it is entered.
    fn choose(&mut self, category: InCategory) -> Result<Chosen, StorageError> {
        Ok(match category {
            InCategory::Uncategorised => Chosen::Known(None),
            InCategory::AsGiven(text) => Chosen::Known(non_empty(Some(text))),
            InCategory::Existing(id) => {
                Chosen::Known(Some(find(&self.rows.categories, &id, Entity::Category)?.id.to_string()))
            }
            InCategory::Named(name) => match self.category_of_name(&name) {
                Some(id) => Chosen::Known(Some(id.to_string())),
                None => {
                    let last = self.rows.categories.values().map(|category| category.position).max();
                    let (id, created_at) = self.mint.next(self.now)?;
                    let position = last.map_or(0, |last| last.saturating_add(1));
                    Chosen::New(Category { id: id.into(), name, position, created_at })
                }
            },
        })
    }

    /// What a channel notes of the chosen category; a new one is stored before it.
    fn enter(&mut self, chosen: Chosen) -> Option<String> {
        match chosen {
            Chosen::Known(category_id) => category_id,
            Chosen::New(category) => Some(self.store_category(category).id.to_string()),
        }
    }

    /// The category that a name stands for: the first of this name, as they are listed; else the one with this id.
    fn category_of_name(&self, name: &str) -> Option<CategoryId> {
        let named = self.rows.categories.values().filter(|category| text::is_same_name(&category.name, name));
        let first = named.min_by_key(|category| (category.position, category.id)).map(|category| category.id);
        first.or_else(|| CategoryId::parse(name).filter(|id| self.rows.categories.contains_key(id)))
    }

    /// Stores an edited channel, if it is edited at all.
    fn store_channel(&mut self, old: &Arc<Channel>, mut new: Channel) -> Arc<Channel> {
        if new == **old {
            return old.clone();
        }
        new.updated_at = self.now.max(old.updated_at).max(old.created_at);
        let new = Arc::new(new);
        self.rows.channels.insert(new.id, new.clone());
        self.writes.push(Write::Replace(Row::Channel(new.clone())));
        self.changes.push(Change::ChannelUpdated(new.clone()));
        new
    }

    fn delete_channel(&mut self, id: ChannelId) -> Decision {
        find(&self.rows.channels, &id, Entity::Channel)?;
        self.rows.channels.remove(&id);
        self.rows.known_channels.remove(&id);
        self.deleted_channels.insert(id);
        self.writes.push(Write::BeginPurge(id));
        self.changes.push(Change::ChannelDeleted(id));
        Ok(Answer::Done)
    }

    fn create_category(&mut self, name: String, position: i32) -> Decision {
        let (id, created_at) = self.mint.next(self.now)?;
        Ok(Answer::Category(self.store_category(Category { id: id.into(), name, position, created_at })))
    }

    fn store_category(&mut self, category: Category) -> Arc<Category> {
        let category = Arc::new(category);
        self.rows.categories.insert(category.id, category.clone());
        self.writes.push(Write::Insert(Row::Category(category.clone())));
        self.changes.push(Change::CategoryCreated(category.clone()));
        category
    }

    fn update_category(&mut self, id: CategoryId, name: Option<String>, position: Option<i32>) -> Decision {
        let old = find(&self.rows.categories, &id, Entity::Category)?;
        let mut new = Category::clone(&old);
        set(&mut new.name, name);
        set(&mut new.position, position);
        if new == *old {
            return Ok(Answer::Category(old));
        }
        let new = Arc::new(new);
        self.rows.categories.insert(id, new.clone());
        self.writes.push(Write::Replace(Row::Category(new.clone())));
        self.changes.push(Change::CategoryUpdated(new.clone()));
        Ok(Answer::Category(new))
    }

    fn delete_category(&mut self, id: CategoryId) -> Decision {
        find(&self.rows.categories, &id, Entity::Category)?;
        let belongs = |channel: &Channel| channel.category_id.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(&id));
        let mut channels: Vec<_> = self.rows.channels.values().filter(|channel| belongs(channel)).cloned().collect();
        channels.sort_unstable_by_key(|channel| channel.id);
        for channel in channels {
            let uncategorised = Channel { category_id: None, ..Channel::clone(&channel) };
            self.store_channel(&channel, uncategorised);
        }
        self.rows.categories.remove(&id);
        self.writes.push(Write::RemoveCategory(id));
        self.changes.push(Change::CategoryDeleted(id));
        Ok(Answer::Done)
    }

    fn create_message(&mut self, channel_id: ChannelId, author_id: UserId, content: String) -> Decision {
        known(&self.rows.known_channels, channel_id, Entity::Channel)?;
        known(&self.rows.known_users, author_id, Entity::User)?;
        let (id, created_at) = self.mint.next(self.now)?;
        let message = Arc::new(Message {
            id: id.into(),
            channel_id,
            author_id,
            content,
            edited_at: None,
            deleted: false,
            created_at,
        });
        self.writes.push(Write::Insert(Row::Message(message.clone())));
        self.changes.push(Change::MessageCreated(message.clone()));
        Ok(Answer::Message(message))
    }

    fn update_message(&mut self, id: MessageId, content: String) -> Decision {
        let old = self.message(id)?;
        if old.deleted {
            return Err(StorageError::not_found(Entity::Message, id));
        }
        if old.content == content {
            return Ok(Answer::Message(old));
        }
        let edited_at = self.now.max(old.created_at).max(old.edited_at.unwrap_or_default());
        let new = Arc::new(Message { content, edited_at: Some(edited_at), ..Message::clone(&old) });
        self.replace_message(new.clone());
        self.changes.push(Change::MessageUpdated(new.clone()));
        Ok(Answer::Message(new))
    }

    fn delete_message(&mut self, id: MessageId) -> Decision {
        let old = self.message(id)?;
        if !old.deleted {
            self.replace_message(Arc::new(Message { deleted: true, ..Message::clone(&old) }));
            self.changes.push(Change::MessageDeleted { id, channel_id: old.channel_id });
        }
        Ok(Answer::Done)
    }

    fn message(&self, id: MessageId) -> Result<Arc<Message>, StorageError> {
        let message = find(&self.rows.messages, &id, Entity::Message)?;
        if self.deleted_channels.contains(&message.channel_id) {
            return Err(StorageError::not_found(Entity::Message, id));
        }
        Ok(message)
    }

    fn replace_message(&mut self, message: Arc<Message>) {
        self.rows.messages.insert(message.id, message.clone());
        self.writes.push(Write::Replace(Row::Message(message)));
    }

    fn create_session(&mut self, user_id: UserId, digest: SessionDigest, duration: std::time::Duration) -> Decision {
        let expires_at = self.end_of(duration)?;
        known(&self.rows.known_users, user_id, Entity::User)?;
        Ok(Answer::Session(self.new_session(user_id, digest, expires_at)))
    }

    /// When a session that begins now ends.
    fn end_of(&self, duration: std::time::Duration) -> Result<Timestamp, StorageError> {
        let past = || StorageError::invalid("duration", "the session would end past the year 9999");
        self.now.checked_add(duration).ok_or_else(past)
    }

    fn new_session(&mut self, user_id: UserId, digest: SessionDigest, expires_at: Timestamp) -> StoredSession {
        let session = StoredSession { digest, user_id, created_at: self.now, expires_at };
        self.rows.sessions.insert(digest);
        self.writes.push(Write::Insert(Row::Session(session.clone())));
        session
    }

    fn log_in(&mut self, log_in: LogIn, used: UsedChallenge, digest: SessionDigest) -> Decision {
        let LogIn { pubkey, admission, is_bot, duration, .. } = log_in;
        let expires_at = self.end_of(duration)?;
        let known = self.rows.pubkeys.get(&pubkey).and_then(|id| self.rows.users.get(id)).cloned();
        if admission == Admission::MembersOnly && !known.as_ref().is_some_and(|user| user.is_member) {
            return Err(StorageError::not_found(Entity::User, pubkey));
        }
        let refused = |field| Err(StorageError::Conflict { entity: Entity::Challenge, field });
        if used.expires_at() <= self.now {
            return refused("slot");
        }
        if self.rows.challenges.contains(&used) {
            return refused("number");
        }
        let user = match known {
            None => self.new_user(pubkey, None, is_bot, admission == Admission::Join)?,
            Some(user) if admission == Admission::Join => {
                let member = User { is_member: true, ..User::clone(&user) };
                self.store_user(&user, member)
            }
            Some(user) => user,
        };
        self.rows.challenges.insert(used);
        self.writes.push(Write::UseChallenge(used));
        let session = self.new_session(user.id, digest, expires_at);
        Ok(Answer::LoggedIn(user, session))
    }

    fn delete_session(&mut self, digest: SessionDigest) -> Decision {
        if self.rows.sessions.contains(&digest) && self.end_session(digest) {
            self.changes.push(Change::SessionDeleted(digest));
        }
        Ok(Answer::Done)
    }

    /// Removes a session that was loaded, unless this batch has done so before.
    fn end_session(&mut self, digest: SessionDigest) -> bool {
        let is_there = self.ended_sessions.insert(digest);
        if is_there {
            self.writes.push(Write::RemoveSession(digest));
        }
        is_there
    }

    fn end_sessions(&mut self, user_id: UserId, at_most: usize) -> Decision {
        let found = self.rows.sessions_of.get(&user_id).cloned().unwrap_or_default();
        let more = found.len() >= at_most;
        let mut removed = 0;
        for digest in found {
            if self.end_session(digest) {
                self.changes.push(Change::SessionDeleted(digest));
                removed += 1;
            }
        }
        Ok(Answer::Step(Step { removed, more }))
    }

    fn sweep_sessions(&mut self, expired_at: Timestamp, at_most: usize) -> Decision {
        let due = self.rows.expired.iter().filter(|(expires_at, _)| *expires_at <= expired_at);
        let mut removed = 0;
        for &(expires_at, digest) in due {
            if removed < at_most && self.ended_sessions.insert(digest) {
                self.writes.push(Write::SweepSession { digest, expires_at });
                removed += 1;
            }
        }
        Ok(Answer::Step(Step { removed: removed as u64, more: self.more_expired }))
    }

    fn sweep_challenges(&mut self, expired_at: Timestamp, at_most: usize) -> Decision {
        let mut due = Vec::new();
        self.rows.expired_challenges.retain(|used| {
            let take = used.expires_at() <= expired_at && due.len() < at_most;
            if take {
                due.push(*used);
            }
            !take
        });
        self.writes.extend(due.iter().copied().map(Write::ForgetChallenge));
        Ok(Answer::Step(Step { removed: due.len() as u64, more: self.more_challenges }))
    }

    fn purge(&mut self, at_most: usize) -> Decision {
        let Some(slice) = self.rows.purge.take() else {
            return Ok(Answer::Reclaimed(Reclaimed { messages: 0, channels_left: None }));
        };
        let PurgeSlice { channel_id, messages, channels } = slice;
        let removed = messages.len();
        self.writes.extend(messages.into_iter().map(|id| Write::PurgeMessage { id, channel_id }));
        let is_last = removed < at_most;
        if is_last {
            self.writes.push(Write::EndPurge(channel_id));
        }
        let channels_left = Some(channels.saturating_sub(is_last.into()));
        Ok(Answer::Reclaimed(Reclaimed { messages: removed as u64, channels_left }))
    }
}

fn find<K, V>(rows: &HashMap<K, Arc<V>>, id: &K, entity: Entity) -> Result<Arc<V>, StorageError>
where
    K: std::hash::Hash + Eq + AsRef<str>,
{
    rows.get(id).cloned().ok_or_else(|| StorageError::not_found(entity, id))
}

/// Refuses a reference to what does not exist. (What is made in this batch has an id that nobody knows yet.)
fn known<K>(ids: &HashSet<K>, id: K, entity: Entity) -> Result<(), StorageError>
where
    K: std::hash::Hash + Eq + AsRef<str>,
{
    if ids.contains(&id) { Ok(()) } else { Err(StorageError::not_found(entity, id)) }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_optional(field: &mut Option<String>, value: Option<String>) {
    if value.is_some() {
        *field = non_empty(value);
    }
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ulid::Ulid;

    use super::*;

    const NOW: u64 = 1_704_067_200_000;

    /// Decides `commands` as one batch over `rows`.
    fn decide(rows: Rows, commands: Vec<Command>) -> (Vec<Decision>, Vec<Write>, Vec<Change>) {
        let mut mint = Mint::after(Ulid::from_parts(NOW, 0));
        let mut batch = Batch::new(Timestamp::from_millis(NOW).unwrap(), &mut mint, &Wants::default(), rows);
        let answers = commands.into_iter().map(|command| batch.decide(command)).collect();
        (answers, batch.writes, batch.changes)
    }

    fn a_user(rows: &mut Rows) -> UserId {
        let (id, at) = (UserId::from(Ulid(1)), Timestamp::MIN);
        let user = User {
            id,
            pubkey: "key".into(),
            display_name: None,
            avatar_hash: None,
            is_bot: false,
            is_member: true,
            created_at: at,
            updated_at: at,
        };
        rows.pubkeys.insert("key".into(), id);
        rows.users.insert(id, Arc::new(user));
        rows.known_users.insert(id);
        id
    }

    fn a_message(rows: &mut Rows) -> Message {
        let (author_id, at) = (a_user(rows), Timestamp::MIN);
        let id = ChannelId::from(Ulid(2));
        let channel = Channel {
            id,
            name: "room".into(),
            topic: None,
            category_id: None,
            position: 0,
            created_at: at,
            updated_at: at,
        };
        rows.channels.insert(id, Arc::new(channel));
        rows.known_channels.insert(id);
        let message = Message {
            id: Ulid(3).into(),
            channel_id: id,
            author_id,
            content: "text".into(),
            edited_at: None,
            deleted: false,
            created_at: at,
        };
        rows.messages.insert(message.id, Arc::new(message.clone()));
        message
    }

    fn is_not_found(decision: &Decision, entity: Entity) -> bool {
        matches!(decision, Err(StorageError::NotFound { entity: found, .. }) if *found == entity)
    }

    #[test]
    fn a_channel_deleted_earlier_in_the_batch_takes_its_messages_with_it() {
        let mut rows = Rows::default();
        let message = a_message(&mut rows);
        let (answers, writes, changes) = decide(
            rows,
            vec![
                Command::DeleteChannel { id: message.channel_id },
                Command::UpdateMessage { id: message.id, content: "new".into() },
                Command::DeleteMessage { id: message.id },
                Command::CreateMessage {
                    channel_id: message.channel_id,
                    author_id: message.author_id,
                    content: "late".into(),
                },
                Command::DeleteChannel { id: message.channel_id },
            ],
        );
        assert!(answers[0].is_ok());
        assert!(is_not_found(&answers[1], Entity::Message) && is_not_found(&answers[2], Entity::Message));
        assert!(is_not_found(&answers[3], Entity::Channel) && is_not_found(&answers[4], Entity::Channel));
        assert!(matches!(writes[..], [Write::BeginPurge(_)]));
        assert_eq!(changes, [Change::ChannelDeleted(message.channel_id)]);
    }

    #[test]
    fn commands_see_what_those_before_them_did() {
        let mut rows = Rows::default();
        let message = a_message(&mut rows);
        let (answers, writes, _) = decide(
            rows,
            vec![
                Command::UpdateMessage { id: message.id, content: "new".into() },
                Command::UpdateMessage { id: message.id, content: "new".into() },
                Command::DeleteMessage { id: message.id },
                Command::UpdateMessage { id: message.id, content: "newer".into() },
                Command::CreateUser { pubkey: "other".into(), display_name: None },
                Command::CreateUser { pubkey: "other".into(), display_name: None },
            ],
        );
        assert!(is_not_found(&answers[3], Entity::Message));
        assert!(matches!(answers[5], Err(StorageError::Conflict { entity: Entity::User, field: "pubkey" })));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
        assert_eq!(writes.len(), 3, "an edit, a deletion, a user");
    }

    #[test]
    fn a_category_deleted_with_a_channel_made_in_the_same_batch_leaves_it_uncategorised() {
        let mut rows = Rows::default();
        let id = CategoryId::from(Ulid(9));
        let category = Category { id, name: "c".into(), position: 0, created_at: Timestamp::MIN };
        rows.categories.insert(id, Arc::new(category));
        let category = InCategory::AsGiven(id.to_lowercase());
        let create = Command::CreateChannel { name: "room".into(), category, position: 0 };
        let (answers, writes, changes) = decide(rows, vec![create, Command::DeleteCategory { id }]);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(changes.len(), 3);
        assert!(matches!(&writes[1], Write::Replace(Row::Channel(channel)) if channel.category_id.is_none()));
    }

    #[test]
    fn two_channels_in_a_new_category_in_one_batch_make_one_and_the_category_comes_first() {
        let create = |name: &str| Command::CreateChannel {
            name: "room".into(),
            category: InCategory::Named(name.into()),
            position: 0,
        };
        let (answers, writes, changes) = decide(Rows::default(), vec![create("Café"), create("Cafe\u{301}")]);
        assert!(answers.iter().all(Result::is_ok));
        assert!(matches!(
            &changes[..],
            [Change::CategoryCreated(category), Change::ChannelCreated(one), Change::ChannelCreated(other)]
                if one.category_id.as_deref() == Some(category.id.as_str()) && other.category_id == one.category_id
        ));
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn a_session_logged_out_in_the_same_batch_is_not_swept_again() {
        let mut rows = Rows::default();
        let expired_at = Timestamp::MIN;
        let digests = ["a", "b", "c"].map(SessionDigest::of);
        rows.expired = digests.map(|digest| (expired_at, digest)).to_vec();
        rows.sessions.insert(digests[1]);
        let sweep = || Command::SweepSessions { expired_at, at_most: 2 };
        let commands = vec![Command::DeleteSession { digest: digests[1] }, sweep(), sweep()];
        let (answers, writes, _) = decide(rows, commands);
        let removed = |answer: &Decision| match answer {
            Ok(Answer::Step(step)) => step.removed,
            other => panic!("{other:?}"),
        };
        assert_eq!((removed(&answers[1]), removed(&answers[2])), (2, 0));
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn a_sweep_takes_only_what_had_expired_when_it_began() {
        // A sweep that began later shares the batch, so rows that only it may take are loaded too.
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let expired = [(at(10), SessionDigest::of("a")), (at(20), SessionDigest::of("b"))].to_vec();
        let rows = Rows { expired, ..Rows::default() };
        let (answers, writes, _) = decide(rows, vec![Command::SweepSessions { expired_at: at(10), at_most: 9 }]);
        assert!(matches!(answers[0], Ok(Answer::Step(Step { removed: 1, more: false }))));
        let digest = SessionDigest::of("a");
        assert!(matches!(writes[..], [Write::SweepSession { digest: swept, .. }] if swept == digest));
    }

    #[test]
    fn refused_commands_stage_nothing_and_give_out_no_id() {
        let mut rows = Rows::default();
        let message = a_message(&mut rows);
        let nobody = UserId::from(Ulid(77));
        let (answers, writes, changes) = decide(
            rows,
            vec![
                Command::CreateMessage { channel_id: message.channel_id, author_id: nobody, content: "x".into() },
                Command::CreateSession {
                    user_id: nobody,
                    digest: SessionDigest::of("a"),
                    duration: Duration::from_secs(1),
                },
                Command::CreateUser { pubkey: "key".into(), display_name: None },
                Command::UpdateUser { id: message.author_id, display_name: None, avatar_hash: None },
            ],
        );
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(writes.is_empty() && changes.is_empty());
    }
}
