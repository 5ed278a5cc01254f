//! Every string has a limit, in bytes; whatever is within comes back.

use decentcom_server::storage::{ChannelEdit, Entity, StorageError};

use crate::{Context, assert_refused, context::NOBODY};

crate::suite! {
    a_pubkey_has_at_most_256_bytes,
    names_topics_and_hashes_have_at_most_1024_bytes,
    a_content_has_at_most_a_mebibyte,
    limits_count_bytes_not_characters,
    invalid_input_is_reported_before_not_found_and_conflict,
    a_refused_call_changes_nothing,
    names_and_topics_of_any_text_come_back,
}

/// The Big List of Naughty Strings.
pub(crate) fn naughty_strings() -> Vec<String> {
    let strings: Vec<String> = serde_json::from_str(include_str!("../../data/blns.json")).unwrap();
    assert!(strings.len() > 500);
    strings
}

fn x(bytes: usize) -> String {
    "x".repeat(bytes)
}

async fn a_pubkey_has_at_most_256_bytes(t: Context) {
    let longest = x(256);
    assert_eq!(t.user(&longest).await.pubkey, longest);
    assert!(t.store.get_user_by_pubkey(&longest).await.unwrap().is_some());
    let longer = t.store.create_user(&x(257), None).await;
    assert_refused!(longer, StorageError::InvalidInput { field: "pubkey", .. });
    assert_eq!(t.store.get_user_by_pubkey(&x(257)).await.unwrap(), None);
}

async fn names_topics_and_hashes_have_at_most_1024_bytes(t: Context) {
    let (fits, too_long) = (x(1024), x(1025));
    let user = t.store.create_user("key", Some(&fits)).await.unwrap();
    t.store.update_user(&user.id, None, Some(&fits)).await.unwrap();
    let channel = t.store.create_channel(&fits, Some(&fits), 0).await.unwrap();
    t.store.update_channel(&channel.id, None, Some(&fits), None).await.unwrap();
    let category = t.store.create_category(&fits, 0).await.unwrap();
    let edit = ChannelEdit { category_id: Some(too_long.clone()), ..ChannelEdit::default() };
    for (result, field) in [
        (t.store.create_user("other", Some(&too_long)).await.map(drop), "display_name"),
        (t.store.update_user(&user.id, Some(&too_long), None).await.map(drop), "display_name"),
        (t.store.update_user(&user.id, None, Some(&too_long)).await.map(drop), "avatar_hash"),
        (t.store.create_channel(&too_long, None, 0).await.map(drop), "name"),
        (t.store.create_channel("room", Some(&too_long), 0).await.map(drop), "category_id"),
        (t.store.update_channel(&channel.id, Some(&too_long), None, None).await.map(drop), "name"),
        (t.store.update_channel(&channel.id, None, Some(&too_long), None).await.map(drop), "topic"),
        (t.store.edit_channel(&channel.id, edit).await.map(drop), "category_id"),
        (t.store.create_category(&too_long, 0).await.map(drop), "name"),
        (t.store.update_category(&category.id, Some(&too_long), None).await.map(drop), "name"),
    ] {
        assert_refused!(result, StorageError::InvalidInput { field: found, .. } if found == field);
    }
}

async fn a_content_has_at_most_a_mebibyte(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let fits = x(1 << 20);
    let message = t.post(&channel, &user, &fits).await;
    assert_eq!(t.store.get_message(&message.id).await.unwrap().unwrap().content, fits);
    let too_long = x((1 << 20) + 1);
    let post = t.store.create_message(&channel.id, &user.id, &too_long).await;
    assert_refused!(post, StorageError::InvalidInput { field: "content", .. });
    let edit = t.store.update_message(&message.id, &too_long).await;
    assert_refused!(edit, StorageError::InvalidInput { field: "content", .. });
}

async fn limits_count_bytes_not_characters(t: Context) {
    let emoji = "\u{1F600}";
    t.store.create_user(&emoji.repeat(64), Some(&emoji.repeat(256))).await.unwrap();
    let user = t.store.create_user(&emoji.repeat(65), None).await;
    assert_refused!(user, StorageError::InvalidInput { field: "pubkey", .. });
    let user = t.store.create_user("key", Some(&emoji.repeat(257))).await;
    assert_refused!(user, StorageError::InvalidInput { field: "display_name", .. });
}

async fn invalid_input_is_reported_before_not_found_and_conflict(t: Context) {
    t.user("key").await;
    let long = x((1 << 20) + 1);
    for id in [NOBODY, "no id"] {
        for result in [
            t.store.create_user("key", Some(&long)).await.map(drop),
            t.store.update_user(id, Some(&long), None).await.map(drop),
            t.store.update_channel(id, Some(""), None, None).await.map(drop),
            t.store.update_category(id, Some(""), None).await.map(drop),
            t.store.create_message(id, id, &long).await.map(drop),
            t.store.update_message(id, &long).await.map(drop),
            t.store.create_session(id, std::time::Duration::ZERO).await.map(drop),
        ] {
            assert_refused!(result, StorageError::InvalidInput { .. });
        }
    }
}

async fn a_refused_call_changes_nothing(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    let mut changes = t.store.changes();
    t.advance(5);
    let long = x(1025);
    t.store.update_user(&user.id, Some("fine"), Some(&long)).await.unwrap_err();
    t.store.update_channel(&channel.id, Some("fine"), Some(&long), Some(9)).await.unwrap_err();
    t.store.update_message(&messages[0].id, &x((1 << 20) + 1)).await.unwrap_err();
    t.store.create_user("key", Some("Eve")).await.unwrap_err();
    assert_refused!(
        t.store.create_message(NOBODY, &user.id, "x").await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_eq!(t.store.list_users().await.unwrap(), [user]);
    assert_eq!(t.store.list_channels().await.unwrap(), std::slice::from_ref(&channel));
    assert_eq!(t.store.list_messages(&channel.id, None, 9).await.unwrap(), messages);
    let marker = t.channel("marker").await;
    match changes.next().await.unwrap() {
        decentcom_server::storage::Change::ChannelCreated(created) => assert_eq!(*created, marker),
        other => panic!("a refused call announced {other:?}"),
    }
}

async fn names_and_topics_of_any_text_come_back(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    for text in naughty_strings().iter().filter(|text| (1..=1024).contains(&text.len())).step_by(3) {
        let user = t.store.update_user(&user.id, Some(text), Some(text)).await.unwrap();
        assert_eq!((user.display_name.as_ref(), user.avatar_hash.as_ref()), (Some(text), Some(text)));
        assert_eq!(t.store.get_user_by_id(&user.id).await.unwrap(), Some(user));
        let channel = t.store.update_channel(&channel.id, Some(text), Some(text), None).await.unwrap();
        assert_eq!((&channel.name, channel.topic.as_ref()), (text, Some(text)));
        assert_eq!(t.store.get_channel(&channel.id).await.unwrap(), Some(channel));
    }
}
