//! Reads: what was true after a commit, made of the memtables and the backend.
//!
//! A call takes the memtables first, with the number of the newest commit, `n`; then it reads from the backend, which has
//! everything up to some commit `b`. What the memtables have of the commits between `b` and `n` counts, and nothing else of
//! them: what is older, the backend has, too. Nothing can be missing between the two, because a memtable is let go only when
//! the backend has all of it. A backend that was faster, so that `b` is `n` or more, is the view by itself.
//!
//! A list may lose rows to the memtables. Then it is read again, longer, from its beginning: each answer is of one view.

use std::{
    collections::BTreeMap,
    future::Future,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use super::memtable::{Memtable, has};
use crate::storage::{
    Category, Channel, ChannelId, Entity, Key, Message, MessagePage, Row, StorageError, UsedChallenge, User, UserId,
    contract::{
        field::{FieldType as _, Index, Value},
        model::Model,
    },
    port::{Bounds, CommitNumber, Page, Reader, View},
};

/// The memtables that a backend lacks, and the newest commit.
#[derive(Default)]
pub struct Layers(RwLock<Taken>);

/// What a call sees of them.
#[derive(Clone, Default)]
struct Taken {
    /// The newest first.
    tables: Vec<Arc<RwLock<Memtable>>>,
    newest: CommitNumber,
}

impl Layers {
    /// No memtables, in front of a backend that has everything up to this commit.
    pub fn after(commit: CommitNumber) -> Self {
        Self(RwLock::new(Taken { tables: Vec::new(), newest: commit }))
    }

    /// From now on these are the memtables, the newest first, and this is the newest commit.
    pub fn publish(&self, tables: Vec<Arc<RwLock<Memtable>>>, newest: CommitNumber) {
        let old =
            std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), Taken { tables, newest });
        drop(old); // outside of the lock
    }

    fn taken(&self) -> Taken {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(table: &RwLock<Memtable>) -> RwLockReadGuard<'_, Memtable> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// What the commits made of a record; `None` when none of them wrote it.
    fn get(&self, key: &Key) -> Option<(CommitNumber, Option<Row>)> {
        self.tables.iter().find_map(|table| {
            let table = read(table);
            table.get(key, self.newest).map(|(commit, row)| (commit, row.cloned()))
        })
    }

    /// The commit that last wrote a record, if one of these did.
    fn commit_of(&self, key: &Key) -> Option<CommitNumber> {
        self.tables.iter().find_map(|table| read(table).get(key, self.newest).map(|(commit, _)| commit))
    }

    fn has_ended(&self, channel: ChannelId) -> bool {
        self.tables.iter().any(|table| read(table).ended(channel, self.newest).is_some())
    }

    /// Whether a record went with a channel that was deleted.
    fn is_gone<M: Model>(&self, record: &M) -> bool {
        match M::GOES_WITH.and_then(|field| record.value_of(field.name)) {
            Some(Value::Id(channel)) => self.has_ended(channel.into()),
            _ => false,
        }
    }

    /// What commits after `since` made of the records of a kind, as `found` finds their keys: the last version of each.
    fn written<M: Model>(
        &self,
        since: CommitNumber,
        found: impl Fn(&Memtable) -> Vec<Key>,
    ) -> BTreeMap<M::Key, Option<Arc<M>>> {
        let mut written = BTreeMap::new();
        for key in self.tables.iter().flat_map(|table| found(&read(table))) {
            let Some(own) = M::Key::from_value(key.value()).filter(|own| !written.contains_key(own)) else { continue };
            if let Some((commit, row)) = self.get(&key)
                && commit > since
            {
                let record = row.as_ref().and_then(M::of_row).filter(|record| !self.is_gone(&***record));
                written.insert(own, record.cloned());
            }
        }
        written
    }
}

/// The reading half of a backend behind memtables.
pub struct LogReader<R> {
    layers: Arc<Layers>,
    backend: R,
}

impl<R: Reader> LogReader<R> {
    /// Reads from these.
    pub fn over(layers: Arc<Layers>, backend: R) -> Self {
        Self { layers, backend }
    }

    /// At most so many records of a kind, by key: those that `fetch` has of the backend, and those that were written since,
    /// where `belongs` says that they are among them.
    async fn merged<M: Model, F>(
        &self,
        limit: Option<u32>,
        fetch: impl Fn(Option<u32>) -> F,
        found: impl Fn(&Memtable, CommitNumber) -> Vec<Key>,
        belongs: impl Fn(&Arc<M>) -> bool,
    ) -> Result<View<Vec<M>>, StorageError>
    where
        F: Future<Output = Result<View<Vec<M>>, StorageError>>,
    {
        let taken = self.layers.taken();
        let most = limit.map_or(usize::MAX, |limit| limit as usize);
        let mut fetched = limit;
        loop {
            let View { commit, shows } = fetch(fetched).await?;
            if commit >= taken.newest {
                let mut shows = shows;
                shows.truncate(most);
                return Ok(View { commit, shows });
            }
            // There may be others behind the last one, which nobody has looked at.
            let is_cut = fetched.is_some_and(|fetched| shows.len() >= fetched as usize);
            let end = shows.last().filter(|_| is_cut).map(Model::key);
            let written = taken.written::<M>(commit, |table| found(table, taken.newest));
            let is_before_the_end = |key: &M::Key| end.is_none_or(|end| *key <= end);
            let mut rows: BTreeMap<M::Key, M> = BTreeMap::new();
            for record in shows {
                if !written.contains_key(&record.key())
                    && taken.commit_of(&record.key().into()).is_none_or(|it| it <= commit)
                    && !taken.is_gone(&record)
                {
                    rows.insert(record.key(), record);
                }
            }
            let new = written.into_values().flatten().filter(|record| belongs(record));
            for record in new.filter(|record| is_before_the_end(&record.key())) {
                rows.insert(record.key(), M::clone(&record));
            }
            if rows.len() < most && is_cut {
                fetched = fetched.map(|fetched| fetched.saturating_mul(2));
                continue;
            }
            return Ok(View { commit: taken.newest, shows: rows.into_values().take(most).collect() });
        }
    }
}

impl<R: Reader> Reader for LogReader<R> {
    async fn get<M: Model>(&self, key: M::Key) -> Result<View<Option<M>>, StorageError> {
        let taken = self.layers.taken();
        if let Some((_, row)) = taken.get(&key.into()) {
            let record = row.as_ref().and_then(M::of_row).filter(|record| !taken.is_gone(&***record));
            return Ok(View { commit: taken.newest, shows: record.map(|record| M::clone(record)) });
        }
        let View { commit, shows } = self.backend.get::<M>(key).await?;
        Ok(View { commit: commit.max(taken.newest), shows: shows.filter(|record| !taken.is_gone(record)) })
    }

    async fn list<M: Model>(&self, after: Option<M::Key>, limit: Option<u32>) -> Result<View<Vec<M>>, StorageError> {
        let after_key = after.map(Into::into);
        let found =
            move |table: &Memtable, newest| table.above(M::ENTITY, after_key, newest).map(|(key, _)| key).collect();
        self.merged(limit, |limit| self.backend.list(after, limit), found, |_| true).await
    }

    async fn find<M: Model>(
        &self,
        index: &'static Index,
        value: Value<'_>,
        limit: u32,
    ) -> Result<View<Vec<M>>, StorageError> {
        let fetch = |limit: Option<u32>| self.backend.find(index, value.clone(), limit.unwrap_or(u32::MAX));
        let found = |table: &Memtable, newest| table.found(index, &value, .., newest).map(|(key, _)| key).collect();
        let belongs = |record: &Arc<M>| has(&record.clone().into_row(), index, &value);
        self.merged(Some(limit), fetch, found, belongs).await
    }

    async fn members(&self, after: Option<UserId>, limit: u32) -> Result<View<Vec<User>>, StorageError> {
        let fetch = |limit: Option<u32>| self.backend.members(after, limit.unwrap_or(u32::MAX));
        let found = move |table: &Memtable, newest| {
            table.above(Entity::User, after.map(Into::into), newest).map(|(key, _)| key).collect()
        };
        self.merged(Some(limit), fetch, found, |user: &Arc<User>| user.is_member).await
    }

    async fn channels(&self) -> Result<View<Vec<Channel>>, StorageError> {
        let mut view =
            self.merged(None, |_| self.backend.channels(), all_of(Entity::Channel), |_: &Arc<Channel>| true).await?;
        view.shows.sort_by_key(|channel| (channel.position, channel.id));
        Ok(view)
    }

    async fn categories(&self) -> Result<View<Vec<Category>>, StorageError> {
        let mut view = self
            .merged(None, |_| self.backend.categories(), all_of(Entity::Category), |_: &Arc<Category>| true)
            .await?;
        view.shows.sort_by_key(|category| (category.position, category.id));
        Ok(view)
    }

    async fn page(&self, channel_id: ChannelId, page: Page, bounds: Bounds) -> Result<View<MessagePage>, StorageError> {
        let taken = self.layers.taken();
        // One more than is asked for: whether there are others, the backend does not know.
        let mut fetched = Bounds { messages: bounds.messages.saturating_add(1), ..bounds };
        loop {
            let View { commit, shows } = self.backend.page(channel_id, page, fetched).await?;
            if commit >= taken.newest {
                return Ok(View { commit, shows: bounds.cut(shows) });
            }
            if taken.has_ended(channel_id) {
                return Ok(View { commit: taken.newest, shows: MessagePage::default() });
            }
            let (merged, is_certain) = taken.merge(channel_id, page, bounds, commit, shows);
            if is_certain {
                return Ok(View { commit: taken.newest, shows: bounds.cut(merged) });
            }
            fetched.messages = fetched.messages.saturating_mul(2);
            fetched.bytes = fetched.bytes.saturating_mul(2);
        }
    }

    async fn newest_used_challenges(
        &self,
        key_digest: [u8; 32],
        slots: &[u64],
    ) -> Result<View<Vec<Option<u32>>>, StorageError> {
        let taken = self.layers.taken();
        let View { commit, shows } = self.backend.newest_used_challenges(key_digest, slots).await?;
        if commit >= taken.newest {
            return Ok(View { commit, shows });
        }
        let newest = |(slot, stored): (&u64, Option<u32>)| {
            let challenge = |number| Key::from(UsedChallenge { slot: *slot, key_digest, number });
            // Those of a slot expire together: where one was swept, the others count no more.
            let is_swept = |number: &u32| matches!(taken.get(&challenge(*number)), Some((_, None)));
            let range = challenge(0)..=challenge(u32::MAX);
            let used = taken.tables.iter().flat_map(|table| {
                let table = read(table);
                let used = table.within(Entity::Challenge, range.clone(), taken.newest);
                used.filter_map(|(key, (_, row))| row.and(number_of(&key))).collect::<Vec<_>>()
            });
            used.chain(stored).filter(|number| !is_swept(number)).max()
        };
        let shows = slots.iter().zip(shows).map(newest).collect();
        Ok(View { commit: taken.newest, shows })
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.backend.ping().await
    }

    async fn close(&self) {
        self.backend.close().await;
    }
}

fn all_of(entity: Entity) -> impl Fn(&Memtable, CommitNumber) -> Vec<Key> {
    move |table, newest| table.above(entity, None, newest).map(|(key, _)| key).collect()
}

fn number_of(key: &Key) -> Option<u32> {
    if let Key::Challenge(used) = key { Some(used.number) } else { None }
}

impl Taken {
    /// A page of the backend as of a commit, with what was written since; and whether that is all there is to know of the page.
    /// It is not where messages that the page had, or that it said there were behind it, were deleted since.
    fn merge(
        &self,
        channel_id: ChannelId,
        page: Page,
        bounds: Bounds,
        commit: CommitNumber,
        MessagePage { messages, has_more }: MessagePage,
    ) -> (MessagePage, bool) {
        let is_reverse = !matches!(page, Page::After(_));
        // Behind the last one nobody has looked, if there are others.
        let end = messages.last().filter(|_| has_more).map(|message| Key::from(message.id));
        let end = end.map_or(Bound::Unbounded, Bound::Included);
        let keys = match page {
            Page::Newest => (end, Bound::Unbounded),
            Page::Before(id) => (end, Bound::Excluded(id.into())),
            Page::After(id) => (Bound::Excluded(id.into()), end),
        };
        let channel = channel_id.value();
        let deleted = |table: &Arc<RwLock<Memtable>>| {
            let table = read(table);
            let found = table.found(&Message::DELETED_BY_CHANNEL, &channel, .., self.newest);
            found.filter(|(_, (written, _))| *written > commit).count()
        };
        let deleted: usize = self.tables.iter().map(deleted).sum();
        let most = (bounds.messages as usize).saturating_add(1).saturating_add(deleted);
        let newer = |table: &Arc<RwLock<Memtable>>| {
            let table = read(table);
            let found = table.found(&Message::LIVE_BY_CHANNEL, &channel, keys, self.newest);
            let found = found.filter(|(_, (written, _))| *written > commit).map(|(key, _)| key);
            let found: Vec<_> = if is_reverse { found.rev().take(most).collect() } else { found.take(most).collect() };
            found
        };
        let mut rows = BTreeMap::new();
        for key in self.tables.iter().flat_map(newer) {
            if let Some((_, Some(Row::Message(message)))) = self.get(&key)
                && !message.deleted
            {
                rows.insert(message.id, Message::clone(&message));
            }
        }
        let is_old = |message: &Message| self.commit_of(&message.id.into()).is_none_or(|written| written <= commit);
        rows.extend(messages.into_iter().filter(is_old).map(|message| (message.id, message)));
        let messages: Vec<_> = match is_reverse {
            true => rows.into_values().rev().collect(),
            false => rows.into_values().collect(),
        };
        let is_cut = bounds.hold(messages.iter().map(|message| message.content.len())) < messages.len();
        (MessagePage { messages, has_more }, is_cut || !has_more || deleted == 0)
    }
}
