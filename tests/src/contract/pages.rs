//! Pages of a channel's history.

use decentcom_server::storage::{Channel, Message, MessagePage, PageAt, StorageError};

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
    a_page_bounded_in_bytes_is_what_a_list_begins_with,
    a_bounded_page_has_one_message_whatever_its_length,
    whether_there_is_more_is_exact_at_both_bounds,
    a_bounded_page_follows_every_change,
    whoever_follows_the_cursor_of_bounded_pages_gets_everything_once,
    the_rules_of_lists_hold_for_bounded_pages,
}

const END_OF_TIME: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

async fn a_page_ends_strictly_before_its_cursor(t: Context) {
    let (_, channel, messages) = t.history(5).await;
    for (index, message) in messages.iter().enumerate() {
        for limit in [1, 2, 5, 50] {
            let page = t.store.list_messages(&channel.id.text(), Some(&message.id.text()), limit).await.unwrap();
            let expected: Vec<_> = messages[..index].iter().rev().take(limit as usize).cloned().collect();
            assert_eq!(page, expected);
        }
    }
}

async fn any_ulid_is_a_position(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    let newest_first: Vec<_> = messages.iter().rev().cloned().collect();
    assert_eq!(t.store.list_messages(&channel.id.text(), Some(END_OF_TIME), 9).await.unwrap(), newest_first);
    assert_eq!(t.store.list_messages(&channel.id.text(), Some(NOBODY), 9).await.unwrap(), []);
    assert_eq!(t.store.list_messages_after(&channel.id.text(), NOBODY, 9).await.unwrap(), messages);
    assert_eq!(t.store.list_messages_after(&channel.id.text(), END_OF_TIME, 9).await.unwrap(), []);
    t.store.delete_message(&messages[1].id.text()).await.unwrap();
    let before_deleted = t.store.list_messages(&channel.id.text(), Some(&messages[1].id.text()), 9).await.unwrap();
    assert_eq!(before_deleted, messages[..1]);
}

async fn a_cursor_is_accepted_in_either_case(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    let cursor = messages[1].id.text().to_lowercase();
    let lower_channel = channel.id.text().to_lowercase();
    assert_eq!(t.store.list_messages(&lower_channel, Some(&cursor), 9).await.unwrap(), messages[..1]);
    assert_eq!(t.store.list_messages_after(&lower_channel, &cursor, 9).await.unwrap(), messages[2..]);
}

async fn a_page_after_a_cursor_is_oldest_first(t: Context) {
    let (_, channel, messages) = t.history(5).await;
    for (index, message) in messages.iter().enumerate() {
        for limit in [1, 2, 50] {
            let page = t.store.list_messages_after(&channel.id.text(), &message.id.text(), limit).await.unwrap();
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
        assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), newest_first);
        assert_eq!(t.store.list_messages(&channel.id.text(), Some(END_OF_TIME), 500).await.unwrap(), newest_first);
        assert_eq!(t.store.list_messages_after(&channel.id.text(), NOBODY, 500).await.unwrap(), *messages);
        assert_eq!(t.store.list_messages(&channel.id.text(), Some(&messages[0].id.text()), 500).await.unwrap(), []);
    }
}

async fn a_page_never_steps_over_deleted_messages(t: Context) {
    let (_, channel, messages) = t.history(20).await;
    for message in &messages[3..17] {
        t.store.delete_message(&message.id.text()).await.unwrap();
    }
    let page = t.store.list_messages(&channel.id.text(), None, 6).await.unwrap();
    let live: Vec<_> = messages[..3].iter().chain(&messages[17..]).rev().cloned().collect();
    assert_eq!(page, live);
    let page = t.store.list_messages_after(&channel.id.text(), &messages[1].id.text(), 2).await.unwrap();
    assert_eq!(page, [messages[2].clone(), messages[17].clone()]);
}

async fn an_unknown_channel_or_limit_zero_is_an_empty_page(t: Context) {
    let (_, channel, messages) = t.history(2).await;
    for (channel, limit) in [(NOBODY, 10), ("no id", 10), (&*channel.id.text(), 0)] {
        assert_eq!(t.store.list_messages(channel, None, limit).await.unwrap(), []);
        assert_eq!(t.store.list_messages(channel, Some(&messages[1].id.text()), limit).await.unwrap(), []);
        assert_eq!(t.store.list_messages_after(channel, NOBODY, limit).await.unwrap(), []);
    }
}

async fn a_limit_above_the_maximum_is_clamped(t: Context) {
    let (_, channel, messages) = t.history(503).await;
    for limit in [500, 501, u32::MAX] {
        let page = t.store.list_messages(&channel.id.text(), None, limit).await.unwrap();
        assert_eq!((page.len(), &page[0], &page[499]), (500, &messages[502], &messages[3]));
        assert_eq!(t.store.list_messages_after(&channel.id.text(), NOBODY, limit).await.unwrap(), messages[..500]);
        for at in [PageAt::Newest, PageAt::Before(END_OF_TIME), PageAt::After(NOBODY)] {
            let page = t.store.page_messages(&channel.id.text(), at, limit, usize::MAX).await.unwrap();
            assert_eq!((page.messages.len(), page.has_more), (500, true));
        }
    }
}

async fn a_malformed_cursor_is_refused_before_anything_else(t: Context) {
    let (_, channel, _) = t.history(1).await;
    for cursor in MALFORMED {
        for channel in [&*channel.id.text(), NOBODY, "no id"] {
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
    assert_eq!(t.store.list_messages(&one.id.text(), Some(&between.id.text()), 9).await.unwrap(), [first]);
    assert_eq!(t.store.list_messages_after(&one.id.text(), &between.id.text(), 9).await.unwrap(), [second]);
}

/// A channel with messages of these lengths, oldest first.
async fn of_lengths(t: &Context, lengths: &[usize]) -> (Channel, Vec<Message>) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let mut messages = Vec::new();
    for length in lengths {
        messages.push(t.post(&channel, &user, &"x".repeat(*length)).await);
    }
    (channel, messages)
}

/// What a page within bounds is, by the list of all messages that way.
fn within(all: &[Message], limit: u32, max_bytes: usize) -> MessagePage {
    let mut messages = all[..all.len().min(limit as usize)].to_vec();
    while messages.len() > 1 && messages.iter().map(|message| message.content.len()).sum::<usize>() > max_bytes {
        messages.pop();
    }
    MessagePage { has_more: !messages.is_empty() && messages.len() < all.len(), messages }
}

async fn a_page_bounded_in_bytes_is_what_a_list_begins_with(t: Context) {
    // On both sides of what SQLite reads as one row.
    let (channel, messages) = of_lengths(&t, &[1, 4097, 10, 4096, 3, 70_000, 1, 1, 5000, 2]).await;
    let newest_first: Vec<_> = messages.iter().rev().cloned().collect();
    let middle = &*messages[5].id.text();
    for (at, all) in [
        (PageAt::Newest, newest_first.as_slice()),
        (PageAt::Before(END_OF_TIME), &newest_first),
        (PageAt::Before(middle), &newest_first[5..]),
        (PageAt::After(NOBODY), &messages),
        (PageAt::After(middle), &messages[6..]),
    ] {
        for limit in [1, 2, 3, 9, 10, 11, 500] {
            for max_bytes in [0, 1, 2, 4, 4099, 5003, 5004, 5005, 80_000, 1 << 20, usize::MAX] {
                let page = t.store.page_messages(&channel.id.text(), at, limit, max_bytes).await.unwrap();
                assert_eq!(page, within(all, limit, max_bytes), "{at:?} {limit} {max_bytes}");
            }
        }
    }
}

async fn a_bounded_page_has_one_message_whatever_its_length(t: Context) {
    let (channel, messages) = of_lengths(&t, &[1 << 20, 1 << 20]).await;
    for (at, message) in [(PageAt::Newest, &messages[1]), (PageAt::After(NOBODY), &messages[0])] {
        for max_bytes in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 21) - 1] {
            let page = t.store.page_messages(&channel.id.text(), at, 50, max_bytes).await.unwrap();
            assert_eq!(page, MessagePage { messages: vec![message.clone()], has_more: true });
        }
        let both = t.store.page_messages(&channel.id.text(), at, 50, 1 << 21).await.unwrap();
        assert_eq!((both.messages.len(), both.has_more), (2, false));
    }
}

async fn whether_there_is_more_is_exact_at_both_bounds(t: Context) {
    let (channel, messages) = of_lengths(&t, &[5, 5, 5, 5]).await;
    let has_more = async |at, limit, max_bytes| {
        let page = t.store.page_messages(&channel.id.text(), at, limit, max_bytes).await.unwrap();
        (page.messages.len(), page.has_more)
    };
    for at in [PageAt::Newest, PageAt::Before(END_OF_TIME), PageAt::After(NOBODY)] {
        assert_eq!(has_more(at, 4, 100).await, (4, false));
        assert_eq!(has_more(at, 3, 100).await, (3, true));
        assert_eq!(has_more(at, 100, 20).await, (4, false));
        assert_eq!(has_more(at, 100, 19).await, (3, true));
        assert_eq!(has_more(at, 4, 20).await, (4, false));
        assert_eq!(has_more(at, 4, 15).await, (3, true));
    }
    // What is deleted is not there, at the end either.
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    for at in [PageAt::Newest, PageAt::Before(END_OF_TIME)] {
        assert_eq!(has_more(at, 3, 100).await, (3, false));
        assert_eq!(has_more(at, 100, 15).await, (3, false));
    }
}

async fn a_bounded_page_follows_every_change(t: Context) {
    let (channel, mut messages) = of_lengths(&t, &[5, 5, 5]).await;
    let page = async |max_bytes| t.store.page_messages(&channel.id.text(), PageAt::Newest, 3, max_bytes).await.unwrap();
    let newest_first = |messages: &[Message]| messages.iter().rev().cloned().collect::<Vec<_>>();
    assert_eq!(page(15).await, within(&newest_first(&messages), 3, 15));
    messages.push(t.store.create_message(&channel.id.text(), &messages[0].author_id.text(), "four").await.unwrap());
    assert_eq!(page(15).await, within(&newest_first(&messages), 3, 15));
    messages[2] = t.store.update_message(&messages[2].id.text(), &"y".repeat(20)).await.unwrap();
    assert_eq!(page(15).await, within(&newest_first(&messages), 3, 15));
    assert_eq!(page(29).await, within(&newest_first(&messages), 3, 29));
    t.store.delete_message(&messages.remove(2).id.text()).await.unwrap();
    for max_bytes in [4, 9, 13, 14, 15] {
        assert_eq!(page(max_bytes).await, within(&newest_first(&messages), 3, max_bytes));
    }
}

async fn whoever_follows_the_cursor_of_bounded_pages_gets_everything_once(t: Context) {
    let lengths: Vec<_> = (0..36).map(|number| [3, 700, 1, 5000, 40, 9000][number * 7 % 6]).collect();
    let (channel, messages) = of_lengths(&t, &lengths).await;
    let newest_first: Vec<_> = messages.iter().rev().cloned().collect();
    for (limit, max_bytes) in [(7, 6000), (500, 10_000), (3, usize::MAX), (500, 0)] {
        let (mut back, mut forth) = (Vec::new(), Vec::new());
        loop {
            let last = back.last().map(|last: &Message| last.id.text());
            let at = last.as_deref().map_or(PageAt::Newest, PageAt::Before);
            let page = t.store.page_messages(&channel.id.text(), at, limit, max_bytes).await.unwrap();
            back.extend(page.messages);
            if !page.has_more {
                break;
            }
        }
        loop {
            let last = forth.last().map(|last: &Message| last.id.text());
            let at = PageAt::After(last.as_deref().unwrap_or(NOBODY));
            let page = t.store.page_messages(&channel.id.text(), at, limit, max_bytes).await.unwrap();
            forth.extend(page.messages);
            if !page.has_more {
                break;
            }
        }
        assert_eq!((back, forth), (newest_first.clone(), messages.clone()));
    }
}

async fn the_rules_of_lists_hold_for_bounded_pages(t: Context) {
    let (_, channel, messages) = t.history(2).await;
    for at in [PageAt::Newest, PageAt::Before(END_OF_TIME), PageAt::After(NOBODY)] {
        for (channel, limit) in [(NOBODY, 10), ("no id", 10), (&*channel.id.text(), 0)] {
            let page = t.store.page_messages(channel, at, limit, 100).await.unwrap();
            assert_eq!(page, MessagePage::default());
        }
    }
    let lower = messages[1].id.text().to_lowercase();
    let page = t.store.page_messages(&channel.id.text().to_lowercase(), PageAt::Before(&lower), 9, 100).await.unwrap();
    assert_eq!(page, MessagePage { messages: messages[..1].to_vec(), has_more: false });
    for cursor in MALFORMED {
        for (channel, limit) in [(&*channel.id.text(), 10), (NOBODY, 0)] {
            let before = t.store.page_messages(channel, PageAt::Before(cursor), limit, 9).await;
            assert_refused!(before, StorageError::InvalidInput { field: "before", .. });
            let after = t.store.page_messages(channel, PageAt::After(cursor), limit, 9).await;
            assert_refused!(after, StorageError::InvalidInput { field: "after", .. });
        }
    }
}
