//! Messages, as the contract has them.

use std::sync::Arc;

use decentcom_server::storage::{Change, Entity, Message, MessageId, PageAt};

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
        let (id, content, created_at) = (MessageId::parse(&id).unwrap(), content.into(), time_of(&id));
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
        let here = move |message: &Message| channel.as_deref() == Some(&*message.channel_id.text());
        self.messages.values().filter(move |message| here(message) && !message.deleted)
    }

    /// All that a page at this place could show, in its order.
    fn from(&self, channel: &str, at: PageAt<'_>) -> Result<Vec<Message>, Refusal> {
        let wrong = |field| Refusal::InvalidInput(vec![field]);
        Ok(match at {
            PageAt::Newest => self.history(channel).rev().cloned().collect(),
            PageAt::Before(before) => {
                let before = canonical(before).ok_or_else(|| wrong("before"))?;
                self.history(channel).filter(|message| *message.id.text() < *before).rev().cloned().collect()
            }
            PageAt::After(after) => {
                let after = canonical(after).ok_or_else(|| wrong("after"))?;
                self.history(channel).filter(|message| *message.id.text() > *after).cloned().collect()
            }
        })
    }

    pub(super) fn list_messages(&self, channel: &str, at: PageAt<'_>, limit: u32) -> Outcome {
        let mut messages = self.from(channel, at)?;
        messages.truncate(page(limit));
        Ok(Answer::Messages(messages))
    }

    pub(super) fn page_messages(&self, channel: &str, at: PageAt<'_>, limit: u32, max_bytes: usize) -> Outcome {
        let mut messages = self.from(channel, at)?;
        let all = messages.len();
        messages.truncate(page(limit));
        while messages.len() > 1 && messages.iter().map(|message| message.content.len()).sum::<usize>() > max_bytes {
            messages.pop();
        }
        let has_more = !messages.is_empty() && messages.len() < all;
        Ok(Answer::Page(messages, has_more))
    }

    pub(super) fn update_message(&mut self, id: &str, content: String) -> Outcome {
        Checks::default().content(&content).done()?;
        let mut message = self.message(id)?;
        if message.deleted {
            return Err(not_found(Entity::Message, id));
        }
        if *message.content != *content {
            let before = message.edited_at.unwrap_or(message.created_at);
            message.edited_at = Some(self.changed_at(before, message.created_at));
            message.content = content.into();
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
