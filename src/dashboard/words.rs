//! How figures, times and codes read to people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::money::{Currency, format_minor};
use crate::domain::time::{day_date, timestamp};

/// `1234567.5` as `1,234,567.5`.
pub fn grouped(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |rest| ("−", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut text = sign.to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

pub fn count(n: i64) -> String {
    grouped(&n.to_string())
}

pub fn money(minor: i64, currency: Currency) -> String {
    money_text(&format_minor(minor, currency), currency)
}

/// A decimal amount with the currency's sign before it: `€1,234.50`, `CHF 20.00`.
pub fn money_text(decimal: &str, currency: Currency) -> String {
    let code = currency.code();
    let sign = match code {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        "INR" => "₹",
        _ => "",
    };
    let amount = grouped(decimal);
    let (minus, amount) = amount.strip_prefix('−').map_or(("", amount.as_str()), |rest| ("−", rest));
    match sign {
        "" => format!("{minus}{code}\u{a0}{amount}"),
        sign => format!("{minus}{sign}{amount}"),
    }
}

/// For an axis: `1.2k`, `3M`.
pub fn short(n: f64) -> String {
    let (scaled, unit) = match n.abs() {
        size if size >= 1e6 => (n / 1e6, "M"),
        size if size >= 1e3 => (n / 1e3, "k"),
        _ => (n, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.')).replace('-', "−")
}

/// `12 Nov 2026`.
pub fn day(day: i64) -> String {
    date(day_date(i32::try_from(day).unwrap_or_default()))
}

pub fn date(date: jiff::civil::Date) -> String {
    date.strftime("%-d %b %Y").to_string()
}

/// `12 Nov 2026, 14:03`.
pub fn moment(at_ms: i64, zone: &TimeZone) -> String {
    timestamp(at_ms).to_zoned_datetime(zone.clone()).strftime("%-d %b %Y, %H:%M").to_string()
}

/// For `<time datetime>`.
pub fn machine(at_ms: i64) -> String {
    let at: Timestamp = timestamp(at_ms);
    at.to_string()
}

/// How long before: `3 days`, `2 h 5 min`, `under a minute`.
pub fn span(ms: i64) -> String {
    let minutes = ms / 60_000;
    let (days, hours) = (minutes / 1440, minutes / 60);
    match (days, hours, minutes) {
        (_, _, ..=0) => "under a minute".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => match minutes % 60 {
            0 => format!("{hours} h"),
            rest => format!("{hours} h {rest} min"),
        },
        (1, ..) => "1 day".to_owned(),
        (days, ..) => format!("{days} days"),
    }
}

/// A code of ours as a phrase: `no_match` is `No match`.
pub fn phrase(code: &str) -> String {
    let words = code.replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A network by its own spelling, and the class of its colour.
pub fn network(name: &str) -> (String, &'static str) {
    let (spelled, class) = match name.to_lowercase().as_str() {
        "instagram" => ("Instagram", "n-instagram"),
        "facebook" => ("Facebook", "n-facebook"),
        "tiktok" => ("TikTok", "n-tiktok"),
        "youtube" => ("YouTube", "n-youtube"),
        "x" | "twitter" => ("X", "n-x"),
        "linkedin" => ("LinkedIn", "n-linkedin"),
        "pinterest" => ("Pinterest", "n-pinterest"),
        "threads" => ("Threads", "n-threads"),
        "bluesky" => ("Bluesky", "n-bluesky"),
        "mastodon" => ("Mastodon", "n-mastodon"),
        "reddit" => ("Reddit", "n-reddit"),
        "snapchat" => ("Snapchat", "n-snapchat"),
        "whatsapp" => ("WhatsApp", "n-whatsapp"),
        "telegram" => ("Telegram", "n-telegram"),
        "discord" => ("Discord", "n-discord"),
        _ => return (phrase(name), "n-other"),
    };
    (spelled.to_owned(), class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        let check = |decimal: &str, expected: &str| assert_eq!(grouped(decimal), expected);
        check("0.00", "0.00");
        check("999", "999");
        check("1000", "1,000");
        check("-1234567.50", "−1,234,567.50");
        let money = |decimal, code: &str| money_text(decimal, code.parse().unwrap());
        assert_eq!(money("-1234.50", "EUR"), "−€1,234.50");
        assert_eq!(money("1000", "JPY"), "¥1,000");
        assert_eq!(money("20.00", "CHF"), "CHF\u{a0}20.00");
        assert_eq!(
            [short(1200.0), short(0.0), short(-2_500_000.0), short(12.5)],
            ["1.2k", "0", "−2.5M", "12.5"]
        );
    }

    #[test]
    fn spans_and_codes_read_as_words() {
        let check = |ms, expected: &str| assert_eq!(span(ms), expected);
        check(5_000, "under a minute");
        check(5 * 60_000, "5 min");
        check(3_600_000, "1 h");
        check(3_900_000, "1 h 5 min");
        check(86_400_000, "1 day");
        check(3 * 86_400_000 + 5, "3 days");
        assert_eq!(phrase("other_channel"), "Other channel");
        assert_eq!(network("tiktok"), ("TikTok".to_owned(), "n-tiktok"));
        assert_eq!(network("my-forum"), ("My forum".to_owned(), "n-other"));
    }
}
