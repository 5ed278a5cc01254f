//! Categories.

use decentcom_server::storage::{ChannelEdit, Entity, StorageError};

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
}

async fn a_category_is_found_again(t: Context) {
    let category = t.store.create_category("music", 3).await.unwrap();
    assert_eq!((category.name.as_str(), category.position, category.created_at), ("music", 3, t.now()));
    assert_eq!(t.store.get_category(&category.id).await.unwrap(), Some(category.clone()));
    assert_eq!(t.store.get_category(&category.id.to_lowercase()).await.unwrap(), Some(category));
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
    assert_eq!(t.store.update_category(&category.id, None, None).await.unwrap(), category);
    let renamed = t.store.update_category(&category.id, Some("noise"), None).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.position), ("noise", 3));
    let moved = t.store.update_category(&category.id, None, Some(1)).await.unwrap();
    assert_eq!((moved.name.as_str(), moved.position), ("noise", 1));
    assert_eq!(t.store.get_category(&category.id).await.unwrap(), Some(moved));
}

async fn a_category_name_is_not_empty(t: Context) {
    assert_refused!(t.store.create_category("", 0).await, StorageError::InvalidInput { field: "name", .. });
    let category = t.store.create_category("music", 0).await.unwrap();
    let update = t.store.update_category(&category.id, Some(""), None).await;
    assert_refused!(update, StorageError::InvalidInput { field: "name", .. });
}

async fn deleting_a_category_uncategorises_its_channels_in_the_same_step(t: Context) {
    let (gone, kept) =
        (t.store.create_category("gone", 0).await.unwrap(), t.store.create_category("kept", 0).await.unwrap());
    let inside = t.store.create_channel("inside", Some(&gone.id), 0).await.unwrap();
    let lower = t.store.create_channel("lower", Some(&gone.id.to_lowercase()), 1).await.unwrap();
    let other = t.store.create_channel("other", Some(&kept.id), 2).await.unwrap();
    let moved_in = t.channel("moved in").await;
    let edit = ChannelEdit { category_id: Some(gone.id.to_string()), position: Some(3), ..ChannelEdit::default() };
    t.store.edit_channel(&moved_in.id, edit).await.unwrap();
    t.advance(7);
    t.store.delete_category(&gone.id).await.unwrap();

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
    t.store.delete_category(&gone.id).await.unwrap();
    for id in [NOBODY, gone.id.as_str()] {
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
