//! Log-ins by an answered challenge, and membership.

use std::time::Duration;

use decentcom_server::storage::{Admission, Challenge, Change, Entity, LogIn, LoggedIn, SessionDigest, StorageError};
use futures::{FutureExt as _, future::join_all};

use crate::{Context, assert_refused, context::NOBODY};

crate::suite! {
    a_log_in_makes_user_membership_and_session_at_once,
    a_challenge_logs_in_once_also_under_a_race,
    a_used_challenge_stays_used_when_the_store_is_opened_again,
    two_first_log_ins_at_once_are_one_user,
    a_challenge_is_refused_from_the_moment_it_expires_on,
    a_log_in_that_is_refused_uses_nothing_up,
    only_members_are_let_in_where_nobody_may_join,
    a_visitor_is_no_member_until_they_join,
    the_newest_used_number_of_each_slot_is_answered,
    used_challenges_are_swept_when_they_have_expired,
    the_login_key_is_random_and_stays_the_same,
    joining_and_leaving_are_announced_once,
    members_are_listed_by_id_past_those_who_are_none,
    logging_a_user_out_everywhere_ends_and_announces_each_session,
}

const HOUR: Duration = Duration::from_secs(3600);

fn log_in(t: &Context, pubkey: &str, number: u32) -> LogIn {
    LogIn {
        pubkey: pubkey.into(),
        challenge: Challenge { slot: Challenge::slot_at(t.now()), number },
        admission: Admission::Join,
        is_bot: false,
        duration: HOUR,
    }
}

async fn a_log_in_makes_user_membership_and_session_at_once(t: Context) {
    let mut feed = t.store.changes();
    let asked = LogIn { is_bot: true, ..log_in(&t, "key", 0) };
    let LoggedIn { user, session } = t.store.log_in(asked).await.unwrap();
    assert!(user.is_bot && user.is_member && user.pubkey == "key");
    assert_eq!(t.store.get_user_by_pubkey("key").await.unwrap(), Some(user.clone()));
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session.clone()));
    assert_eq!((session.user_id, session.expires_at.since(t.now())), (user.id, HOUR));
    // What a person says later does not make the bot one; a log-in that changes nothing announces nothing.
    let again = t.store.log_in(log_in(&t, "key", 1)).await.unwrap();
    assert_eq!(again.user, user);
    assert_eq!(feed.next().await, Ok(Change::UserCreated(user.into())));
    assert_eq!(feed.next().now_or_never(), None);
}

async fn a_challenge_logs_in_once_also_under_a_race(t: Context) {
    t.user("key").await;
    let racing = (0..16).map(|_| {
        let (store, log_in) = (t.store.clone(), log_in(&t, "key", 0));
        tokio::spawn(async move { store.log_in(log_in).await })
    });
    let answers: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_refused!(refused, StorageError::Conflict { entity: Entity::Challenge, .. });
    }
    // Another number, another key and another slot are other challenges.
    t.store.log_in(log_in(&t, "key", 1)).await.unwrap();
    t.store.log_in(log_in(&t, "another key", 0)).await.unwrap();
    t.advance(60_000);
    t.store.log_in(log_in(&t, "key", 0)).await.unwrap();
}

async fn a_used_challenge_stays_used_when_the_store_is_opened_again(mut t: Context) {
    t.store.log_in(log_in(&t, "key", 7)).await.unwrap();
    t.reopen().await;
    let again = t.store.log_in(log_in(&t, "key", 7)).await;
    assert_refused!(again, StorageError::Conflict { entity: Entity::Challenge, .. });
}

async fn two_first_log_ins_at_once_are_one_user(t: Context) {
    let racing = (0..16).map(|number| {
        let (store, log_in) = (t.store.clone(), log_in(&t, "key", number));
        tokio::spawn(async move { store.log_in(log_in).await.unwrap().user.id })
    });
    let ids: std::collections::BTreeSet<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(t.store.list_users().await.unwrap().len(), 1);
}

async fn a_challenge_is_refused_from_the_moment_it_expires_on(t: Context) {
    let (one, other) = (log_in(&t, "key", 0), log_in(&t, "key", 1));
    t.advance(6 * 60_000 - 1);
    t.store.log_in(one).await.unwrap();
    t.advance(1);
    assert_refused!(t.store.log_in(other).await, StorageError::Conflict { entity: Entity::Challenge, .. });
}

async fn a_log_in_that_is_refused_uses_nothing_up(t: Context) {
    let good = log_in(&t, "key", 0);
    let endless = Challenge { slot: u64::MAX, number: 0 };
    for (bad, field) in [
        (LogIn { pubkey: String::new(), ..good.clone() }, "pubkey"),
        (LogIn { pubkey: "x".repeat(257), ..good.clone() }, "pubkey"),
        (LogIn { duration: Duration::ZERO, ..good.clone() }, "duration"),
        (LogIn { duration: Duration::MAX, ..good.clone() }, "duration"),
        (LogIn { challenge: endless, ..good.clone() }, "challenge"),
    ] {
        assert_refused!(t.store.log_in(bad).await, StorageError::InvalidInput { field: named, .. } if named == field);
    }
    let not_let_in = LogIn { admission: Admission::MembersOnly, ..good.clone() };
    assert_refused!(t.store.log_in(not_let_in).await, StorageError::NotFound { entity: Entity::User, .. });
    assert_eq!(t.store.list_users().await.unwrap(), []);
    t.store.log_in(good).await.unwrap();
}

async fn only_members_are_let_in_where_nobody_may_join(t: Context) {
    let user = t.user("key").await;
    let only_members = |number| LogIn { admission: Admission::MembersOnly, ..log_in(&t, "key", number) };
    assert_eq!(t.store.log_in(only_members(0)).await.unwrap().user, user);
    t.store.set_membership(&user.id.text(), false).await.unwrap();
    let refused = t.store.log_in(only_members(1)).await;
    assert_refused!(refused, StorageError::NotFound { entity: Entity::User, .. });
}

async fn a_visitor_is_no_member_until_they_join(t: Context) {
    let visit = |number| LogIn { admission: Admission::Visit, ..log_in(&t, "key", number) };
    let visitor = t.store.log_in(visit(0)).await.unwrap().user;
    assert!(!visitor.is_member);
    assert_eq!(t.store.list_members_page(None, 10).await.unwrap(), []);
    assert_eq!(t.store.list_users().await.unwrap(), std::slice::from_ref(&visitor));
    t.advance(5);
    let joined = t.store.log_in(log_in(&t, "key", 1)).await.unwrap().user;
    assert!(joined.is_member && joined.id == visitor.id && joined.updated_at == t.now());
    // To visit takes nothing away.
    assert_eq!(t.store.log_in(visit(2)).await.unwrap().user, joined);
}

async fn the_newest_used_number_of_each_slot_is_answered(t: Context) {
    for number in [0, 300, 2] {
        t.store.log_in(log_in(&t, "key", number)).await.unwrap();
    }
    t.store.log_in(log_in(&t, "another key", u32::MAX)).await.unwrap();
    t.advance(60_000);
    t.store.log_in(log_in(&t, "key", 1)).await.unwrap();
    let slot = Challenge::slot_at(t.now());
    let newest = t.store.newest_used_challenges("key", &[slot, slot - 1, slot - 2, slot + 1, slot]).await.unwrap();
    assert_eq!(newest, [Some(1), Some(300), None, None, Some(1)]);
    assert_eq!(t.store.newest_used_challenges("another key", &[slot - 1]).await.unwrap(), [Some(u32::MAX)]);
    assert_eq!(t.store.newest_used_challenges("unknown", &[slot]).await.unwrap(), [None]);
    assert_eq!(t.store.newest_used_challenges("key", &[]).await.unwrap(), []);
    let too_many = t.store.newest_used_challenges("key", &[slot; 17]).await;
    assert_refused!(too_many, StorageError::InvalidInput { field: "slots", .. });
}

async fn used_challenges_are_swept_when_they_have_expired(t: Context) {
    let slot = Challenge::slot_at(t.now());
    for number in 0..40 {
        t.store.log_in(log_in(&t, "key", number)).await.unwrap();
    }
    t.advance(60_000);
    t.store.log_in(log_in(&t, "key", 0)).await.unwrap();
    let newest = async || t.store.newest_used_challenges("key", &[slot, slot + 1]).await.unwrap();
    t.advance(5 * 60_000 - 1);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 0);
    assert_eq!(newest().await, [Some(39), Some(0)]);
    t.advance(1);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 0, "challenges are no sessions");
    assert_eq!(newest().await, [None, Some(0)]);
    t.advance(60_000);
    t.store.delete_expired_sessions().await.unwrap();
    assert_eq!(newest().await, [None, None]);
}

async fn the_login_key_is_random_and_stays_the_same(mut t: Context) {
    let key = t.store.login_key().await.unwrap();
    let other = Context::new(t.setup()).await;
    assert_ne!(other.store.login_key().await.unwrap(), key);
    t.reopen().await;
    assert_eq!(t.store.login_key().await.unwrap(), key);
    assert_eq!(format!("{key:?}"), "LoginKey(secret)");
}

async fn joining_and_leaving_are_announced_once(t: Context) {
    let user = t.user("key").await;
    let mut feed = t.store.changes();
    t.advance(5);
    let left = t.store.set_membership(&user.id.text(), false).await.unwrap();
    assert_eq!((left.is_member, left.updated_at), (false, t.now()));
    t.advance(5);
    assert_eq!(t.store.set_membership(&user.id.text(), false).await.unwrap(), left);
    let joined = t.store.set_membership(&user.id.text().to_lowercase(), true).await.unwrap();
    assert_eq!((joined.is_member, joined.updated_at, joined.created_at), (true, t.now(), user.created_at));
    assert_eq!(t.store.get_user_by_id(&user.id.text()).await.unwrap(), Some(joined.clone()));
    let renamed = t.store.update_user(&user.id.text(), Some("Ada"), None).await.unwrap();
    assert!(renamed.is_member);
    for change in
        [Change::MemberLeft(left.into()), Change::MemberJoined(joined.into()), Change::UserUpdated(renamed.into())]
    {
        assert_eq!(feed.next().await, Ok(change));
    }
    for nobody in [NOBODY, "x"] {
        let refused = t.store.set_membership(nobody, true).await;
        assert_refused!(refused, StorageError::NotFound { entity: Entity::User, .. });
    }
}

async fn members_are_listed_by_id_past_those_who_are_none(t: Context) {
    let mut users = Vec::new();
    for number in 0..9 {
        users.push(t.user(&number.to_string()).await);
    }
    for left in [0, 1, 4, 8] {
        t.store.set_membership(&users[left].id.text(), false).await.unwrap();
    }
    let page = async |after: Option<&str>, limit| {
        let members = t.store.list_members_page(after, limit).await.unwrap();
        members.into_iter().map(|user| user.pubkey).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 10).await, ["2", "3", "5", "6", "7"]);
    assert_eq!(page(None, 2).await, ["2", "3"]);
    assert_eq!(page(Some(&users[3].id.text()), 2).await, ["5", "6"]);
    assert_eq!(page(Some(&users[4].id.text().to_lowercase()), 9).await, ["5", "6", "7"]);
    assert_eq!(page(Some(NOBODY), u32::MAX).await.len(), 5);
    assert!(page(None, 0).await.is_empty() && page(Some(&users[7].id.text()), 5).await.is_empty());
    let malformed = t.store.list_members_page(Some("x"), 0).await;
    assert_refused!(malformed, StorageError::InvalidInput { field: "after", .. });
    t.store.set_membership(&users[8].id.text(), true).await.unwrap();
    assert_eq!(page(Some(&users[6].id.text()), 5).await, ["7", "8"]);
}

async fn logging_a_user_out_everywhere_ends_and_announces_each_session(t: Context) {
    let (user, other) = (t.user("key").await, t.user("other key").await);
    let mut ended = std::collections::BTreeSet::new();
    for _ in 0..50 {
        ended.insert(SessionDigest::of(&t.store.create_session(&user.id.text(), HOUR).await.unwrap().token));
    }
    let logged_in = t.store.log_in(log_in(&t, "key", 0)).await.unwrap().session;
    ended.insert(SessionDigest::of(&logged_in.token));
    let kept = t.store.create_session(&other.id.text(), HOUR).await.unwrap();
    let mut feed = t.store.changes();
    assert_eq!(t.store.delete_sessions_of_user(&user.id.text()).await.unwrap(), 51);
    while !ended.is_empty() {
        match feed.next().await {
            Ok(Change::SessionDeleted(digest)) => assert!(ended.remove(&digest)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(t.store.get_session(&logged_in.token).await.unwrap(), None);
    assert_eq!(t.store.get_session(&kept.token).await.unwrap(), Some(kept));
    for nobody in [&*user.id.text(), NOBODY, "x"] {
        assert_eq!(t.store.delete_sessions_of_user(nobody).await.unwrap(), 0);
    }
}
