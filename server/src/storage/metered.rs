//! A store that counts and times its calls: a decorator around any other store.
//!
//! Metrics go to the recorder that the program installed, if it did; without one they cost next to nothing.

use std::{future::Future, sync::Arc, time::Duration, time::Instant};

use async_trait::async_trait;

use super::{
    Backend, Category, CategoryChoice, CategoryStore, ChangeFeed, Channel, ChannelEdit, ChannelStore, Condition, LogIn,
    LoggedIn, LoginKey, Message, MessagePage, MessageStore, PageAt, Session, SessionStore, Storage, StorageError,
    Timestamp, User, UserStore,
};

/// Histogram of seconds per store call, by `method` and `outcome`.
pub const CALL_SECONDS: &str = "decentcom_storage_call_seconds";

/// The decorator.
pub struct Metered(Arc<dyn Storage>);

impl Metered {
    /// Counts and times the calls to `store`.
    pub fn new(store: Arc<dyn Storage>) -> Self {
        Self(store)
    }
}

async fn timed<T>(
    method: &'static str,
    call: impl Future<Output = Result<T, StorageError>> + Send,
) -> Result<T, StorageError> {
    let began = Instant::now();
    let result = call.await;
    let outcome = result.as_ref().err().map_or("ok", StorageError::kind);
    metrics::histogram!(CALL_SECONDS, "method" => method, "outcome" => outcome).record(began.elapsed());
    result
}

/// Forwards the methods of a trait, each under its own name.
macro_rules! forward {
    ($trait:ident { $(async fn $method:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $trait for Metered {
            $(
                async fn $method(&self $(, $argument: $kind)*) -> Result<$answer, StorageError> {
                    timed(stringify!($method), self.0.$method($($argument),*)).await
                }
            )*
        }
    };
}

forward!(UserStore {
    async fn create_user(pubkey: &str, display_name: Option<&str>) -> User;
    async fn get_user_by_id(id: &str) -> Option<User>;
    async fn get_user_by_pubkey(pubkey: &str) -> Option<User>;
    async fn update_user(id: &str, display_name: Option<&str>, avatar_hash: Option<&str>) -> User;
    async fn set_membership(id: &str, is_member: bool) -> User;
    async fn list_users() -> Vec<User>;
    async fn list_users_page(after: Option<&str>, limit: u32) -> Vec<User>;
    async fn list_members_page(after: Option<&str>, limit: u32) -> Vec<User>;
});

forward!(MessageStore {
    async fn create_message(channel_id: &str, author_id: &str, content: &str) -> Message;
    async fn get_message(id: &str) -> Option<Message>;
    async fn list_messages(channel_id: &str, before: Option<&str>, limit: u32) -> Vec<Message>;
    async fn list_messages_after(channel_id: &str, after: &str, limit: u32) -> Vec<Message>;
    async fn page_messages(channel_id: &str, page: PageAt<'_>, limit: u32, max_bytes: usize) -> MessagePage;
    async fn update_message(id: &str, content: &str) -> Message;
    async fn delete_message(id: &str) -> ();
});

forward!(ChannelStore {
    async fn create_channel(name: &str, category_id: Option<&str>, position: i32) -> Channel;
    async fn create_channel_in(name: &str, category: CategoryChoice, position: i32) -> Channel;
    async fn get_channel(id: &str) -> Option<Channel>;
    async fn list_channels() -> Vec<Channel>;
    async fn edit_channel(id: &str, edit: ChannelEdit) -> Channel;
    async fn delete_channel(id: &str) -> ();
});

forward!(CategoryStore {
    async fn create_category(name: &str, position: i32) -> Category;
    async fn get_category(id: &str) -> Option<Category>;
    async fn list_categories() -> Vec<Category>;
    async fn update_category(id: &str, name: Option<&str>, position: Option<i32>) -> Category;
    async fn delete_category(id: &str) -> ();
});

forward!(SessionStore {
    async fn create_session(user_id: &str, duration: Duration) -> Session;
    async fn log_in(log_in: LogIn) -> LoggedIn;
    async fn newest_used_challenges(pubkey: &str, slots: &[u64]) -> Vec<Option<u32>>;
    async fn login_key() -> LoginKey;
    async fn get_session(token: &str) -> Option<Session>;
    async fn delete_session(token: &str) -> ();
    async fn delete_sessions_of_user(user_id: &str) -> u64;
    async fn delete_expired_sessions() -> u64;
});

#[async_trait]
impl Storage for Metered {
    async fn ping(&self) -> Result<(), StorageError> {
        timed("ping", self.0.ping()).await
    }

    async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError> {
        timed("probe", self.0.probe(within)).await
    }

    async fn close(&self) -> Result<(), StorageError> {
        timed("close", self.0.close()).await
    }

    fn backend(&self) -> Backend {
        self.0.backend()
    }

    fn condition(&self) -> Condition {
        self.0.condition()
    }

    fn changes(&self) -> ChangeFeed {
        self.0.changes()
    }
}
