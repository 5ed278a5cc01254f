//! A line of a dump and the record it is, as the contract describes its fields.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use decentcom_server::storage::{
    Entity, MessageId,
    contract::{
        field::{Field, FieldType, Kind, Value},
        model::{ForModel, Model, Source},
    },
    inspect::Row,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
    ser::SerializeMap as _,
};
use serde_json::Value as Json;
use ulid::Ulid;

use super::{META, redact::Redactor};

/// The only fact about a store that belongs to its records.
const HIGH_WATER: &str = "high_water_id";
/// The fields of a fact.
const FACT: [&str; 2] = ["name", "value"];

/// What a line of a dump says.
pub(crate) enum Line {
    /// No id up to this one may be given out again.
    HighWater(Ulid),
    /// A record.
    Row(Row),
}

/// A record as a dump has it.
#[derive(Clone)]
pub(crate) struct Record {
    table: &'static str,
    /// In the order in which they are in the line.
    fields: Vec<(&'static str, Json)>,
}

impl Record {
    /// The line of the largest id ever given out.
    pub(crate) fn high_water(id: Ulid) -> Self {
        let [name, value] = FACT;
        Self { table: META, fields: vec![(name, HIGH_WATER.into()), (value, id.to_string().into())] }
    }

    /// The line of a record.
    pub(crate) fn of(row: &Row, redactor: &mut Redactor) -> Self {
        let mut fields = Vec::new();
        row.visit(&mut |field, value| fields.push((field.name, redactor.show(field, value))));
        Self { table: row.entity().table(), fields }
    }

    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    /// The names and values of its fields, in order.
    pub(crate) fn fields(&self) -> &[(&'static str, Json)] {
        &self.fields
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(Some(1 + self.fields.len()))?;
        line.serialize_entry("table", self.table)?;
        for (name, value) in &self.fields {
            line.serialize_entry(name, value)?;
        }
        line.end()
    }
}

/// The names of a table's fields, in order.
pub(crate) fn columns(table: &str) -> Vec<&'static str> {
    match Entity::of_table(table) {
        Some(entity) => entity.fields().iter().map(|field| field.name).collect(),
        None => FACT.to_vec(),
    }
}

/// Reads a line.
pub(crate) fn parse(line: &str) -> Result<Line, String> {
    /// Looks at nothing but the table, so that the rest is read as what it is to be.
    #[derive(Deserialize)]
    struct Table<'a> {
        #[serde(borrow)]
        table: Cow<'a, str>,
    }
    let Table { table } = serde_json::from_str(line).map_err(problem)?;
    match Entity::of_table(&table) {
        Some(entity) => entity.with(Parse(line)).map(Line::Row),
        None if table == META => meta(line),
        None => Err(format!("there is no table `{table:.40}`")),
    }
}

/// What serde_json says, without its line number, which is always 1.
fn problem(error: serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at byte")
}

fn meta(line: &str) -> Result<Line, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fact<'a> {
        #[serde(borrow, rename = "table")]
        _table: Cow<'a, str>,
        name: String,
        value: MessageId, // ids of all kinds look alike
    }
    let fact: Fact<'_> = serde_json::from_str(line).map_err(problem)?;
    match fact.name.as_str() {
        HIGH_WATER => Ok(Line::HighWater(fact.value.ulid())),
        other => Err(format!("there is no fact `{other:.40}`")),
    }
}

struct Parse<'a>(&'a str);

impl ForModel for Parse<'_> {
    type Answer = Result<Row, String>;

    fn run<M: Model>(self) -> Self::Answer {
        let Parsed(record) = serde_json::from_str::<Parsed<M>>(self.0).map_err(problem)?;
        Ok(Arc::new(record).into_row())
    }
}

/// A record read from a line that has exactly its fields.
struct Parsed<M>(M);

impl<'de, M: Model> Deserialize<'de> for Parsed<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<M>(PhantomData<M>);

impl<'de, M: Model> Visitor<'de> for Fields<M> {
    type Value = Parsed<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of `{}`", M::TABLE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut line: A) -> Result<Parsed<M>, A::Error> {
        let mut values = Values { found: vec![None; M::FIELDS.len()], error: PhantomData };
        let mut has_table = false;
        while let Some(name) = line.next_key::<Cow<'de, str>>()? {
            let twice = || A::Error::custom(format!("duplicate field `{name:.40}`"));
            if name == "table" {
                let _: Cow<'de, str> = line.next_value()?;
                if std::mem::replace(&mut has_table, true) {
                    return Err(twice());
                }
                continue;
            }
            let unknown = || A::Error::custom(format!("unknown field `{name:.40}` of `{}`", M::TABLE));
            let field = M::FIELDS.iter().find(|field| field.name == name).ok_or_else(unknown)?;
            let value = line.next_value_seed(Of(field))?;
            match values.found.get_mut(field.position) {
                Some(slot @ None) => *slot = Some(value),
                _ => return Err(twice()),
            }
        }
        M::from_source(&mut values).map(Parsed)
    }
}

/// The values of a line.
struct Values<E> {
    found: Vec<Option<Value<'static>>>,
    error: PhantomData<E>,
}

impl<E: serde::de::Error> Source for Values<E> {
    type Error = E;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, E> {
        let value = match self.found.get_mut(field.position).and_then(Option::take) {
            Some(value) => value,
            // Dumps made before records had this leave it out.
            None if field.since > 1 => field.before.value(),
            None => return Err(E::missing_field(field.name)),
        };
        T::from_value(value).ok_or_else(|| E::custom(format!("the field `{}` cannot be that", field.name)))
    }
}

/// Reads the value of a field.
struct Of(&'static Field);

impl<'de> DeserializeSeed<'de> for Of {
    type Value = Value<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'static>, D::Error> {
        let value = match self.0.kind {
            Kind::Flag => self.read(deserializer, Value::Flag)?,
            Kind::Number => self.read(deserializer, Value::Number)?,
            Kind::Time => self.read(deserializer, Value::Time)?,
            Kind::Text => self.read(deserializer, |text: String| Value::Text(text.into()))?,
            Kind::Id => self.read(deserializer, |id: MessageId| Value::Id(id.ulid()))?, // ids of all kinds look alike
            Kind::Digest => self.read(deserializer, |Hex(bytes): Hex<32>| Value::Bytes(bytes.to_vec().into()))?,
            Kind::Challenge => self.read(deserializer, |Hex(bytes): Hex<44>| Value::Bytes(bytes.to_vec().into()))?,
        };
        Ok(value)
    }
}

impl Of {
    fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        &self,
        deserializer: D,
        value: impl FnOnce(T) -> Value<'static>,
    ) -> Result<Value<'static>, D::Error> {
        match self.0.is_optional {
            true => Ok(Option::deserialize(deserializer)?.map_or(Value::Nothing, value)),
            false => T::deserialize(deserializer).map(value),
        }
    }
}

/// Bytes written in lower-case hexadecimal.
struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = decentcom_server::storage::bytes_of_hex(&text);
        bytes.map(Self).ok_or_else(|| D::Error::custom(format!("not {} lower-case hexadecimal digits", 2 * N)))
    }
}

#[cfg(test)]
mod tests {
    use decentcom_server::storage::contract::field::Role;

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
        let record = Record::of(&row, &mut Redactor::Open);
        let fields = record.fields();
        assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), columns("messages"));
        assert_eq!(fields[3].1, "a\n\"b\"");
    }

    /// The table of fields of a kind of record, as the page has it.
    fn described(entity: Entity) -> String {
        let mut table = String::from("| field | type | meaning |\n|---|---|---|\n");
        for field in entity.fields() {
            let optional = if field.is_optional { "?" } else { "" };
            let kind = match field.kind {
                Kind::Flag => format!("boolean{optional}"),
                Kind::Number => format!("whole number{optional}"),
                Kind::Time => format!("time{optional}"),
                Kind::Text => format!("text{optional}, {} to {} bytes", field.least, field.most),
                Kind::Id => format!("id{optional}"),
                Kind::Digest | Kind::Challenge => format!("digest{optional}"),
            };
            let mut meaning = field.meaning.trim().to_owned();
            if field.role == Role::CreatedAt {
                meaning.push_str(" The time within `id`, always.");
            }
            if let Some(entity) = field.refers_to {
                meaning.push_str(&format!(" A {entity} of the file."));
            }
            if field.since > 1 {
                meaning.push_str(&format!(
                    " Older dumps leave it out: `{}`.",
                    Redactor::Open.show(field, field.before.value())
                ));
            }
            table.push_str(&format!("| `{}` | {kind} | {meaning} |\n", field.name));
        }
        table
    }

    #[test]
    fn the_page_about_the_format_has_every_field_in_order() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema-docs/dump-format.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut made = String::new();
        let mut rest = page.as_str();
        for entity in Entity::dumped() {
            let Some((before, section)) = rest.split_once(&format!("\n### `{}`", entity.table())) else {
                let key = entity.fields()[0].name;
                made.push_str(&format!("\n### `{}`, by `{key}`\n\n{}", entity.table(), described(entity)));
                continue;
            };
            let (title, table) = section.split_once("| field |").unwrap();
            let end = table.find("\n\n").unwrap() + 1;
            made.push_str(&format!("{before}\n### `{}`{title}{}", entity.table(), described(entity)));
            rest = &table[end..];
        }
        made.push_str(rest);
        if std::env::var_os("UPDATE_SCHEMA_DOCS").is_some() {
            std::fs::write(path, made).unwrap();
        } else {
            assert!(
                made == page,
                "schema-docs/dump-format.md is not what the code says. To make it anew: cargo xtask docs"
            );
        }
    }
}
