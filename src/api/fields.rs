//! The forms that times have in requests, checked in one place.

use crate::domain::flaw::Flaws;
use crate::domain::time::parse_rfc3339;

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
