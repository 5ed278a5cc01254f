//! Who manages the server.

use std::collections::BTreeSet;

use super::App;
use crate::storage::{StorageError, User, UserId};

/// Who the admins are at this moment.
pub(crate) enum Admins {
    /// The keys that the configuration lists.
    Listed(BTreeSet<String>),
    /// Where it lists none: the earliest registered user, if there is one.
    Earliest(Option<UserId>),
}

impl Admins {
    /// Whether `user` is one of them.
    pub(crate) fn is_admin(&self, user: &User) -> bool {
        match self {
            Self::Listed(keys) => keys.contains(&user.pubkey),
            Self::Earliest(id) => *id == Some(user.id),
        }
    }
}

impl App {
    /// The admins: those configured, else the earliest registered user.
    pub(crate) async fn admins(&self) -> Result<Admins, StorageError> {
        let listed = &self.config().membership.admins;
        if !listed.is_empty() {
            return Ok(Admins::Listed(listed.clone()));
        }
        let earliest = self.store.list_users_page(None, 1).await?;
        Ok(Admins::Earliest(earliest.first().map(|user| user.id)))
    }
}
