//! A store whose only page is held in memory: what the server's handlers cost without any.

use std::sync::Arc;

use decentcom_server::storage::{
    Backend, Category, CategoryId, Channel, ChannelId, LoginKey, Message, MessageId, MessagePage, SessionDigest,
    Storage, StorageError, SystemClock, Timestamp, User, UserId,
    front::{
        Front, Past, Room,
        engine::{Bounds, Page, Reader, Rows, Staged, StoredSession, Wants, Writer},
    },
    inspect::Row,
};
use ulid::Ulid;

use super::dataset::{Dataset, people_and_places, user};
use crate::{bench::measure::failure, outcome::Failure};

/// Whoever has this is logged in.
pub(super) const TOKEN: &str = "held in memory";
/// As many as the handler asks for, to know whether there are more than 50.
const MESSAGES: u64 = 51;

/// The store, which answers the first messages of a dataset whatever page is asked for.
pub(super) fn store(dataset: Dataset) -> Result<Arc<dyn Storage>, Failure> {
    let Some(Row::User(somebody)) = people_and_places().next() else { return Err(failure("a dataset without people")) };
    let page = (0..MESSAGES).map(|number| dataset.a_message(number)).collect();
    let held = Held { user: somebody, page };
    let (key, clock) = (LoginKey::from_bytes([0; 32]), Arc::new(SystemClock));
    Ok(Arc::new(Front::start(Backend::Redb, Box::new(Nobody), held, Past::default(), key, Room::unbounded(), clock)?))
}

struct Held {
    user: Arc<User>,
    page: Vec<Message>,
}

impl Reader for Held {
    async fn user(&self, _: UserId) -> Result<Option<User>, StorageError> {
        Ok(Some(User::clone(&self.user)))
    }

    async fn user_by_pubkey(&self, _: &str) -> Result<Option<User>, StorageError> {
        Ok(None)
    }

    async fn users(&self, _: Option<UserId>, _: Option<u32>) -> Result<Vec<User>, StorageError> {
        Ok(vec![User::clone(&self.user)])
    }

    async fn members(&self, _: Option<UserId>, _: u32) -> Result<Vec<User>, StorageError> {
        Ok(Vec::new())
    }
    async fn newest_used_challenges(&self, _: [u8; 32], slots: &[u64]) -> Result<Vec<Option<u32>>, StorageError> {
        Ok(vec![None; slots.len()])
    }
    async fn channel(&self, _: ChannelId) -> Result<Option<Channel>, StorageError> {
        Ok(None)
    }

    async fn channels(&self) -> Result<Vec<Channel>, StorageError> {
        Ok(Vec::new())
    }

    async fn category(&self, _: CategoryId) -> Result<Option<Category>, StorageError> {
        Ok(None)
    }

    async fn categories(&self) -> Result<Vec<Category>, StorageError> {
        Ok(Vec::new())
    }

    async fn message(&self, _: MessageId) -> Result<Option<Message>, StorageError> {
        Ok(None)
    }

    async fn page(&self, _: ChannelId, _: Page, bounds: Bounds) -> Result<MessagePage, StorageError> {
        Ok(bounds.cut(MessagePage { messages: self.page.clone(), has_more: false }))
    }

    async fn session(&self, digest: SessionDigest) -> Result<Option<StoredSession>, StorageError> {
        let session =
            |digest| StoredSession { digest, user_id: user(0), created_at: Timestamp::MIN, expires_at: Timestamp::MAX };
        Ok((digest == SessionDigest::of(TOKEN)).then(|| session(digest)))
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
