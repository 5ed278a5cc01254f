//! The change feed: what was committed, in commit order.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Category, CategoryId, Channel, ChannelId, Message, MessageId, SessionDigest, User};

/// Changes a subscriber may fall behind before the oldest are dropped for it.
pub(super) const FEED_CAPACITY: usize = 4096;

/// One committed change. A call that changed nothing emits none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A user was created; whether as a member, the record says.
    UserCreated(Arc<User>),
    /// A user's fields changed, membership not among them.
    UserUpdated(Arc<User>),
    /// A user who existed became a member.
    MemberJoined(Arc<User>),
    /// A user is no longer a member, since `updated_at`.
    MemberLeft(Arc<User>),
    /// A channel was created.
    ChannelCreated(Arc<Channel>),
    /// A channel's fields changed; also when its category was deleted.
    ChannelUpdated(Arc<Channel>),
    /// A channel and all its messages are gone.
    ChannelDeleted(ChannelId),
    /// A category was created.
    CategoryCreated(Arc<Category>),
    /// A category's fields changed.
    CategoryUpdated(Arc<Category>),
    /// A category is gone; its channels' changes came before.
    CategoryDeleted(CategoryId),
    /// A message was posted.
    MessageCreated(Arc<Message>),
    /// A message was edited.
    MessageUpdated(Arc<Message>),
    /// A message was soft-deleted.
    MessageDeleted {
        /// Its id; the text is not announced.
        id: MessageId,
        /// The channel it was posted in.
        channel_id: ChannelId,
    },
    /// Somebody logged out, or was logged out. Sessions that expire are not announced: whoever cares knows `expires_at`.
    SessionDeleted(SessionDigest),
}

/// Why [`ChangeFeed::next`] has no change to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The subscriber was too slow, and at least this many changes up to now were dropped for it. The next call goes on with
    /// what is committed after this one, so whoever then reads the store anew misses nothing and has all the time for it.
    #[error("the subscriber fell behind and missed {0} changes")]
    Lagged(u64),
    /// The store is closed and everything has been delivered.
    #[error("the store is closed")]
    Closed,
}

/// A subscription to committed changes; bounded, so a slow subscriber loses changes (and is told), never memory.
#[derive(Debug)]
pub struct ChangeFeed(broadcast::Receiver<Change>);

/// For stores that wrap another one.
impl From<broadcast::Receiver<Change>> for ChangeFeed {
    fn from(receiver: broadcast::Receiver<Change>) -> Self {
        Self(receiver)
    }
}

impl ChangeFeed {
    /// The next change, as soon as there is one.
    pub async fn next(&mut self) -> Result<Change, FeedError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => {
                let held = self.0.len() as u64;
                self.0 = self.0.resubscribe();
                FeedError::Lagged(missed.saturating_add(held))
            }
            broadcast::error::RecvError::Closed => FeedError::Closed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_change() -> Change {
        Change::CategoryDeleted(CategoryId::from(ulid::Ulid(1)))
    }

    #[tokio::test]
    async fn after_a_gap_there_is_room_again_for_as_many_changes_as_before() {
        let (sender, receiver) = broadcast::channel(4);
        let mut feed = ChangeFeed::from(receiver);
        for _ in 0..10 {
            sender.send(a_change()).unwrap();
        }
        assert_eq!(feed.next().await.unwrap_err(), FeedError::Lagged(10));
        for _ in 0..4 {
            sender.send(a_change()).unwrap();
        }
        for _ in 0..4 {
            feed.next().await.unwrap();
        }
    }
}
