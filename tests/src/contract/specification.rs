//! The test list of the storage specification, item by item.

use std::time::Duration;

use decentcom_server::storage::{Entity, StorageError};

use crate::{Context, assert_refused, context::NOBODY};

crate::suite! {
    initialise_and_migrate,
    users_create_and_get_by_id,
    users_get_by_pubkey,
    users_update,
    users_list,
    a_duplicate_pubkey_is_a_conflict,
    channels_create_and_get,
    channels_list,
    channels_update,
    channels_delete,
    messages_create_and_get,
    messages_list_in_order,
    messages_page_by_cursor,
    messages_soft_delete,
    sessions_create_and_retrieve,
    sessions_have_their_expiry_time,
    delete_expired_sessions_removes_only_expired_ones,
    storage_error_not_found,
    storage_error_conflict,
}

async fn initialise_and_migrate(t: Context) {
    t.store.ping().await.unwrap();
    assert!(t.setup().provider.backend().is_none_or(|backend| t.store.backend() == backend));
    assert!(t.store.list_users().await.unwrap().is_empty());
    assert!(t.store.list_channels().await.unwrap().is_empty());
    assert!(t.store.list_categories().await.unwrap().is_empty());
}

async fn users_create_and_get_by_id(t: Context) {
    let user = t.store.create_user("key", Some("Ada")).await.unwrap();
    assert_eq!((user.pubkey.as_str(), user.display_name.as_deref(), &user.avatar_hash), ("key", Some("Ada"), &None));
    assert_eq!((user.created_at, user.updated_at), (t.now(), t.now()));
    assert_eq!(t.store.get_user_by_id(&user.id.text()).await.unwrap(), Some(user));
    assert_eq!(t.store.get_user_by_id(NOBODY).await.unwrap(), None);
}

async fn users_get_by_pubkey(t: Context) {
    let user = t.user("key").await;
    t.user("other").await;
    assert_eq!(t.store.get_user_by_pubkey("key").await.unwrap(), Some(user));
    assert_eq!(t.store.get_user_by_pubkey("ke").await.unwrap(), None);
    assert_eq!(t.store.get_user_by_pubkey("KEY").await.unwrap(), None);
}

async fn users_update(t: Context) {
    let user = t.user("key").await;
    t.advance(5);
    let updated = t.store.update_user(&user.id.text(), Some("Ada"), Some("hash")).await.unwrap();
    assert_eq!((updated.display_name.as_deref(), updated.avatar_hash.as_deref()), (Some("Ada"), Some("hash")));
    assert_eq!((updated.created_at, updated.updated_at), (user.created_at, t.now()));
    assert_eq!(t.store.get_user_by_id(&user.id.text()).await.unwrap(), Some(updated.clone()));
    assert_eq!(t.store.get_user_by_pubkey("key").await.unwrap(), Some(updated));
}

async fn users_list(t: Context) {
    let users = [t.user("c").await, t.user("a").await, t.user("b").await];
    assert_eq!(t.store.list_users().await.unwrap(), users);
}

async fn a_duplicate_pubkey_is_a_conflict(t: Context) {
    let user = t.user("key").await;
    let again = t.store.create_user("key", Some("Eve")).await;
    assert_refused!(again, StorageError::Conflict { entity: Entity::User, field: "pubkey" });
    assert_eq!(t.store.list_users().await.unwrap(), [user]);
}

async fn channels_create_and_get(t: Context) {
    let channel = t.store.create_channel("room", Some("somewhere"), -3).await.unwrap();
    assert_eq!((channel.name.as_str(), &channel.topic, channel.position), ("room", &None, -3));
    assert_eq!(channel.category_id.as_deref(), Some("somewhere"));
    assert_eq!((channel.created_at, channel.updated_at), (t.now(), t.now()));
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(channel));
    assert_eq!(t.store.get_channel(NOBODY).await.unwrap(), None);
}

async fn channels_list(t: Context) {
    let last = t.store.create_channel("last", None, 2).await.unwrap();
    let first = t.store.create_channel("first", None, -1).await.unwrap();
    let second = t.store.create_channel("second", None, 0).await.unwrap();
    let third = t.store.create_channel("another second", None, 0).await.unwrap();
    assert_eq!(t.store.list_channels().await.unwrap(), [first, second, third, last]);
}

async fn channels_update(t: Context) {
    let channel = t.channel("room").await;
    t.advance(5);
    let updated = t.store.update_channel(&channel.id.text(), Some("hall"), Some("topic"), Some(7)).await.unwrap();
    assert_eq!((updated.name.as_str(), updated.topic.as_deref(), updated.position), ("hall", Some("topic"), 7));
    assert_eq!((updated.created_at, updated.updated_at), (channel.created_at, t.now()));
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(updated));
}

async fn channels_delete(t: Context) {
    let (gone, kept) = (t.channel("gone").await, t.channel("kept").await);
    t.store.delete_channel(&gone.id.text()).await.unwrap();
    assert_eq!(t.store.get_channel(&gone.id.text()).await.unwrap(), None);
    assert_eq!(t.store.list_channels().await.unwrap(), [kept]);
}

async fn messages_create_and_get(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let message = t.post(&channel, &user, "hello").await;
    assert_eq!((message.channel_id, message.author_id, &*message.content), (channel.id, user.id, "hello"));
    assert_eq!((message.edited_at, message.deleted, message.created_at), (None, false, t.now()));
    assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), Some(message));
    assert_eq!(t.store.get_message(NOBODY).await.unwrap(), None);
}

async fn messages_list_in_order(t: Context) {
    let (_, channel, mut messages) = t.history(5).await;
    messages.reverse();
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 50).await.unwrap(), messages);
}

async fn messages_page_by_cursor(t: Context) {
    let (_, channel, messages) = t.history(7).await;
    let mut read = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let page = t.store.list_messages(&channel.id.text(), before.as_deref(), 3).await.unwrap();
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.id.to_string());
        read.extend(page);
    }
    read.reverse();
    assert_eq!(read, messages);
}

async fn messages_soft_delete(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    t.store.delete_message(&messages[1].id.text()).await.unwrap();
    let page = t.store.list_messages(&channel.id.text(), None, 50).await.unwrap();
    assert_eq!(page, [messages[2].clone(), messages[0].clone()]);
    assert!(t.store.get_message(&messages[1].id.text()).await.unwrap().unwrap().deleted);
}

async fn sessions_create_and_retrieve(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(session.user_id, user.id);
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session));
    assert_eq!(t.store.get_session("made up").await.unwrap(), None);
}

async fn sessions_have_their_expiry_time(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), Duration::from_millis(1500)).await.unwrap();
    assert_eq!(session.created_at, t.now());
    assert_eq!(Some(session.expires_at), t.now().checked_add(Duration::from_millis(1500)));
}

async fn delete_expired_sessions_removes_only_expired_ones(t: Context) {
    let user = t.user("key").await;
    let mut sessions = Vec::new();
    for seconds in [1, 3, 2, 1, 4] {
        sessions.push(t.store.create_session(&user.id.text(), Duration::from_secs(seconds)).await.unwrap());
    }
    t.advance(2000);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 3);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 0);
    for (session, is_live) in sessions.iter().zip([false, true, false, false, true]) {
        assert_eq!(t.store.get_session(&session.token).await.unwrap().is_some(), is_live);
    }
    t.advance(2000);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 2);
}

async fn storage_error_not_found(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let store = &t.store;
    assert_refused!(
        store.update_user(NOBODY, Some("x"), None).await,
        StorageError::NotFound { entity: Entity::User, .. }
    );
    assert_refused!(
        store.update_channel(NOBODY, Some("x"), None, None).await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_refused!(store.delete_channel(NOBODY).await, StorageError::NotFound { entity: Entity::Channel, .. });
    assert_refused!(store.update_message(NOBODY, "x").await, StorageError::NotFound { entity: Entity::Message, .. });
    assert_refused!(store.delete_message(NOBODY).await, StorageError::NotFound { entity: Entity::Message, .. });
    assert_refused!(
        store.create_message(NOBODY, &user.id.text(), "x").await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_refused!(
        store.create_message(&channel.id.text(), NOBODY, "x").await,
        StorageError::NotFound { entity: Entity::User, .. }
    );
    assert_refused!(
        store.create_session(NOBODY, Duration::from_secs(1)).await,
        StorageError::NotFound { entity: Entity::User, id } if id == NOBODY
    );
}

async fn storage_error_conflict(t: Context) {
    t.user("key").await;
    let error = t.store.create_user("key", None).await.unwrap_err();
    assert_eq!(error.to_string(), "another user already has this pubkey");
}
