//! Who manages the server.

use std::collections::BTreeSet;

use super::App;
use crate::storage::{StorageError, User, UserId, limits::MAX_PAGE};

/// Who the admins are at this moment.
pub(crate) enum Admins {
    /// The keys that the configuration lists.
    Listed(BTreeSet<String>),
    /// Where it lists none: of the members that are admitted, the one who registered first, if there is one.
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
    /// The admins: those configured, else the earliest registered user who is a member now.
    pub(crate) async fn admins(&self) -> Result<Admins, StorageError> {
        let listed = &self.config().membership.admins;
        if !listed.is_empty() {
            return Ok(Admins::Listed(listed.clone()));
        }
        // The first member is one whom the configuration admits, save in the moment between its reading and its enforcement.
        let (mut after, mut limit) = (None, 1);
        loop {
            let page = self.store.list_members_page(after.as_deref(), limit).await?;
            if let Some(earliest) = page.iter().find(|user| self.is_member(user)) {
                return Ok(Admins::Earliest(Some(earliest.id)));
            }
            match page.last() {
                Some(last) => after = Some(last.id.to_string()),
                None => return Ok(Admins::Earliest(None)),
            }
            limit = MAX_PAGE;
        }
    }
}
