//! Time is milliseconds since 1970 (UTC) inside; the workspace's zone is applied at the edge.

use jiff::Timestamp;
use jiff::civil::Date;
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

/// The clock.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn hours_of_the_week_start_on_monday() {
        let utc = TimeZone::UTC;
        assert_eq!(hour_of_week(parse_rfc3339("2026-11-23T00:00:00Z").unwrap(), &utc), 0);
        assert_eq!(hour_of_week(parse_rfc3339("2026-11-22T23:59:59Z").unwrap(), &utc), 167);
    }
}
