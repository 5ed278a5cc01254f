//! A small store that is the same whenever it is made: its rows are the annotated ones of the pages in `schema-docs/`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use ulid::Ulid;

use super::{
    AnsweredChallenge, Category, Challenge, Channel, Entity, Key, Message, Row, SessionDigest, StorageError,
    StoredSession, Timestamp, UsedChallenge, User,
    contract::{
        field::{Field, FieldType, Kind, Role, Value},
        model::{ForModel, Model, Source},
    },
    port::{Staged, Wants, Write, Writer},
};

/// When the example was created: 2024-01-01T00:00:00.000Z.
const CREATED_AT: u64 = 1_704_067_200_000;
/// When it was closed, and its rows last changed: 1.5 seconds later.
const CHANGED_AT: u64 = CREATED_AT + 1500;

/// Stores the example's rows; answers what `meta` is to say of when it was created and closed.
pub(in crate::storage) fn fill(writer: &mut dyn Writer) -> Result<(Timestamp, Timestamp), StorageError> {
    let (rows, high_water) = rows();
    let mut staged = Some(Staged { writes: rows, high_water: Some(high_water), commit: 1 });
    writer.transact(&Wants::default(), &mut |_| staged.take().unwrap_or_default())?;
    Ok((time(CREATED_AT), time(CHANGED_AT)))
}

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap_or(Timestamp::MIN)
}

/// The ids are numbered, so that they can be told apart on paper.
fn id(number: u128) -> Ulid {
    Ulid::from_parts(CREATED_AT, number)
}

#[allow(clippy::needless_update)] // what a record has more one day is blank until somebody has something to show
fn rows() -> (Vec<Write>, Ulid) {
    let (created_at, changed_at) = (time(CREATED_AT), time(CHANGED_AT));
    let (user, channel, category, purged) = (id(1), id(2), id(3), id(4));
    let message = |number, channel: Ulid, content: &str, edited_at, deleted| Message {
        id: id(number).into(),
        channel_id: channel.into(),
        author_id: user.into(),
        content: content.into(),
        edited_at,
        deleted,
        created_at,
        ..Message::blank(id(number).into())
    };
    let channel_named = |id: Ulid, name: &str, topic: Option<&str>| Channel {
        id: id.into(),
        name: name.into(),
        topic: topic.map(str::to_owned),
        category_id: Some(category.to_string()),
        position: -2,
        created_at,
        updated_at: changed_at,
        ..Channel::blank(id.into())
    };
    let answered = Challenge { slot: Challenge::slot_at(created_at), number: 3 };
    let mut rows = vec![
        Row::User(Arc::new(User {
            id: user.into(),
            pubkey: "ada's key".into(),
            display_name: Some("Ada".into()),
            avatar_hash: None,
            is_bot: false,
            is_member: true,
            created_at,
            updated_at: changed_at,
            ..User::blank(user.into())
        })),
        Row::Category(Arc::new(Category { id: category.into(), name: "music".into(), position: 300, created_at })),
        Row::Channel(Arc::new(channel_named(channel, "jazz", None))),
        Row::Channel(Arc::new(channel_named(purged, "punk", Some("loud")))),
        Row::Message(Arc::new(message(5, channel, "h\u{e9}!", Some(changed_at), false))),
        Row::Message(Arc::new(message(6, channel, "gone", None, true))),
        Row::Message(Arc::new(message(7, purged, "not yet reclaimed", None, false))),
        Row::Session(Arc::new(StoredSession {
            digest: SessionDigest::of("a token"),
            user_id: user.into(),
            created_at,
            expires_at: created_at.checked_add(Duration::from_secs(24 * 3600)).unwrap_or(Timestamp::MAX),
        })),
        Row::Challenge(Arc::new(AnsweredChallenge::of(UsedChallenge::of("ada's key", answered)))),
    ];
    let mut newest = 7;
    for entity in Entity::EVERY {
        if rows.iter().all(|row| row.entity() != *entity) {
            newest += 1;
            rows.push(entity.with(Plain { id: id(newest), rows: &rows }));
        }
    }
    let writes = rows.into_iter().map(Write::Insert).chain([Write::BeginPurge(purged.into())]);
    (writes.collect(), id(newest))
}

/// A record of a kind of which nobody said what it shows: its values are what their types and names make of them. What it
/// refers to is the first of these rows that it may be.
struct Plain<'a> {
    id: Ulid,
    rows: &'a [Row],
}

impl ForModel for Plain<'_> {
    type Answer = Row;

    fn run<M: Model>(mut self) -> Row {
        let Ok(record) = M::from_source(&mut self);
        Arc::new(record).into_row()
    }
}

impl Source for Plain<'_> {
    type Error = Infallible;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, Infallible> {
        let named = self.rows.iter().find(|row| Some(row.entity()) == field.refers_to).map(Row::key);
        let value = match T::KIND {
            Kind::Flag => Value::Flag(false),
            Kind::Number => Value::Number(1),
            Kind::Time if field.role == Role::CreatedAt => Value::Time(time(CREATED_AT)),
            Kind::Time => Value::Time(time(CHANGED_AT)),
            Kind::Text => Value::Text(field.name.into()),
            Kind::Id => named.as_ref().map_or(Value::Id(self.id), Key::value),
            Kind::Digest => Value::Bytes(SessionDigest::of(field.name).as_bytes().to_vec().into()),
            Kind::Challenge => Value::Nothing,
        };
        Ok(T::from_value(value).unwrap_or_else(T::blank))
    }
}
