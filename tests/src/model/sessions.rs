//! Sessions, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Change, Session, SessionDigest, Timestamp};

use super::{
    Answer, Lasting, Refusal,
    state::{Checks, Model, Outcome},
};

impl Model {
    pub(super) fn create_session(&mut self, user: &str, lasting: Lasting, told: &Answer) -> Outcome {
        let expires_at = self.end_of(lasting);
        Checks::default().that(expires_at.is_some(), "duration").done()?;
        let user_id = self.user(user)?.id;
        let token = self.accept_token(told.made().map(|(_, token)| token))?;
        let session = Session { token: token.clone(), user_id, created_at: self.now, expires_at: expires_at.unwrap() };
        Arc::make_mut(&mut self.sessions).insert(token, session.clone());
        Ok(Answer::Sessions(vec![session]))
    }

    /// When a session of this length ends: rounded up to whole milliseconds, and within the year 9999.
    pub(super) fn end_of(&self, lasting: Lasting) -> Option<Timestamp> {
        let duration = lasting.from(self.now);
        let millis = duration.as_nanos().div_ceil(1_000_000) + u128::from(self.now.as_millis());
        u64::try_from(millis).ok().and_then(Timestamp::from_millis).filter(|_| !duration.is_zero())
    }

    pub(super) fn accept_token(&self, told: Option<String>) -> Result<String, Refusal> {
        let new = told.filter(|token| is_new_token(token) && !self.sessions.contains_key(token));
        new.ok_or_else(|| Refusal::Unexpected("a new token was due".into()))
    }

    pub(super) fn get_session(&self, token: &str) -> Outcome {
        let live = self.sessions.get(token).filter(|session| session.expires_at > self.now);
        Ok(Answer::Sessions(live.cloned().into_iter().collect()))
    }

    pub(super) fn delete_session(&mut self, token: &str) -> Outcome {
        if Arc::make_mut(&mut self.sessions).remove(token).is_some() {
            self.changes.push(Change::SessionDeleted(SessionDigest::of(token)));
        }
        Ok(Answer::Done)
    }

    pub(super) fn delete_expired_sessions(&mut self) -> Outcome {
        let before = self.sessions.len();
        let now = self.now;
        Arc::make_mut(&mut self.sessions).retain(|_, session| session.expires_at > now);
        self.forget_challenges();
        Ok(Answer::Count((before - self.sessions.len()) as u64))
    }
}

/// 256 bits in hexadecimal.
fn is_new_token(token: &str) -> bool {
    token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}
