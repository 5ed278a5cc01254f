//! Times as people type and read them: in a zone, or so long ago.

use std::str::FromStr;

use decentcom_server::storage::{Clock as _, SystemClock, Timestamp};
use jiff::{
    ZonedDateTime, civil,
    tz::{Offset, TimeZone},
};

use crate::Failure;

/// Where clocks show what people type and read; UTC unless another one was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "utc" | "z" => return Ok(Self::default()),
            "local" => return Ok(Self(TimeZone::system())),
            _ => {}
        }
        if let Some(offset) = offset(text) {
            return Ok(Self(TimeZone::fixed(offset)));
        }
        let unknown = |_| "no zone has this name; write Europe/Berlin, +02:00, local or UTC".to_owned();
        TimeZone::get(text).map(Self).map_err(unknown)
    }
}

/// `+02:00`, `-0330`, `+2`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(parts), _) => parts,
        (None, 4) => digits.split_at_checked(2)?,
        (None, _) => (digits, "0"),
    };
    let is_number = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

impl Zone {
    /// A time on this zone's clocks, with how far they are from UTC.
    pub(crate) fn show(&self, time: Timestamp) -> String {
        match self.zoned(time).filter(|_| self.0 != TimeZone::UTC) {
            Some(zoned) => zoned.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string(),
            None => time.to_string(),
        }
    }

    fn zoned(&self, time: Timestamp) -> Option<ZonedDateTime> {
        let millis = i64::try_from(time.as_millis()).ok()?;
        Some(jiff::Timestamp::from_millisecond(millis).ok()?.to_zoned_datetime(self.0.clone()))
    }

    /// What somebody typed, on this zone's clocks unless it says otherwise.
    pub(crate) fn read(&self, text: &str) -> Result<Timestamp, Failure> {
        let form = "write 2024-12-31, 2024-12-31T23:59:59 (also with Z or +01:00), 2h, 3d, now, today or yesterday";
        self.read_at(text, SystemClock.now())
            .ok_or_else(|| Failure::usage(format!("`{text}` is no time between 1970 and 9999; {form}")))
    }

    fn read_at(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let text = text.trim();
        let word = text.to_ascii_lowercase();
        let today = || Some(self.zoned(now)?.date());
        let start = |day: Option<civil::Date>| timestamp(&day?.to_zoned_datetime(self.0.clone()).ok()?);
        match word.as_str() {
            "now" => return Some(now),
            "today" => return start(today()),
            "yesterday" => return start(today()?.yesterday().ok()),
            "tomorrow" => return start(today()?.tomorrow().ok()),
            _ => {}
        }
        if text.as_bytes().get(4) == Some(&b'-') {
            return self.read_civil(text);
        }
        let ago = humantime::parse_duration(word.strip_suffix("ago").unwrap_or(&word).trim()).ok()?;
        Timestamp::from_millis(now.as_millis().checked_sub(u64::try_from(ago.as_millis()).ok()?)?)
    }

    /// A day, or a day and a time of it.
    fn read_civil(&self, text: &str) -> Option<Timestamp> {
        let (day, time) = match text.split_once(['T', 't', ' ']) {
            Some((day, time)) => (day, Some(time)),
            None => (text.strip_suffix(['Z', 'z']).unwrap_or(text), None),
        };
        let mut zone = self.0.clone();
        if time.is_none() && day.len() < text.len() {
            zone = TimeZone::UTC;
        }
        let day: civil::Date = day.parse().ok()?;
        let time = match time {
            None => civil::Time::midnight(),
            Some(time) => {
                let time = if let Some(time) = time.strip_suffix(['Z', 'z']) {
                    zone = TimeZone::UTC;
                    time
                } else if let Some(at) = time.find(['+', '-']) {
                    let (time, own) = time.split_at_checked(at)?;
                    zone = TimeZone::fixed(offset(own)?);
                    time
                } else {
                    time
                };
                time.parse().ok()?
            }
        };
        timestamp(&day.to_datetime(time).to_zoned_datetime(zone).ok()?)
    }
}

fn timestamp(zoned: &ZonedDateTime) -> Option<Timestamp> {
    u64::try_from(zoned.timestamp().as_millisecond()).ok().and_then(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_days_or_days_with_a_time() {
        for (text, full) in [
            ("2024-12-31", "2024-12-31T00:00:00.000Z"),
            ("2024-12-31Z", "2024-12-31T00:00:00.000Z"),
            ("2024-12-31T23:59Z", "2024-12-31T23:59:00.000Z"),
            ("2024-12-31 23:59:58", "2024-12-31T23:59:58.000Z"),
            ("2024-12-31T23:59:58.007Z", "2024-12-31T23:59:58.007Z"),
            ("2024-12-31t23:59:58+01:00", "2024-12-31T22:59:58.000Z"),
            ("2024-12-31T20:30-0330", "2025-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Zone::default().read(text).unwrap().to_string(), full, "{text}");
        }
        for bad in [
            "",
            "whenever",
            "2024-13-01",
            "2024-12-31T25:00",
            "1969-12-31",
            "2024-12-31T00:00:00+15:00",
            "é",
            "2",
            "h",
            "99999y",
            "2024-12-31T",
            "2024-12-31T00:00:00+",
            "-2h",
            "2024-12-311",
            "2h yesterday",
        ] {
            assert!(Zone::default().read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_so_long_ago() {
        let now = at("2024-06-15T12:00:00.000Z");
        for (text, full) in [
            ("now", "2024-06-15T12:00:00.000Z"),
            ("2h", "2024-06-15T10:00:00.000Z"),
            ("1h30m", "2024-06-15T10:30:00.000Z"),
            ("3d", "2024-06-12T12:00:00.000Z"),
            ("2 days ago", "2024-06-13T12:00:00.000Z"),
            ("Today", "2024-06-15T00:00:00.000Z"),
            ("yesterday", "2024-06-14T00:00:00.000Z"),
            ("tomorrow", "2024-06-16T00:00:00.000Z"),
        ] {
            assert_eq!(Zone::default().read_at(text, now).unwrap(), at(full), "{text}");
        }
        // A day begins when it begins there.
        let late = at("2024-06-15T23:00:00.000Z");
        assert_eq!(zone("Europe/Berlin").read_at("today", late).unwrap(), at("2024-06-15T22:00:00.000Z"));
        assert_eq!(zone("-05:00").read_at("yesterday", late).unwrap(), at("2024-06-14T05:00:00.000Z"));
    }

    #[test]
    fn a_zone_has_a_name_or_an_offset_and_knows_summer() {
        for (name, winter, summer) in [
            ("UTC", "2024-01-01T00:00:00.000Z", "2024-07-01T00:00:00.000Z"),
            ("Europe/Berlin", "2024-01-01T01:00:00.000+01:00", "2024-07-01T02:00:00.000+02:00"),
            ("America/New_York", "2023-12-31T19:00:00.000-05:00", "2024-06-30T20:00:00.000-04:00"),
            ("+2", "2024-01-01T02:00:00.000+02:00", "2024-07-01T02:00:00.000+02:00"),
            ("-0330", "2023-12-31T20:30:00.000-03:30", "2024-06-30T20:30:00.000-03:30"),
        ] {
            let shown = |time| zone(name).show(at(time));
            assert_eq!(shown("2024-01-01T00:00:00.000Z"), winter);
            assert_eq!(shown("2024-07-01T00:00:00.000Z"), summer);
            assert_eq!(zone(name).read(winter).unwrap(), at("2024-01-01T00:00:00.000Z"), "{winter}");
        }
        assert_eq!(zone("Europe/Berlin").read("2024-07-01").unwrap(), at("2024-06-30T22:00:00.000Z"));
        assert!("local".parse::<Zone>().is_ok());
        for bad in ["", "Europe/Nowhere", "+25", "+1:99", "++1", "+", "-x"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_time_can_be_shown_everywhere() {
        for time in [Timestamp::MIN, Timestamp::MAX] {
            for name in ["UTC", "+14", "-14", "Asia/Tokyo"] {
                assert!(zone(name).show(time).len() >= 24);
            }
        }
    }
}
