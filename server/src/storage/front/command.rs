//! A mutating call as data: parsed, within the limits, ready to queue.

use std::{sync::Arc, time::Duration};

use super::engine::{PurgeStep, StoredSession, Wants};
use crate::storage::{
    Category, CategoryId, Channel, ChannelId, LogIn, Message, MessageId, SessionDigest, StorageError, Timestamp,
    UsedChallenge, User, UserId,
};

/// Which category a channel is put into.
#[derive(Clone, Debug)]
pub(super) enum InCategory {
    Uncategorised,
    /// As the specification's `create_channel` has it: any text.
    AsGiven(String),
    Existing(CategoryId),
    Named(String),
}

/// What changes of a channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelChange {
    pub(super) name: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) category: Option<InCategory>,
    pub(super) position: Option<i32>,
}

/// A mutating call that passed every check that needs no row. In edits, `None` keeps a field and an empty text clears
/// an optional one.
#[derive(Clone, Debug)]
pub(super) enum Command {
    CreateUser {
        pubkey: String,
        display_name: Option<String>,
    },
    UpdateUser {
        id: UserId,
        display_name: Option<String>,
        avatar_hash: Option<String>,
    },
    SetMembership {
        id: UserId,
        is_member: bool,
    },
    CreateChannel {
        name: String,
        category: InCategory,
        position: i32,
    },
    UpdateChannel {
        id: ChannelId,
        change: ChannelChange,
    },
    DeleteChannel {
        id: ChannelId,
    },
    CreateCategory {
        name: String,
        position: i32,
    },
    UpdateCategory {
        id: CategoryId,
        name: Option<String>,
        position: Option<i32>,
    },
    DeleteCategory {
        id: CategoryId,
    },
    CreateMessage {
        channel_id: ChannelId,
        author_id: UserId,
        content: String,
    },
    UpdateMessage {
        id: MessageId,
        content: String,
    },
    DeleteMessage {
        id: MessageId,
    },
    CreateSession {
        user_id: UserId,
        digest: SessionDigest,
        duration: Duration,
    },
    /// Notes the time and nothing else: shows that changes can be stored.
    Probe,
    LogIn {
        log_in: LogIn,
        used: UsedChallenge,
        digest: SessionDigest,
    },
    DeleteSession {
        digest: SessionDigest,
    },
    /// One bounded step of logging a user out everywhere.
    EndSessions {
        user_id: UserId,
        at_most: usize,
    },
    /// One bounded step of a sweep.
    SweepSessions {
        expired_at: Timestamp,
        at_most: usize,
    },
    /// One bounded step of forgetting used challenges.
    SweepChallenges {
        expired_at: Timestamp,
        at_most: usize,
    },
    /// One bounded step of reclaiming deleted channels.
    Purge(PurgeStep),
}

impl InCategory {
    fn add_wants(&self, wants: &mut Wants) {
        match self {
            Self::Existing(id) => {
                wants.categories.insert(*id);
            }
            Self::Named(_) => wants.all_categories = true,
            Self::Uncategorised | Self::AsGiven(_) => {}
        }
    }
}

impl Command {
    /// Names the rows that deciding this command looks at.
    pub(super) fn add_wants(&self, wants: &mut Wants) {
        match self {
            Self::CreateUser { pubkey, .. } => {
                wants.pubkeys.insert(pubkey.clone());
            }
            Self::UpdateUser { id, .. } | Self::SetMembership { id, .. } => {
                wants.users.insert(*id);
            }
            Self::LogIn { log_in, used, .. } => {
                wants.pubkeys.insert(log_in.pubkey.clone());
                wants.challenges.insert(*used);
            }
            Self::EndSessions { user_id, at_most } => {
                wants.sessions_of.insert(*user_id, *at_most);
            }
            Self::SweepChallenges { expired_at, at_most } => {
                wants.expired_challenges = wants.expired_challenges.max(Some((*expired_at, *at_most)));
            }
            Self::CreateSession { user_id, .. } => {
                wants.user_references.insert(*user_id);
            }
            Self::CreateChannel { category, .. } => category.add_wants(wants),
            Self::UpdateChannel { id, change } => {
                wants.channels.insert(*id);
                change.category.iter().for_each(|category| category.add_wants(wants));
            }
            Self::DeleteChannel { id } => {
                wants.channels.insert(*id);
            }
            Self::UpdateCategory { id, .. } => {
                wants.categories.insert(*id);
            }
            Self::DeleteCategory { id } => {
                wants.categories.insert(*id);
                wants.channels_of.insert(*id);
            }
            Self::CreateMessage { channel_id, author_id, .. } => {
                wants.channel_references.insert(*channel_id);
                wants.user_references.insert(*author_id);
            }
            Self::UpdateMessage { id, .. } | Self::DeleteMessage { id } => {
                wants.messages.insert(*id);
            }
            Self::DeleteSession { digest } => {
                wants.sessions.insert(*digest);
            }
            Self::SweepSessions { expired_at, at_most } => {
                wants.expired = wants.expired.max(Some((*expired_at, *at_most)));
            }
            Self::Purge(step) => wants.purge = Some(*step),
            Self::CreateCategory { .. } | Self::Probe => {}
        }
    }

    /// Whether it frees room, or will once deleted channels are reclaimed: such commands go on while the disk is full.
    pub(super) fn frees_room(&self) -> bool {
        matches!(
            self,
            Self::DeleteChannel { .. }
                | Self::DeleteCategory { .. }
                | Self::DeleteMessage { .. }
                | Self::DeleteSession { .. }
                | Self::EndSessions { .. }
                | Self::SetMembership { is_member: false, .. }
                | Self::SweepSessions { .. }
                | Self::SweepChallenges { .. }
                | Self::Purge { .. }
        )
    }

    /// Bytes of memory the command holds while it waits, about.
    pub(super) fn weight(&self) -> usize {
        std::mem::size_of::<Self>()
            + match self {
                Self::CreateMessage { content, .. } | Self::UpdateMessage { content, .. } => content.len(),
                _ => 0, // names and topics: a few KiB at most
            }
    }
}

/// The answer to a [`Command`]; each kind of command has one kind of answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    User(Arc<User>),
    Channel(Arc<Channel>),
    Category(Arc<Category>),
    Message(Arc<Message>),
    Session(StoredSession),
    LoggedIn(Arc<User>, StoredSession),
    Done,
    Step(Step),
    Reclaimed(Reclaimed),
}

/// What a bounded step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Rows removed.
    pub(super) removed: u64,
    /// Whether there may be more to remove.
    pub(super) more: bool,
}

/// What a step of reclaiming achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reclaimed {
    /// Messages removed.
    pub(super) messages: u64,
    /// Deleted channels that still have some, or may have; `None` where the step found none to look at.
    pub(super) channels_left: Option<u64>,
}

macro_rules! answers {
    ($($variant:ident($from:ty) => $to:ty, $convert:expr;)*) => {$(
        impl TryFrom<Answer> for $to {
            type Error = StorageError;
            fn try_from(answer: Answer) -> Result<Self, StorageError> {
                match answer {
                    Answer::$variant(value) => Ok(($convert as fn($from) -> $to)(value)),
                    other => Err(mismatch(&other)),
                }
            }
        }
    )*};
}

answers! {
    User(Arc<User>) => User, Arc::unwrap_or_clone;
    Channel(Arc<Channel>) => Channel, Arc::unwrap_or_clone;
    Category(Arc<Category>) => Category, Arc::unwrap_or_clone;
    Message(Arc<Message>) => Message, Arc::unwrap_or_clone;
    Session(StoredSession) => StoredSession, std::convert::identity;
    Step(Step) => Step, std::convert::identity;
}

impl TryFrom<Answer> for () {
    type Error = StorageError;
    fn try_from(answer: Answer) -> Result<Self, StorageError> {
        match answer {
            Answer::Done => Ok(()),
            other => Err(mismatch(&other)),
        }
    }
}

impl TryFrom<Answer> for (User, StoredSession) {
    type Error = StorageError;
    fn try_from(answer: Answer) -> Result<Self, StorageError> {
        match answer {
            Answer::LoggedIn(user, session) => Ok((Arc::unwrap_or_clone(user), session)),
            other => Err(mismatch(&other)),
        }
    }
}

fn mismatch(answer: &Answer) -> StorageError {
    StorageError::Internal { attempt: format!("match a command with its answer, which was {answer:?}"), source: None }
}
