//! Who belongs to the community: what the configuration says of a key, and what becomes of those it no longer admits.
//!
//! Membership is a field of the user: joining sets it, leaving clears it. The configuration stands above it at every call,
//! so that a key taken off the allowlist can do nothing from the moment the configuration is read; [`App::enforce_membership`]
//! then clears the field and ends the sessions.

use futures::future::try_join_all;

use super::App;
use crate::{
    config::{Membership, MembershipMode},
    storage::{Admission, StorageError, User, limits::MAX_PAGE},
};

impl Membership {
    /// As what a log-in with this key is let in.
    pub(super) fn admission(&self, pubkey: &str) -> Admission {
        match self.mode {
            _ if self.admins.contains(pubkey) => Admission::Join,
            MembershipMode::Open => Admission::Join,
            MembershipMode::Allowlist if self.allowed.contains(pubkey) => Admission::Join,
            MembershipMode::Allowlist => Admission::Visit,
            MembershipMode::Closed => Admission::MembersOnly,
        }
    }

    /// Whether whoever is a member with this key may stay one.
    pub(super) fn keeps(&self, pubkey: &str) -> bool {
        self.admission(pubkey) != Admission::Visit
    }
}

impl App {
    /// Whether the user is a member now, by the store and by the configuration.
    pub(super) fn is_member(&self, user: &User) -> bool {
        user.is_member && self.config().membership.keeps(&user.pubkey)
    }

    /// Ends what the configuration no longer admits: members whose keys it does not list any more leave, and their
    /// sessions end; so do the sessions of those who are no members where only members may log in. To be called when the
    /// configuration was read: at the start, and after each reload.
    pub async fn enforce_membership(&self) -> Result<(), StorageError> {
        if self.config().membership.mode == MembershipMode::Open {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.store.list_users_page(after.as_deref(), MAX_PAGE).await?;
            try_join_all(page.iter().map(|user| self.enforce_on(user))).await?;
            match page.last() {
                Some(last) => after = Some(last.id.to_string()),
                None => return Ok(()),
            }
        }
    }

    async fn enforce_on(&self, user: &User) -> Result<(), StorageError> {
        let is_excluded = match self.config().membership.admission(&user.pubkey) {
            Admission::Join => false,
            Admission::Visit => user.is_member,
            Admission::MembersOnly => !user.is_member,
        };
        if !is_excluded {
            return Ok(());
        }
        if user.is_member {
            self.store.set_membership(&user.id.text(), false).await?;
            tracing::info!(pubkey = user.pubkey, "no longer admitted by [membership]: the member leaves");
        }
        self.store.delete_sessions_of_user(&user.id.text()).await?;
        Ok(())
    }
}
