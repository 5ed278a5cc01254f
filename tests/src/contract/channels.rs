//! Channels, and the deletion of one with all its messages.

use decentcom_server::storage::{CategoryChoice, ChannelEdit, Entity, StorageError};

use crate::{Context, assert_refused, context::MALFORMED};

crate::suite! {
    names_need_not_be_unique,
    a_name_is_not_empty,
    a_category_is_kept_as_given,
    channels_are_listed_by_position_then_id,
    absent_fields_stay_and_an_empty_topic_is_cleared,
    an_update_that_changes_nothing_leaves_updated_at,
    an_edit_moves_between_categories_in_one_step,
    positions_reach_both_ends_of_their_type,
    a_malformed_channel_id_does_not_exist,
    a_deleted_channel_is_gone_with_its_messages_at_once,
    a_deleted_channel_cannot_be_posted_to_or_changed,
    deleting_a_channel_again_is_not_found,
    neighbouring_channels_keep_their_messages,
    a_large_deleted_channel_stays_gone_while_it_is_reclaimed,
    posting_races_the_deletion_and_no_message_survives_it,
    soft_deleted_messages_go_with_their_channel,
}

async fn names_need_not_be_unique(t: Context) {
    let (one, other) = (t.channel("room").await, t.channel("room").await);
    assert_ne!(one.id, other.id);
    assert_eq!(t.store.list_channels().await.unwrap(), [one, other]);
}

async fn a_name_is_not_empty(t: Context) {
    assert_refused!(t.store.create_channel("", None, 0).await, StorageError::InvalidInput { field: "name", .. });
    let channel = t.channel("room").await;
    let update = t.store.update_channel(&channel.id.text(), Some(""), None, None).await;
    assert_refused!(update, StorageError::InvalidInput { field: "name", .. });
    assert_eq!(t.store.list_channels().await.unwrap(), [channel]);
}

async fn a_category_is_kept_as_given(t: Context) {
    for category in ["x", "01arz3ndektsv4rrffq69g5fav", " ", "\u{1F600}"] {
        let channel = t.store.create_channel("room", Some(category), 0).await.unwrap();
        assert_eq!(channel.category_id.as_deref(), Some(category));
        assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(channel));
    }
    assert_eq!(t.store.create_channel("room", Some(""), 0).await.unwrap().category_id, None);
}

async fn channels_are_listed_by_position_then_id(t: Context) {
    for position in [3, -1, 3, 0, i32::MAX, i32::MIN, -1] {
        t.store.create_channel("room", None, position).await.unwrap();
    }
    let listed = t.store.list_channels().await.unwrap();
    assert_eq!(listed.len(), 7);
    assert!(listed.is_sorted_by_key(|channel| (channel.position, channel.id)));
    let moved = t.store.update_channel(&listed[0].id.text(), None, None, Some(1)).await.unwrap();
    let listed = t.store.list_channels().await.unwrap();
    assert!(listed.is_sorted_by_key(|channel| (channel.position, channel.id)));
    assert_eq!(listed[3], moved);
}

async fn absent_fields_stay_and_an_empty_topic_is_cleared(t: Context) {
    let channel = t.store.create_channel("room", Some("category"), 4).await.unwrap();
    let with_topic = t.store.update_channel(&channel.id.text(), None, Some("topic"), None).await.unwrap();
    assert_eq!((with_topic.name.as_str(), with_topic.position), ("room", 4));
    assert_eq!((with_topic.topic.as_deref(), with_topic.category_id.as_deref()), (Some("topic"), Some("category")));
    let renamed = t.store.update_channel(&channel.id.text(), Some("hall"), None, None).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.topic.as_deref()), ("hall", Some("topic")));
    let bare = t.store.update_channel(&channel.id.text(), None, Some(""), None).await.unwrap();
    assert_eq!((bare.name.as_str(), bare.topic), ("hall", None));
}

async fn an_update_that_changes_nothing_leaves_updated_at(t: Context) {
    let channel = t.store.create_channel("room", None, 4).await.unwrap();
    t.advance(10);
    for (name, topic, position) in [(None, None, None), (Some("room"), Some(""), Some(4))] {
        assert_eq!(t.store.update_channel(&channel.id.text(), name, topic, position).await.unwrap(), channel);
    }
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(channel));
}

async fn an_edit_moves_between_categories_in_one_step(t: Context) {
    let channel = t.channel("room").await;
    let there = t.store.create_category("there", 0).await.unwrap();
    let category = Some(CategoryChoice::Id(there.id.to_string()));
    let edit = ChannelEdit { name: Some("hall".into()), category, ..ChannelEdit::default() };
    let moved = t.store.edit_channel(&channel.id.text(), edit).await.unwrap();
    assert_eq!((moved.name.as_str(), moved.category()), ("hall", Some(there.id)));
    let edit = ChannelEdit { category: Some(CategoryChoice::Uncategorised), ..ChannelEdit::default() };
    assert_eq!(t.store.edit_channel(&channel.id.text(), edit).await.unwrap().category_id, None);
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap().unwrap().category_id, None);
}

async fn positions_reach_both_ends_of_their_type(t: Context) {
    for position in [i32::MIN, -1, 0, i32::MAX] {
        let channel = t.store.create_channel("room", None, position).await.unwrap();
        assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap().unwrap().position, position);
    }
}

async fn a_malformed_channel_id_does_not_exist(t: Context) {
    let user = t.user("key").await;
    for id in MALFORMED {
        assert_eq!(t.store.get_channel(id).await.unwrap(), None);
        assert_eq!(t.store.list_messages(id, None, 10).await.unwrap(), []);
        for result in [
            t.store.update_channel(id, Some("x"), None, None).await.map(drop),
            t.store.delete_channel(id).await,
            t.store.create_message(id, &user.id.text(), "x").await.map(drop),
            t.store.create_message(id, "not an id either", "x").await.map(drop),
        ] {
            assert_refused!(result, StorageError::NotFound { entity: Entity::Channel, .. });
        }
    }
}

async fn a_deleted_channel_is_gone_with_its_messages_at_once(t: Context) {
    let (_, channel, messages) = t.history(5).await;
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), None);
    assert_eq!(t.store.list_channels().await.unwrap(), []);
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 50).await.unwrap(), []);
    assert_eq!(t.store.list_messages(&channel.id.text(), Some(&messages[4].id.text()), 50).await.unwrap(), []);
    assert_eq!(t.store.list_messages_after(&channel.id.text(), &messages[0].id.text(), 50).await.unwrap(), []);
    for message in &messages {
        assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), None);
    }
}

async fn a_deleted_channel_cannot_be_posted_to_or_changed(t: Context) {
    let (user, channel, messages) = t.history(2).await;
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    assert_refused!(
        t.store.create_message(&channel.id.text(), &user.id.text(), "x").await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_refused!(
        t.store.update_channel(&channel.id.text(), Some("x"), None, None).await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_refused!(
        t.store.update_message(&messages[0].id.text(), "x").await,
        StorageError::NotFound { entity: Entity::Message, .. }
    );
    assert_refused!(
        t.store.delete_message(&messages[0].id.text()).await,
        StorageError::NotFound { entity: Entity::Message, .. }
    );
}

async fn deleting_a_channel_again_is_not_found(t: Context) {
    let channel = t.channel("room").await;
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    let again = t.store.delete_channel(&channel.id.text()).await;
    assert_refused!(again, StorageError::NotFound { entity: Entity::Channel, id } if id == channel.id.to_string());
}

async fn neighbouring_channels_keep_their_messages(t: Context) {
    let user = t.user("key").await;
    let channels = [t.channel("a").await, t.channel("b").await, t.channel("c").await];
    let mut kept = Vec::new();
    for number in 0..9 {
        let message = t.post(&channels[number % 3], &user, &number.to_string()).await;
        if number % 3 != 1 {
            kept.push(message);
        }
    }
    t.store.delete_channel(&channels[1].id.text()).await.unwrap();
    for message in kept {
        assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), Some(message));
    }
    for channel in [&channels[0], &channels[2]] {
        assert_eq!(t.store.list_messages(&channel.id.text(), None, 50).await.unwrap().len(), 3);
    }
}

/// More messages than one step reclaims, so that reads fall between the steps.
async fn a_large_deleted_channel_stays_gone_while_it_is_reclaimed(mut t: Context) {
    let (user, channel, messages) = t.history(600).await;
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    for round in 0..20 {
        if round == 10 {
            t.reopen().await;
        }
        assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), None);
        assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), []);
        for message in messages.iter().step_by(50) {
            assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), None);
        }
        let post = t.store.create_message(&channel.id.text(), &user.id.text(), "x").await;
        assert_refused!(post, StorageError::NotFound { entity: Entity::Channel, .. });
        tokio::task::yield_now().await;
    }
    let fresh = t.channel("room").await;
    let next = t.post(&fresh, &user, "next").await;
    assert!(next.id > messages[599].id);
}

async fn posting_races_the_deletion_and_no_message_survives_it(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let posting: Vec<_> = (0..4)
        .map(|_| {
            let (store, user, channel) = (t.store.clone(), user.id, channel.id);
            tokio::spawn(async move {
                let mut posted = Vec::new();
                loop {
                    match store.create_message(&channel.text(), &user.text(), "x").await {
                        Ok(message) => posted.push(message.id),
                        Err(StorageError::NotFound { entity: Entity::Channel, .. }) => return posted,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    while t.store.list_messages(&channel.id.text(), None, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    for posted in futures::future::join_all(posting).await {
        for id in posted.unwrap() {
            assert_eq!(t.store.get_message(&id.text()).await.unwrap(), None);
        }
    }
}

async fn soft_deleted_messages_go_with_their_channel(t: Context) {
    let (_, channel, messages) = t.history(3).await;
    t.store.delete_message(&messages[1].id.text()).await.unwrap();
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    assert_eq!(t.store.get_message(&messages[1].id.text()).await.unwrap(), None);
    assert_refused!(
        t.store.delete_message(&messages[1].id.text()).await,
        StorageError::NotFound { entity: Entity::Message, .. }
    );
}
