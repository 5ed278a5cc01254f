//! Channels: the calls, and their rules. What reclaims the messages of deleted ones is in `reclaim.rs`.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Front,
    batch::{Batch, non_empty, set, set_optional},
    check::{existing, name, optional_label, optional_text},
    command::Command,
};
use crate::storage::{
    Category, CategoryChoice, CategoryId, Channel, ChannelEdit, ChannelId, ChannelStore, Entity, StorageError,
    port::{Reader, Wants, Write},
};

#[async_trait]
impl<R: Reader> ChannelStore for Front<R> {
    async fn create_channel(
        &self,
        text: &str,
        category_id: Option<&str>,
        position: i32,
    ) -> Result<Channel, StorageError> {
        let name = name("name", text)?;
        let category_id = optional_text("category_id", category_id)?;
        let category = category_id.map_or(InCategory::Uncategorised, InCategory::AsGiven);
        self.write_record(CreateChannel { name, category, position }).await
    }

    async fn create_channel_in(
        &self,
        text: &str,
        category: CategoryChoice,
        position: i32,
    ) -> Result<Channel, StorageError> {
        let name = name("name", text)?;
        let category = InCategory::try_from(category)?;
        self.write_record(CreateChannel { name, category, position }).await
    }

    async fn get_channel(&self, id: &str) -> Result<Option<Channel>, StorageError> {
        self.check_open()?;
        let Some(id) = ChannelId::parse(id) else { return Ok(None) };
        self.read(|reader| reader.get(id)).await
    }

    async fn list_channels(&self) -> Result<Vec<Channel>, StorageError> {
        self.read(|reader| reader.channels()).await
    }

    async fn edit_channel(&self, id: &str, edit: ChannelEdit) -> Result<Channel, StorageError> {
        let name = edit.name.map(|text| name("name", &text)).transpose()?;
        let topic = optional_label("topic", edit.topic.as_deref())?;
        let category = edit.category.map(InCategory::try_from).transpose();
        // What is not valid comes first, then a missing channel, then a missing category.
        let category = match category {
            Err(error @ StorageError::NotFound { .. }) => {
                self.must_exist(id).await?;
                return Err(error);
            }
            category => category?,
        };
        let id = existing(Entity::Channel, id, ChannelId::parse)?;
        self.write_record(EditChannel { id, name, topic, category, position: edit.position }).await
    }

    async fn delete_channel(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Channel, id, ChannelId::parse)?;
        self.write(DeleteChannel { id }).await
    }
}

impl<R: Reader> Front<R> {
    /// Refuses the id of a channel that is not there.
    async fn must_exist(&self, channel_id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Channel, channel_id, ChannelId::parse)?;
        let channel = self.read(|reader| reader.get::<Channel>(id)).await?;
        channel.map(drop).ok_or_else(|| StorageError::not_found(Entity::Channel, id.text()))
    }
}

/// Which category a channel is put into.
pub(super) enum InCategory {
    Uncategorised,
    /// As the specification's `create_channel` has it: any text.
    AsGiven(String),
    Existing(CategoryId),
    Named(String),
}

impl TryFrom<CategoryChoice> for InCategory {
    type Error = StorageError;

    fn try_from(choice: CategoryChoice) -> Result<Self, StorageError> {
        Ok(match choice {
            CategoryChoice::Uncategorised => Self::Uncategorised,
            CategoryChoice::Id(id) => Self::Existing(existing(Entity::Category, &id, CategoryId::parse)?),
            CategoryChoice::Name(text) => Self::Named(name("category", &text)?),
        })
    }
}

impl InCategory {
    fn wants(&self, wants: &mut Wants) {
        match self {
            Self::Existing(id) => {
                wants.records.insert((*id).into());
            }
            Self::Named(_) => wants.all_categories = true,
            Self::Uncategorised | Self::AsGiven(_) => {}
        }
    }
}

pub(super) struct CreateChannel {
    pub(super) name: String,
    pub(super) category: InCategory,
    pub(super) position: i32,
}

impl Command for CreateChannel {
    type Answer = Arc<Channel>;

    fn wants(&self, wants: &mut Wants) {
        self.category.wants(wants);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Channel>, StorageError> {
        let category = batch.choose(&self.category)?;
        let (id, created_at) = batch.next_id()?;
        let category_id = batch.enter(category);
        Ok(batch.insert(Channel {
            id: id.into(),
            name: self.name.clone(),
            topic: None,
            category_id,
            position: self.position,
            created_at,
            updated_at: created_at,
        }))
    }
}

/// Changes what is given: `None` keeps a field, an empty topic clears it.
pub(super) struct EditChannel {
    pub(super) id: ChannelId,
    pub(super) name: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) category: Option<InCategory>,
    pub(super) position: Option<i32>,
}

impl Command for EditChannel {
    type Answer = Arc<Channel>;

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
        self.category.iter().for_each(|category| category.wants(wants));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Channel>, StorageError> {
        let old = batch.find::<Channel>(self.id)?;
        let category = self.category.as_ref().map(|category| batch.choose(category)).transpose()?;
        let mut new = Channel::clone(&old);
        set(&mut new.name, &self.name);
        set_optional(&mut new.topic, &self.topic);
        set(&mut new.category_id, &category.map(|category| batch.enter(category)));
        set(&mut new.position, &self.position);
        Ok(batch.store_channel(old, new))
    }
}

/// Hides a channel and its messages.
pub(super) struct DeleteChannel {
    pub(super) id: ChannelId,
}

impl Command for DeleteChannel {
    type Answer = ();

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        batch.find::<Channel>(self.id)?;
        let key = self.id.into();
        batch.rows.records.remove(&key);
        batch.rows.known.remove(&key);
        batch.deleted_channels.insert(self.id);
        batch.writes.push(Write::BeginPurge(self.id));
        Ok(())
    }

    fn frees_room(&self) -> bool {
        true
    }
}

/// A category that a channel is put into.
pub(super) enum Chosen {
    /// What the channel notes of it.
    Known(Option<String>),
    New(Category),
}

impl Batch<'_> {
    /// Finds the category that is meant, or decides on a new one, which nothing knows of before it is entered.
    fn choose(&mut self, category: &InCategory) -> Result<Chosen, StorageError> {
        Ok(match category {
            InCategory::Uncategorised => Chosen::Known(None),
            InCategory::AsGiven(text) => Chosen::Known(non_empty(&Some(text.clone()))),
            InCategory::Existing(id) => Chosen::Known(Some(self.find::<Category>(*id)?.id.to_string())),
            InCategory::Named(name) => match self.category_of_name(name) {
                Some(id) => Chosen::Known(Some(id.to_string())),
                None => {
                    let last = self.rows.all::<Category>().map(|category| category.position).max();
                    let (id, created_at) = self.next_id()?;
                    let position = last.map_or(0, |last| last.saturating_add(1));
                    Chosen::New(Category { id: id.into(), name: name.clone(), position, created_at })
                }
            },
        })
    }

    /// What a channel notes of the chosen category; a new one is stored before it.
    fn enter(&mut self, chosen: Chosen) -> Option<String> {
        match chosen {
            Chosen::Known(category_id) => category_id,
            Chosen::New(category) => Some(self.insert(category).id.to_string()),
        }
    }

    /// Stores an edited channel, if it is edited at all.
    pub(super) fn store_channel(&mut self, old: Arc<Channel>, mut new: Channel) -> Arc<Channel> {
        if new == *old {
            return old;
        }
        new.updated_at = self.time_after(old.updated_at, old.created_at);
        self.replace(new)
    }
}
