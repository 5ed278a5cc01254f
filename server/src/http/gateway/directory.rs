//! Channels and categories as the changes so far have left them: an event shows a channel with its category's name, which
//! the change itself does not have.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use crate::{
    http::wire,
    storage::{Category, CategoryId, Change, Channel, ChannelId, Storage, StorageError},
};

/// What channels look like, at one moment of the change feed.
pub(super) struct Directory {
    /// Weak: the feed ends when the store is dropped, and the hub with it.
    store: Weak<dyn Storage>,
    channels: HashMap<ChannelId, Arc<Channel>>,
    categories: HashMap<CategoryId, Arc<Category>>,
}

impl Directory {
    /// The channels and categories of a store.
    pub(super) async fn of(store: &Arc<dyn Storage>) -> Result<Self, StorageError> {
        let channels = store.list_channels().await?.into_iter().map(|it| (it.id, Arc::new(it))).collect();
        let categories = store.list_categories().await?.into_iter().map(|it| (it.id, Arc::new(it))).collect();
        Ok(Self { store: Arc::downgrade(store), channels, categories })
    }

    /// Reads everything again, because changes were missed.
    pub(super) async fn read_again(&mut self) {
        let Some(store) = self.store.upgrade() else { return };
        match Self::of(&store).await {
            Ok(directory) => *self = directory,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the gateway may show old names of categories until it is started again");
            }
        }
    }

    /// Follows a change. Answers the channels beside it that look different now: those of a category with a new name, of
    /// which newer clients hear by their channels only.
    pub(super) fn follow(&mut self, change: &Change) -> Vec<Arc<Channel>> {
        match change {
            Change::ChannelCreated(channel) | Change::ChannelUpdated(channel) => {
                self.channels.insert(channel.id, channel.clone());
            }
            Change::ChannelDeleted(id) => {
                self.channels.remove(id);
            }
            Change::CategoryCreated(category) => {
                self.categories.insert(category.id, category.clone());
            }
            Change::CategoryUpdated(category) => {
                let old = self.categories.insert(category.id, category.clone());
                if old.is_none_or(|old| old.name != category.name) {
                    return self.channels_of(category.id);
                }
            }
            Change::CategoryDeleted(id) => {
                self.categories.remove(id);
            }
            _ => {}
        }
        Vec::new()
    }

    fn channels_of(&self, category: CategoryId) -> Vec<Arc<Channel>> {
        let inside = self.channels.values().filter(|channel| channel.category() == Some(category));
        let mut channels: Vec<_> = inside.cloned().collect();
        channels.sort_by_key(|channel| (channel.position, channel.id));
        channels
    }

    /// A channel as clients see it.
    pub(super) fn shown(&self, channel: &Channel) -> wire::Channel {
        let category = channel.category().and_then(|id| self.categories.get(&id));
        wire::Channel::new(channel.clone(), category.map(|category| &**category))
    }
}
