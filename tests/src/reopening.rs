//! A store that is closed and opened again after every call that may change something.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use decentcom_server::storage::{
    Backend, Category, CategoryChoice, CategoryStore, Change, ChangeFeed, Channel, ChannelEdit, ChannelStore,
    Condition, LogIn, LoggedIn, LoginKey, ManualClock, Message, MessagePage, MessageStore, PageAt, Session,
    SessionStore, Storage, StorageError, Timestamp, User, UserStore,
};
use tokio::sync::{RwLock, broadcast};

use crate::Provider;

/// Subscribers of the wrapper see the changes of all the stores it opens.
const FEED_CAPACITY: usize = 4096;

/// The wrapper.
pub(crate) struct Reopening {
    provider: &'static dyn Provider,
    directory: PathBuf,
    clock: Arc<ManualClock>,
    backend: Backend,
    open: RwLock<Open>,
    feed: broadcast::Sender<Change>,
}

struct Open {
    store: Arc<dyn Storage>,
    is_closed: bool,
}

impl Reopening {
    pub(crate) async fn open(provider: &'static dyn Provider, directory: &Path, clock: Arc<ManualClock>) -> Self {
        let store = provider.open(directory, clock.clone()).await.unwrap();
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let backend = store.backend();
        let open = RwLock::new(Open { store, is_closed: false });
        Self { provider, directory: directory.into(), clock, backend, open, feed }
    }
}

/// Runs a call on the open store; one that may change something has it to itself and reopens it.
macro_rules! reading {
    ($self:ident.$($call:tt)*) => {
        $self.open.read().await.store.$($call)*.await
    };
}
macro_rules! changing {
    ($self:ident.$($call:tt)*) => {{
        let mut open = $self.open.write().await;
        let mut changes = open.store.changes();
        let result = open.store.$($call)*.await;
        if !open.is_closed {
            open.store.close().await.unwrap();
            while let Ok(change) = changes.next().await {
                let _ = $self.feed.send(change);
            }
            open.store = $self.provider.open(&$self.directory, $self.clock.clone()).await.unwrap();
        }
        result
    }};
}

#[async_trait]
impl UserStore for Reopening {
    async fn create_user(&self, pubkey: &str, display_name: Option<&str>) -> Result<User, StorageError> {
        changing!(self.create_user(pubkey, display_name))
    }
    async fn get_user_by_id(&self, id: &str) -> Result<Option<User>, StorageError> {
        reading!(self.get_user_by_id(id))
    }
    async fn get_user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        reading!(self.get_user_by_pubkey(pubkey))
    }
    async fn update_user(
        &self,
        id: &str,
        display_name: Option<&str>,
        avatar_hash: Option<&str>,
    ) -> Result<User, StorageError> {
        changing!(self.update_user(id, display_name, avatar_hash))
    }
    async fn set_membership(&self, id: &str, is_member: bool) -> Result<User, StorageError> {
        changing!(self.set_membership(id, is_member))
    }
    async fn list_users(&self) -> Result<Vec<User>, StorageError> {
        reading!(self.list_users())
    }
    async fn list_users_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        reading!(self.list_users_page(after, limit))
    }
    async fn list_members_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        reading!(self.list_members_page(after, limit))
    }
}

#[async_trait]
impl MessageStore for Reopening {
    async fn create_message(&self, channel_id: &str, author_id: &str, content: &str) -> Result<Message, StorageError> {
        changing!(self.create_message(channel_id, author_id, content))
    }
    async fn get_message(&self, id: &str) -> Result<Option<Message>, StorageError> {
        reading!(self.get_message(id))
    }
    async fn list_messages(
        &self,
        channel_id: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        reading!(self.list_messages(channel_id, before, limit))
    }
    async fn list_messages_after(
        &self,
        channel_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        reading!(self.list_messages_after(channel_id, after, limit))
    }
    async fn page_messages(
        &self,
        channel_id: &str,
        page: PageAt<'_>,
        limit: u32,
        max_bytes: usize,
    ) -> Result<MessagePage, StorageError> {
        reading!(self.page_messages(channel_id, page, limit, max_bytes))
    }
    async fn update_message(&self, id: &str, content: &str) -> Result<Message, StorageError> {
        changing!(self.update_message(id, content))
    }
    async fn delete_message(&self, id: &str) -> Result<(), StorageError> {
        changing!(self.delete_message(id))
    }
}

#[async_trait]
impl ChannelStore for Reopening {
    async fn create_channel(
        &self,
        name: &str,
        category_id: Option<&str>,
        position: i32,
    ) -> Result<Channel, StorageError> {
        changing!(self.create_channel(name, category_id, position))
    }
    async fn create_channel_in(
        &self,
        name: &str,
        category: CategoryChoice,
        position: i32,
    ) -> Result<Channel, StorageError> {
        changing!(self.create_channel_in(name, category, position))
    }
    async fn get_channel(&self, id: &str) -> Result<Option<Channel>, StorageError> {
        reading!(self.get_channel(id))
    }
    async fn list_channels(&self) -> Result<Vec<Channel>, StorageError> {
        reading!(self.list_channels())
    }
    async fn edit_channel(&self, id: &str, edit: ChannelEdit) -> Result<Channel, StorageError> {
        changing!(self.edit_channel(id, edit))
    }
    async fn delete_channel(&self, id: &str) -> Result<(), StorageError> {
        changing!(self.delete_channel(id))
    }
}

#[async_trait]
impl CategoryStore for Reopening {
    async fn create_category(&self, name: &str, position: i32) -> Result<Category, StorageError> {
        changing!(self.create_category(name, position))
    }
    async fn get_category(&self, id: &str) -> Result<Option<Category>, StorageError> {
        reading!(self.get_category(id))
    }
    async fn list_categories(&self) -> Result<Vec<Category>, StorageError> {
        reading!(self.list_categories())
    }
    async fn update_category(
        &self,
        id: &str,
        name: Option<&str>,
        position: Option<i32>,
    ) -> Result<Category, StorageError> {
        changing!(self.update_category(id, name, position))
    }
    async fn delete_category(&self, id: &str) -> Result<(), StorageError> {
        changing!(self.delete_category(id))
    }
}

#[async_trait]
impl SessionStore for Reopening {
    async fn create_session(&self, user_id: &str, duration: Duration) -> Result<Session, StorageError> {
        changing!(self.create_session(user_id, duration))
    }
    async fn log_in(&self, log_in: LogIn) -> Result<LoggedIn, StorageError> {
        changing!(self.log_in(log_in))
    }
    async fn newest_used_challenges(&self, pubkey: &str, slots: &[u64]) -> Result<Vec<Option<u32>>, StorageError> {
        reading!(self.newest_used_challenges(pubkey, slots))
    }
    async fn login_key(&self) -> Result<LoginKey, StorageError> {
        reading!(self.login_key())
    }
    async fn get_session(&self, token: &str) -> Result<Option<Session>, StorageError> {
        reading!(self.get_session(token))
    }
    async fn delete_session(&self, token: &str) -> Result<(), StorageError> {
        changing!(self.delete_session(token))
    }
    async fn delete_sessions_of_user(&self, user_id: &str) -> Result<u64, StorageError> {
        changing!(self.delete_sessions_of_user(user_id))
    }
    async fn delete_expired_sessions(&self) -> Result<u64, StorageError> {
        changing!(self.delete_expired_sessions())
    }
}

#[async_trait]
impl Storage for Reopening {
    async fn ping(&self) -> Result<(), StorageError> {
        reading!(self.ping())
    }
    async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError> {
        changing!(self.probe(within))
    }
    async fn close(&self) -> Result<(), StorageError> {
        let mut open = self.open.write().await;
        open.is_closed = true;
        open.store.close().await
    }
    fn backend(&self) -> Backend {
        self.backend
    }
    fn condition(&self) -> Condition {
        self.open.try_read().map(|open| open.store.condition()).unwrap_or_default()
    }
    fn changes(&self) -> ChangeFeed {
        self.feed.subscribe().into()
    }
}
