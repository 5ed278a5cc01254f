//! What every backend shares, written once: the calls of the contract become commands, the commands a batch, the batch
//! answers and writes.
//!
//! ```text
//!  call ─ parse, limits ─> Command ─ queue ─> wants ─ Writer: load rows ─> decide ─ Writer: store ─> changes, answers
//!  mod.rs                  command.rs         queue.rs                     decide.rs
//! ```
//!
//! `decide.rs` is free of any database, so the rules cannot differ between backends; `engine.rs` is all that a backend
//! has to provide. Reads do not queue: they go to the backend's [`Reader`] at once, but for the newest pages of channels, which
//! `recent.rs` holds in memory.

mod command;
mod decide;
pub mod engine;
mod mint;
mod queue;
mod recent;
mod room;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
pub(super) use mint::successor;
use tokio::sync::{Mutex, broadcast};
use ulid::Ulid;

use self::{
    command::{ChannelChange, Command, InCategory, Step},
    engine::{Bounds, Page, Presence, Reader, StoredSession, Writer},
    queue::{LastCommit, Queue, closed},
    recent::{RecentPages, Shown},
};
use super::{
    Backend, Category, CategoryChoice, CategoryId, CategoryStore, Change, ChangeFeed, Channel, ChannelEdit, ChannelId,
    ChannelStore, Clock, Condition, Entity, LogIn, LoggedIn, LoginKey, MAX_SLOTS, Message, MessageId, MessagePage,
    MessageStore, OpenError, PageAt, Session, SessionDigest, SessionStore, Storage, StorageError, Timestamp, Trouble,
    UsedChallenge, User, UserId, UserStore,
    changes::FEED_CAPACITY,
    limits::{MAX_CONTENT_BYTES, MAX_PAGE, MAX_PUBKEY_BYTES, MAX_TEXT_BYTES},
    text::{check_label, shows_something},
    token,
};

pub use self::{
    queue::{BATCH_COMMANDS, COMMIT_SECONDS, QUEUE_COMMANDS},
    recent::NEWEST_PAGES,
    room::{Disk, FREE_BYTES, FULL, Look, Room, wanted},
};

/// Sessions removed per transaction of a sweep. Each lies in a place of its own in three trees, so that even these few take
/// half a millisecond, which other writers may have to wait for.
const SWEEP_STEP: usize = 16;
/// After a step, a sweep pauses for so many times as long as the step took: most commits have nothing of it in them.
const SWEEP_PAUSE: u32 = 9;
/// The longest of these pauses: a step that waited for an overloaded queue says nothing of what it costs.
const LONGEST_SWEEP_PAUSE: Duration = Duration::from_millis(100);
/// A clock this far behind the newest id is worth a warning.
const CLOCK_BEHIND: Duration = Duration::from_secs(60);

const USERS: Shown = Shown::Records(Entity::User);
const CHANNELS: Shown = Shown::Records(Entity::Channel);
const CATEGORIES: Shown = Shown::Records(Entity::Category);
const MESSAGES: Shown = Shown::Records(Entity::Message);

/// What a store remembers of its past when it is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// The largest id it has ever given out.
    pub high_water: Ulid,
    /// When it was last closed, or found to take changes.
    pub last_seen: Option<Timestamp>,
}

impl Past {
    /// When the newest commit that is known of was made. `None` for a store that never gave out an id.
    fn newest_commit(&self) -> Option<Timestamp> {
        let newest_id = Timestamp::from_millis(self.high_water.timestamp_ms());
        if self.high_water.is_nil() { None } else { newest_id.max(self.last_seen) }
    }
}

/// The contract over any backend.
pub struct Front<R> {
    backend: Backend,
    clock: Arc<dyn Clock>,
    queue: Queue,
    /// Whether the store's files are in their place.
    presence: Arc<Presence>,
    reader: R,
    recent: Arc<RecentPages>,
    last_commit: Arc<LastCommit>,
    login_key: LoginKey,
    room: Arc<Room>,
    /// Weak, so that subscriptions end when the commit thread does.
    feed: broadcast::WeakSender<Change>,
    closed: AtomicBool,
    closing: Mutex<()>,
}

impl<R: Reader> Front<R> {
    /// Puts the contract in front of an opened backend, which keeps `login_key`. A clock that does not want to go on from
    /// the backend's past is refused.
    pub fn start(
        backend: Backend,
        writer: Box<dyn Writer>,
        reader: R,
        past: Past,
        login_key: LoginKey,
        room: Arc<Room>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        if let Some(newest) = past.newest_commit().filter(|newest| !clock.may_follow(*newest)) {
            return Err(OpenError::Clock { now: clock.now(), newest });
        }
        warn_of_a_clock_behind(clock.now(), past.high_water);
        let last_commit = Arc::new(LastCommit::default());
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let weak_feed = feed.downgrade();
        let recent = Arc::new(RecentPages::default());
        let presence = writer.presence();
        let queue = Queue::start(
            writer,
            past.high_water,
            room.clone(),
            clock.clone(),
            recent.clone(),
            last_commit.clone(),
            feed,
        )?;
        Ok(Self {
            backend,
            clock,
            queue,
            presence,
            reader,
            recent,
            last_commit,
            login_key,
            room,
            feed: weak_feed,
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
        })
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Reads from the backend, and lets the pages in memory know what was seen there.
    async fn read<'a, T, F>(&'a self, shown: Shown, read: impl FnOnce(&'a R) -> F) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        self.check_open()?;
        let answer = read(&self.reader).await?;
        self.recent.seen(shown);
        Ok(answer)
    }

    async fn write<T>(&self, command: Command) -> Result<T, StorageError>
    where
        T: TryFrom<command::Answer, Error = StorageError>,
    {
        self.check_open()?;
        self.queue.run(command).await
    }
}

fn warn_of_a_clock_behind(now: Timestamp, high_water: Ulid) {
    let Some(newest) = Timestamp::from_millis(high_water.timestamp_ms()).filter(|_| !high_water.is_nil()) else {
        return;
    };
    if newest.since(now) > CLOCK_BEHIND {
        tracing::warn!(%now, %newest, "the clock is behind the newest id in the store; new ids keep the newest time until it catches up");
    }
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), StorageError> {
    if text.len() > max {
        return Err(StorageError::invalid(field, format!("{} bytes; at most {max} are allowed", text.len())));
    }
    Ok(())
}

fn pubkey(text: &str) -> Result<String, StorageError> {
    check_length("pubkey", text, MAX_PUBKEY_BYTES)?;
    if text.is_empty() {
        return Err(StorageError::invalid("pubkey", "it is empty; at least 1 byte is needed"));
    }
    Ok(text.to_owned())
}

fn optional_text(field: &'static str, text: Option<&str>) -> Result<Option<String>, StorageError> {
    text.map(|text| check_length(field, text, MAX_TEXT_BYTES).map(|()| text.to_owned())).transpose()
}

/// A name, which must be there.
fn name(field: &'static str, text: &str) -> Result<String, StorageError> {
    check_length(field, text, MAX_TEXT_BYTES)?;
    if text.is_empty() {
        return Err(StorageError::invalid(field, "it is empty; at least 1 byte is needed"));
    }
    check_label(field, text).map(|()| text.to_owned())
}

/// A label that an empty text clears.
fn optional_label(field: &'static str, text: Option<&str>) -> Result<Option<String>, StorageError> {
    match text {
        None | Some("") => Ok(text.map(str::to_owned)),
        Some(text) => name(field, text).map(Some),
    }
}

fn content(text: &str) -> Result<String, StorageError> {
    check_length("content", text, MAX_CONTENT_BYTES)?;
    if !shows_something(text) {
        return Err(StorageError::invalid("content", "there is nothing to see in it"));
    }
    Ok(text.to_owned())
}

/// The category that a channel is to be put into.
fn in_category(choice: CategoryChoice) -> Result<InCategory, StorageError> {
    Ok(match choice {
        CategoryChoice::Uncategorised => InCategory::Uncategorised,
        CategoryChoice::Id(id) => InCategory::Existing(existing(Entity::Category, &id, CategoryId::parse)?),
        CategoryChoice::Name(text) => InCategory::Named(name("category", &text)?),
    })
}

/// The page that is meant, with its cursor checked.
fn page_at(page: PageAt<'_>) -> Result<Page, StorageError> {
    Ok(match page {
        PageAt::Newest => Page::Newest,
        PageAt::Before(before) => Page::Before(cursor("before", before, MessageId::parse)?),
        PageAt::After(after) => Page::After(cursor("after", after, MessageId::parse)?),
    })
}

fn cursor<T>(field: &'static str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, StorageError> {
    parse(text).ok_or_else(|| StorageError::invalid(field, "a cursor is an id: 26 characters of a ULID"))
}

/// The id a mutation names; one that is malformed cannot exist.
fn existing<T>(entity: Entity, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, StorageError> {
    parse(text).ok_or_else(|| StorageError::not_found(entity, text))
}

#[async_trait]
impl<R: Reader> UserStore for Front<R> {
    async fn create_user(&self, key: &str, display_name: Option<&str>) -> Result<User, StorageError> {
        let pubkey = pubkey(key)?;
        let display_name = optional_label("display_name", display_name)?;
        self.write(Command::CreateUser { pubkey, display_name }).await
    }

    async fn get_user_by_id(&self, id: &str) -> Result<Option<User>, StorageError> {
        self.check_open()?;
        let Some(id) = UserId::parse(id) else { return Ok(None) };
        self.read(USERS, |reader| reader.user(id)).await
    }

    async fn get_user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        self.check_open()?;
        if pubkey.len() > MAX_PUBKEY_BYTES {
            return Ok(None);
        }
        self.read(USERS, |reader| reader.user_by_pubkey(pubkey)).await
    }

    async fn update_user(
        &self,
        id: &str,
        display_name: Option<&str>,
        avatar_hash: Option<&str>,
    ) -> Result<User, StorageError> {
        let display_name = optional_label("display_name", display_name)?;
        let avatar_hash = optional_text("avatar_hash", avatar_hash)?;
        let id = existing(Entity::User, id, UserId::parse)?;
        self.write(Command::UpdateUser { id, display_name, avatar_hash }).await
    }

    async fn set_membership(&self, id: &str, is_member: bool) -> Result<User, StorageError> {
        let id = existing(Entity::User, id, UserId::parse)?;
        self.write(Command::SetMembership { id, is_member }).await
    }

    async fn list_users(&self) -> Result<Vec<User>, StorageError> {
        self.read(USERS, |reader| reader.users(None, None)).await
    }

    async fn list_users_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.check_open()?;
        let after = after.map(|after| cursor("after", after, UserId::parse)).transpose()?;
        match limit.min(MAX_PAGE) {
            0 => Ok(Vec::new()),
            limit => self.read(USERS, |reader| reader.users(after, Some(limit))).await,
        }
    }

    async fn list_members_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.check_open()?;
        let after = after.map(|after| cursor("after", after, UserId::parse)).transpose()?;
        match limit.min(MAX_PAGE) {
            0 => Ok(Vec::new()),
            limit => self.read(USERS, |reader| reader.members(after, limit)).await,
        }
    }
}

impl<R: Reader> Front<R> {
    async fn page(&self, channel_id: &str, page: PageAt<'_>, bounds: Bounds) -> Result<MessagePage, StorageError> {
        self.check_open()?;
        let page = page_at(page)?;
        let bounds = Bounds { messages: bounds.messages.min(MAX_PAGE), ..bounds };
        match ChannelId::parse(channel_id) {
            None => Ok(MessagePage::default()),
            Some(_) if bounds.messages == 0 => Ok(MessagePage::default()),
            Some(channel_id) if matches!(page, Page::Newest) => self.newest(channel_id, bounds).await,
            Some(channel_id) => self.stored_page(channel_id, page, bounds).await,
        }
    }

    async fn stored_page(
        &self,
        channel_id: ChannelId,
        page: Page,
        bounds: Bounds,
    ) -> Result<MessagePage, StorageError> {
        self.read(Shown::Page(channel_id), |reader| reader.page(channel_id, page, bounds)).await
    }

    async fn newest(&self, channel_id: ChannelId, bounds: Bounds) -> Result<MessagePage, StorageError> {
        let held = self.recent.held(channel_id, bounds);
        metrics::counter!(NEWEST_PAGES, "held" => if held.is_some() { "true" } else { "false" }).increment(1);
        if let Some(page) = held {
            return Ok(page);
        }
        let _turn = self.recent.turn().await;
        if let Some(page) = self.recent.held(channel_id, bounds) {
            return Ok(page);
        }
        // One more than is asked for: whether there are others is then known from what is held.
        let deeper = Bounds { messages: bounds.messages + 1, ..bounds };
        let load = self.recent.load(channel_id, deeper.messages);
        let page = self.stored_page(channel_id, Page::Newest, deeper).await?;
        if let Some(load) = load {
            load.fill(&page);
        }
        Ok(bounds.cut(page))
    }
}

#[async_trait]
impl<R: Reader> MessageStore for Front<R> {
    async fn create_message(&self, channel_id: &str, author_id: &str, text: &str) -> Result<Message, StorageError> {
        let content = content(text)?;
        let channel_id = existing(Entity::Channel, channel_id, ChannelId::parse)?;
        let Some(author_id) = UserId::parse(author_id) else {
            // The channel is looked at first, so its absence is what the caller hears of.
            let channel = self.read(CHANNELS, |reader| reader.channel(channel_id)).await?;
            return Err(match channel {
                Some(_) => StorageError::not_found(Entity::User, author_id),
                None => StorageError::not_found(Entity::Channel, channel_id),
            });
        };
        self.write(Command::CreateMessage { channel_id, author_id, content }).await
    }

    async fn get_message(&self, id: &str) -> Result<Option<Message>, StorageError> {
        self.check_open()?;
        let Some(id) = MessageId::parse(id) else { return Ok(None) };
        self.read(MESSAGES, |reader| reader.message(id)).await
    }

    async fn list_messages(
        &self,
        channel_id: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        let page = before.map_or(PageAt::Newest, PageAt::Before);
        Ok(self.page_messages(channel_id, page, limit, usize::MAX).await?.messages)
    }

    async fn list_messages_after(
        &self,
        channel_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        Ok(self.page_messages(channel_id, PageAt::After(after), limit, usize::MAX).await?.messages)
    }

    async fn page_messages(
        &self,
        channel_id: &str,
        page: PageAt<'_>,
        limit: u32,
        max_bytes: usize,
    ) -> Result<MessagePage, StorageError> {
        self.page(channel_id, page, Bounds { messages: limit, bytes: max_bytes }).await
    }

    async fn update_message(&self, id: &str, text: &str) -> Result<Message, StorageError> {
        let content = content(text)?;
        let id = existing(Entity::Message, id, MessageId::parse)?;
        self.write(Command::UpdateMessage { id, content }).await
    }

    async fn delete_message(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Message, id, MessageId::parse)?;
        self.write(Command::DeleteMessage { id }).await
    }
}

impl<R: Reader> Front<R> {
    /// Refuses the id of a channel that is not there.
    async fn must_exist(&self, channel_id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Channel, channel_id, ChannelId::parse)?;
        let channel = self.read(CHANNELS, |reader| reader.channel(id)).await?;
        channel.map(drop).ok_or_else(|| StorageError::not_found(Entity::Channel, id))
    }
}

#[async_trait]
impl<R: Reader> ChannelStore for Front<R> {
    async fn create_channel(
        &self,
        text: &str,
        category_id: Option<&str>,
        position: i32,
    ) -> Result<Channel, StorageError> {
        let name = name("name", text)?;
        let category_id = optional_text("category_id", category_id)?;
        let category = category_id.map_or(InCategory::Uncategorised, InCategory::AsGiven);
        self.write(Command::CreateChannel { name, category, position }).await
    }

    async fn create_channel_in(
        &self,
        text: &str,
        category: CategoryChoice,
        position: i32,
    ) -> Result<Channel, StorageError> {
        let name = name("name", text)?;
        let category = in_category(category)?;
        self.write(Command::CreateChannel { name, category, position }).await
    }

    async fn get_channel(&self, id: &str) -> Result<Option<Channel>, StorageError> {
        self.check_open()?;
        let Some(id) = ChannelId::parse(id) else { return Ok(None) };
        self.read(CHANNELS, |reader| reader.channel(id)).await
    }

    async fn list_channels(&self) -> Result<Vec<Channel>, StorageError> {
        self.read(CHANNELS, |reader| reader.channels()).await
    }

    async fn edit_channel(&self, id: &str, edit: ChannelEdit) -> Result<Channel, StorageError> {
        let name = edit.name.map(|text| name("name", &text)).transpose()?;
        let topic = optional_label("topic", edit.topic.as_deref())?;
        let category = edit.category.map(in_category).transpose();
        // What is not valid comes first, then a missing channel, then a missing category.
        let category = match category {
            Err(error @ StorageError::NotFound { .. }) => {
                self.must_exist(id).await?;
                return Err(error);
            }
            category => category?,
        };
        let id = existing(Entity::Channel, id, ChannelId::parse)?;
        let change = ChannelChange { name, topic, category, position: edit.position };
        self.write(Command::UpdateChannel { id, change }).await
    }

    async fn delete_channel(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Channel, id, ChannelId::parse)?;
        self.write(Command::DeleteChannel { id }).await
    }
}

#[async_trait]
impl<R: Reader> CategoryStore for Front<R> {
    async fn create_category(&self, text: &str, position: i32) -> Result<Category, StorageError> {
        let name = name("name", text)?;
        self.write(Command::CreateCategory { name, position }).await
    }

    async fn get_category(&self, id: &str) -> Result<Option<Category>, StorageError> {
        self.check_open()?;
        let Some(id) = CategoryId::parse(id) else { return Ok(None) };
        self.read(CATEGORIES, |reader| reader.category(id)).await
    }

    async fn list_categories(&self) -> Result<Vec<Category>, StorageError> {
        self.read(CATEGORIES, |reader| reader.categories()).await
    }

    async fn update_category(
        &self,
        id: &str,
        text: Option<&str>,
        position: Option<i32>,
    ) -> Result<Category, StorageError> {
        let name = text.map(|text| name("name", text)).transpose()?;
        let id = existing(Entity::Category, id, CategoryId::parse)?;
        self.write(Command::UpdateCategory { id, name, position }).await
    }

    async fn delete_category(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Category, id, CategoryId::parse)?;
        self.write(Command::DeleteCategory { id }).await
    }
}

impl<R: Reader> Front<R> {
    fn check_duration(&self, duration: Duration) -> Result<(), StorageError> {
        if duration.is_zero() {
            return Err(StorageError::invalid("duration", "it is zero; a session lasts at least a millisecond"));
        }
        if self.clock.now().checked_add(duration).is_none() {
            return Err(StorageError::invalid("duration", "the session would end past the year 9999"));
        }
        Ok(())
    }

    /// Takes the steps of a large removal until nothing is left; answers how much was removed.
    async fn in_steps(&self, step: impl Fn() -> Command + Send) -> Result<u64, StorageError> {
        let mut total = 0;
        loop {
            let began = Instant::now();
            let Step { removed, more } = self.write(step()).await?;
            total += removed;
            if !more {
                return Ok(total);
            }
            tokio::time::sleep((began.elapsed() * SWEEP_PAUSE).min(LONGEST_SWEEP_PAUSE)).await;
        }
    }
}

#[async_trait]
impl<R: Reader> SessionStore for Front<R> {
    async fn create_session(&self, user_id: &str, duration: Duration) -> Result<Session, StorageError> {
        self.check_duration(duration)?;
        let user_id = existing(Entity::User, user_id, UserId::parse)?;
        let token = token::new_token()?;
        let digest = SessionDigest::of(&token);
        let session: StoredSession = self.write(Command::CreateSession { user_id, digest, duration }).await?;
        Ok(session.with_token(token))
    }

    async fn log_in(&self, log_in: LogIn) -> Result<LoggedIn, StorageError> {
        pubkey(&log_in.pubkey)?;
        self.check_duration(log_in.duration)?;
        if log_in.challenge.expires_at().is_none() {
            return Err(StorageError::invalid("challenge", "it would expire past the year 9999"));
        }
        let used = UsedChallenge::of(&log_in.pubkey, log_in.challenge);
        let token = token::new_token()?;
        let digest = SessionDigest::of(&token);
        let (user, session): (User, StoredSession) = self.write(Command::LogIn { log_in, used, digest }).await?;
        Ok(LoggedIn { user, session: session.with_token(token) })
    }

    async fn newest_used_challenges(&self, pubkey: &str, slots: &[u64]) -> Result<Vec<Option<u32>>, StorageError> {
        self.check_open()?;
        if slots.len() > MAX_SLOTS {
            let problem = format!("{} were asked for; at most {MAX_SLOTS} are looked at", slots.len());
            return Err(StorageError::invalid("slots", problem));
        }
        self.reader.newest_used_challenges(UsedChallenge::digest_of(pubkey), slots).await
    }

    async fn login_key(&self) -> Result<LoginKey, StorageError> {
        self.check_open()?;
        Ok(self.login_key.clone())
    }

    async fn get_session(&self, token: &str) -> Result<Option<Session>, StorageError> {
        self.check_open()?;
        let stored = self.reader.session(SessionDigest::of(token)).await?;
        let live = stored.filter(|session| session.expires_at > self.clock.now());
        Ok(live.map(|session| session.with_token(token.to_owned())))
    }

    async fn delete_session(&self, token: &str) -> Result<(), StorageError> {
        self.write(Command::DeleteSession { digest: SessionDigest::of(token) }).await
    }

    async fn delete_sessions_of_user(&self, user_id: &str) -> Result<u64, StorageError> {
        self.check_open()?;
        let Some(user_id) = UserId::parse(user_id) else { return Ok(0) };
        self.in_steps(|| Command::EndSessions { user_id, at_most: SWEEP_STEP }).await
    }

    async fn delete_expired_sessions(&self) -> Result<u64, StorageError> {
        let expired_at = self.clock.now();
        let swept = self.in_steps(|| Command::SweepSessions { expired_at, at_most: SWEEP_STEP }).await?;
        self.in_steps(|| Command::SweepChallenges { expired_at, at_most: SWEEP_STEP }).await?;
        Ok(swept)
    }
}

#[async_trait]
impl<R: Reader> Storage for Front<R> {
    async fn ping(&self) -> Result<(), StorageError> {
        self.check_open()?;
        self.reader.ping().await
    }

    async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError> {
        self.check_open()?;
        if let Some(at) = self.last_commit.within(within) {
            return Ok(at);
        }
        self.write::<()>(Command::Probe).await?;
        // What was committed since is as good.
        Ok(self.last_commit.within(Duration::MAX).unwrap_or_else(|| self.clock.now()))
    }

    async fn close(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.closing.lock().await;
        self.closed.store(true, Ordering::Release);
        let Some(writer) = self.queue.stop().await else { return Ok(()) };
        self.reader.close().await;
        let away = self.presence.check(); // closing may remove what is looked for
        tokio::task::spawn_blocking(move || writer.close())
            .await
            .map_err(|error| StorageError::internal("close the database", error))??;
        away // what was acknowledged may be lost: that is no good order
    }

    fn backend(&self) -> Backend {
        self.backend
    }

    fn condition(&self) -> Condition {
        let away = self.presence.last_problem().map(|problem| Trouble::Away { problem });
        Condition { troubles: away.into_iter().chain(self.room.condition().troubles).collect() }
    }

    fn changes(&self) -> ChangeFeed {
        let receiver = match self.feed.upgrade() {
            Some(feed) => feed.subscribe(),
            None => broadcast::channel(1).1, // closed: its sender is gone
        };
        receiver.into()
    }
}
