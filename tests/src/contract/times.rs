//! Times: an id's own at creation, never running backwards after.

use std::time::Duration;

use crate::{
    Context,
    context::{START, at},
};

crate::suite! {
    created_at_is_the_time_of_the_id,
    updated_at_never_runs_backwards,
    edited_at_never_runs_backwards_nor_before_created_at,
    a_session_starts_now_whatever_the_ids_say,
    created_at_keeps_up_with_the_ids_while_the_clock_is_behind,
}

async fn created_at_is_the_time_of_the_id(t: Context) {
    t.advance(123);
    let (user, channel, messages) = t.history(2).await;
    let category = t.store.create_category("x", 0).await.unwrap();
    assert_eq!(user.id.timestamp(), Some(user.created_at));
    assert_eq!(channel.id.timestamp(), Some(channel.created_at));
    assert_eq!(category.id.timestamp(), Some(category.created_at));
    assert_eq!(messages[1].id.timestamp(), Some(messages[1].created_at));
    assert_eq!(user.created_at, at(START + 123));
}

async fn updated_at_never_runs_backwards(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    t.clock.set(at(START + 100));
    t.store.update_user(&user.id.text(), Some("a"), None).await.unwrap();
    t.store.update_channel(&channel.id.text(), Some("a"), None, None).await.unwrap();
    for millis in [START + 50, 0] {
        t.clock.set(at(millis));
        let name = millis.to_string();
        let user = t.store.update_user(&user.id.text(), Some(&name), None).await.unwrap();
        let channel = t.store.update_channel(&channel.id.text(), Some(&name), None, None).await.unwrap();
        assert_eq!((user.updated_at, channel.updated_at), (at(START + 100), at(START + 100)));
    }
}

async fn edited_at_never_runs_backwards_nor_before_created_at(t: Context) {
    let (_, _, messages) = t.history(1).await;
    t.clock.set(at(START - 100));
    let edited = t.store.update_message(&messages[0].id.text(), "a").await.unwrap();
    assert_eq!(edited.edited_at, Some(messages[0].created_at));
    t.clock.set(at(START + 100));
    let edited = t.store.update_message(&messages[0].id.text(), "b").await.unwrap();
    assert_eq!(edited.edited_at, Some(at(START + 100)));
    t.clock.set(at(START + 50));
    let edited = t.store.update_message(&messages[0].id.text(), "c").await.unwrap();
    assert_eq!(edited.edited_at, Some(at(START + 100)));
    assert_eq!(t.store.get_message(&edited.id.text()).await.unwrap(), Some(edited));
}

async fn a_session_starts_now_whatever_the_ids_say(t: Context) {
    let user = t.user("key").await;
    t.clock.set(at(START - 1000));
    let session = t.store.create_session(&user.id.text(), Duration::from_millis(10)).await.unwrap();
    assert_eq!((session.created_at, session.expires_at), (at(START - 1000), at(START - 990)));
}

async fn created_at_keeps_up_with_the_ids_while_the_clock_is_behind(t: Context) {
    let first = t.user("first").await;
    t.clock.set(at(START - 1000));
    let second = t.user("second").await;
    assert_eq!((second.created_at, second.updated_at), (first.created_at, first.created_at));
}
