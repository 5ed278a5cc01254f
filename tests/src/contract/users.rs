//! Users.

use decentcom_server::storage::{Entity, StorageError};

use crate::{Context, assert_refused, context::MALFORMED};

crate::suite! {
    pubkeys_are_unique_also_under_a_race,
    pubkeys_are_compared_byte_by_byte,
    a_pubkey_is_not_empty,
    an_empty_display_name_is_none,
    absent_fields_stay_and_empty_ones_are_cleared,
    an_update_that_changes_nothing_leaves_updated_at,
    users_are_listed_by_id,
    a_page_of_users_starts_after_any_ulid,
    a_malformed_user_cursor_is_refused,
    a_malformed_user_id_does_not_exist,
    pubkeys_of_any_text_are_found_again,
}

async fn pubkeys_are_unique_also_under_a_race(t: Context) {
    let racing = (0..16).map(|racer| {
        let store = t.store.clone();
        tokio::spawn(async move { store.create_user("key", Some(&racer.to_string())).await })
    });
    let results: Vec<_> = futures::future::join_all(racing).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for result in &results {
        if let Err(error) = result {
            assert!(matches!(error, StorageError::Conflict { entity: Entity::User, field: "pubkey" }), "{error:?}");
        }
    }
    let winner = results.into_iter().find_map(Result::ok);
    assert_eq!(t.store.get_user_by_pubkey("key").await.unwrap(), winner);
    assert_eq!(t.store.list_users().await.unwrap().len(), 1);
}

async fn pubkeys_are_compared_byte_by_byte(t: Context) {
    for pubkey in ["key", "KEY", "key ", "key\0", "k\u{e9}y", "ke\u{301}y", "key\0x"] {
        let user = t.user(pubkey).await;
        assert_eq!(t.store.get_user_by_pubkey(pubkey).await.unwrap(), Some(user));
    }
    assert_eq!(t.store.list_users().await.unwrap().len(), 7);
}

async fn a_pubkey_is_not_empty(t: Context) {
    assert_refused!(t.store.create_user("", None).await, StorageError::InvalidInput { field: "pubkey", .. });
    assert_eq!(t.store.get_user_by_pubkey("").await.unwrap(), None);
}

async fn an_empty_display_name_is_none(t: Context) {
    assert_eq!(t.store.create_user("key", Some("")).await.unwrap().display_name, None);
}

async fn absent_fields_stay_and_empty_ones_are_cleared(t: Context) {
    let user = t.store.create_user("key", Some("Ada")).await.unwrap();
    let with_avatar = t.store.update_user(&user.id.text(), None, Some("hash")).await.unwrap();
    assert_eq!(with_avatar.display_name.as_deref(), Some("Ada"));
    assert_eq!(with_avatar.avatar_hash.as_deref(), Some("hash"));
    let without_name = t.store.update_user(&user.id.text(), Some(""), None).await.unwrap();
    assert_eq!((without_name.display_name.as_deref(), without_name.avatar_hash.as_deref()), (None, Some("hash")));
    let bare = t.store.update_user(&user.id.text(), None, Some("")).await.unwrap();
    assert_eq!((bare.display_name, bare.avatar_hash), (None, None));
}

async fn an_update_that_changes_nothing_leaves_updated_at(t: Context) {
    let user = t.store.create_user("key", Some("Ada")).await.unwrap();
    t.advance(10);
    for (name, avatar) in [(None, None), (Some("Ada"), None), (Some("Ada"), Some("")), (None, Some(""))] {
        assert_eq!(t.store.update_user(&user.id.text(), name, avatar).await.unwrap(), user);
    }
    assert_eq!(t.store.get_user_by_id(&user.id.text()).await.unwrap(), Some(user));
}

async fn users_are_listed_by_id(t: Context) {
    let mut created = Vec::new();
    for number in [5, 3, 9, 1] {
        created.push(t.user(&format!("key {number}")).await);
        t.advance(number);
    }
    let listed = t.store.list_users().await.unwrap();
    assert_eq!(listed, created);
    assert!(listed.is_sorted_by(|one, other| one.id < other.id));
}

async fn a_page_of_users_starts_after_any_ulid(t: Context) {
    let users = [t.user("a").await, t.user("b").await, t.user("c").await, t.user("d").await];
    let page = async |after: Option<&str>, limit| t.store.list_users_page(after, limit).await.unwrap();
    assert_eq!(page(None, 2).await, users[..2]);
    assert_eq!(page(Some(&users[1].id.text()), 2).await, users[2..]);
    assert_eq!(page(Some(&users[1].id.text().to_lowercase()), 1).await, users[2..3]);
    assert_eq!(page(Some("00000000000000000000000000"), 9).await, users);
    assert_eq!(page(Some("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), 9).await, []);
    assert_eq!(page(None, 0).await, []);
}

async fn a_malformed_user_cursor_is_refused(t: Context) {
    for cursor in MALFORMED {
        for limit in [0, 5] {
            let page = t.store.list_users_page(Some(cursor), limit).await;
            assert_refused!(page, StorageError::InvalidInput { field: "after", .. });
        }
    }
}

async fn a_malformed_user_id_does_not_exist(t: Context) {
    t.user("key").await;
    for id in MALFORMED {
        assert_eq!(t.store.get_user_by_id(id).await.unwrap(), None);
        let update = t.store.update_user(id, Some("x"), None).await;
        assert_refused!(update, StorageError::NotFound { entity: Entity::User, .. });
    }
}

async fn pubkeys_of_any_text_are_found_again(t: Context) {
    for text in super::limits::naughty_strings().iter().filter(|text| (1..=256).contains(&text.len())).take(200) {
        match t.store.create_user(text, None).await {
            Ok(user) => assert_eq!(user.pubkey, *text),
            Err(StorageError::Conflict { .. }) => {} // the list repeats itself
            Err(other) => panic!("{text:?}: {other}"),
        }
        assert_eq!(t.store.get_user_by_pubkey(text).await.unwrap().unwrap().pubkey, *text);
    }
}
