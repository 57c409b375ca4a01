//! Time is milliseconds since 1970 (UTC) inside; the workspace's zone is applied at the edge.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// The local calendar day of a moment, as days since 1970-01-01. Exact for any offset.
pub fn local_day(at_ms: i64, zone: &TimeZone) -> i32 {
    day_number(timestamp(at_ms).to_zoned_datetime(zone.clone()).date())
}

/// Days since 1970-01-01 of a calendar date.
pub fn day_number(date: Date) -> i32 {
    (date - jiff::civil::date(1970, 1, 1)).get_days()
}

/// The calendar date of a day number.
pub fn day_date(day: i32) -> Date {
    jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(day))
}

/// The first day of a day's month, both as day numbers.
pub fn month_of(day: i64) -> i64 {
    let date = day_date(i32::try_from(day).unwrap_or(i32::MAX));
    day_number(date.first_of_month()).into()
}

/// The first day of the month after the one that begins on a day.
pub fn month_after(month: i64) -> i64 {
    let date = day_date(i32::try_from(month).unwrap_or(i32::MAX));
    day_number(date.saturating_add(jiff::Span::new().months(1))).into()
}

/// The hour of the week of a moment in a zone: 0 is Monday 00:00, 167 is Sunday 23:00.
pub fn hour_of_week(at_ms: i64, zone: &TimeZone) -> i32 {
    let zoned = timestamp(at_ms).to_zoned_datetime(zone.clone());
    i32::from(zoned.weekday().to_monday_zero_offset()) * 24 + i32::from(zoned.hour())
}

/// A moment from its stored form; out-of-range values are clamped.
pub fn timestamp(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// RFC 3339 in UTC, with milliseconds only where there are some.
pub fn rfc3339(at_ms: i64) -> String {
    timestamp(at_ms).to_string()
}

/// Reads RFC 3339 with any offset.
pub fn parse_rfc3339(text: &str) -> Result<i64, jiff::Error> {
    text.parse::<Timestamp>().map(|t| t.as_millisecond())
}

/// Reads RFC 2822, as mails have it: `Fri, 20 Nov 2026 10:00:00 +0000`.
pub fn parse_rfc2822(text: &str) -> Result<i64, jiff::Error> {
    jiff::fmt::rfc2822::parse(text).map(|zoned| zoned.timestamp().as_millisecond())
}

/// Reads a time as export files write it: RFC 3339, `2026-01-31 17:05:00 +0200` (or ` UTC`), a local date with
/// or without a time (then `zone` counts), or seconds or milliseconds since 1970. None: not one of these; day
/// and month in another order are anybody's guess.
pub fn parse_written(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        // Seconds have 11 digits from the year 5138 on, milliseconds had 12 until 2001.
        let at_ms = if number.abs() < 100_000_000_000 { number.checked_mul(1000)? } else { number };
        return Timestamp::from_millisecond(at_ms).ok().map(|at| at.as_millisecond());
    }
    if let Ok(at_ms) = parse_rfc3339(text) {
        return Some(at_ms);
    }
    for format in ["%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%z"] {
        if let Ok(at) = Timestamp::strptime(format, text) {
            return Some(at.as_millisecond());
        }
    }
    let (civil, zone) = match text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")) {
        Some(civil) => (civil, &TimeZone::UTC),
        None => (text, zone),
    };
    let civil: DateTime = civil.parse().ok().or_else(|| DateTime::strptime("%Y-%m-%d %H:%M", civil).ok())?;
    Some(zone.to_ambiguous_timestamp(civil).compatible().ok()?.as_millisecond())
}

/// The clock.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_the_next_begins() {
        assert_eq!(month_after(20_454), 20_485, "January 2026");
        assert_eq!(month_after(20_819 - 31), 20_819, "December 2026");
    }

    #[test]
    fn days_are_local_and_exact() {
        let check = |at: &str, zone: &str, expected: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let day = local_day(parse_rfc3339(at).unwrap(), &zone);
            assert_eq!(day_date(day).to_string(), expected, "{at}");
        };
        check("2026-11-23T18:14:59Z", "Asia/Kathmandu", "2026-11-23");
        check("2026-11-23T18:15:00Z", "Asia/Kathmandu", "2026-11-24");
        check("2026-11-23T18:30:00Z", "Asia/Kolkata", "2026-11-24");
        check("2026-03-29T00:59:59Z", "Europe/Berlin", "2026-03-29");
        check("1969-12-31T23:59:59Z", "UTC", "1969-12-31");
    }

    #[test]
    fn times_of_export_files_are_read() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_written(text, &zone).map(rfc3339).as_deref(), expected, "{text}");
        };
        check("2026-01-31T17:05:00Z", Some("2026-01-31T17:05:00Z"));
        check("2026-01-31T17:05:00.250+02:00", Some("2026-01-31T15:05:00.25Z"));
        check("2026-01-31T17:05:00+0000", Some("2026-01-31T17:05:00Z"));
        check(" 2026-01-31 17:05:00 -0500", Some("2026-01-31T22:05:00Z"));
        check("2026-01-31 17:05:00 UTC", Some("2026-01-31T17:05:00Z"));
        check("2026-01-31 17:05:00", Some("2026-01-31T22:05:00Z"));
        check("2026-07-31 17:05", Some("2026-07-31T21:05:00Z"));
        check("2026-01-31", Some("2026-01-31T05:00:00Z"));
        check("1769879100", Some("2026-01-31T17:05:00Z"));
        check("1769879100250", Some("2026-01-31T17:05:00.25Z"));
        check("01/31/2026", None);
        check("99999999999999999", None);
        check("yesterday", None);
    }

    #[test]
    fn hours_of_the_week_start_on_monday() {
        let utc = TimeZone::UTC;
        assert_eq!(hour_of_week(parse_rfc3339("2026-11-23T00:00:00Z").unwrap(), &utc), 0);
        assert_eq!(hour_of_week(parse_rfc3339("2026-11-22T23:59:59Z").unwrap(), &utc), 167);
    }
}
