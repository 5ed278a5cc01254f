//! UTC instants in whole milliseconds: the only times that the store records.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A UTC instant in whole milliseconds, from 1970 to the end of the year 9999.
///
/// Written everywhere, in SQL, JSON and logs, as `YYYY-MM-DDTHH:MM:SS.mmmZ` (RFC 3339 with always three
/// digits of fraction), so the order of the texts is the order of the times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z, the last one that four digits of year can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The instant `millis` milliseconds after the Unix epoch; `None` past [`Timestamp::MAX`].
    pub fn from_millis(millis: u64) -> Option<Self> {
        (millis <= Self::MAX.0).then_some(Self(millis))
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant plus `duration`, rounded up to a whole millisecond; `None` past [`Timestamp::MAX`].
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        self.0.checked_add(u64::try_from(millis).ok()?).and_then(Self::from_millis)
    }

    /// How much later this is than `earlier`; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|instant| instant.format(FORMAT).ok())
            .ok_or(fmt::Error)?;
        f.pad(&text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not `YYYY-MM-DDTHH:MM:SS.mmmZ` between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time written as YYYY-MM-DDTHH:MM:SS.mmmZ between 1970 and 9999")]
pub struct ParseTimestampError;

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant = PrimitiveDateTime::parse(text, FORMAT).map_err(|_| ParseTimestampError)?.assume_utc();
        u64::try_from(instant.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .and_then(Self::from_millis)
            .ok_or(ParseTimestampError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_three_digits_of_fraction_and_reads_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_020, "2023-11-14T22:13:20.020Z"),
            (Timestamp::MAX.as_millis(), "9999-12-31T23:59:59.999Z"),
        ] {
            let timestamp = Timestamp::from_millis(millis).unwrap();
            assert_eq!(timestamp.to_string(), text);
            assert_eq!(text.parse(), Ok(timestamp));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.02Z",
            "2023-11-14 22:13:20.020Z",
            "2023-11-14T22:13:20.020+00:00",
            "2023-02-30T22:13:20.020Z",
            "1969-12-31T23:59:59.999Z",
            "10000-01-01T00:00:00.000Z",
            "2023-11-14T22:13:20.020Z ",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text:?}");
        }
    }

    #[test]
    fn adding_rounds_up_and_stops_at_the_year_9999() {
        let start = Timestamp::from_millis(1).unwrap();
        assert_eq!(start.checked_add(Duration::from_nanos(1)), Timestamp::from_millis(2));
        assert_eq!(start.checked_add(Duration::MAX), None);
        assert_eq!(Timestamp::MAX.checked_add(Duration::from_nanos(1)), None);
        assert_eq!(Timestamp::MAX.checked_add(Duration::ZERO), Some(Timestamp::MAX));
    }
}
