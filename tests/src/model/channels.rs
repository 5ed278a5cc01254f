//! Channels and categories, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Category, CategoryId, Change, Channel, ChannelId, Entity};

use super::{
    Answer, Refusal,
    state::{Checks, Model, Outcome, canonical, not_found, time_of, unless_empty},
};

impl Model {
    pub(super) fn channel(&self, id: &str) -> Result<Channel, Refusal> {
        let found = canonical(id).and_then(|id| self.channels.get(&id)).cloned();
        found.ok_or_else(|| not_found(Entity::Channel, id))
    }

    fn category(&self, id: &str) -> Result<Category, Refusal> {
        let found = canonical(id).and_then(|id| self.categories.get(&id)).cloned();
        found.ok_or_else(|| not_found(Entity::Category, id))
    }

    pub(super) fn create_channel(
        &mut self,
        name: String,
        category: Option<String>,
        position: i32,
        told: &Answer,
    ) -> Outcome {
        Checks::default().name(Some(&name)).optional(category.as_ref(), "category_id").done()?;
        let id = self.new_id(told)?;
        let (id, created_at) = (ChannelId::parse(&id).unwrap(), time_of(&id));
        let category_id = category.and_then(unless_empty);
        let channel = Channel { id, name, topic: None, category_id, position, created_at, updated_at: created_at };
        Arc::make_mut(&mut self.channels).insert(id.to_string(), channel.clone());
        self.changes.push(Change::ChannelCreated(channel.clone().into()));
        Ok(Answer::Channels(vec![channel]))
    }

    pub(super) fn get_channel(&self, id: &str) -> Outcome {
        Ok(Answer::Channels(self.channel(id).into_iter().collect()))
    }

    pub(super) fn list_channels(&self) -> Outcome {
        let mut channels: Vec<_> = self.channels.values().cloned().collect();
        channels.sort_by_key(|channel| (channel.position, channel.id));
        Ok(Answer::Channels(channels))
    }

    pub(super) fn edit_channel(
        &mut self,
        id: &str,
        name: Option<String>,
        topic: Option<String>,
        category: Option<String>,
        position: Option<i32>,
    ) -> Outcome {
        let checks = Checks::default().name(name.as_ref());
        checks.optional(topic.as_ref(), "topic").optional(category.as_ref(), "category_id").done()?;
        let before = self.channel(id)?;
        let mut channel = before.clone();
        if let Some(name) = name {
            channel.name = name;
        }
        if let Some(topic) = topic {
            channel.topic = unless_empty(topic);
        }
        if let Some(category) = category {
            channel.category_id = unless_empty(category);
        }
        if let Some(position) = position {
            channel.position = position;
        }
        Ok(Answer::Channels(vec![self.replace_channel(&before, channel)]))
    }

    fn replace_channel(&mut self, before: &Channel, mut channel: Channel) -> Channel {
        if channel != *before {
            channel.updated_at = self.changed_at(before.updated_at, before.created_at);
            Arc::make_mut(&mut self.channels).insert(channel.id.to_string(), channel.clone());
            self.changes.push(Change::ChannelUpdated(channel.clone().into()));
        }
        channel
    }

    pub(super) fn delete_channel(&mut self, id: &str) -> Outcome {
        let channel = self.channel(id)?;
        Arc::make_mut(&mut self.channels).remove(&*channel.id);
        Arc::make_mut(&mut self.messages).retain(|_, message| message.channel_id != channel.id);
        self.changes.push(Change::ChannelDeleted(channel.id));
        Ok(Answer::Done)
    }

    pub(super) fn create_category(&mut self, name: String, position: i32, told: &Answer) -> Outcome {
        Checks::default().name(Some(&name)).done()?;
        let id = self.new_id(told)?;
        let (id, created_at) = (CategoryId::parse(&id).unwrap(), time_of(&id));
        let category = Category { id, name, position, created_at };
        Arc::make_mut(&mut self.categories).insert(id.to_string(), category.clone());
        self.changes.push(Change::CategoryCreated(category.clone().into()));
        Ok(Answer::Categories(vec![category]))
    }

    pub(super) fn get_category(&self, id: &str) -> Outcome {
        Ok(Answer::Categories(self.category(id).into_iter().collect()))
    }

    pub(super) fn list_categories(&self) -> Outcome {
        let mut categories: Vec<_> = self.categories.values().cloned().collect();
        categories.sort_by_key(|category| (category.position, category.id));
        Ok(Answer::Categories(categories))
    }

    pub(super) fn update_category(&mut self, id: &str, name: Option<String>, position: Option<i32>) -> Outcome {
        Checks::default().name(name.as_ref()).done()?;
        let before = self.category(id)?;
        let mut category = before.clone();
        category.name = name.unwrap_or(category.name);
        category.position = position.unwrap_or(category.position);
        if category != before {
            Arc::make_mut(&mut self.categories).insert(category.id.to_string(), category.clone());
            self.changes.push(Change::CategoryUpdated(category.clone().into()));
        }
        Ok(Answer::Categories(vec![category]))
    }

    /// A channel names its category by any text, so also by the id in lower case.
    pub(super) fn delete_category(&mut self, id: &str) -> Outcome {
        let category = self.category(id)?;
        Arc::make_mut(&mut self.categories).remove(&*category.id);
        let inside = |channel: &Channel| {
            channel.category_id.as_deref().and_then(canonical).as_deref() == Some(category.id.as_str())
        };
        let channels: Vec<_> = self.channels.values().filter(|channel| inside(channel)).cloned().collect();
        for channel in channels {
            self.replace_channel(&channel, Channel { category_id: None, ..channel.clone() });
        }
        self.changes.push(Change::CategoryDeleted(category.id));
        Ok(Answer::Done)
    }
}
