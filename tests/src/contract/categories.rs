//! Categories.

use decentcom_server::storage::{CategoryChoice, Change, ChannelEdit, Entity, StorageError};

use crate::{
    Context, assert_refused,
    context::{MALFORMED, NOBODY},
};

crate::suite! {
    a_category_is_found_again,
    categories_are_listed_by_position_then_id,
    absent_fields_of_a_category_stay,
    a_category_name_is_not_empty,
    deleting_a_category_uncategorises_its_channels_in_the_same_step,
    a_missing_category_is_not_found,
    a_malformed_category_id_does_not_exist,
    a_channel_is_put_into_an_existing_category,
    a_channel_is_put_into_the_first_category_of_a_name,
    a_name_without_a_category_makes_one_in_the_same_step,
    two_channels_made_at_once_in_a_new_category_make_one,
    a_refused_channel_makes_no_category,
}

async fn a_category_is_found_again(t: Context) {
    let category = t.store.create_category("music", 3).await.unwrap();
    assert_eq!((category.name.as_str(), category.position, category.created_at), ("music", 3, t.now()));
    assert_eq!(t.store.get_category(&category.id.text()).await.unwrap(), Some(category.clone()));
    assert_eq!(t.store.get_category(&category.id.text().to_lowercase()).await.unwrap(), Some(category));
    assert_eq!(t.store.get_category(NOBODY).await.unwrap(), None);
}

async fn categories_are_listed_by_position_then_id(t: Context) {
    let last = t.store.create_category("x", 5).await.unwrap();
    let second = t.store.create_category("x", 0).await.unwrap();
    let third = t.store.create_category("x", 0).await.unwrap();
    let first = t.store.create_category("x", -5).await.unwrap();
    assert_eq!(t.store.list_categories().await.unwrap(), [first, second, third, last]);
}

async fn absent_fields_of_a_category_stay(t: Context) {
    let category = t.store.create_category("music", 3).await.unwrap();
    assert_eq!(t.store.update_category(&category.id.text(), None, None).await.unwrap(), category);
    let renamed = t.store.update_category(&category.id.text(), Some("noise"), None).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.position), ("noise", 3));
    let moved = t.store.update_category(&category.id.text(), None, Some(1)).await.unwrap();
    assert_eq!((moved.name.as_str(), moved.position), ("noise", 1));
    assert_eq!(t.store.get_category(&category.id.text()).await.unwrap(), Some(moved));
}

async fn a_category_name_is_not_empty(t: Context) {
    assert_refused!(t.store.create_category("", 0).await, StorageError::InvalidInput { field: "name", .. });
    let category = t.store.create_category("music", 0).await.unwrap();
    let update = t.store.update_category(&category.id.text(), Some(""), None).await;
    assert_refused!(update, StorageError::InvalidInput { field: "name", .. });
}

async fn deleting_a_category_uncategorises_its_channels_in_the_same_step(t: Context) {
    let (gone, kept) =
        (t.store.create_category("gone", 0).await.unwrap(), t.store.create_category("kept", 0).await.unwrap());
    let inside = t.store.create_channel("inside", Some(&gone.id.text()), 0).await.unwrap();
    let lower = t.store.create_channel("lower", Some(&gone.id.text().to_lowercase()), 1).await.unwrap();
    let other = t.store.create_channel("other", Some(&kept.id.text()), 2).await.unwrap();
    let moved_in = t.channel("moved in").await;
    let category = Some(CategoryChoice::Id(gone.id.to_string()));
    let edit = ChannelEdit { category, position: Some(3), ..ChannelEdit::default() };
    t.store.edit_channel(&moved_in.id.text(), edit).await.unwrap();
    t.advance(7);
    t.store.delete_category(&gone.id.text()).await.unwrap();

    assert_eq!(t.store.list_categories().await.unwrap(), [kept]);
    let channels = t.store.list_channels().await.unwrap();
    assert_eq!(channels.iter().map(|it| it.id).collect::<Vec<_>>(), [inside.id, lower.id, other.id, moved_in.id]);
    assert_eq!(channels[2], other);
    for channel in [&channels[0], &channels[1], &channels[3]] {
        assert_eq!((channel.category_id.as_deref(), channel.updated_at), (None, t.now()));
    }
}

async fn a_missing_category_is_not_found(t: Context) {
    let gone = t.store.create_category("gone", 0).await.unwrap();
    t.store.delete_category(&gone.id.text()).await.unwrap();
    for id in [NOBODY, &*gone.id.text()] {
        assert_refused!(t.store.delete_category(id).await, StorageError::NotFound { entity: Entity::Category, .. });
        let update = t.store.update_category(id, Some("x"), None).await;
        assert_refused!(update, StorageError::NotFound { entity: Entity::Category, .. });
    }
}

async fn a_malformed_category_id_does_not_exist(t: Context) {
    for id in MALFORMED {
        assert_eq!(t.store.get_category(id).await.unwrap(), None);
        assert_refused!(t.store.delete_category(id).await, StorageError::NotFound { entity: Entity::Category, .. });
    }
}

fn into(category: CategoryChoice) -> ChannelEdit {
    ChannelEdit { category: Some(category), ..ChannelEdit::default() }
}

fn id(id: &str) -> CategoryChoice {
    CategoryChoice::Id(id.to_owned())
}

fn name(name: &str) -> CategoryChoice {
    CategoryChoice::Name(name.to_owned())
}

async fn a_channel_is_put_into_an_existing_category(t: Context) {
    let category = t.store.create_category("music", 0).await.unwrap();
    let channel = t.store.create_channel_in("a", id(&category.id.text().to_lowercase()), 7).await.unwrap();
    assert_eq!((channel.category(), channel.position), (Some(category.id), 7));
    assert_eq!(t.store.get_channel(&channel.id.text()).await.unwrap(), Some(channel.clone()));
    let out = t.store.edit_channel(&channel.id.text(), into(CategoryChoice::Uncategorised)).await.unwrap();
    assert_eq!(out.category_id, None);
    let back = t.store.edit_channel(&channel.id.text(), into(id(&category.id.text()))).await.unwrap();
    assert_eq!(back.category(), Some(category.id));
    for missing in MALFORMED.into_iter().chain([NOBODY]) {
        let create = t.store.create_channel_in("b", id(missing), 0).await;
        assert_refused!(create, StorageError::NotFound { entity: Entity::Category, .. });
        let edit = t.store.edit_channel(&channel.id.text(), into(id(missing))).await;
        assert_refused!(edit, StorageError::NotFound { entity: Entity::Category, .. });
        let neither = t.store.edit_channel(NOBODY, into(id(missing))).await;
        assert_refused!(neither, StorageError::NotFound { entity: Entity::Channel, .. });
    }
    assert_eq!(t.store.list_channels().await.unwrap(), [back]);
}

async fn a_channel_is_put_into_the_first_category_of_a_name(t: Context) {
    let second = t.store.create_category("Cafe\u{301}", 2).await.unwrap();
    let first = t.store.create_category("Caf\u{e9}", 1).await.unwrap();
    for text in ["Caf\u{e9}", "Cafe\u{301}"] {
        let channel = t.store.create_channel_in("a", name(text), 0).await.unwrap();
        assert_eq!(channel.category(), Some(first.id));
        let channel = t.store.edit_channel(&channel.id.text(), into(id(&second.id.text()))).await.unwrap();
        let channel = t.store.edit_channel(&channel.id.text(), into(name(text))).await.unwrap();
        assert_eq!(channel.category(), Some(first.id));
    }
    // Clients were once told an id where they expect a name.
    let by_id = t.store.create_channel_in("b", name(&second.id.text().to_lowercase()), 0).await.unwrap();
    assert_eq!(by_id.category(), Some(second.id));
    assert_eq!(t.store.list_categories().await.unwrap(), [first, second]);
}

async fn a_name_without_a_category_makes_one_in_the_same_step(t: Context) {
    let old = t.store.create_category("old", 4).await.unwrap();
    let mut changes = t.store.changes();
    let channel = t.store.create_channel_in("a", name("new"), 0).await.unwrap();
    let moved = t.store.edit_channel(&channel.id.text(), into(name("newer"))).await.unwrap();
    let categories = t.store.list_categories().await.unwrap();
    let named: Vec<_> = categories.iter().map(|it| (it.name.as_str(), it.position)).collect();
    assert_eq!((&categories[0], &named[1..]), (&old, &[("new", 5), ("newer", 6)][..]));
    assert_eq!(channel.category(), Some(categories[1].id));
    assert_eq!(moved.category(), Some(categories[2].id));
    assert!(categories[1].id.ulid() < channel.id.ulid());
    let mut next = async || changes.next().await.unwrap();
    assert_eq!(next().await, Change::CategoryCreated(categories[1].clone().into()));
    assert_eq!(next().await, Change::ChannelCreated(channel.into()));
    assert_eq!(next().await, Change::CategoryCreated(categories[2].clone().into()));
    assert_eq!(next().await, Change::ChannelUpdated(moved.into()));
}

async fn two_channels_made_at_once_in_a_new_category_make_one(t: Context) {
    let racing = (0..16).map(|racer| {
        let store = t.store.clone();
        let text = if racer % 2 == 0 { "Caf\u{e9}" } else { "Cafe\u{301}" };
        tokio::spawn(async move { store.create_channel_in("room", name(text), racer).await.unwrap() })
    });
    let channels: Vec<_> = futures::future::join_all(racing).await.into_iter().map(Result::unwrap).collect();
    let categories = t.store.list_categories().await.unwrap();
    assert_eq!(categories.len(), 1);
    assert!(channels.iter().all(|it| it.category() == Some(categories[0].id)));
}

async fn a_refused_channel_makes_no_category(t: Context) {
    t.store.create_channel_in("", name("new"), 0).await.unwrap_err();
    t.store.edit_channel(NOBODY, into(name("new"))).await.unwrap_err();
    let channel = t.channel("room").await;
    let edit = ChannelEdit { topic: Some("\0".into()), ..into(name("new")) };
    t.store.edit_channel(&channel.id.text(), edit).await.unwrap_err();
    assert_eq!(t.store.list_categories().await.unwrap(), []);
}
