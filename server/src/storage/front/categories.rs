//! Categories: the calls, and their rules.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Front,
    batch::{Batch, set},
    check::{existing, name},
    command::Command,
};
use crate::storage::{
    Category, CategoryId, CategoryStore, Channel, Entity, StorageError,
    port::{Reader, Wants},
    text,
};

#[async_trait]
impl<R: Reader> CategoryStore for Front<R> {
    async fn create_category(&self, text: &str, position: i32) -> Result<Category, StorageError> {
        let name = name("name", text)?;
        self.write_record(CreateCategory { name, position }).await
    }

    async fn get_category(&self, id: &str) -> Result<Option<Category>, StorageError> {
        self.check_open()?;
        let Some(id) = CategoryId::parse(id) else { return Ok(None) };
        self.read(|reader| reader.get(id)).await
    }

    async fn list_categories(&self) -> Result<Vec<Category>, StorageError> {
        self.read(|reader| reader.categories()).await
    }

    async fn update_category(
        &self,
        id: &str,
        text: Option<&str>,
        position: Option<i32>,
    ) -> Result<Category, StorageError> {
        let name = text.map(|text| name("name", text)).transpose()?;
        let id = existing(Entity::Category, id, CategoryId::parse)?;
        self.write_record(UpdateCategory { id, name, position }).await
    }

    async fn delete_category(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Category, id, CategoryId::parse)?;
        self.write(DeleteCategory { id }).await
    }
}

pub(super) struct CreateCategory {
    pub(super) name: String,
    pub(super) position: i32,
}

impl Command for CreateCategory {
    type Answer = Arc<Category>;

    fn wants(&self, _: &mut Wants) {}

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Category>, StorageError> {
        let (id, created_at) = batch.next_id()?;
        let Self { name, position } = self;
        Ok(batch.insert(Category { id: id.into(), name: name.clone(), position: *position, created_at }))
    }
}

/// Changes what is given.
pub(super) struct UpdateCategory {
    pub(super) id: CategoryId,
    pub(super) name: Option<String>,
    pub(super) position: Option<i32>,
}

impl Command for UpdateCategory {
    type Answer = Arc<Category>;

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Category>, StorageError> {
        let old = batch.find::<Category>(self.id)?;
        let mut new = Category::clone(&old);
        set(&mut new.name, &self.name);
        set(&mut new.position, &self.position);
        Ok(if new == *old { old } else { batch.replace(new) })
    }
}

/// Removes a category; its channels become uncategorised.
pub(super) struct DeleteCategory {
    pub(super) id: CategoryId,
}

impl Command for DeleteCategory {
    type Answer = ();

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
        wants.channels_of.insert(self.id);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        batch.find::<Category>(self.id)?;
        let of_it = batch.rows.all::<Channel>().filter(|channel| channel.category() == Some(self.id));
        let mut channels: Vec<_> = of_it.cloned().collect();
        channels.sort_unstable_by_key(|channel| channel.id);
        for channel in channels {
            let uncategorised = Channel { category_id: None, ..Channel::clone(&channel) };
            batch.store_channel(channel, uncategorised);
        }
        batch.remove(self.id);
        Ok(())
    }

    fn frees_room(&self) -> bool {
        true
    }
}

impl Batch<'_> {
    /// The category that a name stands for: the first of this name, as they are listed; else the one with this id.
    pub(super) fn category_of_name(&self, name: &str) -> Option<CategoryId> {
        let named = self.rows.all::<Category>().filter(|category| text::is_same_name(&category.name, name));
        let first = named.min_by_key(|category| (category.position, category.id)).map(|category| category.id);
        first.or_else(|| CategoryId::parse(name).filter(|id| self.rows.get::<Category>(*id).is_some()))
    }
}
