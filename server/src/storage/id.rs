//! Identifiers: ULIDs, one type per kind of record, so that a channel's id cannot be passed where a user's belongs.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use super::{
    Timestamp,
    contract::field::{Kind, Value, field_types},
};

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

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// A ULID, kept as its 26 upper-case Crockford characters; it dereferences to that text and sorts like it,
        /// which is also the order of creation.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ulid::ULID_LEN]);

        impl $name {
            /// The id written in `text`, in either case; `None` if it is not a ULID.
            pub fn parse(text: &str) -> Option<Self> {
                parse_ulid(text).map(Self::from)
            }

            /// The canonical text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// The 128-bit value.
            pub fn ulid(&self) -> Ulid {
                parse_ulid(self.as_str()).unwrap_or_default()
            }

            /// The time within the id: when the record was created. `None` past the year 9999.
            pub fn timestamp(&self) -> Option<Timestamp> {
                Timestamp::from_millis(self.ulid().timestamp_ms())
            }
        }

        impl From<Ulid> for $name {
            fn from(ulid: Ulid) -> Self {
                let mut text = [0; ulid::ULID_LEN];
                ulid.array_to_str(&mut text);
                Self(text)
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        field_types! { $name: Id, Ulid::nil().into(), |id| Value::Id(id.ulid()), Value::Id(id) => Some(id.into()); }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a ULID"))
            }
        }
    )*};
}

ids! {
    /// Names a user.
    UserId
    /// Names a channel.
    ChannelId
    /// Names a category.
    CategoryId
    /// Names a message; also the position in a channel's history that a cursor points at.
    MessageId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_is_accepted_and_made_canonical() {
        let id = MessageId::parse("01arz3ndektsv4rrffq69g5fav").unwrap();
        assert_eq!(id, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(MessageId::from(id.ulid()), id);
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
        assert!(ids.is_sorted());
    }
}
