//! Messages: the calls, and their rules.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Front,
    batch::Batch,
    check::{content, cursor, existing},
    command::Command,
    newest::NEWEST_PAGES,
};
use crate::storage::{
    Channel, ChannelId, Entity, Message, MessageId, MessagePage, MessageStore, PageAt, StorageError, UserId,
    limits::MAX_PAGE,
    port::{Bounds, Page, Reader, Wants},
};

#[async_trait]
impl<R: Reader> MessageStore for Front<R> {
    async fn create_message(&self, channel_id: &str, author_id: &str, text: &str) -> Result<Message, StorageError> {
        let content = content(text)?;
        let channel_id = existing(Entity::Channel, channel_id, ChannelId::parse)?;
        let Some(author_id) = UserId::parse(author_id) else {
            // The channel is looked at first, so its absence is what the caller hears of.
            let channel = self.read(|reader| reader.get::<Channel>(channel_id)).await?;
            return Err(match channel {
                Some(_) => StorageError::not_found(Entity::User, author_id),
                None => StorageError::not_found(Entity::Channel, channel_id.text()),
            });
        };
        self.write_record(CreateMessage { channel_id, author_id, content }).await
    }

    async fn get_message(&self, id: &str) -> Result<Option<Message>, StorageError> {
        self.check_open()?;
        let Some(id) = MessageId::parse(id) else { return Ok(None) };
        self.read(|reader| reader.get(id)).await
    }

    async fn list_messages(
        &self,
        channel_id: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        let page = before.map_or(PageAt::Newest, PageAt::Before);
        Ok(self.page_messages(channel_id, page, limit, usize::MAX).await?.messages)
    }

    async fn list_messages_after(
        &self,
        channel_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Message>, StorageError> {
        Ok(self.page_messages(channel_id, PageAt::After(after), limit, usize::MAX).await?.messages)
    }

    async fn page_messages(
        &self,
        channel_id: &str,
        page: PageAt<'_>,
        limit: u32,
        max_bytes: usize,
    ) -> Result<MessagePage, StorageError> {
        self.check_open()?;
        let page = page_at(page)?;
        let bounds = Bounds { messages: limit.min(MAX_PAGE), bytes: max_bytes };
        match ChannelId::parse(channel_id) {
            None => Ok(MessagePage::default()),
            Some(_) if bounds.messages == 0 => Ok(MessagePage::default()),
            Some(channel_id) if matches!(page, Page::Newest) => self.newest(channel_id, bounds).await,
            Some(channel_id) => self.read(|reader| reader.page(channel_id, page, bounds)).await,
        }
    }

    async fn update_message(&self, id: &str, text: &str) -> Result<Message, StorageError> {
        let content = content(text)?;
        let id = existing(Entity::Message, id, MessageId::parse)?;
        self.write_record(UpdateMessage { id, content }).await
    }

    async fn delete_message(&self, id: &str) -> Result<(), StorageError> {
        let id = existing(Entity::Message, id, MessageId::parse)?;
        self.write(DeleteMessage { id }).await
    }
}

/// The page that is meant, with its cursor checked.
fn page_at(page: PageAt<'_>) -> Result<Page, StorageError> {
    Ok(match page {
        PageAt::Newest => Page::Newest,
        PageAt::Before(before) => Page::Before(cursor("before", before, MessageId::parse)?),
        PageAt::After(after) => Page::After(cursor("after", after, MessageId::parse)?),
    })
}

impl<R: Reader> Front<R> {
    async fn newest(&self, channel_id: ChannelId, bounds: Bounds) -> Result<MessagePage, StorageError> {
        let held = self.newest_pages.held(channel_id, bounds);
        metrics::counter!(NEWEST_PAGES, "held" => if held.is_some() { "true" } else { "false" }).increment(1);
        if let Some(page) = held {
            return Ok(page);
        }
        let _turn = self.newest_pages.turn().await;
        if let Some(page) = self.newest_pages.held(channel_id, bounds) {
            return Ok(page);
        }
        // One more than is asked for: whether there are others is then known from what is held.
        let deeper = Bounds { messages: bounds.messages + 1, ..bounds };
        let view = self.view(|reader| reader.page(channel_id, Page::Newest, deeper)).await?;
        self.newest_pages.fill(channel_id, deeper.messages, &view);
        Ok(bounds.cut(view.shows))
    }
}

pub(super) struct CreateMessage {
    pub(super) channel_id: ChannelId,
    pub(super) author_id: UserId,
    pub(super) content: Arc<str>,
}

impl Command for CreateMessage {
    type Answer = Arc<Message>;

    fn wants(&self, wants: &mut Wants) {
        wants.references.insert(self.channel_id.into());
        wants.references.insert(self.author_id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Message>, StorageError> {
        batch.must_exist(self.channel_id)?;
        batch.must_exist(self.author_id)?;
        let (id, created_at) = batch.next_id()?;
        Ok(batch.insert(Message {
            id: id.into(),
            channel_id: self.channel_id,
            author_id: self.author_id,
            content: self.content.clone(),
            edited_at: None,
            deleted: false,
            created_at,
        }))
    }

    fn text_bytes(&self) -> usize {
        self.content.len()
    }
}

pub(super) struct UpdateMessage {
    pub(super) id: MessageId,
    pub(super) content: Arc<str>,
}

impl Command for UpdateMessage {
    type Answer = Arc<Message>;

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Arc<Message>, StorageError> {
        let old = batch.message(self.id)?;
        if old.deleted {
            return Err(StorageError::not_found(Entity::Message, self.id.text()));
        }
        if old.content == self.content {
            return Ok(old);
        }
        let edited_at = Some(batch.time_after(old.edited_at.unwrap_or_default(), old.created_at));
        Ok(batch.replace(Message { content: self.content.clone(), edited_at, ..Message::clone(&old) }))
    }

    fn text_bytes(&self) -> usize {
        self.content.len()
    }
}

/// Deletes softly: the row stays.
pub(super) struct DeleteMessage {
    pub(super) id: MessageId,
}

impl Command for DeleteMessage {
    type Answer = ();

    fn wants(&self, wants: &mut Wants) {
        wants.records.insert(self.id.into());
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<(), StorageError> {
        let old = batch.message(self.id)?;
        if !old.deleted {
            batch.replace(Message { deleted: true, ..Message::clone(&old) });
        }
        Ok(())
    }

    fn frees_room(&self) -> bool {
        true
    }
}

impl Batch<'_> {
    /// The message with this id, unless its channel was deleted in this batch.
    fn message(&self, id: MessageId) -> Result<Arc<Message>, StorageError> {
        let message = self.find::<Message>(id)?;
        if self.deleted_channels.contains(&message.channel_id) {
            return Err(StorageError::not_found(Entity::Message, id.text()));
        }
        Ok(message)
    }
}
