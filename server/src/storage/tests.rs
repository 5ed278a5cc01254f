//! What every backend has to do at the port.

mod through_the_log;

use std::{path::Path, sync::Arc};

use ulid::Ulid;

use super::{
    Category, Channel, Message, RedbOptions, StoredSession, User,
    contract::{field::FieldType as _, model::Model as _},
    port::{Bounds, CommitNumber, Opened, Page, Reader, Staged, Wants, Write, Writer},
    redb, sqlite,
};

fn row<M: super::contract::model::Model>(record: M) -> Write {
    Write::Insert(Arc::new(record).into_row())
}

fn user() -> User {
    User { pubkey: "key".into(), is_member: true, ..User::blank(Ulid(1).into()) }
}

fn store(writer: &mut dyn Writer, commit: CommitNumber, writes: Vec<Write>) {
    let mut staged = Some(Staged { writes, high_water: None, commit });
    writer.transact(&Wants::default(), &mut |_| staged.take().unwrap()).unwrap();
}

/// The number of the newest commit, as each of the reads says.
async fn numbers(reader: &impl Reader) -> Vec<CommitNumber> {
    let bounds = Bounds { messages: 10, bytes: usize::MAX };
    let (id, channel) = (Ulid(1), Ulid(2).into());
    vec![
        reader.get::<User>(id.into()).await.unwrap().commit,
        reader.get::<StoredSession>(super::SessionDigest::of("nobody's")).await.unwrap().commit,
        reader.list::<User>(None, None).await.unwrap().commit,
        reader.list::<Message>(None, Some(5)).await.unwrap().commit,
        reader.find::<User>(&User::BY_PUBKEY, "key".to_owned().value(), 1).await.unwrap().commit,
        reader.find::<User>(&User::BY_PUBKEY, "another".to_owned().value(), 1).await.unwrap().commit,
        reader.members(None, 10).await.unwrap().commit,
        reader.channels().await.unwrap().commit,
        reader.categories().await.unwrap().commit,
        reader.page(channel, Page::Newest, bounds).await.unwrap().commit,
        reader.page(channel, Page::After(Ulid(77).into()), bounds).await.unwrap().commit,
        reader.newest_used_challenges([0; 32], &[1, 2]).await.unwrap().commit,
    ]
}

async fn each_read_says_how_new_it_is<R: Reader>(opened: Opened<R>) -> Opened<R> {
    let Opened { backend, mut writer, reader, past, login_key } = opened;
    let (writer, reader) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert!(runtime.block_on(numbers(&reader)).iter().all(|number| *number == 0));
        store(&mut *writer, 3, vec![row(user())]);
        assert!(runtime.block_on(numbers(&reader)).iter().all(|number| *number == 3));
        let channel = Channel { name: "room".into(), ..Channel::blank(Ulid(2).into()) };
        let category = Category { name: "rooms".into(), ..Category::blank(Ulid(3).into()) };
        let message = Message {
            channel_id: channel.id,
            author_id: Ulid(1).into(),
            content: "text".into(),
            ..Message::blank(Ulid(4).into())
        };
        store(&mut *writer, 4, vec![row(channel), row(category), row(message)]);
        assert!(runtime.block_on(numbers(&reader)).iter().all(|number| *number == 4));
        // Nothing is stored, and so it has no number.
        store(&mut *writer, 5, Vec::new());
        assert!(runtime.block_on(numbers(&reader)).iter().all(|number| *number == 4));
        (writer, reader)
    })
    .await
    .unwrap();
    Opened { backend, writer, reader, past, login_key }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_says_how_new_it_is_and_numbers_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    each_read_says_how_new_it_is(redb::open_in_memory().unwrap()).await;
    each_read_says_how_new_it_is(sqlite::open_in_memory().await.unwrap()).await;

    let path: &Path = &directory.path().join("store.redb");
    let open = || redb::open(path, RedbOptions::default(), || false).unwrap();
    let opened = each_read_says_how_new_it_is(open()).await;
    opened.writer.close().unwrap();
    drop(opened.reader);
    assert_eq!(open().past.commit, 4);

    let path = &directory.path().join("store.sqlite");
    let opened = each_read_says_how_new_it_is(sqlite::open(path).await.unwrap()).await;
    opened.reader.close().await;
    tokio::task::spawn_blocking(|| opened.writer.close().unwrap()).await.unwrap();
    assert_eq!(sqlite::open(path).await.unwrap().past.commit, 4);
}
