//! Sessions.

use std::{fs, time::Duration};

use decentcom_server::storage::{Entity, StorageError, Timestamp};

use crate::{
    Context, assert_refused,
    context::{MALFORMED, NOBODY},
};

crate::suite! {
    a_token_has_256_random_bits,
    a_session_is_answered_with_the_token_it_was_asked_for,
    a_token_appears_in_no_debug_text,
    no_file_of_the_store_holds_a_token,
    expired_is_gone_at_exactly_the_expiry_swept_or_not,
    a_duration_is_not_zero_and_ends_within_the_year_9999,
    a_duration_is_rounded_up_to_whole_milliseconds,
    the_user_of_a_session_must_exist,
    logging_out_is_idempotent,
    tokens_are_exact,
    a_sweep_larger_than_one_step_removes_exactly_the_expired,
    two_sweeps_at_once_count_each_session_once,
    a_sweep_after_a_log_out_does_not_count_it,
}

const HOUR: Duration = Duration::from_secs(3600);

async fn a_token_has_256_random_bits(t: Context) {
    let user = t.user("key").await;
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let token = t.store.create_session(&user.id.text(), HOUR).await.unwrap().token;
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        tokens.insert(token);
    }
    assert_eq!(tokens.len(), 20);
    // No position is the same in all: a counter or a clock would show.
    for position in 0..64 {
        let first = tokens.first().unwrap().as_bytes()[position];
        assert!(tokens.iter().any(|token| token.as_bytes()[position] != first), "position {position} never changes");
    }
}

async fn a_session_is_answered_with_the_token_it_was_asked_for(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), HOUR).await.unwrap();
    assert_eq!(t.store.get_session(&session.token).await.unwrap().unwrap(), session);
}

async fn a_token_appears_in_no_debug_text(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), HOUR).await.unwrap();
    assert!(!format!("{session:?} {session:#?}").contains(&session.token[..8]));
}

/// A store that is kept elsewhere has no files; then this shows that none is made.
async fn no_file_of_the_store_holds_a_token(t: Context) {
    let user = t.user("key in the file").await;
    let token = t.store.create_session(&user.id.text(), HOUR).await.unwrap().token;
    let digits: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&token[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let holds = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let mut found_key = false;
    let mut files = 0;
    for entry in fs::read_dir(t.files()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        found_key |= holds(&bytes, b"key in the file");
        assert!(!holds(&bytes, token.as_bytes()) && !holds(&bytes, &digits));
    }
    assert_eq!(found_key, t.setup().provider.kept() == crate::Kept::InFiles, "the search finds what is there");
    assert_eq!(files > 0, found_key);
}

async fn expired_is_gone_at_exactly_the_expiry_swept_or_not(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), Duration::from_millis(10)).await.unwrap();
    t.advance(9);
    assert!(t.store.get_session(&session.token).await.unwrap().is_some());
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 0);
    t.advance(1);
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), None);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 1);
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), None);
}

async fn a_duration_is_not_zero_and_ends_within_the_year_9999(t: Context) {
    let user = t.user("key").await;
    let longest = Timestamp::MAX.since(t.now());
    for duration in [Duration::ZERO, Duration::MAX, Duration::from_secs(u64::MAX), longest + Duration::from_millis(1)] {
        let session = t.store.create_session(&user.id.text(), duration).await;
        assert_refused!(session, StorageError::InvalidInput { field: "duration", .. });
        let nobody = t.store.create_session(NOBODY, duration).await;
        assert_refused!(nobody, StorageError::InvalidInput { field: "duration", .. });
    }
    let session = t.store.create_session(&user.id.text(), longest).await.unwrap();
    assert_eq!(session.expires_at, Timestamp::MAX);
    assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session));
}

async fn a_duration_is_rounded_up_to_whole_milliseconds(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), Duration::from_nanos(1)).await.unwrap();
    assert_eq!(session.expires_at.since(session.created_at), Duration::from_millis(1));
}

async fn the_user_of_a_session_must_exist(t: Context) {
    for id in MALFORMED.into_iter().chain([NOBODY]) {
        let session = t.store.create_session(id, HOUR).await;
        assert_refused!(session, StorageError::NotFound { entity: Entity::User, .. });
    }
}

async fn logging_out_is_idempotent(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), HOUR).await.unwrap();
    let other = t.store.create_session(&user.id.text(), HOUR).await.unwrap();
    for _ in 0..2 {
        t.store.delete_session(&session.token).await.unwrap();
        assert_eq!(t.store.get_session(&session.token).await.unwrap(), None);
    }
    t.store.delete_session("never existed").await.unwrap();
    t.store.delete_session("").await.unwrap();
    assert!(t.store.get_session(&other.token).await.unwrap().is_some());
}

async fn tokens_are_exact(t: Context) {
    let user = t.user("key").await;
    let token = t.store.create_session(&user.id.text(), HOUR).await.unwrap().token;
    for other in [token.to_uppercase(), token[1..].to_owned(), format!("{token} "), "x".repeat(1_000_000)] {
        if other != token {
            assert_eq!(t.store.get_session(&other).await.unwrap(), None);
        }
    }
}

async fn a_sweep_larger_than_one_step_removes_exactly_the_expired(t: Context) {
    let user = t.user("key").await;
    let mut live = Vec::new();
    for number in 0..600 {
        let lasts = if number % 10 == 0 { HOUR } else { Duration::from_millis(1 + number) };
        let session = t.store.create_session(&user.id.text(), lasts).await.unwrap();
        if number % 10 == 0 {
            live.push(session);
        }
    }
    t.advance(600);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 540);
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 0);
    for session in live {
        assert_eq!(t.store.get_session(&session.token).await.unwrap(), Some(session));
    }
}

async fn two_sweeps_at_once_count_each_session_once(t: Context) {
    let user = t.user("key").await;
    for _ in 0..300 {
        t.store.create_session(&user.id.text(), Duration::from_millis(1)).await.unwrap();
    }
    t.advance(1);
    let sweeping = (0..4).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move { store.delete_expired_sessions().await.unwrap() })
    });
    let swept = futures::future::join_all(sweeping).await;
    assert_eq!(swept.into_iter().map(Result::unwrap).sum::<u64>(), 300);
}

async fn a_sweep_after_a_log_out_does_not_count_it(t: Context) {
    let user = t.user("key").await;
    let session = t.store.create_session(&user.id.text(), Duration::from_millis(1)).await.unwrap();
    t.store.create_session(&user.id.text(), Duration::from_millis(1)).await.unwrap();
    t.advance(1);
    t.store.delete_session(&session.token).await.unwrap();
    assert_eq!(t.store.delete_expired_sessions().await.unwrap(), 1);
}
