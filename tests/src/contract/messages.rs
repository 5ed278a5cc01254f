//! Messages, one at a time.

use decentcom_server::storage::{Entity, StorageError};

use crate::{
    Context, assert_refused,
    context::{MALFORMED, NOBODY},
};

crate::suite! {
    an_edit_replaces_the_text_and_sets_edited_at,
    an_edit_to_the_same_text_changes_nothing,
    a_deleted_message_cannot_be_edited,
    a_deleted_message_is_still_answered_by_its_id,
    deleting_again_is_fine,
    a_missing_channel_is_reported_before_a_missing_author,
    a_malformed_author_is_not_found_after_the_channel,
    a_malformed_message_id_does_not_exist,
    an_empty_text_is_kept,
    every_text_comes_back_byte_for_byte,
}

async fn an_edit_replaces_the_text_and_sets_edited_at(t: Context) {
    let (_, channel, messages) = t.history(2).await;
    t.advance(9);
    let edited = t.store.update_message(&messages[0].id, "new").await.unwrap();
    assert_eq!((edited.content.as_str(), edited.edited_at), ("new", Some(t.now())));
    assert_eq!((edited.id, edited.created_at, edited.deleted), (messages[0].id, messages[0].created_at, false));
    assert_eq!(t.store.get_message(&edited.id).await.unwrap(), Some(edited.clone()));
    assert_eq!(t.store.list_messages(&channel.id, None, 9).await.unwrap(), [messages[1].clone(), edited]);
}

async fn an_edit_to_the_same_text_changes_nothing(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.advance(9);
    assert_eq!(t.store.update_message(&messages[0].id, "0").await.unwrap(), messages[0]);
    assert_eq!(t.store.get_message(&messages[0].id).await.unwrap(), Some(messages[0].clone()));
}

async fn a_deleted_message_cannot_be_edited(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.store.delete_message(&messages[0].id).await.unwrap();
    for content in ["new", "0"] {
        let edit = t.store.update_message(&messages[0].id, content).await;
        assert_refused!(edit, StorageError::NotFound { entity: Entity::Message, .. });
    }
    assert_eq!(t.store.get_message(&messages[0].id).await.unwrap().unwrap().content, "0");
}

async fn a_deleted_message_is_still_answered_by_its_id(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.advance(3);
    t.store.delete_message(&messages[0].id).await.unwrap();
    let mut expected = messages[0].clone();
    expected.deleted = true;
    assert_eq!(t.store.get_message(&messages[0].id).await.unwrap(), Some(expected));
}

async fn deleting_again_is_fine(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.store.delete_message(&messages[0].id).await.unwrap();
    let once = t.store.get_message(&messages[0].id).await.unwrap();
    t.store.delete_message(&messages[0].id).await.unwrap();
    assert_eq!(t.store.get_message(&messages[0].id).await.unwrap(), once);
}

async fn a_missing_channel_is_reported_before_a_missing_author(t: Context) {
    let channel = t.channel("room").await;
    let neither = t.store.create_message(NOBODY, NOBODY, "x").await;
    assert_refused!(neither, StorageError::NotFound { entity: Entity::Channel, .. });
    let no_author = t.store.create_message(&channel.id, NOBODY, "x").await;
    assert_refused!(no_author, StorageError::NotFound { entity: Entity::User, .. });
    assert_eq!(t.store.list_messages(&channel.id, None, 9).await.unwrap(), []);
}

async fn a_malformed_author_is_not_found_after_the_channel(t: Context) {
    let channel = t.channel("room").await;
    for author in MALFORMED {
        let post = t.store.create_message(&channel.id, author, "x").await;
        assert_refused!(post, StorageError::NotFound { entity: Entity::User, .. });
        let post = t.store.create_message(NOBODY, author, "x").await;
        assert_refused!(post, StorageError::NotFound { entity: Entity::Channel, .. });
    }
}

async fn a_malformed_message_id_does_not_exist(t: Context) {
    t.history(1).await;
    for id in MALFORMED {
        assert_eq!(t.store.get_message(id).await.unwrap(), None);
        assert_refused!(t.store.update_message(id, "x").await, StorageError::NotFound { entity: Entity::Message, .. });
        assert_refused!(t.store.delete_message(id).await, StorageError::NotFound { entity: Entity::Message, .. });
    }
}

async fn an_empty_text_is_kept(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let message = t.post(&channel, &user, "").await;
    assert_eq!(t.store.get_message(&message.id).await.unwrap().unwrap().content, "");
}

async fn every_text_comes_back_byte_for_byte(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let mut texts = super::limits::naughty_strings();
    texts.extend(["\0".into(), "a\0b\0".into(), "\u{feff}\u{202e}".into(), "\u{10ffff}".repeat(100)]);
    texts.extend([4096, 4097, 100_000].map(|length| "\u{1}".repeat(length)));
    for text in &texts {
        t.post(&channel, &user, text).await;
    }
    let mut read = Vec::new();
    let mut after = NOBODY.to_owned();
    loop {
        let page = t.store.list_messages_after(&channel.id, &after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id.to_string();
        read.extend(page.into_iter().map(|message| message.content));
    }
    assert_eq!(read, texts);
}
