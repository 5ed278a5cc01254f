//! Identifiers: ULIDs, one type per kind of record, so that a channel's id cannot be passed where a user's belongs.

use std::ops::Deref;

use ulid::Ulid;

use super::Timestamp;

/// The ULID in `text`, in either case; `None` unless it is 26 Crockford characters of which the first is at most `7`.
///
/// The ULID specification allows no larger first character (128 bits end there); the `ulid` crate would drop the
/// bits above instead, and two texts would name one record.
pub(crate) fn parse_ulid(text: &str) -> Option<Ulid> {
    matches!(text.as_bytes().first(), Some(b'0'..=b'7')).then(|| Ulid::from_string(text).ok()).flatten()
}

/// The id after this one; `None` where there is none that could be given out.
pub(super) fn successor(id: Ulid) -> Option<Ulid> {
    let next = Ulid(id.0.checked_add(1)?);
    Timestamp::from_millis(next.timestamp_ms()).map(|_| next)
}

/// The 26 characters of an id, for whoever wants a text: statements of SQL, the calls of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText([u8; ulid::ULID_LEN]);

impl From<Ulid> for IdText {
    fn from(id: Ulid) -> Self {
        let mut text = [0; ulid::ULID_LEN];
        id.array_to_str(&mut text);
        Self(text)
    }
}

impl Deref for IdText {
    type Target = str;
    fn deref(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(_) => unreachable!("Crockford's characters are ASCII"),
        }
    }
}

impl AsRef<str> for IdText {
    fn as_ref(&self) -> &str {
        self
    }
}

/// Makes types of ids; `entities!` calls it.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// A ULID; it sorts like its text, which is also the order of creation.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ulid::Ulid);

        impl $name {
            /// The id written in `text`, in either case; `None` if it is not a ULID.
            pub fn parse(text: &str) -> Option<Self> {
                $crate::storage::id::parse_ulid(text).map(Self)
            }

            /// The canonical text: 26 upper-case Crockford characters.
            pub fn text(self) -> $crate::storage::IdText {
                self.0.into()
            }

            /// The 128-bit value.
            pub const fn ulid(self) -> ulid::Ulid {
                self.0
            }

            /// The time within the id: when the record was created. `None` past the year 9999.
            pub fn timestamp(self) -> Option<$crate::storage::Timestamp> {
                $crate::storage::Timestamp::from_millis(self.0.timestamp_ms())
            }
        }

        impl From<ulid::Ulid> for $name {
            fn from(id: ulid::Ulid) -> Self {
                Self(id)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.text() == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self == *other
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.text())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text())
            }
        }

        $crate::storage::contract::field::field_types! {
            $name: Id, Self(ulid::Ulid::nil()), |id| $crate::storage::contract::field::Value::Id(id.0),
                $crate::storage::contract::field::Value::Id(id) => Some(Self(id));
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a ULID"))
            }
        }
    )*};
}
pub(super) use ids;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MessageId, UserId};

    #[test]
    fn either_case_is_accepted_and_made_canonical() {
        let id = MessageId::parse("01arz3ndektsv4rrffq69g5fav").unwrap();
        assert_eq!(id, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(MessageId::from(id.ulid()), id);
        assert_eq!(*id.text(), *id.to_string());
        assert_eq!(format!("{id:>28}{id:<27}|"), "  01ARZ3NDEKTSV4RRFFQ69G5FAV01ARZ3NDEKTSV4RRFFQ69G5FAV |");
        assert_eq!(format!("{id:?}"), "MessageId(01ARZ3NDEKTSV4RRFFQ69G5FAV)");
        assert_eq!(serde_json::from_value::<MessageId>(serde_json::json!(id)).unwrap(), id);
    }

    #[test]
    fn what_is_not_a_ulid_is_refused() {
        for text in [
            "",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01ARZ3NDEKTSV4RRFFQ69G5FAVV",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            "01ARZ3NDEKTSV4RRFFQ69G5FA-",
            " 1ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5é",
        ] {
            assert_eq!(UserId::parse(text), None, "{text:?}");
        }
        assert_eq!(UserId::parse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ").unwrap().ulid().0, u128::MAX);
    }

    #[test]
    fn text_order_is_value_order() {
        let mut values: Vec<u128> = (0..128).map(|bit| 1 << bit).collect();
        values.push(u128::MAX);
        let ids: Vec<UserId> = values.into_iter().map(|value| Ulid(value).into()).collect();
        assert!(ids.is_sorted() && ids.is_sorted_by_key(|id| id.to_string()));
    }
}
