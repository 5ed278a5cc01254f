//! Sessions and log-ins: the calls, and their rules.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{
    Front,
    batch::Batch,
    check::{existing, pubkey},
    command::Command,
};
use crate::storage::{
    Admission, AnsweredChallenge, Entity, Key, LogIn, LoggedIn, LoginKey, MAX_SLOTS, Session, SessionDigest,
    SessionStore, StorageError, StoredSession, Timestamp, UsedChallenge, User, UserId,
    port::{Reader, Wants, Write},
    token,
};

/// Sessions removed per transaction of a sweep. Each lies in a place of its own in three trees, so that even these few take
/// half a millisecond, which other writers may have to wait for.
const SWEEP_STEP: usize = 16;
/// After a step, a sweep pauses for so many times as long as the step took: most commits have nothing of it in them.
const SWEEP_PAUSE: u32 = 9;
/// The longest of these pauses: a step that waited for an overloaded queue says nothing of what it costs.
const LONGEST_SWEEP_PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl<R: Reader> SessionStore for Front<R> {
    async fn create_session(&self, user_id: &str, duration: Duration) -> Result<Session, StorageError> {
        self.check_duration(duration)?;
        let user_id = existing(Entity::User, user_id, UserId::parse)?;
        let token = token::new_token()?;
        let digest = SessionDigest::of(&token);
        let session = self.write(CreateSession { user_id, digest, duration }).await?;
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
        let (user, session) = self.write(AnswerChallenge { log_in, used, digest }).await?;
        Ok(LoggedIn { user: Arc::unwrap_or_clone(user), session: session.with_token(token) })
    }

    async fn newest_used_challenges(&self, pubkey: &str, slots: &[u64]) -> Result<Vec<Option<u32>>, StorageError> {
        self.check_open()?;
        if slots.len() > MAX_SLOTS {
            let problem = format!("{} were asked for; at most {MAX_SLOTS} are looked at", slots.len());
            return Err(StorageError::invalid("slots", problem));
        }
        self.read(|reader| reader.newest_used_challenges(UsedChallenge::digest_of(pubkey), slots)).await
    }

    async fn login_key(&self) -> Result<LoginKey, StorageError> {
        self.check_open()?;
        Ok(self.login_key.clone())
    }

    async fn get_session(&self, token: &str) -> Result<Option<Session>, StorageError> {
        self.check_open()?;
        let stored = self.read(|reader| reader.get::<StoredSession>(SessionDigest::of(token))).await?;
        let live = stored.filter(|session| session.expires_at > self.clock.now());
        Ok(live.map(|session| session.with_token(token.to_owned())))
    }

    async fn delete_session(&self, token: &str) -> Result<(), StorageError> {
        self.write(DeleteSession { digest: SessionDigest::of(token) }).await
    }

    async fn delete_sessions_of_user(&self, user_id: &str) -> Result<u64, StorageError> {
        self.check_open()?;
        let Some(user_id) = UserId::parse(user_id) else { return Ok(0) };
        self.in_steps(|| EndSessions { user_id, at_most: SWEEP_STEP }).await
    }

    async fn delete_expired_sessions(&self) -> Result<u64, StorageError> {
        let expired_at = self.clock.now();
        let swept = self.in_steps(|| SweepSessions { expired_at, at_most: SWEEP_STEP }).await?;
        self.in_steps(|| SweepChallenges { expired_at, at_most: SWEEP_STEP }).await?;
        Ok(swept)
    }
}

impl<R: Reader> Front<R> {
    fn check_duration(&self, duration: Duration) -> Result<(), StorageError> {
        if duration.is_zero() {
            return Err(StorageError::invalid("duration", "it is zero; a session lasts at least a millisecond"));
        }
        end_of(self.clock.now(), duration).map(drop)
    }

    /// Takes the steps of a large removal until nothing is left; answers how much was removed.
    async fn in_steps<C: Command<Answer = Removed>>(&self, step: impl Fn() -> C + Send) -> Result<u64, StorageError> {
        let mut total = 0;
        loop {
            let began = Instant::now();
            let Removed { rows, more } = self.write(step()).await?;
            total += rows;
            if !more {
                return Ok(total);
            }
            tokio::time::sleep((began.elapsed() * SWEEP_PAUSE).min(LONGEST_SWEEP_PAUSE)).await;
        }
    }
}

/// When a session that begins now ends.
fn end_of(now: Timestamp, duration: Duration) -> Result<Timestamp, StorageError> {
    let past = || StorageError::invalid("duration", "the session would end past the year 9999");
    now.checked_add(duration).ok_or_else(past)
}

pub(super) struct CreateSession {
    pub(super) user_id: UserId,
    pub(super) digest: SessionDigest,
    pub(super) duration: Duration,
}

impl Command for CreateSession {
    type Answer = Arc<StoredSession>;

    fn wants(&self, wants: &mut Wants) {
        wants.references.insert(self.user_id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<StoredSession>, StorageError> {
        let expires_at = end_of(batch.now, self.duration)?;
        batch.must_exist(self.user_id)?;
        Ok(batch.new_session(self.user_id, self.digest, expires_at))
    }
}

/// A log-in: user, membership, session and used challenge, all of it or none.
pub(super) struct AnswerChallenge {
    pub(super) log_in: LogIn,
    pub(super) used: UsedChallenge,
    pub(super) digest: SessionDigest,
}

impl Command for AnswerChallenge {
    type Answer = (Arc<User>, Arc<StoredSession>);

    fn wants(&self, wants: &mut Wants) {
        wants.pubkeys.insert(self.log_in.pubkey.clone());
        wants.references.insert(self.used.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Answer, StorageError> {
        let LogIn { pubkey, admission, is_bot, duration, .. } = &self.log_in;
        let expires_at = end_of(batch.now, *duration)?;
        let known = batch.rows.pubkeys.get(pubkey).and_then(|id| batch.rows.get::<User>(*id)).cloned();
        if *admission == Admission::MembersOnly && !known.as_ref().is_some_and(|user| user.is_member) {
            return Err(StorageError::not_found(Entity::User, pubkey));
        }
        let refused = |field| Err(StorageError::Conflict { entity: Entity::Challenge, field });
        if self.used.expires_at() <= batch.now {
            return refused("slot");
        }
        if batch.rows.known.contains(&self.used.into()) {
            return refused("number");
        }
        let user = match known {
            None => batch.new_user(pubkey, &None, *is_bot, *admission == Admission::Join)?,
            Some(user) if *admission == Admission::Join => {
                let member = User { is_member: true, ..User::clone(&user) };
                batch.store_user(user, member)
            }
            Some(user) => user,
        };
        batch.rows.known.insert(self.used.into());
        batch.insert(AnsweredChallenge::of(self.used));
        let session = batch.new_session(user.id, self.digest, expires_at);
        Ok((user, session))
    }
}

pub(super) struct DeleteSession {
    pub(super) digest: SessionDigest,
}

impl Command for DeleteSession {
    type Answer = ();

    fn wants(&self, wants: &mut Wants) {
        wants.references.insert(self.digest.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        if batch.rows.known.contains(&self.digest.into()) {
            batch.end_session(self.digest);
        }
        Ok(())
    }

    fn frees_room(&self) -> bool {
        true
    }
}

/// What a bounded step of a removal achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// Rows removed.
    pub(super) rows: u64,
    /// Whether there may be more to remove.
    pub(super) more: bool,
}

/// One bounded step of logging a user out everywhere.
pub(super) struct EndSessions {
    pub(super) user_id: UserId,
    pub(super) at_most: usize,
}

impl Command for EndSessions {
    type Answer = Removed;

    fn wants(&self, wants: &mut Wants) {
        wants.sessions_of.insert(self.user_id, self.at_most);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Removed, StorageError> {
        let found = batch.rows.sessions_of.get(&self.user_id).cloned().unwrap_or_default();
        let more = found.len() >= self.at_most;
        let rows = found.into_iter().map(|digest| u64::from(batch.end_session(digest))).sum();
        Ok(Removed { rows, more })
    }

    fn frees_room(&self) -> bool {
        true
    }
}

/// One bounded step of a sweep.
pub(super) struct SweepSessions {
    pub(super) expired_at: Timestamp,
    pub(super) at_most: usize,
}

impl Command for SweepSessions {
    type Answer = Removed;

    fn wants(&self, wants: &mut Wants) {
        wants.expired = wants.expired.max(Some((self.expired_at, self.at_most)));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Removed, StorageError> {
        let Batch { rows, ended_sessions, writes, more_expired, .. } = batch;
        let due = rows.expired.iter().filter(|(expires_at, _)| *expires_at <= self.expired_at);
        let mut removed = 0;
        for &(expires_at, digest) in due {
            if removed < self.at_most && ended_sessions.insert(digest) {
                writes.push(Write::SweepSession { digest, expires_at });
                removed += 1;
            }
        }
        Ok(Removed { rows: removed as u64, more: *more_expired })
    }

    fn frees_room(&self) -> bool {
        true
    }
}

/// One bounded step of forgetting used challenges.
pub(super) struct SweepChallenges {
    pub(super) expired_at: Timestamp,
    pub(super) at_most: usize,
}

impl Command for SweepChallenges {
    type Answer = Removed;

    fn wants(&self, wants: &mut Wants) {
        wants.expired_challenges = wants.expired_challenges.max(Some((self.expired_at, self.at_most)));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Removed, StorageError> {
        let mut due = Vec::new();
        batch.rows.expired_challenges.retain(|used| {
            let take = used.expires_at() <= self.expired_at && due.len() < self.at_most;
            if take {
                due.push(*used);
            }
            !take
        });
        due.iter().for_each(|used| batch.remove(*used));
        Ok(Removed { rows: due.len() as u64, more: batch.more_challenges })
    }

    fn frees_room(&self) -> bool {
        true
    }
}

impl Batch<'_> {
    fn new_session(&mut self, user_id: UserId, digest: SessionDigest, expires_at: Timestamp) -> Arc<StoredSession> {
        self.rows.known.insert(Key::from(digest));
        self.insert(StoredSession { digest, user_id, created_at: self.now, expires_at })
    }

    /// Removes a session that was loaded, unless this batch has done so before; answers whether it did.
    fn end_session(&mut self, digest: SessionDigest) -> bool {
        let is_there = self.ended_sessions.insert(digest);
        if is_there {
            self.remove(digest);
        }
        is_there
    }
}
