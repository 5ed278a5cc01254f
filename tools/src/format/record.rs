//! A line of a dump and the record it is.

use std::{borrow::Cow, sync::Arc};

use decentcom_server::storage::{
    CategoryId, ChannelId, Entity, MessageId, Timestamp, UserId,
    inspect::{Row, StoredSession},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use ulid::Ulid;

use super::{
    META,
    redact::{Digest, PublicKey, Redactor, Reference, Text},
};

/// The only fact about a store that belongs to its records.
const HIGH_WATER: &str = "high_water_id";

/// What a line of a dump says.
pub(crate) enum Line {
    /// No id up to this one may be given out again.
    HighWater(Ulid),
    /// A record.
    Row(Row),
}

/// A record as a dump has it. The order of its fields is the order in the line.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Record {
    Meta(Fact),
    User(User),
    Channel(Channel),
    Category(Category),
    Message(Message),
    Session(Session),
}

macro_rules! records {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            table: Cow<'static, str>,
            $($(#[$attribute])* $field: $type,)*
        }

        impl $name {
            const FIELDS: &[&str] = &[$(stringify!($field)),*];
        }
    )*};
}

records! {
    Fact { name: String, value: MessageId, }
    User {
        id: UserId,
        pubkey: PublicKey,
        #[serde(deserialize_with = "present")]
        display_name: Option<Text>,
        #[serde(deserialize_with = "present")]
        avatar_hash: Option<Text>,
        /// Dumps made before users had this leave it out.
        #[serde(default)]
        is_bot: bool,
        /// The same.
        #[serde(default = "yes")]
        is_member: bool,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
    Channel {
        id: ChannelId,
        name: Text,
        #[serde(deserialize_with = "present")]
        topic: Option<Text>,
        #[serde(deserialize_with = "present")]
        category_id: Option<Reference>,
        position: i32,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
    Category { id: CategoryId, name: Text, position: i32, created_at: Timestamp, }
    Message {
        id: MessageId,
        channel_id: ChannelId,
        author_id: UserId,
        content: Text,
        #[serde(deserialize_with = "present")]
        edited_at: Option<Timestamp>,
        deleted: bool,
        created_at: Timestamp,
    }
    Session { digest: Digest, user_id: UserId, created_at: Timestamp, expires_at: Timestamp, }
}

fn yes() -> bool {
    true
}

/// A field that may be `null` and may not be left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

impl Record {
    /// The line of the largest id ever given out.
    pub(crate) fn high_water(id: Ulid) -> Self {
        Self::Meta(Fact { table: META.into(), name: HIGH_WATER.into(), value: id.into() })
    }

    /// The line of a record.
    pub(crate) fn of(row: &Row, redactor: &mut Redactor) -> Self {
        let table = Cow::Borrowed(row.entity().table());
        let mut text = |text: &Option<String>| text.as_deref().map(|text| redactor.text(text));
        match row {
            Row::User(user) => Self::User(User {
                table,
                id: user.id,
                display_name: text(&user.display_name),
                avatar_hash: text(&user.avatar_hash),
                is_bot: user.is_bot,
                is_member: user.is_member,
                pubkey: redactor.public_key(&user.pubkey),
                created_at: user.created_at,
                updated_at: user.updated_at,
            }),
            Row::Channel(channel) => Self::Channel(Channel {
                table,
                id: channel.id,
                topic: text(&channel.topic),
                name: redactor.text(&channel.name),
                category_id: channel.category_id.as_deref().map(|id| redactor.reference(id)),
                position: channel.position,
                created_at: channel.created_at,
                updated_at: channel.updated_at,
            }),
            Row::Category(category) => Self::Category(Category {
                table,
                id: category.id,
                name: redactor.text(&category.name),
                position: category.position,
                created_at: category.created_at,
            }),
            Row::Message(message) => Self::Message(Message {
                table,
                id: message.id,
                channel_id: message.channel_id,
                author_id: message.author_id,
                content: redactor.text(&message.content),
                edited_at: message.edited_at,
                deleted: message.deleted,
                created_at: message.created_at,
            }),
            Row::Session(session) => Self::Session(Session {
                table,
                digest: redactor.digest(session.digest),
                user_id: session.user_id,
                created_at: session.created_at,
                expires_at: session.expires_at,
            }),
        }
    }

    /// The table it is in.
    pub(crate) fn table(&self) -> &'static str {
        match self {
            Self::Meta(_) => META,
            Self::User(_) => Entity::User.table(),
            Self::Channel(_) => Entity::Channel.table(),
            Self::Category(_) => Entity::Category.table(),
            Self::Message(_) => Entity::Message.table(),
            Self::Session(_) => Entity::Session.table(),
        }
    }

    /// The names and values of its fields, in order.
    pub(crate) fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut object = serde_json::to_value(self).unwrap_or_default();
        let mut take = |name: &str| object.get_mut(name).map(Value::take).unwrap_or_default();
        columns(self.table()).iter().map(|name| (*name, take(name))).collect()
    }
}

/// The names of a table's fields, in order.
pub(crate) fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "users" => User::FIELDS,
        "channels" => Channel::FIELDS,
        "categories" => Category::FIELDS,
        "messages" => Message::FIELDS,
        "sessions" => Session::FIELDS,
        _ => Fact::FIELDS,
    }
}

/// Reads a line.
pub(crate) fn parse(line: &str) -> Result<Line, String> {
    /// Looks at nothing but the table, so that the rest is read as what it is to be.
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        table: Cow<'a, str>,
    }
    let kind: Kind<'_> = serde_json::from_str(line).map_err(problem)?;
    match kind.table.as_ref() {
        META => meta(line),
        "users" => serde_json::from_str(line).map(user).map_err(problem),
        "channels" => serde_json::from_str(line).map(channel).map_err(problem),
        "categories" => serde_json::from_str(line).map(category).map_err(problem),
        "messages" => serde_json::from_str(line).map(message).map_err(problem),
        "sessions" => serde_json::from_str(line).map(session).map_err(problem),
        other => Err(format!("there is no table `{other:.40}`")),
    }
}

/// What serde_json says, without its line number, which is always 1.
fn problem(error: serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at byte")
}

fn meta(line: &str) -> Result<Line, String> {
    let fact: Fact = serde_json::from_str(line).map_err(problem)?;
    match fact.name.as_str() {
        HIGH_WATER => Ok(Line::HighWater(fact.value.ulid())),
        other => Err(format!("there is no fact `{other:.40}`")),
    }
}

fn user(user: User) -> Line {
    Line::Row(Row::User(Arc::new(decentcom_server::storage::User {
        id: user.id,
        pubkey: user.pubkey.into_inner(),
        display_name: user.display_name.map(Text::into_inner),
        avatar_hash: user.avatar_hash.map(Text::into_inner),
        is_bot: user.is_bot,
        is_member: user.is_member,
        created_at: user.created_at,
        updated_at: user.updated_at,
    })))
}

fn channel(channel: Channel) -> Line {
    Line::Row(Row::Channel(Arc::new(decentcom_server::storage::Channel {
        id: channel.id,
        name: channel.name.into_inner(),
        topic: channel.topic.map(Text::into_inner),
        category_id: channel.category_id.map(Reference::into_inner),
        position: channel.position,
        created_at: channel.created_at,
        updated_at: channel.updated_at,
    })))
}

fn category(category: Category) -> Line {
    Line::Row(Row::Category(Arc::new(decentcom_server::storage::Category {
        id: category.id,
        name: category.name.into_inner(),
        position: category.position,
        created_at: category.created_at,
    })))
}

fn message(message: Message) -> Line {
    Line::Row(Row::Message(Arc::new(decentcom_server::storage::Message {
        id: message.id,
        channel_id: message.channel_id,
        author_id: message.author_id,
        content: message.content.into_inner(),
        edited_at: message.edited_at,
        deleted: message.deleted,
        created_at: message.created_at,
    })))
}

fn session(session: Session) -> Line {
    Line::Row(Row::Session(StoredSession {
        digest: session.digest.into_inner(),
        user_id: session.user_id,
        created_at: session.created_at,
        expires_at: session.expires_at,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"table":"messages","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","channel_id":"01ARZ3NDEKTSV4RRFFQ69G5FAA","author_id":"01ARZ3NDEKTSV4RRFFQ69G5FAB","content":"a\n\"b\"","edited_at":null,"deleted":false,"created_at":"2016-07-30T23:54:10.259Z"}"#;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let Ok(Line::Row(row)) = parse(MESSAGE) else { panic!("not a row") };
        assert_eq!(serde_json::to_string(&Record::of(&row, &mut Redactor::Open)).unwrap(), MESSAGE);
    }

    #[test]
    fn what_is_not_exactly_a_record_is_refused() {
        for (from, to) in [
            (r#""messages""#, r#""message""#),
            (r#""deleted":false"#, r#""deleted":0"#),
            (r#""deleted":false"#, r#""deleted":false,"deleted":true"#),
            (r#""deleted":false"#, r#""deleted":false,"pinned":true"#),
            (r#""edited_at":null,"#, ""),
            ("10.259Z", "10.25Z"),
            ("FAV", "FA"),
            ("\"}", "\"},"),
        ] {
            let altered = MESSAGE.replacen(from, to, 1);
            assert_ne!(altered, MESSAGE);
            assert!(parse(&altered).is_err(), "{altered}");
        }
    }

    #[test]
    fn users_of_a_dump_from_before_bots_and_membership_are_members_and_no_bots() {
        let old = r#"{"table":"users","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","pubkey":"k","display_name":null,"avatar_hash":null,"created_at":"2016-07-30T23:54:10.259Z","updated_at":"2016-07-30T23:54:10.259Z"}"#;
        let Ok(Line::Row(Row::User(user))) = parse(old) else { panic!("not a user") };
        assert!(user.is_member && !user.is_bot);
        let visitor = old.replace(r#""created_at""#, r#""is_bot":true,"is_member":false,"created_at""#);
        let Ok(Line::Row(row)) = parse(&visitor) else { panic!("not a user") };
        assert_eq!(serde_json::to_string(&Record::of(&row, &mut Redactor::Open)).unwrap(), visitor);
    }

    #[test]
    fn the_columns_are_the_fields() {
        let Ok(Line::Row(row)) = parse(MESSAGE) else { panic!("not a row") };
        let fields = Record::of(&row, &mut Redactor::Open).fields();
        assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), columns("messages"));
        assert_eq!(fields[3].1, "a\n\"b\"");
    }

    #[test]
    fn the_page_about_the_format_has_every_field_in_order() {
        let page = include_str!("../../../schema-docs/dump-format.md");
        for table in crate::format::tables() {
            let (_, section) = page.split_once(&format!("\n### `{table}`")).unwrap();
            let section = section.split("\n#").next().unwrap();
            let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            assert_eq!(names.collect::<Vec<_>>(), columns(table), "{table}");
        }
    }
}
