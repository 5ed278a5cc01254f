//! A store whose only page is held in memory: what the server's handlers cost without any.

use std::sync::Arc;

use decentcom_server::storage::{
    Backend, Category, Channel, ChannelId, Key, LoginKey, Message, MessagePage, Row, SessionDigest, Storage,
    StorageError, StoredSession, SystemClock, Timestamp, User, UserId,
    contract::{
        field::{Index, Value},
        model::Model,
    },
    front::{Front, Room},
    port::{Bounds, Opened, Page, Past, Reader, Rows, Staged, View, Wants, Writer},
};
use ulid::Ulid;

use super::dataset::{Dataset, people_and_places, user};
use crate::{failure::Failure, measure::failure};

/// Whoever has this is logged in.
pub(super) const TOKEN: &str = "held in memory";
/// As many as the handler asks for, to know whether there are more than 50.
const MESSAGES: u64 = 51;

/// The store, which answers the first messages of a dataset whatever page is asked for.
pub(super) fn store(dataset: Dataset) -> Result<Arc<dyn Storage>, Failure> {
    let Some(Row::User(somebody)) = people_and_places().next() else { return Err(failure("a dataset without people")) };
    let page = (0..MESSAGES).map(|number| dataset.a_message(number)).collect();
    let held = Held { user: somebody, page };
    let opened = Opened {
        backend: Backend::Redb,
        writer: Box::new(Nobody),
        reader: held,
        past: Past::default(),
        login_key: LoginKey::from_bytes([0; 32]),
    };
    Ok(Arc::new(Front::start(opened, Room::unbounded(), Arc::new(SystemClock))?))
}

struct Held {
    user: Arc<User>,
    page: Vec<Message>,
}

/// What is true at any time.
fn always<T>(shows: T) -> Result<View<T>, StorageError> {
    Ok(View { commit: 0, shows })
}

impl Reader for Held {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        let row = match key.into() {
            Key::User(_) => Some(Row::User(self.user.clone())),
            Key::Session(digest) if digest == SessionDigest::of(TOKEN) => Some(Row::Session(Arc::new(StoredSession {
                digest,
                user_id: user(0),
                created_at: Timestamp::MIN,
                expires_at: Timestamp::MAX,
            }))),
            _ => None,
        };
        always(row.and_then(|row| M::of_row(&row).map(|record| M::clone(record))))
    }

    async fn list<M: Model>(&self, _: Option<M::Key>, _: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        let user = Row::User(self.user.clone());
        always(M::of_row(&user).map(|record| M::clone(record)).into_iter().collect())
    }

    async fn find<M: Model>(&self, _: &'static Index, _: Value<'_>, _: u32) -> Result<View<Vec<M>>, StorageError> {
        always(Vec::new())
    }

    async fn members(&self, _: Option<UserId>, _: u32) -> Result<View<Vec<User>>, StorageError> {
        always(Vec::new())
    }
    async fn newest_used_challenges(&self, _: [u8; 32], slots: &[u64]) -> Result<View<Vec<Option<u32>>>, StorageError> {
        always(vec![None; slots.len()])
    }
    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        always(Vec::new())
    }

    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        always(Vec::new())
    }

    async fn page(&self, _: ChannelId, _: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        always(bounds.cut(MessagePage { messages: self.page.clone(), has_more: false }))
    }

    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// Writes nothing: the server's sweeper finds nothing to sweep.
struct Nobody;

impl Writer for Nobody {
    fn transact(&mut self, _: &Wants, decide: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError> {
        match decide(Rows::default()).writes.is_empty() {
            true => Ok(()),
            false => Err(StorageError::unavailable("what is held in memory does not change")),
        }
    }

    fn store_high_water(&mut self, _: Ulid) -> Result<(), StorageError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }
}
