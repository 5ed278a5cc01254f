//! Calls that race each other, on the disk, so that several share a commit. `RACE_ROUNDS=1000 cargo test -p
//! decentcom-tests --test races` races for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use decentcom_server::storage::{
    self, Backend, Category, CategoryChoice, CategoryId, Change, ChangeFeed, Channel, ChannelEdit, ChannelId, Clock,
    Entity, OpenError, RedbOptions, Storage, StorageError, StorageOptions, User,
};
use decentcom_tests::{Context, Setup, provider::OnDisk};
use futures::{FutureExt, future::join_all};
use tokio::{
    spawn,
    task::{unconstrained, yield_now},
};

/// Each test once per backend.
macro_rules! over_both_backends {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[test] fn $name() { super::race(&super::OnDisk(super::Backend::Sqlite), super::$name); })*
        }
        mod redb {
            $(#[test] fn $name() { super::race(&super::OnDisk(super::Backend::Redb), super::$name); })*
        }
    };
}

over_both_backends! {
    one_caller_gets_a_pubkey_and_every_other_a_conflict
    no_post_survives_the_deletion_of_its_channel_and_none_comes_after_it
    no_edit_comes_after_the_deletion_of_its_message
    a_sweep_never_takes_a_session_that_has_not_expired
    no_channel_stays_in_a_category_that_is_deleted
    one_of_many_openers_gets_the_store
    another_name_of_the_file_does_not_open_it_twice
}

fn race<F: Future<Output = ()>>(backend: &'static OnDisk, test: impl FnOnce(Context) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let t = Context::new(Setup::of(backend)).await;
        tokio::time::timeout(Duration::from_secs(600), test(t)).await.expect("the store kept the test waiting");
    });
}

fn rounds() -> usize {
    env::var("RACE_ROUNDS").map_or(25, |rounds| rounds.parse().expect("RACE_ROUNDS is a number"))
}

/// What was announced and not looked at yet.
fn announced(feed: &mut ChangeFeed) -> Vec<Change> {
    // Tokio would have a task pause after so many.
    std::iter::from_fn(|| unconstrained(feed.next()).now_or_never()).map(|change| change.expect("no gap")).collect()
}

async fn one_caller_gets_a_pubkey_and_every_other_a_conflict(mut t: Context) {
    let mut feed = t.store.changes();
    let mut winners = Vec::new();
    for round in 0..rounds() {
        let racing = (0..16).map(|racer| {
            let (store, key) = (t.store.clone(), format!("key {round}"));
            spawn(async move { store.create_user(&key, Some(&racer.to_string())).await })
        });
        let mut won = Vec::new();
        for result in join_all(racing).await {
            match result.unwrap() {
                Ok(user) => won.push(user),
                Err(StorageError::Conflict { entity: Entity::User, field: "pubkey" }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(announced(&mut feed), [Change::UserCreated(won[0].clone().into())]);
        winners.append(&mut won);
    }
    t.reopen().await;
    assert_eq!(t.store.list_users().await.unwrap(), winners);
    for user in winners {
        assert_eq!(t.store.get_user_by_pubkey(&user.pubkey).await.unwrap(), Some(user));
    }
}

/// Posts until the channel is not found any more; a post that starts after the deletion is acknowledged must fail.
async fn post(store: Arc<dyn Storage>, channel: ChannelId, author: User, deleted: Arc<AtomicBool>) -> Vec<String> {
    let mut posted = Vec::new();
    loop {
        let is_late = deleted.load(Ordering::SeqCst);
        match store.create_message(&channel.text(), &author.id.text(), "x").await {
            Ok(message) if !is_late => posted.push(message.id.to_string()),
            Err(StorageError::NotFound { entity: Entity::Channel, .. }) => return posted,
            other => panic!("after the deletion: {is_late}; {other:?}"),
        }
    }
}

/// Reads the channel until it is deleted; a read that starts after that must find nothing.
async fn watch(store: Arc<dyn Storage>, channel: ChannelId, deleted: Arc<AtomicBool>) {
    loop {
        let is_late = deleted.load(Ordering::SeqCst);
        let page = store.list_messages(&channel.text(), None, 5).await.unwrap();
        let newest = match page.first() {
            Some(message) => store.get_message(&message.id.text()).await.unwrap(),
            None => None,
        };
        let found = store.get_channel(&channel.text()).await.unwrap();
        if is_late {
            assert_eq!((page, newest, found), (vec![], None, None));
            return;
        }
        yield_now().await;
    }
}

async fn no_post_survives_the_deletion_of_its_channel_and_none_comes_after_it(mut t: Context) {
    let (author, mut feed) = (t.user("key").await, t.store.changes());
    let mut gone = Vec::new();
    for _ in 0..rounds() {
        let channel = t.channel("room").await;
        let deleted = Arc::new(AtomicBool::new(false));
        let posting: Vec<_> =
            (0..6).map(|_| spawn(post(t.store.clone(), channel.id, author.clone(), deleted.clone()))).collect();
        let watching: Vec<_> = (0..2).map(|_| spawn(watch(t.store.clone(), channel.id, deleted.clone()))).collect();
        while t.store.list_messages(&channel.id.text(), None, 9).await.unwrap().len() < 9 {
            yield_now().await;
        }
        t.store.delete_channel(&channel.id.text()).await.unwrap();
        deleted.store(true, Ordering::SeqCst);
        let mut posted = BTreeSet::new();
        for poster in join_all(posting).await {
            posted.extend(poster.unwrap());
        }
        for watcher in join_all(watching).await {
            watcher.unwrap();
        }
        let changes = announced(&mut feed);
        assert_eq!(changes.last(), Some(&Change::ChannelDeleted(channel.id)), "what comes last is the deletion");
        let told = changes.iter().filter_map(|change| match change {
            Change::MessageCreated(message) => Some(message.id.to_string()),
            _ => None,
        });
        assert_eq!(told.collect::<BTreeSet<_>>(), posted);
        gone.push((channel, posted));
    }
    for _ in 0..2 {
        assert_eq!(t.store.list_channels().await.unwrap(), []);
        for (channel, posted) in &gone {
            assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), []);
            for id in posted {
                assert_eq!(t.store.get_message(id).await.unwrap(), None);
            }
        }
        t.reopen().await;
    }
}

async fn no_edit_comes_after_the_deletion_of_its_message(mut t: Context) {
    let (author, channel) = (t.user("key").await, t.channel("room").await);
    let mut kept = Vec::new();
    for _ in 0..rounds() {
        let message = t.post(&channel, &author, "first").await;
        let mut feed = t.store.changes();
        let deleted = Arc::new(AtomicBool::new(false));
        let editing: Vec<_> = (0..4)
            .map(|editor| {
                let (store, id, deleted) = (t.store.clone(), message.id, deleted.clone());
                spawn(async move {
                    let mut edits = Vec::new();
                    loop {
                        let is_late = deleted.load(Ordering::SeqCst);
                        match store.update_message(&id.text(), &format!("{editor} {}", edits.len())).await {
                            Ok(edited) if !is_late => edits.push(edited),
                            Err(StorageError::NotFound { entity: Entity::Message, .. }) => return edits,
                            other => panic!("after the deletion: {is_late}; {other:?}"),
                        }
                    }
                })
            })
            .collect();
        while t.store.get_message(&message.id.text()).await.unwrap().unwrap().edited_at.is_none() {
            yield_now().await;
        }
        t.store.delete_message(&message.id.text()).await.unwrap();
        deleted.store(true, Ordering::SeqCst);
        let mut edits = Vec::new();
        for editor in join_all(editing).await {
            edits.extend(editor.unwrap());
        }
        let mut changes = announced(&mut feed);
        assert_eq!(changes.pop(), Some(Change::MessageDeleted { id: message.id, channel_id: channel.id }));
        let Some(Change::MessageUpdated(last)) = changes.last().cloned() else { panic!("{changes:?}") };
        assert_eq!(changes.len(), edits.len());
        for edit in edits {
            assert!(changes.contains(&Change::MessageUpdated(edit.into())));
        }
        let mut deleted = (*last).clone();
        deleted.deleted = true;
        assert_eq!(t.store.get_message(&message.id.text()).await.unwrap().as_ref(), Some(&deleted));
        kept.push(deleted);
    }
    t.reopen().await;
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 500).await.unwrap(), []);
    for message in kept {
        assert_eq!(t.store.get_message(&message.id.text()).await.unwrap(), Some(message));
    }
}

async fn a_sweep_never_takes_a_session_that_has_not_expired(t: Context) {
    let user = t.user("key").await;
    let done = Arc::new(AtomicBool::new(false));
    let sweeping: Vec<_> = (0..2)
        .map(|_| {
            let (store, clock, done) = (t.store.clone(), t.clock.clone(), done.clone());
            spawn(async move {
                let mut swept = 0;
                while !done.load(Ordering::SeqCst) {
                    clock.advance(Duration::from_millis(1));
                    swept += store.delete_expired_sessions().await.unwrap();
                }
                swept
            })
        })
        .collect();
    let logging_in = (0..6).map(|caller| {
        let (store, clock) = (t.store.clone(), t.clock.clone());
        spawn(async move {
            let (mut short, mut long) = (0, Vec::new());
            for number in 0..rounds() {
                let is_short = (number + caller) % 2 == 0;
                let lasts = Duration::from_millis(if is_short { 3 } else { 24 * 3_600_000 });
                let session = store.create_session(&user.id.text(), lasts).await.unwrap();
                let found = store.get_session(&session.token).await.unwrap();
                // The clock only goes forward, so a session that lives now was alive at every sweep before.
                if clock.now() < session.expires_at {
                    assert_eq!(found.as_ref(), Some(&session));
                }
                if is_short { short += 1 } else { long.push(session) }
            }
            (short, long)
        })
    });
    let logged_in = join_all(logging_in).await;
    done.store(true, Ordering::SeqCst);
    let mut swept = 0;
    for sweeper in sweeping {
        swept += sweeper.await.unwrap();
    }
    t.advance(3);
    swept += t.store.delete_expired_sessions().await.unwrap();
    let mut expired = 0;
    for caller in logged_in {
        let (short, long) = caller.unwrap();
        expired += short;
        for session in long {
            assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session));
        }
    }
    assert_eq!(swept, expired, "each expired session is counted once");
}

/// Moves a channel out and in again until the category is gone. A channel that is made keeps its category as given, so what
/// is made in it after that stays.
async fn move_in_and_out(store: Arc<dyn Storage>, channel: Channel, category: Category) {
    let into = |category| ChannelEdit { category: Some(category), ..ChannelEdit::default() };
    while store.get_category(&category.id.text()).await.unwrap().is_some() {
        store.edit_channel(&channel.id.text(), into(CategoryChoice::Uncategorised)).await.unwrap();
        match store.edit_channel(&channel.id.text(), into(CategoryChoice::Id(category.id.text().to_lowercase()))).await
        {
            Ok(_) | Err(StorageError::NotFound { entity: Entity::Category, .. }) => {}
            Err(other) => panic!("{other}"),
        }
        store.create_channel("new", Some(&category.id.text()), 0).await.unwrap();
    }
}

async fn no_channel_stays_in_a_category_that_is_deleted(mut t: Context) {
    let mut feed = t.store.changes();
    let mut inside: BTreeMap<ChannelId, Option<String>> = BTreeMap::new();
    for _ in 0..rounds() {
        let category = t.store.create_category("heading", 0).await.unwrap();
        let settled = t.store.create_channel("settled", Some(&category.id.text()), 0).await.unwrap();
        let mut moving = Vec::new();
        for _ in 0..4 {
            moving.push(spawn(move_in_and_out(t.store.clone(), t.channel("room").await, category.clone())));
        }
        while t.store.list_channels().await.unwrap().last().is_some_and(|channel| channel.name != "new") {
            yield_now().await;
        }
        t.store.delete_category(&category.id.text()).await.unwrap();
        for mover in join_all(moving).await {
            mover.unwrap();
        }
        let mut deleted = Vec::new();
        for change in announced(&mut feed) {
            match change {
                Change::ChannelCreated(channel) | Change::ChannelUpdated(channel) => {
                    inside.insert(channel.id, channel.category_id.clone());
                }
                Change::CategoryDeleted(id) => {
                    let left = inside.values().flatten().filter(|given| CategoryId::parse(given) == Some(id)).count();
                    assert_eq!((left, id), (0, category.id), "at its deletion, nothing is left in it");
                    deleted.push(id);
                }
                Change::CategoryCreated(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(deleted, [category.id]);
        assert_eq!(inside[&settled.id], None);
    }
    t.reopen().await;
    let channels = t.store.list_channels().await.unwrap();
    let stored: BTreeMap<_, _> = channels.into_iter().map(|channel| (channel.id, channel.category_id)).collect();
    assert_eq!(stored, inside, "what is stored is what was announced");
}

async fn open(t: &Context, path: std::path::PathBuf) -> Result<Arc<dyn Storage>, OpenError> {
    let options =
        StorageOptions { backend: t.store.backend(), path, redb: RedbOptions::default(), min_free: Default::default() };
    let opening = storage::open(&options, t.clock.clone());
    opening.await
}

fn assert_in_use(result: Result<Arc<dyn Storage>, OpenError>) {
    let Err(error) = result else { panic!("a store was opened twice") };
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("is in use by ") && text.ends_with("Stop it first"), "{text}");
}

async fn one_of_many_openers_gets_the_store(t: Context) {
    for round in 0..rounds() {
        let path = t.files().join(format!("raced {round}"));
        let opening = (0..6).map(|_| open(&t, path.clone()));
        let (opened, refused): (Vec<_>, Vec<_>) = join_all(opening).await.into_iter().partition(Result::is_ok);
        assert_eq!(opened.len(), 1);
        refused.into_iter().for_each(assert_in_use);
        let store = opened.into_iter().next().unwrap().unwrap();
        let user = store.create_user("key", None).await.unwrap();
        assert_in_use(open(&t, path.clone()).await);
        assert_eq!(store.list_users().await.unwrap(), std::slice::from_ref(&user));
        store.close().await.unwrap();
        let store = open(&t, path).await.unwrap();
        assert_eq!(store.list_users().await.unwrap(), [user]);
    }
}

async fn another_name_of_the_file_does_not_open_it_twice(t: Context) {
    let user = t.user("key").await;
    let directory = t.files().to_owned();
    std::os::unix::fs::symlink("store", directory.join("link")).unwrap();
    std::os::unix::fs::symlink(&directory, directory.join("here")).unwrap();
    std::os::unix::fs::symlink("here/link", directory.join("link to the link")).unwrap();
    for name in ["store", "./store", "link", "here/store", "here/link", "link to the link"] {
        assert_in_use(open(&t, directory.join(name)).await);
    }
    assert_eq!(t.store.list_users().await.unwrap(), std::slice::from_ref(&user));
    t.store.close().await.unwrap();
    let other = open(&t, directory.join("link to the link")).await.unwrap();
    assert_eq!(other.list_users().await.unwrap(), [user]);
    assert_in_use(open(&t, directory.join("store")).await);
}
