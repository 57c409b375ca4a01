//! The forms that times and days have in requests, checked in one place.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::flaw::Flaws;
use crate::domain::time::{day_number, local_day, parse_rfc3339};

/// Times from 1970 to 9999; others are mistakes.
const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// RFC 3339 with an offset, as milliseconds since 1970.
pub fn time(field: &str, text: Option<&str>, flaws: &mut Flaws) -> Option<i64> {
    let at_ms = parse_rfc3339(text?).ok().filter(|ms| (0..=TIME_MAX_MS).contains(ms));
    if at_ms.is_none() {
        flaws.add(field, format!("{field} must be a time such as 2026-11-23T18:00:00Z"));
    }
    at_ms
}

/// A calendar date, or a time, whose day in `zone` is taken; as days since 1970.
pub fn day(field: &str, text: &str, zone: &TimeZone, flaws: &mut Flaws) -> Option<i64> {
    let day = match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => Some(day_number(date)),
        _ => parse_rfc3339(text).ok().map(|at_ms| local_day(at_ms, zone)),
    };
    let day = day.map(i64::from).filter(|day| (0..=TIME_MAX_MS / 86_400_000).contains(day));
    if day.is_none() {
        flaws.add(field, format!("{field} must be a date such as 2026-11-23"));
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_or_times_in_the_zone() {
        let zone = TimeZone::get("Asia/Kathmandu").unwrap();
        let check = |text: &str, expected: Option<i64>| {
            let mut flaws = Flaws::default();
            assert_eq!(day("from", text, &zone, &mut flaws), expected, "{text}");
            assert_eq!(flaws.check().is_err(), expected.is_none(), "{text}");
        };
        check("1970-01-02", Some(1));
        check("1970-01-01T18:30:00Z", Some(1));
        check("1970-01-01T18:29:59Z", Some(0));
        check("1969-12-31", None);
        check("2026-13-01", None);
        check("yesterday", None);
    }
}
