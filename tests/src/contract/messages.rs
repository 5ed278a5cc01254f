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
    a_text_in_which_there_is_nothing_to_see_is_refused,
    every_other_text_comes_back_byte_for_byte,
}

async fn an_edit_replaces_the_text_and_sets_edited_at(t: Context) {
    let (_, channel, messages) = t.history(2).await;
    t.advance(9);
    let edited = t.store.update_message(&messages[0].id.text(), "new").await.unwrap();
    assert_eq!((&*edited.content, edited.edited_at), ("new", Some(t.now())));
    assert_eq!((edited.id, edited.created_at, edited.deleted), (messages[0].id, messages[0].created_at, false));
    assert_eq!(t.store.get_message(&edited.id.text()).await.unwrap(), Some(edited.clone()));
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 9).await.unwrap(), [messages[1].clone(), edited]);
}

async fn an_edit_to_the_same_text_changes_nothing(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.advance(9);
    assert_eq!(t.store.update_message(&messages[0].id.text(), "0").await.unwrap(), messages[0]);
    assert_eq!(t.store.get_message(&messages[0].id.text()).await.unwrap(), Some(messages[0].clone()));
}

async fn a_deleted_message_cannot_be_edited(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    for content in ["new", "0"] {
        let edit = t.store.update_message(&messages[0].id.text(), content).await;
        assert_refused!(edit, StorageError::NotFound { entity: Entity::Message, .. });
    }
    assert_eq!(&*t.store.get_message(&messages[0].id.text()).await.unwrap().unwrap().content, "0");
}

async fn a_deleted_message_is_still_answered_by_its_id(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.advance(3);
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    let mut expected = messages[0].clone();
    expected.deleted = true;
    assert_eq!(t.store.get_message(&messages[0].id.text()).await.unwrap(), Some(expected));
}

async fn deleting_again_is_fine(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    let once = t.store.get_message(&messages[0].id.text()).await.unwrap();
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    assert_eq!(t.store.get_message(&messages[0].id.text()).await.unwrap(), once);
}

async fn a_missing_channel_is_reported_before_a_missing_author(t: Context) {
    let channel = t.channel("room").await;
    let neither = t.store.create_message(NOBODY, NOBODY, "x").await;
    assert_refused!(neither, StorageError::NotFound { entity: Entity::Channel, .. });
    let no_author = t.store.create_message(&channel.id.text(), NOBODY, "x").await;
    assert_refused!(no_author, StorageError::NotFound { entity: Entity::User, .. });
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 9).await.unwrap(), []);
}

async fn a_malformed_author_is_not_found_after_the_channel(t: Context) {
    let channel = t.channel("room").await;
    for author in MALFORMED {
        let post = t.store.create_message(&channel.id.text(), author, "x").await;
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

async fn a_text_in_which_there_is_nothing_to_see_is_refused(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    for text in ["", " \n\t", "\0", "\u{feff}\u{202e}", "\u{200b}\u{200d}", "\u{3164}\u{115f}", "\u{2800} \u{3000}"] {
        let post = t.store.create_message(&channel.id.text(), &user.id.text(), text).await;
        assert_refused!(post, StorageError::InvalidInput { field: "content", .. });
        let edit = t.store.update_message(&messages[0].id.text(), text).await;
        assert_refused!(edit, StorageError::InvalidInput { field: "content", .. });
    }
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 9).await.unwrap(), messages);
}

async fn every_other_text_comes_back_byte_for_byte(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let is_nothing = |character: char| {
        character.is_control() || character.is_whitespace() || ['\u{200b}', '\u{feff}', '\u{fffe}'].contains(&character)
    };
    let mut texts = super::limits::naughty_strings();
    texts.retain(|text| !text.chars().all(is_nothing));
    texts.extend(["x\0".into(), "a\0b\0".into(), "\u{feff}\u{202e}x".into(), "x\u{10ffff}".repeat(100)]);
    texts.extend([4096, 4097, 100_000].map(|length| format!("{}x", "\u{1}".repeat(length - 1))));
    for text in &texts {
        t.post(&channel, &user, text).await;
    }
    let mut read = Vec::new();
    let mut after = NOBODY.to_owned();
    loop {
        let page = t.store.list_messages_after(&channel.id.text(), &after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id.to_string();
        read.extend(page.into_iter().map(|message| message.content.to_string()));
    }
    assert_eq!(read, texts);
}
