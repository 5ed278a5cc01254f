//! Pages of a channel's history.

use decentcom_server::storage::StorageError;

use crate::{
    Context, assert_refused,
    context::{MALFORMED, NOBODY},
};

crate::suite! {
    a_page_ends_strictly_before_its_cursor,
    any_ulid_is_a_position,
    a_cursor_is_accepted_in_either_case,
    a_page_after_a_cursor_is_oldest_first,
    a_page_never_bleeds_into_the_neighbouring_channel,
    a_page_never_steps_over_deleted_messages,
    an_unknown_channel_or_limit_zero_is_an_empty_page,
    a_limit_above_the_maximum_is_clamped,
    a_malformed_cursor_is_refused_before_anything_else,
    a_cursor_may_name_a_message_of_another_channel,
}

const END_OF_TIME: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

async fn a_page_ends_strictly_before_its_cursor(t: Context) {
    let (_, channel, messages) = t.history(5).await;
    for (index, message) in messages.iter().enumerate() {
        for limit in [1, 2, 5, 50] {
            let page = t.store.list_messages(&channel.id, Some(&message.id), limit).await.unwrap();
            let expected: Vec<_> = messages[..index].iter().rev().take(limit as usize).cloned().collect();
            assert_eq!(page, expected);
        }
    }
}

async fn any_ulid_is_a_position(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    let newest_first: Vec<_> = messages.iter().rev().cloned().collect();
    assert_eq!(t.store.list_messages(&channel.id, Some(END_OF_TIME), 9).await.unwrap(), newest_first);
    assert_eq!(t.store.list_messages(&channel.id, Some(NOBODY), 9).await.unwrap(), []);
    assert_eq!(t.store.list_messages_after(&channel.id, NOBODY, 9).await.unwrap(), messages);
    assert_eq!(t.store.list_messages_after(&channel.id, END_OF_TIME, 9).await.unwrap(), []);
    t.store.delete_message(&messages[1].id).await.unwrap();
    let before_deleted = t.store.list_messages(&channel.id, Some(&messages[1].id), 9).await.unwrap();
    assert_eq!(before_deleted, messages[..1]);
}

async fn a_cursor_is_accepted_in_either_case(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    let cursor = messages[1].id.to_lowercase();
    let lower_channel = channel.id.to_lowercase();
    assert_eq!(t.store.list_messages(&lower_channel, Some(&cursor), 9).await.unwrap(), messages[..1]);
    assert_eq!(t.store.list_messages_after(&lower_channel, &cursor, 9).await.unwrap(), messages[2..]);
}

async fn a_page_after_a_cursor_is_oldest_first(t: Context) {
    let (_, channel, messages) = t.history(5).await;
    for (index, message) in messages.iter().enumerate() {
        for limit in [1, 2, 50] {
            let page = t.store.list_messages_after(&channel.id, &message.id, limit).await.unwrap();
            let expected: Vec<_> = messages[index + 1..].iter().take(limit as usize).cloned().collect();
            assert_eq!(page, expected);
        }
    }
}

async fn a_page_never_bleeds_into_the_neighbouring_channel(t: Context) {
    let user = t.user("key").await;
    let channels = [t.channel("a").await, t.channel("b").await, t.channel("c").await];
    let mut messages = [vec![], vec![], vec![]];
    for number in 0..30 {
        let index = number * 7 % 3;
        messages[index].push(t.post(&channels[index], &user, &number.to_string()).await);
    }
    for (channel, messages) in channels.iter().zip(&messages) {
        let newest_first: Vec<_> = messages.iter().rev().cloned().collect();
        assert_eq!(t.store.list_messages(&channel.id, None, 500).await.unwrap(), newest_first);
        assert_eq!(t.store.list_messages(&channel.id, Some(END_OF_TIME), 500).await.unwrap(), newest_first);
        assert_eq!(t.store.list_messages_after(&channel.id, NOBODY, 500).await.unwrap(), *messages);
        assert_eq!(t.store.list_messages(&channel.id, Some(&messages[0].id), 500).await.unwrap(), []);
    }
}

async fn a_page_never_steps_over_deleted_messages(t: Context) {
    let (_, channel, messages) = t.history(20).await;
    for message in &messages[3..17] {
        t.store.delete_message(&message.id).await.unwrap();
    }
    let page = t.store.list_messages(&channel.id, None, 6).await.unwrap();
    let live: Vec<_> = messages[..3].iter().chain(&messages[17..]).rev().cloned().collect();
    assert_eq!(page, live);
    let page = t.store.list_messages_after(&channel.id, &messages[1].id, 2).await.unwrap();
    assert_eq!(page, [messages[2].clone(), messages[17].clone()]);
}

async fn an_unknown_channel_or_limit_zero_is_an_empty_page(t: Context) {
    let (_, channel, messages) = t.history(2).await;
    for (channel, limit) in [(NOBODY, 10), ("no id", 10), (channel.id.as_str(), 0)] {
        assert_eq!(t.store.list_messages(channel, None, limit).await.unwrap(), []);
        assert_eq!(t.store.list_messages(channel, Some(&messages[1].id), limit).await.unwrap(), []);
        assert_eq!(t.store.list_messages_after(channel, NOBODY, limit).await.unwrap(), []);
    }
}

async fn a_limit_above_the_maximum_is_clamped(t: Context) {
    let (_, channel, messages) = t.history(503).await;
    for limit in [500, 501, u32::MAX] {
        let page = t.store.list_messages(&channel.id, None, limit).await.unwrap();
        assert_eq!((page.len(), &page[0], &page[499]), (500, &messages[502], &messages[3]));
        assert_eq!(t.store.list_messages_after(&channel.id, NOBODY, limit).await.unwrap(), messages[..500]);
    }
}

async fn a_malformed_cursor_is_refused_before_anything_else(t: Context) {
    let (_, channel, _) = t.history(1).await;
    for cursor in MALFORMED {
        for channel in [channel.id.as_str(), NOBODY, "no id"] {
            for limit in [0, 10] {
                assert_refused!(
                    t.store.list_messages(channel, Some(cursor), limit).await,
                    StorageError::InvalidInput { field: "before", .. }
                );
                assert_refused!(
                    t.store.list_messages_after(channel, cursor, limit).await,
                    StorageError::InvalidInput { field: "after", .. }
                );
            }
        }
    }
}

async fn a_cursor_may_name_a_message_of_another_channel(t: Context) {
    let user = t.user("key").await;
    let (one, other) = (t.channel("one").await, t.channel("other").await);
    let first = t.post(&one, &user, "first").await;
    let between = t.post(&other, &user, "between").await;
    let second = t.post(&one, &user, "second").await;
    assert_eq!(t.store.list_messages(&one.id, Some(&between.id), 9).await.unwrap(), [first]);
    assert_eq!(t.store.list_messages_after(&one.id, &between.id, 9).await.unwrap(), [second]);
}
