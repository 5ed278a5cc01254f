//! Ids: strictly increasing in commit order, whatever the clock does.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    Context,
    context::{START, at},
};

crate::suite! {
    an_id_is_26_upper_case_crockford_characters,
    ids_are_accepted_in_either_case,
    ids_increase_within_one_millisecond,
    ids_increase_across_kinds,
    ids_increase_while_the_clock_steps_back,
    ids_increase_across_a_reopen_with_the_clock_back,
    ids_increase_after_the_newest_rows_are_deleted,
    whoever_has_seen_an_id_never_sees_a_smaller_one_appear,
}

async fn an_id_is_26_upper_case_crockford_characters(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    let category = t.store.create_category("x", 0).await.unwrap();
    for id in [&*user.id.text(), &*channel.id.text(), &*messages[0].id.text(), &*category.id.text()] {
        assert_eq!(id.len(), 26);
        assert!(id.chars().all(|character| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(character)), "{id}");
    }
}

async fn ids_are_accepted_in_either_case(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    let (user_id, channel_id, id) =
        (user.id.text().to_lowercase(), channel.id.text().to_lowercase(), messages[0].id.text().to_lowercase());
    assert_eq!(t.store.get_user_by_id(&user_id).await.unwrap(), Some(user.clone()));
    assert_eq!(t.store.get_channel(&channel_id).await.unwrap(), Some(channel.clone()));
    assert_eq!(t.store.get_message(&id).await.unwrap(), Some(messages[0].clone()));
    let posted = t.store.create_message(&channel_id, &user_id, "x").await.unwrap();
    assert_eq!((posted.channel_id, posted.author_id), (channel.id, user.id));
    assert_eq!(t.store.update_message(&id, "y").await.unwrap().id, messages[0].id);
    t.store.delete_message(&id).await.unwrap();
    assert_eq!(t.store.update_user(&user_id, Some("x"), None).await.unwrap().id, user.id);
    assert_eq!(t.store.update_channel(&channel_id, Some("x"), None, None).await.unwrap().id, channel.id);
    let session = t.store.create_session(&user_id, std::time::Duration::from_secs(1)).await.unwrap();
    assert_eq!(session.user_id, user.id);
    t.store.delete_channel(&channel_id).await.unwrap();
}

async fn ids_increase_within_one_millisecond(t: Context) {
    let (_, _, messages) = t.history(50).await;
    assert!(messages.is_sorted_by(|one, other| one.id < other.id));
    assert!(messages.iter().all(|message| message.created_at == at(START)));
}

async fn ids_increase_across_kinds(t: Context) {
    let user = t.user("key").await;
    let category = t.store.create_category("x", 0).await.unwrap();
    let channel = t.channel("room").await;
    let message = t.post(&channel, &user, "x").await;
    let later = t.user("other").await;
    let ids = [user.id.ulid(), category.id.ulid(), channel.id.ulid(), message.id.ulid(), later.id.ulid()];
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
}

async fn ids_increase_while_the_clock_steps_back(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let mut last = channel.id.ulid();
    for millis in [START + 10, START, START - 1_000_000, 0, START + 9, START + 11] {
        t.clock.set(at(millis));
        let message = t.post(&channel, &user, "x").await;
        assert!(message.id.ulid() > last);
        assert_eq!(message.id.timestamp(), Some(message.created_at));
        last = message.id.ulid();
    }
}

async fn ids_increase_across_a_reopen_with_the_clock_back(mut t: Context) {
    let (user, channel, messages) = t.history(3).await;
    t.clock.set(at(START - 50_000));
    t.reopen().await;
    let next = t.post(&channel, &user, "x").await;
    assert!(next.id > messages[2].id);
    assert!(next.created_at >= messages[2].created_at);
}

async fn ids_increase_after_the_newest_rows_are_deleted(mut t: Context) {
    let (user, channel, messages) = t.history(3).await;
    let newest = t.channel("newest").await;
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    t.store.delete_channel(&newest.id.text()).await.unwrap();
    t.clock.set(at(0));
    t.reopen().await;
    let next = t.channel("next").await;
    assert!(next.id > newest.id && next.id.ulid() > messages[2].id.ulid());
    assert!(t.post(&next, &user, "x").await.id.ulid() > next.id.ulid());
}

async fn whoever_has_seen_an_id_never_sees_a_smaller_one_appear(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let done = Arc::new(AtomicBool::new(false));
    let watching = {
        let (store, done) = (t.store.clone(), done.clone());
        tokio::spawn(async move {
            let mut seen: Vec<String> = Vec::new();
            loop {
                let is_last = done.load(Ordering::SeqCst);
                let mut page: Vec<String> = Vec::new();
                for message in store.list_messages(&channel.id.text(), None, 500).await.unwrap() {
                    page.insert(0, message.id.to_string());
                }
                assert!(page.starts_with(&seen), "a smaller id appeared");
                seen = page;
                if is_last {
                    return seen.len();
                }
            }
        })
    };
    let posting = (0..8).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                store.create_message(&channel.id.text(), &user.id.text(), "x").await.unwrap();
            }
        })
    });
    for poster in futures::future::join_all(posting).await {
        poster.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    assert_eq!(watching.await.unwrap(), 160);
}
