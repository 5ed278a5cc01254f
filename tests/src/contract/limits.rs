//! Every string has a limit, in bytes; whatever is within comes back.

use decentcom_server::storage::{CategoryChoice, ChannelEdit, Entity, StorageError};

use crate::{Context, assert_refused, context::NOBODY};

crate::suite! {
    a_pubkey_has_at_most_256_bytes,
    names_topics_and_hashes_have_at_most_1024_bytes,
    a_content_has_at_most_a_mebibyte,
    limits_count_bytes_not_characters,
    invalid_input_is_reported_before_not_found_and_conflict,
    a_refused_call_changes_nothing,
    labels_come_back_as_they_were_given,
    a_label_that_misleads_is_refused,
    a_label_in_which_there_is_nothing_to_see_is_refused,
    emoji_and_the_joiners_of_scripts_are_no_harm_to_a_label,
}

/// The Big List of Naughty Strings.
pub(crate) fn naughty_strings() -> Vec<String> {
    let strings: Vec<String> = serde_json::from_str(include_str!("../../data/blns.json")).unwrap();
    assert!(strings.len() > 500);
    strings
}

fn x(bytes: usize) -> String {
    "x".repeat(bytes)
}

async fn a_pubkey_has_at_most_256_bytes(t: Context) {
    let longest = x(256);
    assert_eq!(t.user(&longest).await.pubkey, longest);
    assert!(t.store.get_user_by_pubkey(&longest).await.unwrap().is_some());
    let longer = t.store.create_user(&x(257), None).await;
    assert_refused!(longer, StorageError::InvalidInput { field: "pubkey", .. });
    assert_eq!(t.store.get_user_by_pubkey(&x(257)).await.unwrap(), None);
}

async fn names_topics_and_hashes_have_at_most_1024_bytes(t: Context) {
    let (fits, too_long) = (x(1024), x(1025));
    let user = t.store.create_user("key", Some(&fits)).await.unwrap();
    t.store.update_user(&user.id.text(), None, Some(&fits)).await.unwrap();
    let channel = t.store.create_channel(&fits, Some(&fits), 0).await.unwrap();
    t.store.update_channel(&channel.id.text(), None, Some(&fits), None).await.unwrap();
    let category = t.store.create_category(&fits, 0).await.unwrap();
    let named = || CategoryChoice::Name(too_long.clone());
    let edit = ChannelEdit { category: Some(named()), ..ChannelEdit::default() };
    for (result, field) in [
        (t.store.create_user("other", Some(&too_long)).await.map(drop), "display_name"),
        (t.store.update_user(&user.id.text(), Some(&too_long), None).await.map(drop), "display_name"),
        (t.store.update_user(&user.id.text(), None, Some(&too_long)).await.map(drop), "avatar_hash"),
        (t.store.create_channel(&too_long, None, 0).await.map(drop), "name"),
        (t.store.create_channel("room", Some(&too_long), 0).await.map(drop), "category_id"),
        (t.store.update_channel(&channel.id.text(), Some(&too_long), None, None).await.map(drop), "name"),
        (t.store.update_channel(&channel.id.text(), None, Some(&too_long), None).await.map(drop), "topic"),
        (t.store.create_channel_in("room", named(), 0).await.map(drop), "category"),
        (t.store.edit_channel(&channel.id.text(), edit).await.map(drop), "category"),
        (t.store.create_category(&too_long, 0).await.map(drop), "name"),
        (t.store.update_category(&category.id.text(), Some(&too_long), None).await.map(drop), "name"),
    ] {
        assert_refused!(result, StorageError::InvalidInput { field: found, .. } if found == field);
    }
}

async fn a_content_has_at_most_a_mebibyte(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let fits = x(1 << 20);
    let message = t.post(&channel, &user, &fits).await;
    assert_eq!(*t.store.get_message(&message.id.text()).await.unwrap().unwrap().content, *fits);
    let too_long = x((1 << 20) + 1);
    let post = t.store.create_message(&channel.id.text(), &user.id.text(), &too_long).await;
    assert_refused!(post, StorageError::InvalidInput { field: "content", .. });
    let edit = t.store.update_message(&message.id.text(), &too_long).await;
    assert_refused!(edit, StorageError::InvalidInput { field: "content", .. });
}

async fn limits_count_bytes_not_characters(t: Context) {
    let emoji = "\u{1F600}";
    t.store.create_user(&emoji.repeat(64), Some(&emoji.repeat(256))).await.unwrap();
    let user = t.store.create_user(&emoji.repeat(65), None).await;
    assert_refused!(user, StorageError::InvalidInput { field: "pubkey", .. });
    let user = t.store.create_user("key", Some(&emoji.repeat(257))).await;
    assert_refused!(user, StorageError::InvalidInput { field: "display_name", .. });
}

async fn invalid_input_is_reported_before_not_found_and_conflict(t: Context) {
    t.user("key").await;
    let long = x((1 << 20) + 1);
    for id in [NOBODY, "no id"] {
        for result in [
            t.store.create_user("key", Some(&long)).await.map(drop),
            t.store.update_user(id, Some(&long), None).await.map(drop),
            t.store.update_channel(id, Some(""), None, None).await.map(drop),
            t.store.update_category(id, Some(""), None).await.map(drop),
            t.store.create_message(id, id, &long).await.map(drop),
            t.store.update_message(id, &long).await.map(drop),
            t.store.create_session(id, std::time::Duration::ZERO).await.map(drop),
        ] {
            assert_refused!(result, StorageError::InvalidInput { .. });
        }
    }
}

async fn a_refused_call_changes_nothing(t: Context) {
    let (user, channel, messages) = t.history(1).await;
    let mut changes = t.store.changes();
    t.advance(5);
    let long = x(1025);
    t.store.update_user(&user.id.text(), Some("fine"), Some(&long)).await.unwrap_err();
    t.store.update_channel(&channel.id.text(), Some("fine"), Some(&long), Some(9)).await.unwrap_err();
    t.store.update_message(&messages[0].id.text(), &x((1 << 20) + 1)).await.unwrap_err();
    t.store.create_user("key", Some("Eve")).await.unwrap_err();
    assert_refused!(
        t.store.create_message(NOBODY, &user.id.text(), "x").await,
        StorageError::NotFound { entity: Entity::Channel, .. }
    );
    assert_eq!(t.store.list_users().await.unwrap(), [user]);
    assert_eq!(t.store.list_channels().await.unwrap(), std::slice::from_ref(&channel));
    assert_eq!(t.store.list_messages(&channel.id.text(), None, 9).await.unwrap(), messages);
    let marker = t.channel("marker").await;
    match changes.next().await.unwrap() {
        decentcom_server::storage::Change::ChannelCreated(created) => assert_eq!(*created, marker),
        other => panic!("a refused call announced {other:?}"),
    }
}

/// Whether a naughty string cannot be a label.
fn is_no_label(text: &str) -> bool {
    let misleads = |character: char| {
        let directions = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
        character.is_control()
            || directions.contains(&character)
            || ('\u{202a}'..='\u{202e}').contains(&character)
            || ('\u{2060}'..='\u{206f}').contains(&character)
            || ['\u{feff}', '\u{fffe}'].contains(&character)
    };
    let is_mark = |character: char| ('\u{300}'..='\u{36f}').contains(&character);
    text.trim().is_empty() || text.starts_with(is_mark) || text.chars().any(misleads)
}

async fn labels_come_back_as_they_were_given(t: Context) {
    let (user, channel) = (t.user("key").await, t.channel("room").await);
    let category = t.store.create_category("c", 0).await.unwrap();
    let mut labels = naughty_strings();
    labels.retain(|text| (1..=1024).contains(&text.len()) && !is_no_label(text));
    let decomposed = "Cafe\u{301}".to_owned();
    for text in labels.iter().step_by(3).chain([&decomposed]) {
        let user = t.store.update_user(&user.id.text(), Some(text), None).await.unwrap();
        assert_eq!(user.display_name.as_ref(), Some(text));
        assert_eq!(t.store.get_user_by_id(&user.id.text()).await.unwrap(), Some(user));
        let channel = t.store.update_channel(&channel.id.text(), Some(text), Some(text), None).await.unwrap();
        assert_eq!((&channel.name, channel.topic.as_ref()), (text, Some(text)));
        assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(channel));
        let category = t.store.update_category(&category.id.text(), Some(text), None).await.unwrap();
        assert_eq!(category.name, *text);
        assert_eq!(t.store.get_category(&category.id.text()).await.unwrap(), Some(category));
    }
}

/// Gives the text to everything that has a label, and asserts that each refuses it, by name and with a reason.
async fn is_refused_everywhere(t: &Context, text: &str) {
    let user = t.store.get_user_by_pubkey("key").await.unwrap().unwrap();
    let channel = t.store.list_channels().await.unwrap().remove(0);
    let category = t.store.list_categories().await.unwrap().remove(0);
    let named = || CategoryChoice::Name(text.to_owned());
    let edit = ChannelEdit { category: Some(named()), ..ChannelEdit::default() };
    for (result, field) in [
        (t.store.create_user("other", Some(text)).await.map(drop), "display_name"),
        (t.store.update_user(&user.id.text(), Some(text), None).await.map(drop), "display_name"),
        (t.store.create_channel(text, None, 0).await.map(drop), "name"),
        (t.store.create_channel_in(text, CategoryChoice::Uncategorised, 0).await.map(drop), "name"),
        (t.store.create_channel_in("fine", named(), 0).await.map(drop), "category"),
        (t.store.update_channel(&channel.id.text(), Some(text), None, None).await.map(drop), "name"),
        (t.store.update_channel(&channel.id.text(), None, Some(text), None).await.map(drop), "topic"),
        (t.store.edit_channel(&channel.id.text(), edit).await.map(drop), "category"),
        (t.store.create_category(text, 0).await.map(drop), "name"),
        (t.store.update_category(&category.id.text(), Some(text), None).await.map(drop), "name"),
    ] {
        let named = matches!(&result, Err(StorageError::InvalidInput { field: found, reason })
            if *found == field && !reason.is_empty());
        assert!(named, "{field} {text:?}: {result:?}");
    }
    assert_eq!(t.store.list_users().await.unwrap(), [user]);
    assert_eq!(t.store.list_channels().await.unwrap(), [channel]);
    assert_eq!(t.store.list_categories().await.unwrap(), [category]);
}

async fn a_label_that_misleads_is_refused(t: Context) {
    t.history(0).await;
    t.store.create_category("c", 0).await.unwrap();
    for bad in [
        '\0',
        '\n',
        '\u{7f}',
        '\u{85}', // controls
        '\u{61c}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}', // the writing direction
        '\u{2028}',
        '\u{2029}', // lines
        '\u{fffe}',
        '\u{fdd0}',
        '\u{10ffff}', // no characters
        '\u{ad}',
        '\u{200b}',
        '\u{200d}',
        '\u{2060}',
        '\u{feff}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{e0041}', // unseen
    ] {
        is_refused_everywhere(&t, &format!("ad{bad}min")).await;
    }
    is_refused_everywhere(&t, "\u{301}a").await;
    for text in naughty_strings().iter().filter(|text| (1..=1024).contains(&text.len()) && is_no_label(text)).step_by(4)
    {
        is_refused_everywhere(&t, text).await;
    }
}

async fn a_label_in_which_there_is_nothing_to_see_is_refused(t: Context) {
    t.history(0).await;
    t.store.create_category("c", 0).await.unwrap();
    for text in [" ", "\u{a0}\u{2003}", "\u{3000}", "\u{2800}", "\u{3164}", "\u{115f}", "\u{200b}\u{200d}"] {
        is_refused_everywhere(&t, text).await;
    }
}

async fn emoji_and_the_joiners_of_scripts_are_no_harm_to_a_label(t: Context) {
    for (number, text) in [
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "❤\u{fe0f}",
        "می\u{200c}خواهم",
        "क\u{94d}\u{200d}ष",
        "محمد and דוד",
    ]
    .iter()
    .enumerate()
    {
        let user = t.store.create_user(&number.to_string(), Some(text)).await.unwrap();
        assert_eq!(user.display_name.as_deref(), Some(*text));
        let category = CategoryChoice::Name((*text).to_owned());
        assert_eq!(t.store.create_channel_in(text, category, 0).await.unwrap().name, *text);
    }
}
