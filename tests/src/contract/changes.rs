//! The change feed.

use std::time::Duration;

use decentcom_server::storage::{Change, FeedError, SessionDigest};

use crate::Context;

crate::suite! {
    every_change_is_announced_once_in_commit_order,
    what_changes_nothing_announces_nothing,
    a_deleted_category_announces_its_channels_first,
    a_change_is_visible_before_it_is_announced_and_announced_before_the_call_returns,
    every_subscriber_gets_every_change,
    concurrent_posts_are_announced_in_the_order_of_their_ids,
}

async fn every_change_is_announced_once_in_commit_order(t: Context) {
    let mut feed = t.store.changes();
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let message = t.post(&channel, &user, "x").await;
    let user_2 = t.store.update_user(&user.id.text(), Some("Ada"), None).await.unwrap();
    let channel_2 = t.store.update_channel(&channel.id.text(), Some("hall"), None, None).await.unwrap();
    let message_2 = t.store.update_message(&message.id.text(), "y").await.unwrap();
    t.store.delete_message(&message.id.text()).await.unwrap();
    let category = t.store.create_category("c", 0).await.unwrap();
    let category_2 = t.store.update_category(&category.id.text(), None, Some(1)).await.unwrap();
    t.store.delete_category(&category.id.text()).await.unwrap();
    let session = t.store.create_session(&user.id.text(), Duration::from_secs(1)).await.unwrap();
    t.store.delete_session(&session.token).await.unwrap();
    t.store.delete_channel(&channel.id.text()).await.unwrap();
    let expected = [
        Change::UserCreated(user.into()),
        Change::ChannelCreated(channel.clone().into()),
        Change::MessageCreated(message.clone().into()),
        Change::UserUpdated(user_2.into()),
        Change::ChannelUpdated(channel_2.into()),
        Change::MessageUpdated(message_2.into()),
        Change::MessageDeleted { id: message.id, channel_id: channel.id },
        Change::CategoryCreated(category.clone().into()),
        Change::CategoryUpdated(category_2.into()),
        Change::CategoryDeleted(category.id),
        Change::SessionDeleted(SessionDigest::of(&session.token)),
        Change::ChannelDeleted(channel.id),
    ];
    for change in expected {
        assert_eq!(feed.next().await.unwrap(), change);
    }
}

async fn what_changes_nothing_announces_nothing(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    let mut feed = t.store.changes();
    t.store.delete_message(&messages[0].id.text()).await.unwrap();
    t.store.update_user(&user.id.text(), None, None).await.unwrap();
    t.store.update_channel(&channel.id.text(), Some("room"), None, None).await.unwrap();
    t.store.delete_session("unknown").await.unwrap();
    t.store.delete_expired_sessions().await.unwrap();
    let marker = t.channel("marker").await;
    assert_eq!(feed.next().await.unwrap(), Change::ChannelCreated(marker.into()));
}

async fn a_deleted_category_announces_its_channels_first(t: Context) {
    let category = t.store.create_category("c", 0).await.unwrap();
    for _ in 0..3 {
        t.store.create_channel("room", Some(&category.id.text()), 0).await.unwrap();
    }
    let mut feed = t.store.changes();
    t.store.delete_category(&category.id.text()).await.unwrap();
    for channel in t.store.list_channels().await.unwrap() {
        assert_eq!(feed.next().await.unwrap(), Change::ChannelUpdated(channel.into()));
    }
    assert_eq!(feed.next().await.unwrap(), Change::CategoryDeleted(category.id));
}

async fn a_change_is_visible_before_it_is_announced_and_announced_before_the_call_returns(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let mut feed = t.store.changes();
    for number in 0..20 {
        let message = t.post(&channel, &user, &number.to_string()).await;
        let announced = futures::FutureExt::now_or_never(feed.next());
        assert_eq!(announced, Some(Ok(Change::MessageCreated(message.into()))));
    }
    let store = t.store.clone();
    let mut feed = t.store.changes();
    let watching = tokio::spawn(async move {
        for _ in 0..40 {
            let Ok(Change::MessageCreated(message)) = feed.next().await else { panic!("another change") };
            assert_eq!(store.get_message(&message.id.text()).await.unwrap(), Some((*message).clone()));
        }
    });
    let posting = (0..4).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                store.create_message(&channel.id.text(), &user.id.text(), "x").await.unwrap();
            }
        })
    });
    for poster in futures::future::join_all(posting).await {
        poster.unwrap();
    }
    watching.await.unwrap();
}

async fn every_subscriber_gets_every_change(t: Context) {
    let mut feeds = [t.store.changes(), t.store.changes(), t.store.changes()];
    let users = [t.user("a").await, t.user("b").await];
    for feed in &mut feeds {
        for user in &users {
            assert_eq!(feed.next().await, Ok(Change::UserCreated(user.clone().into())));
        }
    }
    assert_ne!(feeds[0].next().now_or_never_is_closed(), Some(FeedError::Closed));
}

/// Whether a feed has ended, without waiting for it.
trait NowOrNever {
    fn now_or_never_is_closed(self) -> Option<FeedError>;
}

impl<F: Future<Output = Result<Change, FeedError>>> NowOrNever for F {
    fn now_or_never_is_closed(self) -> Option<FeedError> {
        futures::FutureExt::now_or_never(self).and_then(Result::err)
    }
}

async fn concurrent_posts_are_announced_in_the_order_of_their_ids(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let mut feed = t.store.changes();
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
    let mut announced = Vec::new();
    for _ in 0..160 {
        let Ok(Change::MessageCreated(message)) = feed.next().await else { panic!("another change") };
        announced.push((*message).clone());
    }
    announced.reverse();
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), announced);
}
