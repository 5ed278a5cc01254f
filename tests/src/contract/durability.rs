//! Closing, reopening, and what the files look like to others.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use decentcom_server::storage::StorageError;

use crate::{Context, Kept, assert_refused};

crate::suite! {
    everything_is_there_after_a_reopen,
    a_closed_store_is_unavailable_and_closing_again_is_fine,
    closing_finishes_what_was_accepted,
    a_store_that_is_dropped_can_be_opened_again,
    files_belong_to_their_owner_alone,
    a_probe_is_a_commit_unless_one_was_made_lately,
}

async fn a_probe_is_a_commit_unless_one_was_made_lately(t: Context) {
    t.store.create_user("key", None).await.unwrap();
    let made = t.now();
    t.advance(1000);
    if !t.setup().is_reopened {
        assert_eq!(t.store.probe(Duration::from_secs(3600)).await.unwrap(), made, "the commit that was made");
    }
    assert_eq!(t.store.probe(Duration::ZERO).await.unwrap(), t.now(), "a commit made now");
    assert_eq!(t.store.list_users().await.unwrap().len(), 1);
}

async fn everything_is_there_after_a_reopen(mut t: Context) {
    let (user, channel, mut messages) = t.history(5).await;
    let user = t.store.update_user(&user.id.text(), Some("Ada"), Some("hash")).await.unwrap();
    let category = t.store.create_category("c", 1).await.unwrap();
    let other = t.store.create_channel("other", Some(&category.id.text()), -5).await.unwrap();
    t.advance(5);
    messages[1] = t.store.update_message(&messages[1].id.text(), "edited").await.unwrap();
    t.store.delete_message(&messages[3].id.text()).await.unwrap();
    messages[3].deleted = true;
    let session = t.store.create_session(&user.id.text(), Duration::from_secs(60)).await.unwrap();
    let ended = t.store.create_session(&user.id.text(), Duration::from_secs(60)).await.unwrap();
    t.store.delete_session(&ended.token).await.unwrap();
    t.reopen().await;

    assert_eq!(t.store.list_users().await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(t.store.get_user_by_pubkey("key").await.unwrap(), Some(user));
    assert_eq!(t.store.list_channels().await.unwrap(), [other, channel.clone()]);
    assert_eq!(t.store.list_categories().await.unwrap(), [category]);
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session));
    assert_eq!(t.store.get_session(&ended.token).await.unwrap(), None);
    for message in &messages {
        assert_eq!(t.store.get_message(&message.id.text()).await.unwrap().as_ref(), Some(message));
    }
    messages.remove(3);
    messages.reverse();
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 50).await.unwrap(), messages);
}

async fn a_closed_store_is_unavailable_and_closing_again_is_fine(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    t.store.close().await.unwrap();
    let store = &t.store;
    for result in [
        store.ping().await,
        store.probe(Duration::MAX).await.map(drop),
        store.list_users().await.map(drop),
        store.get_user_by_id(&user.id.text()).await.map(drop),
        store.get_message(&messages[0].id.text()).await.map(drop),
        store.list_messages(&channel.id.text(), None, 5).await.map(drop),
        store.get_session("x").await.map(drop),
        store.create_user("other", None).await.map(drop),
        store.create_message(&channel.id.text(), &user.id.text(), "x").await.map(drop),
        store.delete_session("x").await,
        store.delete_expired_sessions().await.map(drop),
    ] {
        assert_refused!(result, StorageError::Unavailable { .. });
    }
    store.close().await.unwrap();
}

async fn closing_finishes_what_was_accepted(mut t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let posting: Vec<_> = (0..50)
        .map(|_| {
            let store = t.store.clone();
            tokio::spawn(async move { store.create_message(&channel.id.text(), &user.id.text(), "x").await })
        })
        .collect();
    tokio::task::yield_now().await;
    if !t.setup().is_kept() {
        t.store.close().await.unwrap(); // then the answers below are all there is to see
    } else {
        t.reopen().await;
    }
    let mut acknowledged = 0;
    for post in posting {
        match post.await.unwrap() {
            Ok(message) if t.setup().is_kept() => {
                assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), Some(message));
                acknowledged += 1;
            }
            Ok(_) | Err(StorageError::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    if t.setup().is_kept() {
        assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap().len(), acknowledged);
    }
}

async fn a_store_that_is_dropped_can_be_opened_again(mut t: Context) {
    if !t.setup().is_kept() {
        let other = Context::new(t.setup()).await;
        t.user("key").await;
        assert!(other.store.list_users().await.unwrap().is_empty(), "stores that are opened apart are apart");
        return;
    }
    let user = t.user("key").await;
    t.drop_and_open().await;
    assert_eq!(t.store.list_users().await.unwrap(), [user]);
}

async fn files_belong_to_their_owner_alone(t: Context) {
    t.history(3).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files: Vec<_> = fs::read_dir(t.files()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.is_empty(), t.setup().provider.kept() != Kept::InFiles);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
