//! Records as clients see them: the superset of fields that three generations of clients read.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat,
        schema::{SchemaType, Type},
    },
};

use super::admins::Admins;
use crate::storage::{
    self, Timestamp, UserId,
    contract::{
        field::{Field, Kind},
        model::Model,
    },
};

/// A record of the contract with all its fields, and what clients read beside them.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<M, B> {
    #[serde(flatten)]
    record: M,
    #[serde(flatten)]
    beside: B,
}

/// A channel. Newer clients read the name of its category, `category`, older ones its id, `category_id`.
pub(crate) type Channel = Shown<storage::Channel, BesideChannel>;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BesideChannel {
    /// The name of its category.
    category: Option<String>,
    r#type: &'static str,
}

impl Channel {
    /// A channel and its category. What it notes of one that does not exist is not shown.
    pub(crate) fn new(channel: storage::Channel, category: Option<&storage::Category>) -> Self {
        let category_id = category.map(|category| category.id.to_string());
        let beside = BesideChannel { category: category.map(|category| category.name.clone()), r#type: "text" };
        Self { record: storage::Channel { category_id, ..channel }, beside }
    }
}

/// A category.
pub(crate) type Category = Shown<storage::Category, Nothing>;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nothing {}

/// A record that is shown as it is.
impl<M: Model> From<M> for Shown<M, Nothing> {
    fn from(record: M) -> Self {
        Self { record, beside: Nothing {} }
    }
}

/// A message; of a deleted one nothing of the text is left.
pub(crate) type Message = Shown<storage::Message, BesideMessage>;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BesideMessage {
    /// Always empty: this server keeps no attachments.
    #[schema(value_type = Vec<Object>)]
    attachments: [(); 0],
    /// Always empty: this server keeps no reactions.
    #[schema(value_type = Vec<Object>)]
    reactions: [(); 0],
    /// Always null: this server has no threads.
    #[schema(value_type = Option<Object>)]
    thread: Option<()>,
}

impl From<storage::Message> for Message {
    fn from(mut record: storage::Message) -> Self {
        if record.deleted {
            record.content = Arc::default();
        }
        Self { record, beside: BesideMessage { attachments: [], reactions: [], thread: None } }
    }
}

/// One object of the fields of both.
impl<M: Model, B: PartialSchema> PartialSchema for Shown<M, B> {
    fn schema() -> RefOr<Schema> {
        let mut object = ObjectBuilder::new().description(Some(M::ABOUT.trim()));
        for field in M::FIELDS {
            object = object.property(field.name, described(field)).required(field.name);
        }
        if let RefOr::T(Schema::Object(beside)) = B::schema() {
            object = beside.properties.into_iter().fold(object, |object, (name, schema)| object.property(name, schema));
            object = beside.required.into_iter().fold(object, ObjectBuilder::required);
        }
        RefOr::T(Schema::Object(object.build()))
    }
}

impl<M: Model, B: PartialSchema> ToSchema for Shown<M, B> {
    fn name() -> Cow<'static, str> {
        let name = M::ENTITY.to_string();
        let mut letters = name.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>().into()
    }
}

/// How JSON has a field.
fn described(field: &Field) -> ObjectBuilder {
    let (kind, format) = match field.kind {
        Kind::Flag => (Type::Boolean, None),
        Kind::Number => (Type::Integer, Some(KnownFormat::Int32)),
        Kind::Time => (Type::String, Some(KnownFormat::DateTime)),
        Kind::Text | Kind::Id | Kind::Digest | Kind::Challenge => (Type::String, None),
    };
    let object =
        ObjectBuilder::new().description(Some(field.meaning.trim())).format(format.map(SchemaFormat::KnownFormat));
    match field.is_optional {
        true => object.schema_type(SchemaType::from_iter([kind, Type::Null])),
        false => object.schema_type(kind),
    }
}

/// Bytes that a text takes as JSON, without its quotation marks.
pub(crate) fn json_length(text: &str) -> usize {
    let written = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2, // `\n` and the like
        0..0x20 => 6,                                            // `\u0000`
        _ => 1,
    };
    text.bytes().map(written).sum()
}

/// A role as shown with its member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberRole {
    id: &'static str,
    name: &'static str,
    color: Option<String>,
    position: i32,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    #[schema(value_type = String)]
    user_id: UserId,
    pubkey: String,
    display_name: Option<String>,
    avatar_hash: Option<String>,
    is_bot: bool,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
    roles: Vec<MemberRole>,
}

impl Member {
    /// The member that `user` is, with the roles that `admins` give.
    pub(crate) fn new(user: storage::User, admins: &Admins) -> Self {
        let roles = super::roles::of(admins.is_admin(&user))
            .map(|role| MemberRole { id: role.id, name: role.name, color: None, position: role.position })
            .collect();
        let storage::User { id, pubkey, display_name, avatar_hash, is_bot, created_at, .. } = user;
        Self { user_id: id, pubkey, display_name, avatar_hash, is_bot, joined_at: created_at, roles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_text_is_that_of_its_json() {
        for text in ["", "x", "\"\\/", "é\u{1f600}\u{2028}"]
            .map(str::to_owned)
            .into_iter()
            .chain(('\0'..='\u{100}').map(Into::into))
        {
            assert_eq!(json_length(&text) + 2, serde_json::to_string(&text).unwrap().len(), "{text:?}");
        }
    }
}
