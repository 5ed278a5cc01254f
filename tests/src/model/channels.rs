//! Channels and categories, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Category, CategoryChoice, CategoryId, Change, Channel, ChannelId, Entity};

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
        self.add_channel(name, category.and_then(unless_empty), position, told)
    }

    fn add_channel(&mut self, name: String, category_id: Option<String>, position: i32, told: &Answer) -> Outcome {
        let id = self.new_id(told)?;
        let (id, created_at) = (ChannelId::parse(&id).unwrap(), time_of(&id));
        let channel = Channel { id, name, topic: None, category_id, position, created_at, updated_at: created_at };
        Arc::make_mut(&mut self.channels).insert(id.to_string(), channel.clone());
        self.changes.push(Change::ChannelCreated(channel.clone().into()));
        Ok(Answer::Channels(vec![channel]))
    }

    pub(super) fn create_channel_in(
        &mut self,
        name: String,
        category: CategoryChoice,
        position: i32,
        told: &Answer,
    ) -> Outcome {
        Checks::default().name(Some(&name)).choice(Some(&category)).done()?;
        let category_id = self.choose(category, told)?;
        self.add_channel(name, category_id, position, told)
    }

    /// The id of the category that is meant. One that is made has the id that the answered channel notes.
    fn choose(&mut self, category: CategoryChoice, told: &Answer) -> Result<Option<String>, Refusal> {
        let name = match category {
            CategoryChoice::Uncategorised => return Ok(None),
            CategoryChoice::Id(id) => return Ok(Some(self.category(&id)?.id.to_string())),
            CategoryChoice::Name(name) => name,
        };
        let composed = |text: &str| text.replace("e\u{301}", "\u{e9}"); // of the texts that scripts have
        let named = self.categories.values().filter(|it| composed(&it.name) == composed(&name));
        if let Some(first) = named.min_by_key(|category| (category.position, category.id)) {
            return Ok(Some(first.id.to_string()));
        }
        if let Ok(category) = self.category(&name) {
            return Ok(Some(category.id.to_string()));
        }
        let position = self.categories.values().map(|it| it.position).max().map_or(0, |last| last.saturating_add(1));
        let noted = match told {
            Answer::Channels(rows) => rows.first().and_then(|channel| channel.category_id.clone()),
            _ => None,
        };
        let id = self.new_id_of(noted)?;
        self.add_category(&id, name, position);
        Ok(Some(id))
    }

    fn add_category(&mut self, id: &str, name: String, position: i32) -> Category {
        let category = Category { id: CategoryId::parse(id).unwrap(), name, position, created_at: time_of(id) };
        Arc::make_mut(&mut self.categories).insert(id.to_owned(), category.clone());
        self.changes.push(Change::CategoryCreated(category.clone().into()));
        category
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
        category: Option<CategoryChoice>,
        position: Option<i32>,
        told: &Answer,
    ) -> Outcome {
        let checks = Checks::default().name(name.as_ref());
        checks.optional_label(topic.as_ref(), "topic").choice(category.as_ref()).done()?;
        let before = self.channel(id)?;
        let mut channel = before.clone();
        if let Some(name) = name {
            channel.name = name;
        }
        if let Some(topic) = topic {
            channel.topic = unless_empty(topic);
        }
        if let Some(category) = category {
            channel.category_id = self.choose(category, told)?;
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
        Arc::make_mut(&mut self.channels).remove(&*channel.id.text());
        Arc::make_mut(&mut self.messages).retain(|_, message| message.channel_id != channel.id);
        self.changes.push(Change::ChannelDeleted(channel.id));
        Ok(Answer::Done)
    }

    pub(super) fn create_category(&mut self, name: String, position: i32, told: &Answer) -> Outcome {
        Checks::default().name(Some(&name)).done()?;
        let id = self.new_id(told)?;
        Ok(Answer::Categories(vec![self.add_category(&id, name, position)]))
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
        Arc::make_mut(&mut self.categories).remove(&*category.id.text());
        let inside = |channel: &Channel| {
            channel.category_id.as_deref().and_then(canonical).as_deref() == Some(&*category.id.text())
        };
        let channels: Vec<_> = self.channels.values().filter(|channel| inside(channel)).cloned().collect();
        for channel in channels {
            self.replace_channel(&channel, Channel { category_id: None, ..channel.clone() });
        }
        self.changes.push(Change::CategoryDeleted(category.id));
        Ok(Answer::Done)
    }
}
