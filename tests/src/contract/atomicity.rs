//! Calls that run together: each happens completely or not at all, and no failure spoils a neighbour.

use std::sync::Arc;

use decentcom_server::storage::StorageError;

use crate::Context;

crate::suite! {
    a_failing_call_leaves_its_neighbours_untouched,
    what_is_acknowledged_is_visible_to_every_read_that_starts_afterwards,
    concurrent_edits_leave_one_of_the_texts,
    editing_races_deleting_and_the_deletion_stays,
    a_dropped_call_leaves_the_store_working,
}

async fn a_failing_call_leaves_its_neighbours_untouched(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let calls = (0..64).map(|number| {
        let store = t.store.clone();
        tokio::spawn(async move {
            match number % 4 {
                0 => store.create_message(&channel.id.text(), "00000000000000000000000000", "lost").await.map(drop),
                1 => store.create_user("key", None).await.map(drop),
                2 => store.update_message("00000000000000000000000000", "lost").await.map(drop),
                _ => store.create_message(&channel.id.text(), &user.id.text(), &number.to_string()).await.map(drop),
            }
        })
    });
    let results: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    for (number, result) in results.iter().enumerate() {
        match (number % 4, result) {
            (3, Ok(())) => {}
            (0 | 2, Err(StorageError::NotFound { .. })) | (1, Err(StorageError::Conflict { .. })) => {}
            (_, other) => panic!("call {number}: {other:?}"),
        }
    }
    let mut texts: Vec<usize> = t
        .store
        .list_messages(&channel.id.text(), None, 500)
        .await
        .unwrap()
        .iter()
        .map(|message| message.content.parse().unwrap())
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, (3..64).step_by(4).collect::<Vec<_>>());
    assert_eq!(t.store.list_users().await.unwrap().len(), 1);
}

async fn what_is_acknowledged_is_visible_to_every_read_that_starts_afterwards(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let writers = (0..8).map(|writer| {
        let store = t.store.clone();
        tokio::spawn(async move {
            for number in 0..10 {
                let text = format!("{writer} {number}");
                let message = store.create_message(&channel.id.text(), &user.id.text(), &text).await.unwrap();
                assert_eq!(*store.get_message(&message.id.text()).await.unwrap().unwrap().content, *text);
                let page = store.list_messages(&channel.id.text(), None, 500).await.unwrap();
                assert!(page.iter().any(|it| it.id == message.id));
                store.update_message(&message.id.text(), "edited").await.unwrap();
                assert_eq!(&*store.get_message(&message.id.text()).await.unwrap().unwrap().content, "edited");
                store.delete_message(&message.id.text()).await.unwrap();
                assert!(store.get_message(&message.id.text()).await.unwrap().unwrap().deleted);
                let page = store.list_messages(&channel.id.text(), None, 500).await.unwrap();
                assert!(page.iter().all(|it| it.id != message.id));
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
}

async fn concurrent_edits_leave_one_of_the_texts(t: Context) {
    let (_, _, messages) = t.history(1).await;
    let id = messages[0].id;
    let edits = (0..16).map(|number| {
        let store = t.store.clone();
        tokio::spawn(async move { store.update_message(&id.text(), &format!("edit {number}")).await.unwrap() })
    });
    let results: Vec<_> = futures::future::join_all(edits).await.into_iter().map(Result::unwrap).collect();
    let stored = t.store.get_message(&id.text()).await.unwrap().unwrap();
    assert!(results.contains(&stored));
}

async fn editing_races_deleting_and_the_deletion_stays(t: Context) {
    let (_, channel, messages) = t.history(20).await;
    for message in &messages {
        let (store, id) = (t.store.clone(), message.id);
        let editing = tokio::spawn(async move { store.update_message(&id.text(), "edited").await });
        t.store.delete_message(&message.id.text()).await.unwrap();
        match editing.await.unwrap() {
            Ok(_) | Err(StorageError::NotFound { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(t.store.get_message(&message.id.text()).await.unwrap().unwrap().deleted);
    }
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), []);
}

async fn a_dropped_call_leaves_the_store_working(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    for number in 0..20 {
        let store = Arc::clone(&t.store);
        let call =
            tokio::spawn(async move { store.create_message(&channel.id.text(), &user.id.text(), "perhaps").await });
        if number % 2 == 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        let _ = call.await;
        // A wrapper that was cut off while reopening has no store to go on with; the contract's stores have.
        if t.setup().is_reopened {
            return;
        }
        let kept = t.post(&channel, &user, "kept").await;
        assert_eq!(t.store.get_message(&kept.id.text()).await.unwrap(), Some(kept));
    }
    let texts = t.store.list_messages(&channel.id.text(), None, 500).await.unwrap();
    assert_eq!(texts.iter().filter(|message| *message.content == *"kept").count(), 20);
}
