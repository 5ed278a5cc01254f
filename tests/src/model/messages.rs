//! Messages, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Change, Entity, Message, MessageId};

use super::{
    Answer, Refusal,
    state::{Checks, Model, Outcome, canonical, not_found, page, time_of},
};

impl Model {
    fn message(&self, id: &str) -> Result<Message, Refusal> {
        let found = canonical(id).and_then(|id| self.messages.get(&id)).cloned();
        found.ok_or_else(|| not_found(Entity::Message, id))
    }

    fn store_message(&mut self, message: &Message) {
        Arc::make_mut(&mut self.messages).insert(message.id.to_string(), message.clone());
    }

    pub(super) fn create_message(&mut self, channel: &str, author: &str, content: String, told: &Answer) -> Outcome {
        Checks::default().content(&content).done()?;
        let channel_id = self.channel(channel)?.id;
        let author_id = self.user(author)?.id;
        let id = self.new_id(told)?;
        let (id, created_at) = (MessageId::parse(&id).unwrap(), time_of(&id));
        let message = Message { id, channel_id, author_id, content, edited_at: None, deleted: false, created_at };
        self.store_message(&message);
        self.changes.push(Change::MessageCreated(message.clone().into()));
        Ok(Answer::Messages(vec![message]))
    }

    pub(super) fn get_message(&self, id: &str) -> Outcome {
        Ok(Answer::Messages(self.message(id).into_iter().collect()))
    }

    /// The live messages of a channel, oldest first.
    fn history(&self, channel: &str) -> impl DoubleEndedIterator<Item = &Message> {
        let channel = canonical(channel);
        let here = move |message: &Message| channel.as_deref() == Some(&*message.channel_id);
        self.messages.values().filter(move |message| here(message) && !message.deleted)
    }

    pub(super) fn list_messages(&self, channel: &str, before: Option<String>, limit: u32) -> Outcome {
        let before = match before {
            None => None,
            Some(before) => Some(canonical(&before).ok_or(Refusal::InvalidInput(vec!["before"]))?),
        };
        let below = |message: &&Message| before.as_ref().is_none_or(|before| *message.id < **before);
        let page = self.history(channel).filter(below).rev().take(page(limit));
        Ok(Answer::Messages(page.cloned().collect()))
    }

    pub(super) fn list_messages_after(&self, channel: &str, after: &str, limit: u32) -> Outcome {
        let after = canonical(after).ok_or(Refusal::InvalidInput(vec!["after"]))?;
        let page = self.history(channel).filter(|message| *message.id > *after).take(page(limit));
        Ok(Answer::Messages(page.cloned().collect()))
    }

    pub(super) fn update_message(&mut self, id: &str, content: String) -> Outcome {
        Checks::default().content(&content).done()?;
        let mut message = self.message(id)?;
        if message.deleted {
            return Err(not_found(Entity::Message, id));
        }
        if message.content != content {
            let before = message.edited_at.unwrap_or(message.created_at);
            message.edited_at = Some(self.changed_at(before, message.created_at));
            message.content = content;
            self.store_message(&message);
            self.changes.push(Change::MessageUpdated(message.clone().into()));
        }
        Ok(Answer::Messages(vec![message]))
    }

    pub(super) fn delete_message(&mut self, id: &str) -> Outcome {
        let mut message = self.message(id)?;
        if !message.deleted {
            message.deleted = true;
            self.store_message(&message);
            self.changes.push(Change::MessageDeleted { id: message.id, channel_id: message.channel_id });
        }
        Ok(Answer::Done)
    }
}
