//! Reading JSON fields so that every error names the field by its path.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::domain::money::{Currency, MoneyError, parse_minor, parse_minor_json};
use crate::domain::time::{parse_rfc2822, parse_rfc3339};

/// Longest id of an order, a refund or a delivery, in bytes.
pub(super) const MAX_ID_BYTES: usize = 255;

/// Bytes of a wrong value that an error shows.
const MAX_SHOWN_BYTES: usize = 40;

const DECIMAL: &str = "a decimal string such as \"10.00\"";
const MINOR: &str = "a whole number of minor units";

static NULL: Value = Value::Null;

/// Why a delivery cannot be read. Shows the field at fault, never the rest of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    #[error("the body is cut off: it ends inside a JSON value")]
    CutOff,
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("{field} is missing; expected {expected}")]
    Missing { field: String, expected: &'static str },
    #[error("{field}: found {found}; expected {expected}")]
    Unexpected { field: String, found: String, expected: &'static str },
    #[error("{field}: {found} is {reason}")]
    UnknownCurrency { field: String, found: String, reason: MoneyError },
    #[error("{field}: {found} is negative; expected {expected}")]
    Negative { field: String, found: String, expected: &'static str },
    #[error("{field}: {found} is {reason}")]
    Amount { field: String, found: String, reason: MoneyError },
    #[error("{field}: {found} is not a time; expected {expected}")]
    Time { field: String, found: String, expected: &'static str },
    #[error("{field} has more than {MAX_ID_BYTES} bytes")]
    TooLong { field: String },
}

impl InterpretError {
    /// The path of the field at fault, such as `data.object.currency`.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Missing { field, .. }
            | Self::Unexpected { field, .. }
            | Self::UnknownCurrency { field, .. }
            | Self::Negative { field, .. }
            | Self::Amount { field, .. }
            | Self::Time { field, .. }
            | Self::TooLong { field } => Some(field),
            Self::CutOff | Self::NotJson(_) => None,
        }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Value, InterpretError> {
    serde_json::from_slice(body).map_err(|error| match error.is_eof() {
        true => InterpretError::CutOff,
        false => InterpretError::NotJson(error.to_string()),
    })
}

/// A JSON value and the path that led to it. What is absent reads as null.
#[derive(Clone)]
pub(super) struct Field<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// The value under a name, or under names joined by dots.
    pub fn at(&self, path: &str) -> Self {
        let mut value = self.value;
        for name in path.split('.') {
            value = value.get(name).unwrap_or(&NULL);
        }
        Self { value, path: self.below(path) }
    }

    /// The items of a list; what is no list has none.
    pub fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let item = |(n, value)| Self { value, path: format!("{}[{n}]", self.path) };
        items.iter().enumerate().map(item).collect()
    }

    /// Names and values of an object; what is no object has none.
    pub fn entries(&self) -> Vec<(&'a str, Self)> {
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.as_str(), Self { value, path: self.below(name) })).collect()
    }

    /// Whether the object names this, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some()
    }

    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub fn is_text(&self) -> bool {
        self.value.is_string()
    }

    pub fn is_empty_text(&self) -> bool {
        self.value.as_str().is_some_and(|text| text.trim().is_empty())
    }

    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub fn is_false(&self) -> bool {
        self.value.as_bool() == Some(false)
    }

    pub fn is_true(&self) -> bool {
        self.value.as_bool() == Some(true)
    }

    /// A string that says something; all else is None.
    pub fn opt_text(&self) -> Option<&'a str> {
        self.value.as_str().and_then(clean)
    }

    pub fn text(&self, expected: &'static str) -> Result<&'a str, InterpretError> {
        self.opt_text().ok_or_else(|| self.wrong(expected))
    }

    /// An id that is a string, a whole number, or the `id` of an object (Stripe expands references).
    pub fn opt_id(&self) -> Option<String> {
        let value = if self.value.is_object() { self.value.get("id")? } else { self.value };
        let id: Cow<'_, str> = match value {
            Value::String(text) => clean(text)?.into(),
            Value::Number(number) if !number.is_f64() => number.to_string().into(),
            _ => return None,
        };
        (id.len() <= MAX_ID_BYTES).then(|| id.into_owned())
    }

    pub fn id(&self) -> Result<String, InterpretError> {
        if self.value.as_str().is_some_and(|text| text.len() > MAX_ID_BYTES) {
            return Err(InterpretError::TooLong { field: self.name() });
        }
        self.opt_id().ok_or_else(|| self.wrong("an id: a string or a whole number"))
    }

    pub fn currency(&self) -> Result<Currency, InterpretError> {
        const EXPECTED: &str = "a currency of ISO 4217 such as \"EUR\"";
        let code = match self.value {
            Value::String(code) => code,
            _ => return Err(self.wrong(EXPECTED)),
        };
        code.trim().parse().map_err(|reason| InterpretError::UnknownCurrency {
            field: self.name(),
            found: self.found(),
            reason,
        })
    }

    /// A decimal amount of any sign, in minor units.
    pub fn amount(&self, currency: Currency) -> Result<i64, InterpretError> {
        if self.is_null() {
            return Err(self.wrong(DECIMAL));
        }
        parse_minor_json(self.value, currency).map_err(|reason| self.bad_amount(reason))
    }

    /// A decimal amount that is not negative, in minor units.
    pub fn price(&self, currency: Currency) -> Result<i64, InterpretError> {
        self.not_negative(self.amount(currency)?, DECIMAL)
    }

    /// As [`price`](Self::price); None where it is absent or empty.
    pub fn opt_price(&self, currency: Currency) -> Result<Option<i64>, InterpretError> {
        if self.is_null() || self.is_empty_text() { Ok(None) } else { self.price(currency).map(Some) }
    }

    /// As [`price`](Self::price), rounded half to even where there are more decimals than the currency has.
    pub fn rounded_price(&self, currency: Currency) -> Result<i64, InterpretError> {
        let exact = match self.value {
            Value::String(text) => text.parse::<Decimal>().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        };
        match exact {
            Some(exact) => {
                let minor = parse_minor(&exact.round_dp(currency.exponent()).to_string(), currency);
                self.not_negative(minor.map_err(|reason| self.bad_amount(reason))?, DECIMAL)
            }
            None => self.price(currency),
        }
    }

    /// As [`rounded_price`](Self::rounded_price); None where it is absent or empty.
    pub fn opt_rounded_price(&self, currency: Currency) -> Result<Option<i64>, InterpretError> {
        if self.is_null() || self.is_empty_text() { Ok(None) } else { self.rounded_price(currency).map(Some) }
    }

    /// An amount that is already in minor units, as a number or a string, not negative.
    pub fn minor(&self) -> Result<i64, InterpretError> {
        let minor = match self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let minor = minor.ok_or_else(|| self.wrong(MINOR))?;
        if minor > crate::domain::money::MAX_MINOR {
            return Err(self.bad_amount(MoneyError::TooLarge));
        }
        self.not_negative(minor, MINOR)
    }

    /// As [`minor`](Self::minor); None where it is absent.
    pub fn opt_minor(&self) -> Result<Option<i64>, InterpretError> {
        if self.is_null() { Ok(None) } else { self.minor().map(Some) }
    }

    /// RFC 3339, in milliseconds since 1970.
    pub fn time_ms(&self) -> Result<i64, InterpretError> {
        const EXPECTED: &str = "RFC 3339 such as \"2026-11-20T10:00:00Z\"";
        self.read_time(EXPECTED, |text| parse_rfc3339(text).ok())
    }

    /// As [`time_ms`](Self::time_ms); None where it is absent.
    pub fn opt_time_ms(&self) -> Result<Option<i64>, InterpretError> {
        if self.is_null() { Ok(None) } else { self.time_ms().map(Some) }
    }

    /// A time without a zone that is meant in UTC (WooCommerce's `*_gmt`); None where it is absent.
    pub fn opt_utc_ms(&self) -> Result<Option<i64>, InterpretError> {
        if self.opt_text().is_none() && (self.is_null() || self.is_text()) {
            return Ok(None);
        }
        let read = |text: &str| parse_rfc3339(text).or_else(|_| parse_rfc3339(&format!("{text}Z"))).ok();
        self.read_time("a time in UTC such as \"2026-11-20T10:00:00\"", read).map(Some)
    }

    /// A time as mails have it (RFC 2822), or RFC 3339; None where it is absent or empty.
    pub fn opt_mail_ms(&self) -> Result<Option<i64>, InterpretError> {
        if self.is_null() || self.is_empty_text() {
            return Ok(None);
        }
        let read = |text: &str| parse_rfc2822(text).or_else(|_| parse_rfc3339(text)).ok();
        self.read_time("RFC 2822 such as \"Fri, 20 Nov 2026 10:00:00 +0000\"", read).map(Some)
    }

    /// Whole seconds since 1970, in milliseconds.
    pub fn seconds_ms(&self) -> Result<i64, InterpretError> {
        let seconds = self.value.as_i64().ok_or_else(|| self.wrong("seconds since 1970"))?;
        seconds.checked_mul(1000).ok_or_else(|| self.wrong("seconds since 1970"))
    }

    /// Says that this value is none of those expected.
    pub fn wrong(&self, expected: &'static str) -> InterpretError {
        if self.is_null() {
            return InterpretError::Missing { field: self.name(), expected };
        }
        InterpretError::Unexpected { field: self.name(), found: self.found(), expected }
    }

    fn read_time(
        &self,
        expected: &'static str,
        read: impl Fn(&str) -> Option<i64>,
    ) -> Result<i64, InterpretError> {
        let text = self.text(expected)?;
        read(text).ok_or_else(|| InterpretError::Time { field: self.name(), found: self.found(), expected })
    }

    fn not_negative(&self, minor: i64, expected: &'static str) -> Result<i64, InterpretError> {
        if minor < 0 {
            return Err(InterpretError::Negative { field: self.name(), found: self.found(), expected });
        }
        Ok(minor)
    }

    pub fn bad_amount(&self, reason: MoneyError) -> InterpretError {
        InterpretError::Amount { field: self.name(), found: self.found(), reason }
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "the body".into() } else { self.path.clone() }
    }

    /// The value as JSON, cut short; of lists and objects only the kind.
    fn found(&self) -> String {
        let mut text = match self.value {
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "an object".into(),
            other => other.to_string(),
        };
        if text.len() > MAX_SHOWN_BYTES {
            text.truncate(text.floor_char_boundary(MAX_SHOWN_BYTES));
            text.push_str("...");
        }
        text
    }
}

/// Text without white space around it; None if it is empty or holds control characters, which
/// PostgreSQL refuses.
pub(super) fn clean(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_field() {
        let usd: Currency = "USD".parse().unwrap();
        let body = json!({
            "total_price": "-5", "tax": "a lot", "big": 10_000_000_000_000_000i64, "items": [{"price": {}}],
            "when": "yesterday", "money": "DOGE", "id": 1.5, "long": "x".repeat(256),
            "note": "0123456789012345678901234567890123456789012345",
        });
        let body = Field::root(&body);
        let check = |error: InterpretError, expected: &str| assert_eq!(error.to_string(), expected);
        check(
            body.at("total_price").price(usd).unwrap_err(),
            "total_price: \"-5\" is negative; expected a decimal string such as \"10.00\"",
        );
        check(
            body.at("tax").price(usd).unwrap_err(),
            "tax: \"a lot\" is not an amount; expected a decimal string such as \"10.00\"",
        );
        check(
            body.at("big").minor().unwrap_err(),
            "big: 10000000000000000 is more than 1000000000000000 minor units",
        );
        check(
            body.at("items").items()[0].at("price.amount").price(usd).unwrap_err(),
            "items[0].price.amount is missing; expected a decimal string such as \"10.00\"",
        );
        check(
            body.at("when").time_ms().unwrap_err(),
            "when: \"yesterday\" is not a time; expected RFC 3339 such as \"2026-11-20T10:00:00Z\"",
        );
        check(
            body.at("money").currency().unwrap_err(),
            "money: \"DOGE\" is not a currency of ISO 4217; expected three letters such as \"EUR\"",
        );
        check(body.at("id").id().unwrap_err(), "id: found 1.5; expected an id: a string or a whole number");
        check(body.at("long").id().unwrap_err(), "long has more than 255 bytes");
        check(
            body.at("note").currency().unwrap_err(),
            "note: \"012345678901234567890123456789012345678... is not a currency of ISO 4217; expected three \
             letters such as \"EUR\"",
        );
        check(body.wrong("a list"), "the body: found an object; expected a list");
        assert_eq!(body.at("a.b").id().unwrap_err().field(), Some("a.b"));
    }

    #[test]
    fn ids_are_exact() {
        let body: Value =
            serde_json::from_str(r#"[9007199254740993, "820982911946154508", {"id": 7}, "a\u0000"]"#)
                .unwrap();
        let items = Field::root(&body).items();
        let ids: Vec<_> = items.iter().map(Field::opt_id).collect();
        assert_eq!(
            ids[..3],
            [Some("9007199254740993".into()), Some("820982911946154508".into()), Some("7".into())]
        );
        assert_eq!(ids[3], None);
    }

    #[test]
    fn cut_off_is_told_from_junk() {
        assert_eq!(parse(b"{\"id\": 1, \"tot"), Err(InterpretError::CutOff));
        assert_eq!(parse(b""), Err(InterpretError::CutOff));
        assert!(matches!(parse(b"webhook_id=7"), Err(InterpretError::NotJson(_))));
        assert!(matches!(parse(&[b'['; 100_000]), Err(InterpretError::NotJson(_))));
    }
}
