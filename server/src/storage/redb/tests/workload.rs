//! Callers with calls of every kind, each with a model of what the store owes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::random::Random;
use crate::storage::{
    Category, CategoryId, Channel, ChannelEdit, ChannelId, Clock, ManualClock, Message, MessageId, Session, Storage,
    StorageError, Timestamp, User,
};

/// When every workload's clock starts: 2024-01-01T00:00:00.000Z.
const START: u64 = 1_704_067_200_000;
/// Sessions that end before this may be swept at any moment.
const LASTING: Duration = Duration::from_secs(24 * 3600);

pub(super) fn a_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(START).unwrap()))
}

/// Everything that one caller made, as the store shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) user: Option<User>,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    pub(super) categories: BTreeMap<CategoryId, Category>,
    /// Soft-deleted ones, too.
    pub(super) messages: BTreeMap<MessageId, Message>,
    /// By token; lasting ones.
    pub(super) sessions: BTreeMap<String, Session>,
}

/// A call that changes something.
#[derive(Clone, Debug)]
pub(super) enum Call {
    CreateUser,
    Rename(String),
    CreateChannel { name: String, category: Option<CategoryId> },
    EditTopic { id: ChannelId, topic: String },
    DeleteChannel(ChannelId),
    CreateCategory(String),
    DeleteCategory(CategoryId),
    Post { channel: ChannelId, content: String },
    Edit { id: MessageId, content: String },
    Delete(MessageId),
    LogIn(Duration),
    LogOut(String),
    Sweep,
}

/// What a call created.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Created {
    user: Option<User>,
    channel: Option<Channel>,
    category: Option<Category>,
    message: Option<Message>,
    session: Option<Session>,
}

/// One caller.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) name: String,
    clock: Arc<ManualClock>,
    /// Whether nobody else goes by this clock, so that it may be moved between calls.
    pub(super) moves_clock: bool,
    random: Random,
    number: usize,
    /// What the clock said at the last call: whoever looks later for what became of it may have moved the clock.
    called_at: Timestamp,
    /// What the store owes this caller.
    pub(super) owed: Contents,
    seen: Seen,
}

/// What a caller was ever told of: what was deleted must stay away.
#[derive(Clone, Default)]
pub(super) struct Seen {
    channels: BTreeSet<ChannelId>,
    messages: BTreeSet<MessageId>,
    tokens: BTreeSet<String>,
}

impl Contents {
    /// Applies a call that succeeded and created this.
    fn apply(&mut self, call: &Call, created: &Created, now: Timestamp) {
        match call {
            Call::CreateUser => self.user = created.user.clone(),
            Call::Rename(name) => {
                if let Some(user) = &mut self.user {
                    user.display_name = Some(name.clone());
                    user.updated_at = now.max(user.updated_at);
                }
            }
            Call::CreateChannel { .. } => self.channels.extend(created.channel.clone().map(|it| (it.id, it))),
            Call::EditTopic { id, topic } => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.topic = Some(topic.clone());
                    channel.updated_at = now.max(channel.updated_at);
                }
            }
            Call::DeleteChannel(id) => {
                self.channels.remove(id);
                self.messages.retain(|_, message| message.channel_id != *id);
            }
            Call::CreateCategory(_) => self.categories.extend(created.category.clone().map(|it| (it.id, it))),
            Call::DeleteCategory(id) => {
                self.categories.remove(id);
                for channel in self.channels.values_mut().filter(|it| it.category() == Some(*id)) {
                    channel.category_id = None;
                    channel.updated_at = now.max(channel.updated_at);
                }
            }
            Call::Post { .. } => self.messages.extend(created.message.clone().map(|it| (it.id, it))),
            Call::Edit { id, content } => {
                if let Some(message) = self.messages.get_mut(id) {
                    message.content = content.as_str().into();
                    message.edited_at = Some(now.max(message.created_at).max(message.edited_at.unwrap_or_default()));
                }
            }
            Call::Delete(id) => {
                if let Some(message) = self.messages.get_mut(id) {
                    message.deleted = true;
                }
            }
            Call::LogIn(duration) if *duration < LASTING => {}
            Call::LogIn(_) => self.sessions.extend(created.session.clone().map(|it| (it.token.clone(), it))),
            Call::LogOut(token) => {
                self.sessions.remove(token);
            }
            Call::Sweep => {}
        }
    }

    /// What is here and was not in `before`: what a call made of which nobody was told.
    fn new_since(&self, before: &Self) -> Created {
        fn new<K: Ord, V: Clone>(now: &BTreeMap<K, V>, before: &BTreeMap<K, V>) -> Option<V> {
            now.iter().find(|(key, _)| !before.contains_key(key)).map(|(_, value)| value.clone())
        }
        Created {
            user: self.user.clone().filter(|_| before.user.is_none()),
            channel: new(&self.channels, &before.channels),
            category: new(&self.categories, &before.categories),
            message: new(&self.messages, &before.messages),
            session: None, // a token that was not answered is known to nobody
        }
    }
}

impl Created {
    /// Whether this is what the call asked for.
    fn fits(&self, call: &Call, name: &str) -> bool {
        match call {
            Call::CreateUser => self.user.as_ref().is_none_or(|it| it.pubkey == name && it.display_name.is_none()),
            Call::CreateChannel { name, category } => self
                .channel
                .as_ref()
                .is_none_or(|it| it.name == *name && it.topic.is_none() && it.category() == *category),
            Call::CreateCategory(name) => self.category.as_ref().is_none_or(|it| it.name == *name),
            Call::Post { channel, content } => self.message.as_ref().is_none_or(|it| {
                it.channel_id == *channel && *it.content == **content && it.edited_at.is_none() && !it.deleted
            }),
            _ => true,
        }
    }
}

impl Caller {
    pub(super) fn new(name: &str, clock: &Arc<ManualClock>, seed: u64) -> Self {
        let (name, clock) = (name.to_owned(), clock.clone());
        let (owed, seen) = (Contents::default(), Seen::default());
        let called_at = clock.now();
        Self { name, clock, moves_clock: true, random: Random(seed), number: 0, called_at, owed, seen }
    }

    pub(super) fn clock(&self) -> Arc<ManualClock> {
        self.clock.clone()
    }

    /// The next call: a user and a channel first, then every kind in turn, on things chosen at random.
    pub(super) fn next_call(&mut self) -> Call {
        if self.owed.user.is_none() {
            return Call::CreateUser;
        }
        self.number += 1;
        let (name, number) = (&self.name, self.number);
        let text = format!("{name} {number}");
        let random = &mut self.random;
        let channels: Vec<_> = self.owed.channels.keys().copied().collect();
        let categories: Vec<_> = self.owed.categories.keys().copied().collect();
        let live: Vec<_> = self.owed.messages.values().filter(|it| !it.deleted).map(|it| it.id).collect();
        let tokens: Vec<_> = self.owed.sessions.keys().cloned().collect();
        let create = Call::CreateChannel { name: text.clone(), category: random.pick(&categories).copied() };
        let Some(&channel) = random.pick(&channels) else { return create };
        let post = |bytes| Call::Post { channel, content: text.clone() + &"x".repeat(bytes) };
        match number % 18 {
            0 => Call::LogIn(LASTING),
            1 | 7 => post(0),
            2 => post(9000), // more than a page
            3 => Call::CreateCategory(text),
            4 => Call::Rename(text),
            5 => live.first().map_or(create, |id| Call::Edit { id: *id, content: text + &"y".repeat(3000) }),
            6 => create,
            8 => random.pick(&live).map_or(post(10), |id| Call::Delete(*id)),
            9 => Call::LogIn(Duration::from_millis(1)),
            10 => random.pick(&live).map_or(post(10), |id| Call::Edit { id: *id, content: text }),
            11 => Call::EditTopic { id: channel, topic: text },
            12 => Call::DeleteChannel(channel),
            13 => post(100),
            14 => Call::Sweep,
            15 => random.pick(&categories).map_or(create, |id| Call::DeleteCategory(*id)),
            16 => random.pick(&tokens).map_or(Call::LogIn(LASTING), |token| Call::LogOut(token.clone())),
            _ => post(500),
        }
    }

    /// Makes a call and, if it succeeds, owes accordingly.
    pub(super) async fn call(&mut self, store: &dyn Storage, call: &Call) -> Result<(), StorageError> {
        let performed = self.perform(store, call).await;
        self.called_at = self.clock.now();
        let created = performed?;
        assert!(created.fits(call, &self.name), "{call:?} answered {created:?}");
        self.note(call, &created);
        Ok(())
    }

    async fn perform(&self, store: &dyn Storage, call: &Call) -> Result<Created, StorageError> {
        let user = self.owed.user.as_ref().map(|user| user.id.text());
        let user = user.as_deref().unwrap_or("");
        let mut created = Created::default();
        match call {
            Call::CreateUser => created.user = Some(store.create_user(&self.name, None).await?),
            Call::Rename(name) => drop(store.update_user(user, Some(name), None).await?),
            Call::CreateChannel { name, category } => {
                created.channel = Some(store.create_channel(name, category.map(CategoryId::text).as_deref(), 0).await?);
            }
            Call::EditTopic { id, topic } => {
                let edit = ChannelEdit { topic: Some(topic.clone()), ..ChannelEdit::default() };
                store.edit_channel(&id.text(), edit).await?;
            }
            Call::DeleteChannel(id) => store.delete_channel(&id.text()).await?,
            Call::CreateCategory(name) => created.category = Some(store.create_category(name, 0).await?),
            Call::DeleteCategory(id) => store.delete_category(&id.text()).await?,
            Call::Post { channel, content } => {
                created.message = Some(store.create_message(&channel.text(), user, content).await?);
            }
            Call::Edit { id, content } => drop(store.update_message(&id.text(), content).await?),
            Call::Delete(id) => store.delete_message(&id.text()).await?,
            Call::LogIn(duration) => created.session = Some(store.create_session(user, *duration).await?),
            Call::LogOut(token) => store.delete_session(token).await?,
            Call::Sweep => {
                if self.moves_clock {
                    self.clock.advance(Duration::from_millis(2));
                }
                store.delete_expired_sessions().await?;
            }
        }
        Ok(created)
    }

    fn note(&mut self, call: &Call, created: &Created) {
        self.owed.apply(call, created, self.called_at);
        self.seen.channels.extend(self.owed.channels.keys());
        self.seen.messages.extend(self.owed.messages.keys());
        self.seen.tokens.extend(self.owed.sessions.keys().cloned());
    }

    /// After a call that was not acknowledged and a new start: it happened wholly or not at all, and which of the two
    /// is what the store owes from now on.
    pub(super) fn settle(&mut self, call: &Call, found: &Contents) {
        if *found == self.owed {
            return;
        }
        let created = found.new_since(&self.owed);
        assert!(created.fits(call, &self.name), "{call:?} was not acknowledged and left {created:?}");
        self.note(call, &created);
        assert_eq!(*found, self.owed, "{call:?} was not acknowledged and happened in part");
    }

    /// Reads everything of this caller in every way there is.
    pub(super) async fn read(&self, store: &dyn Storage) -> Result<Contents, StorageError> {
        let mut contents = Contents::default();
        let is_mine = |text: &str| text.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with(' '));
        contents.user = store.list_users().await?.into_iter().find(|user| user.pubkey == self.name);
        assert_eq!(store.get_user_by_pubkey(&self.name).await?, contents.user, "users and their index disagree");
        for channel in store.list_channels().await?.into_iter().filter(|it| is_mine(&it.name)) {
            assert_eq!(store.get_channel(&channel.id.text()).await?.as_ref(), Some(&channel));
            let page = store.list_messages(&channel.id.text(), None, 500).await?;
            assert!(page.is_sorted_by(|newer, older| newer.id > older.id));
            contents.messages.extend(page.into_iter().map(|message| (message.id, message)));
            contents.channels.insert(channel.id, channel);
        }
        for id in &self.seen.channels {
            let is_there = store.get_channel(&id.text()).await?.is_some();
            assert_eq!(is_there, contents.channels.contains_key(id), "a channel is listed or not there");
            if !is_there {
                assert_eq!(store.list_messages(&id.text(), None, 500).await?, [], "a deleted channel shows messages");
            }
        }
        for category in store.list_categories().await?.into_iter().filter(|it| is_mine(&it.name)) {
            contents.categories.insert(category.id, category);
        }
        for id in &self.seen.messages {
            match (store.get_message(&id.text()).await?, contents.messages.get(id)) {
                (None, None) => {}
                (Some(message), None) => {
                    assert!(message.deleted, "a live message is on no page: {message:?}");
                    contents.messages.insert(*id, message);
                }
                (found, listed) => assert_eq!(found.as_ref(), listed, "messages and their index disagree"),
            }
        }
        for token in &self.seen.tokens {
            contents.sessions.extend(store.get_session(token).await?.map(|session| (token.clone(), session)));
        }
        Ok(contents)
    }

    /// The largest id that this caller was ever told.
    pub(super) fn newest_id(&self) -> String {
        let user = self.owed.user.as_ref().map(|user| user.id.to_string());
        let channel = self.seen.channels.last().map(ToString::to_string);
        let message = self.seen.messages.last().map(ToString::to_string);
        user.max(channel).max(message).unwrap_or_default()
    }
}
