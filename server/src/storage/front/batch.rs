//! A batch being decided: the records as they will be, and what is to be written. Free of any database.

use std::{collections::HashSet, sync::Arc};

use ulid::Ulid;

use super::mint::Mint;
use crate::storage::{
    ChannelId, Key, SessionDigest, StorageError, Timestamp,
    contract::model::Model,
    port::{Rows, Wants, Write},
};

/// One batch being decided. Each command sees what those before it did; one that is refused stages nothing.
pub(super) struct Batch<'a> {
    /// The time of everything in it.
    pub(super) now: Timestamp,
    mint: &'a mut Mint,
    /// The records as they will be once the writes so far are applied.
    pub(super) rows: Rows,
    /// Channels deleted in this batch: their messages, which were loaded before that, no longer exist.
    pub(super) deleted_channels: HashSet<ChannelId>,
    /// Sessions removed in this batch: what was loaded before that may still name them.
    pub(super) ended_sessions: HashSet<SessionDigest>,
    /// Whether the rows of a sweep filled its limit, so that others may be left.
    pub(super) more_expired: bool,
    /// The same of used challenges.
    pub(super) more_challenges: bool,
    /// What is to be stored, in order.
    pub(super) writes: Vec<Write>,
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
        }
    }

    /// A new id, and the time within it.
    pub(super) fn next_id(&mut self) -> Result<(Ulid, Timestamp), StorageError> {
        self.mint.next(self.now)
    }

    /// The time of a change to a record: never before its last one, nor before it was created.
    pub(super) fn time_after(&self, last: Timestamp, created_at: Timestamp) -> Timestamp {
        self.now.max(last).max(created_at)
    }

    /// The record with this key, which must exist.
    pub(super) fn find<M: Model>(&self, key: M::Key) -> Result<Arc<M>, StorageError> {
        self.rows.get::<M>(key).cloned().ok_or_else(|| missing(key.into()))
    }

    /// Refuses a reference to what does not exist. (What is made in this batch has an id that nobody knows yet.)
    pub(super) fn must_exist(&self, key: impl Into<Key>) -> Result<(), StorageError> {
        let key = key.into();
        if self.rows.known.contains(&key) { Ok(()) } else { Err(missing(key)) }
    }

    /// Stores a record that does not exist.
    pub(super) fn insert<M: Model>(&mut self, record: M) -> Arc<M> {
        let record = Arc::new(record);
        self.rows.put(record.clone());
        self.writes.push(Write::Insert(record.clone().into_row()));
        record
    }

    /// Stores a record in place of the one with its key.
    pub(super) fn replace<M: Model>(&mut self, record: M) -> Arc<M> {
        let record = Arc::new(record);
        self.rows.put(record.clone());
        self.writes.push(Write::Replace(record.clone().into_row()));
        record
    }

    /// Removes a record, which exists.
    pub(super) fn remove(&mut self, key: impl Into<Key>) {
        let key = key.into();
        self.rows.records.remove(&key);
        self.writes.push(Write::Remove(key));
    }
}

fn missing(key: Key) -> StorageError {
    StorageError::not_found(key.entity(), key.to_string())
}

/// Sets a field to what is given, if anything is.
pub(super) fn set<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

/// Sets an optional field to what is given, if anything is; an empty text clears it.
pub(super) fn set_optional(field: &mut Option<String>, value: &Option<String>) {
    if value.is_some() {
        *field = non_empty(value);
    }
}

/// A text, if it is one.
pub(super) fn non_empty(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{any::Any, time::Duration};

    use super::*;
    use crate::storage::{
        Category, CategoryId, Change, Channel, Entity, Message, Row, User, UserId,
        front::{
            categories::DeleteCategory,
            channels::{CreateChannel, DeleteChannel, InCategory},
            command::Command,
            messages::{CreateMessage, DeleteMessage, UpdateMessage},
            sessions::{CreateSession, DeleteSession, Removed, SweepSessions},
            users::{CreateUser, UpdateUser},
        },
    };

    const NOW: u64 = 1_704_067_200_000;

    /// What came of a command.
    type Decision = Result<Box<dyn Any>, StorageError>;

    /// A command whose answer is of any type.
    type Decide = Box<dyn Fn(&mut Batch<'_>) -> Decision>;

    fn of<C: Command>(command: C) -> Decide {
        Box::new(move |batch| command.decide(batch).map(|answer| Box::new(answer) as Box<dyn Any>))
    }

    /// Decides commands as one batch over `rows`.
    fn decide(rows: Rows, commands: Vec<Decide>) -> (Vec<Decision>, Vec<Write>, Vec<Change>) {
        let mut mint = Mint::after(Ulid::from_parts(NOW, 0));
        let mut batch = Batch::new(Timestamp::from_millis(NOW).unwrap(), &mut mint, &Wants::default(), rows);
        let answers = commands.into_iter().map(|command| command(&mut batch)).collect();
        let changes = batch.writes.iter().filter_map(Write::change).collect();
        (answers, batch.writes, changes)
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
        rows.put(Arc::new(user));
        rows.known.insert(id.into());
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
        rows.put(Arc::new(channel));
        rows.known.insert(id.into());
        let message = Message {
            channel_id: id,
            author_id,
            content: "text".into(),
            created_at: at,
            ..Message::blank(Ulid(3).into())
        };
        rows.put(Arc::new(message.clone()));
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
                of(DeleteChannel { id: message.channel_id }),
                of(UpdateMessage { id: message.id, content: "new".into() }),
                of(DeleteMessage { id: message.id }),
                of(CreateMessage {
                    channel_id: message.channel_id,
                    author_id: message.author_id,
                    content: "late".into(),
                }),
                of(DeleteChannel { id: message.channel_id }),
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
                of(UpdateMessage { id: message.id, content: "new".into() }),
                of(UpdateMessage { id: message.id, content: "new".into() }),
                of(DeleteMessage { id: message.id }),
                of(UpdateMessage { id: message.id, content: "newer".into() }),
                of(CreateUser { pubkey: "other".into(), display_name: None }),
                of(CreateUser { pubkey: "other".into(), display_name: None }),
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
        rows.put(Arc::new(category));
        let category = InCategory::AsGiven(id.to_string().to_lowercase());
        let create = of(CreateChannel { name: "room".into(), category, position: 0 });
        let (answers, writes, changes) = decide(rows, vec![create, of(DeleteCategory { id })]);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(changes.len(), 3);
        assert!(matches!(&writes[1], Write::Replace(Row::Channel(channel)) if channel.category_id.is_none()));
    }

    #[test]
    fn two_channels_in_a_new_category_in_one_batch_make_one_and_the_category_comes_first() {
        let create = |name: &str| {
            of(CreateChannel { name: "room".into(), category: InCategory::Named(name.into()), position: 0 })
        };
        let (answers, writes, changes) = decide(Rows::default(), vec![create("Café"), create("Cafe\u{301}")]);
        assert!(answers.iter().all(Result::is_ok));
        assert!(matches!(
            &changes[..],
            [Change::CategoryCreated(category), Change::ChannelCreated(one), Change::ChannelCreated(other)]
                if one.category() == Some(category.id) && other.category_id == one.category_id
        ));
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn a_session_logged_out_in_the_same_batch_is_not_swept_again() {
        let mut rows = Rows::default();
        let expired_at = Timestamp::MIN;
        let digests = ["a", "b", "c"].map(SessionDigest::of);
        rows.expired = digests.map(|digest| (expired_at, digest)).to_vec();
        rows.known.insert(digests[1].into());
        let sweep = || of(SweepSessions { expired_at, at_most: 2 });
        let commands = vec![of(DeleteSession { digest: digests[1] }), sweep(), sweep()];
        let (answers, writes, _) = decide(rows, commands);
        let removed = |answer: &Decision| answer.as_ref().unwrap().downcast_ref::<Removed>().unwrap().rows;
        assert_eq!((removed(&answers[1]), removed(&answers[2])), (2, 0));
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn a_sweep_takes_only_what_had_expired_when_it_began() {
        // A sweep that began later shares the batch, so rows that only it may take are loaded too.
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let expired = [(at(10), SessionDigest::of("a")), (at(20), SessionDigest::of("b"))].to_vec();
        let rows = Rows { expired, ..Rows::default() };
        let (answers, writes, _) = decide(rows, vec![of(SweepSessions { expired_at: at(10), at_most: 9 })]);
        let answer = answers[0].as_ref().unwrap().downcast_ref();
        assert_eq!(answer, Some(&Removed { rows: 1, more: false }));
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
                of(CreateMessage { channel_id: message.channel_id, author_id: nobody, content: "x".into() }),
                of(CreateSession { user_id: nobody, digest: SessionDigest::of("a"), duration: Duration::from_secs(1) }),
                of(CreateUser { pubkey: "key".into(), display_name: None }),
                of(UpdateUser { id: message.author_id, display_name: None, avatar_hash: None }),
            ],
        );
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(writes.is_empty() && changes.is_empty());
    }
}
