//! Users, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Change, Entity, User, UserId};

use super::{
    Answer, Refusal,
    state::{Checks, Model, Outcome, canonical, not_found, page, time_of, unless_empty},
};

impl Model {
    pub(super) fn user(&self, id: &str) -> Result<User, Refusal> {
        let found = canonical(id).and_then(|id| self.users.get(&id)).cloned();
        found.ok_or_else(|| not_found(Entity::User, id))
    }

    pub(super) fn create_user(&mut self, pubkey: String, name: Option<String>, told: &Answer) -> Outcome {
        Checks::default().pubkey(&pubkey).optional_label(name.as_ref(), "display_name").done()?;
        if self.users.values().any(|user| user.pubkey == pubkey) {
            return Err(Refusal::Conflict(Entity::User, "pubkey"));
        }
        let id = self.new_id(told)?;
        let (id, created_at) = (UserId::parse(&id).unwrap(), time_of(&id));
        let display_name = name.and_then(unless_empty);
        let (avatar_hash, is_bot, is_member, updated_at) = (None, false, true, created_at);
        let user = User { id, pubkey, display_name, avatar_hash, is_bot, is_member, created_at, updated_at };
        Arc::make_mut(&mut self.users).insert(id.to_string(), user.clone());
        self.changes.push(Change::UserCreated(user.clone().into()));
        Ok(Answer::Users(vec![user]))
    }

    pub(super) fn get_user_by_id(&self, id: &str) -> Outcome {
        Ok(Answer::Users(self.user(id).into_iter().collect()))
    }

    pub(super) fn get_user_by_pubkey(&self, pubkey: &str) -> Outcome {
        Ok(Answer::Users(self.users.values().filter(|user| user.pubkey == pubkey).cloned().collect()))
    }

    pub(super) fn update_user(&mut self, id: &str, name: Option<String>, avatar: Option<String>) -> Outcome {
        Checks::default()
            .optional_label(name.as_ref(), "display_name")
            .optional(avatar.as_ref(), "avatar_hash")
            .done()?;
        let before = self.user(id)?;
        let mut user = before.clone();
        if let Some(name) = name {
            user.display_name = unless_empty(name);
        }
        if let Some(avatar) = avatar {
            user.avatar_hash = unless_empty(avatar);
        }
        if user != before {
            user.updated_at = self.changed_at(before.updated_at, before.created_at);
            Arc::make_mut(&mut self.users).insert(user.id.to_string(), user.clone());
            self.changes.push(Change::UserUpdated(user.clone().into()));
        }
        Ok(Answer::Users(vec![user]))
    }

    pub(super) fn list_users_page(&self, after: Option<String>, limit: u32, members_only: bool) -> Outcome {
        let after = match after {
            None => String::new(),
            Some(after) => canonical(&after).ok_or(Refusal::InvalidInput(vec!["after"]))?,
        };
        let listed = self.users.values().filter(|user| user.is_member || !members_only);
        let above = listed.filter(|user| *user.id.text() > *after);
        Ok(Answer::Users(above.take(page(limit)).cloned().collect()))
    }
}
