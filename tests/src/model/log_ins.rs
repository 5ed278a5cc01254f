//! Log-ins by challenge and membership, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Admission, Change, Entity, Session, SessionDigest, Timestamp, User, UserId};

use super::{
    Answer, Lasting, Refusal,
    calls::{Attempt, shown, slot},
    state::{Checks, Model, Outcome, time_of},
};

const MINUTE: u64 = 60_000;

impl Model {
    pub(super) fn log_in(&mut self, pubkey: String, attempt: Attempt, lasting: Lasting, told: &Answer) -> Outcome {
        let Attempt { age, number, admission, is_bot } = attempt;
        let expires_at = self.end_of(lasting);
        let slot = slot(self.now, age);
        let over = slot.checked_add(6).and_then(|slot| slot.checked_mul(MINUTE)).and_then(Timestamp::from_millis);
        Checks::default()
            .pubkey(&pubkey)
            .that(expires_at.is_some(), "duration")
            .that(over.is_some(), "challenge")
            .done()?;
        let known = self.users.values().find(|user| user.pubkey == pubkey).cloned();
        if admission == Admission::MembersOnly && !known.as_ref().is_some_and(|user| user.is_member) {
            return Err(Refusal::NotFound(Entity::User, shown(&pubkey)));
        }
        if over.is_none_or(|over| over <= self.now) {
            return Err(Refusal::Conflict(Entity::Challenge, "slot"));
        }
        if !Arc::make_mut(&mut self.used).insert((slot, pubkey.clone(), number)) {
            return Err(Refusal::Conflict(Entity::Challenge, "number"));
        }
        let Answer::LoggedIn(told_user, told_session) = told else {
            return Err(Refusal::Unexpected("a log-in was due".into()));
        };
        let user = match known {
            None => {
                let id = self.new_id_of(Some(told_user.id.to_string()))?;
                let (id, created_at) = (UserId::parse(&id).unwrap(), time_of(&id));
                let is_member = admission == Admission::Join;
                let (display_name, avatar_hash, updated_at) = (None, None, created_at);
                let user = User { id, pubkey, display_name, avatar_hash, is_bot, is_member, created_at, updated_at };
                self.changes.push(Change::UserCreated(user.clone().into()));
                Arc::make_mut(&mut self.users).insert(user.id.to_string(), user.clone());
                user
            }
            Some(user) if admission == Admission::Join => self.with_membership(user, true),
            Some(user) => user,
        };
        let token = self.accept_token(Some(told_session.token.clone()))?;
        let expires_at = expires_at.unwrap();
        let session = Session { token: token.clone(), user_id: user.id, created_at: self.now, expires_at };
        Arc::make_mut(&mut self.sessions).insert(token, session.clone());
        Ok(Answer::LoggedIn(user, session))
    }

    pub(super) fn set_membership(&mut self, id: &str, is_member: bool) -> Outcome {
        let user = self.user(id)?;
        Ok(Answer::Users(vec![self.with_membership(user, is_member)]))
    }

    fn with_membership(&mut self, mut user: User, is_member: bool) -> User {
        if user.is_member != is_member {
            user.is_member = is_member;
            user.updated_at = self.changed_at(user.updated_at, user.created_at);
            Arc::make_mut(&mut self.users).insert(user.id.to_string(), user.clone());
            let announced = Arc::new(user.clone());
            self.changes.push(match is_member {
                true => Change::MemberJoined(announced),
                false => Change::MemberLeft(announced),
            });
        }
        user
    }

    /// Of the slots that can still be answered, the newest first.
    pub(super) fn newest_used_challenges(&self, pubkey: &str) -> Outcome {
        let of_slot = |age| {
            let numbers = self.used.iter().filter(|(used, key, _)| *used == slot(self.now, age) && key == pubkey);
            numbers.map(|(.., number)| *number).max()
        };
        Ok(Answer::Numbers((0..6).map(of_slot).collect()))
    }

    pub(super) fn delete_sessions_of_user(&mut self, user: &str) -> Outcome {
        let Ok(user) = self.user(user) else { return Ok(Answer::Count(0)) };
        let before = self.sessions.len();
        let mut ended = Vec::new();
        Arc::make_mut(&mut self.sessions).retain(|token, session| {
            let stays = session.user_id != user.id;
            if !stays {
                ended.push(Change::SessionDeleted(SessionDigest::of(token)));
            }
            stays
        });
        self.changes.extend(ended);
        Ok(Answer::Count((before - self.sessions.len()) as u64))
    }

    pub(super) fn forget_challenges(&mut self) {
        let now = self.now.as_millis();
        Arc::make_mut(&mut self.used).retain(|(slot, ..)| (slot + 6) * MINUTE > now);
    }
}
