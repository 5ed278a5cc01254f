//! Users: the calls, and their rules.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Front,
    batch::{Batch, non_empty, set_optional},
    check::{cursor, existing, optional_label, optional_text, pubkey},
    command::Command,
};
use crate::storage::{
    Entity, StorageError, User, UserId, UserStore,
    contract::field::FieldType as _,
    limits::{MAX_PAGE, MAX_PUBKEY_BYTES},
    port::{Reader, Wants, Write},
};

#[async_trait]
impl<R: Reader> UserStore for Front<R> {
    async fn create_user(&self, key: &str, display_name: Option<&str>) -> Result<User, StorageError> {
        let pubkey = pubkey(key)?;
        let display_name = optional_label("display_name", display_name)?;
        self.write_record(CreateUser { pubkey, display_name }).await
    }

    async fn get_user_by_id(&self, id: &str) -> Result<Option<User>, StorageError> {
        self.check_open()?;
        let Some(id) = UserId::parse(id) else { return Ok(None) };
        self.read(|reader| reader.get(id)).await
    }

    async fn get_user_by_pubkey(&self, pubkey: &str) -> Result<Option<User>, StorageError> {
        self.check_open()?;
        if pubkey.len() > MAX_PUBKEY_BYTES {
            return Ok(None);
        }
        let key = pubkey.to_owned();
        let found = self.read(|reader| reader.find::<User>(&User::BY_PUBKEY, key.value(), 1)).await?;
        Ok(found.into_iter().next())
    }

    async fn update_user(
        &self,
        id: &str,
        display_name: Option<&str>,
        avatar_hash: Option<&str>,
    ) -> Result<User, StorageError> {
        let display_name = optional_label("display_name", display_name)?;
        let avatar_hash = optional_text("avatar_hash", avatar_hash)?;
        let id = existing(Entity::User, id, UserId::parse)?;
        self.write_record(UpdateUser { id, display_name, avatar_hash }).await
    }

    async fn set_membership(&self, id: &str, is_member: bool) -> Result<User, StorageError> {
        let id = existing(Entity::User, id, UserId::parse)?;
        self.write_record(SetMembership { id, is_member }).await
    }

    async fn list_users(&self) -> Result<Vec<User>, StorageError> {
        self.read(|reader| reader.list(None, None)).await
    }

    async fn list_users_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.check_open()?;
        let after = after.map(|after| cursor("after", after, UserId::parse)).transpose()?;
        match limit.min(MAX_PAGE) {
            0 => Ok(Vec::new()),
            limit => self.read(|reader| reader.list(after, Some(limit))).await,
        }
    }

    async fn list_members_page(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StorageError> {
        self.check_open()?;
        let after = after.map(|after| cursor("after", after, UserId::parse)).transpose()?;
        match limit.min(MAX_PAGE) {
            0 => Ok(Vec::new()),
            limit => self.read(|reader| reader.members(after, limit)).await,
        }
    }
}

/// Creates a member who is no bot.
pub(super) struct CreateUser {
    pub(super) pubkey: String,
    pub(super) display_name: Option<String>,
}

impl Command for CreateUser {
    type Answer = Arc<User>;

    fn wants(&self, wants: &mut Wants) {
        wants.pubkeys.insert(self.pubkey.clone());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<User>, StorageError> {
        if batch.rows.pubkeys.contains_key(&self.pubkey) {
            return Err(StorageError::Conflict { entity: Entity::User, field: "pubkey" });
        }
        batch.new_user(&self.pubkey, &self.display_name, false, true)
    }
}

/// Changes what is given: `None` keeps a field, an empty text clears it.
pub(super) struct UpdateUser {
    pub(super) id: UserId,
    pub(super) display_name: Option<String>,
    pub(super) avatar_hash: Option<String>,
}

impl Command for UpdateUser {
    type Answer = Arc<User>;

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<User>, StorageError> {
        let old = batch.find::<User>(self.id)?;
        let mut new = User::clone(&old);
        set_optional(&mut new.display_name, &self.display_name);
        set_optional(&mut new.avatar_hash, &self.avatar_hash);
        Ok(batch.store_user(old, new))
    }
}

/// Makes a user a member, or no longer one.
pub(super) struct SetMembership {
    pub(super) id: UserId,
    pub(super) is_member: bool,
}

impl Command for SetMembership {
    type Answer = Arc<User>;

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<User>, StorageError> {
        let old = batch.find::<User>(self.id)?;
        let new = User { is_member: self.is_member, ..User::clone(&old) };
        Ok(batch.store_user(old, new))
    }

    fn frees_room(&self) -> bool {
        !self.is_member
    }
}

impl Batch<'_> {
    /// Stores a user with a key that nobody has.
    pub(super) fn new_user(
        &mut self,
        pubkey: &str,
        display_name: &Option<String>,
        is_bot: bool,
        is_member: bool,
    ) -> Result<Arc<User>, StorageError> {
        let (id, created_at) = self.next_id()?;
        let id = UserId::from(id);
        self.rows.pubkeys.insert(pubkey.to_owned(), id);
        Ok(self.insert(User {
            id,
            pubkey: pubkey.to_owned(),
            display_name: non_empty(display_name),
            avatar_hash: None,
            is_bot,
            is_member,
            created_at,
            updated_at: created_at,
        }))
    }

    /// Stores an edited user, if it is edited at all.
    pub(super) fn store_user(&mut self, old: Arc<User>, mut new: User) -> Arc<User> {
        if new == *old {
            return old;
        }
        new.updated_at = self.time_after(old.updated_at, old.created_at);
        if new.is_member == old.is_member {
            return self.replace(new);
        }
        let new = Arc::new(new);
        self.rows.put(new.clone());
        self.writes.push(Write::ChangeMembership(new.clone()));
        new
    }
}
