//! Money is a whole number of a currency's minor units (cents, yen, fils); decimal text at the edges.
//! Nothing here goes through binary floating point.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest amount taken from outside, in minor units: ten thousand of them still add up in 64 bits.
pub const MAX_MINOR: i64 = 1_000_000_000_000_000;

/// Decimal digits that survive a JSON number: beyond them a reader's binary double has rounded.
const EXACT_DIGITS: usize = 15;

/// A currency of ISO 4217 that has minor units (no metals, no test codes).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Three upper-case letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimals of the minor unit: 0, 2, 3 or 4.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(2, u32::from)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    /// Accepts any case: Stripe writes `usd`.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(&text.to_ascii_uppercase())
            .filter(|known| known.exponent().is_some())
            .map(Self)
            .ok_or(MoneyError::UnknownCurrency)
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().into()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("not a currency of ISO 4217; expected three letters such as \"EUR\"")]
    UnknownCurrency,
    #[error("not an amount; expected a decimal string such as \"10.00\"")]
    NotDecimal,
    #[error("more decimals than {currency} has ({})", currency.exponent())]
    TooManyDecimals { currency: Currency },
    #[error("a JSON number of more than {EXACT_DIGITS} digits is not exact; send a decimal string")]
    Inexact,
    #[error("more than {MAX_MINOR} minor units")]
    TooLarge,
}

/// Reads a decimal string such as `10.00` or `-10.00` into minor units.
///
/// Surplus decimals must be zeros; exponents, thousands separators and spaces are refused.
pub fn parse_minor(text: &str, currency: Currency) -> Result<i64, MoneyError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
        Some(_) => return Err(MoneyError::NotDecimal),
        None => (digits, ""),
    };
    if !is_digits(whole) {
        return Err(MoneyError::NotDecimal);
    }
    let decimals = currency.exponent() as usize;
    let (counting, surplus) = fraction.split_at(fraction.len().min(decimals));
    if surplus.bytes().any(|digit| digit != b'0') {
        return Err(MoneyError::TooManyDecimals { currency });
    }
    let padding = std::iter::repeat_n(b'0', decimals - counting.len());
    let mut minor: i64 = 0;
    for digit in whole.bytes().chain(counting.bytes()).chain(padding) {
        minor = minor * 10 + i64::from(digit - b'0');
        if minor > MAX_MINOR {
            return Err(MoneyError::TooLarge);
        }
    }
    Ok(if negative { -minor } else { minor })
}

/// Reads a JSON string or number by its decimal text: `27.5` is `"27.5"`.
pub fn parse_minor_json(value: &Value, currency: Currency) -> Result<i64, MoneyError> {
    match value {
        Value::String(text) => parse_minor(text, currency),
        Value::Number(number) => {
            let text = number.to_string();
            let significant = text.trim_start_matches(['-', '0', '.']).trim_end_matches(".0");
            if number.is_f64() && significant.bytes().filter(u8::is_ascii_digit).count() > EXACT_DIGITS {
                return Err(MoneyError::Inexact);
            }
            parse_minor(&text, currency)
        }
        _ => Err(MoneyError::NotDecimal),
    }
}

/// The decimal string of an amount, with all of the currency's decimals: `-10.00`, `1000` (yen).
pub fn format_minor(minor: i64, currency: Currency) -> String {
    let decimals = currency.exponent() as usize;
    let sign = if minor < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    if decimals == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Converts at `rate` (one unit of `from` is `rate` units of `to`), rounding half to even.
pub fn convert(amount_minor: i64, from: Currency, to: Currency, rate: Decimal) -> Result<i64, MoneyError> {
    let amount = Decimal::try_from_i128_with_scale(amount_minor.into(), from.exponent())
        .map_err(|_| MoneyError::TooLarge)?;
    let minor_per_unit = Decimal::from(10_i64.pow(to.exponent()));
    let rate_minor = rate.checked_mul(minor_per_unit).ok_or(MoneyError::TooLarge)?;
    let exact = amount.checked_mul(rate_minor).ok_or(MoneyError::TooLarge)?;
    let rounded = exact.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven);
    i64::try_from(rounded).map_err(|_| MoneyError::TooLarge)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn currencies_are_those_of_iso_4217_with_minor_units() {
        let check = |code: &str, exponent| assert_eq!(currency(code).exponent(), exponent, "{code}");
        check("USD", 2);
        check("jpy", 0);
        check("KWD", 3);
        check("CLF", 4);
        check("HRK", 2);
        for code in ["", "US", "USDT", "XXX", "XAU", "BTC", "€€€", "U D"] {
            assert_eq!(code.parse::<Currency>(), Err(MoneyError::UnknownCurrency), "{code}");
        }
        assert_eq!(serde_json::from_str::<Currency>("\"eur\"").unwrap(), currency("EUR"));
        assert_eq!(serde_json::to_string(&currency("EUR")).unwrap(), "\"EUR\"");
    }

    #[test]
    fn decimal_strings_become_minor_units() {
        let usd = currency("USD");
        let check = |text: &str, code: &str, expected| {
            assert_eq!(parse_minor(text, currency(code)), expected, "{text} {code}");
        };
        check("10.00", "USD", Ok(1000));
        check("-10.00", "USD", Ok(-1000));
        check("0", "USD", Ok(0));
        check("27.5", "USD", Ok(2750));
        check("007.10", "USD", Ok(710));
        check("1000", "JPY", Ok(1000));
        check("1000.00", "JPY", Ok(1000));
        check("1.234", "KWD", Ok(1234));
        check("1.2340", "KWD", Ok(1234));
        check("10000000000000.00", "USD", Ok(MAX_MINOR));
        check("10.005", "USD", Err(MoneyError::TooManyDecimals { currency: usd }));
        check("0.5", "JPY", Err(MoneyError::TooManyDecimals { currency: currency("JPY") }));
        check("10000000000000.01", "USD", Err(MoneyError::TooLarge));
        check("99999999999999999999999999999999", "USD", Err(MoneyError::TooLarge));
        for text in ["", "-", ".", "1.", ".5", "1e3", "+1", " 1", "1,000.00", "--1", "1.2.3", "NaN", "٣"] {
            check(text, "USD", Err(MoneyError::NotDecimal));
        }
    }

    #[test]
    fn json_amounts_go_by_their_text() {
        let check = |value: Value, expected| {
            assert_eq!(parse_minor_json(&value, currency("USD")), expected, "{value}");
        };
        check(json!("27.50"), Ok(2750));
        check(json!(27.5), Ok(2750));
        check(json!(1.1), Ok(110));
        check(json!(0.07), Ok(7));
        check(json!(3), Ok(300));
        check(json!(-2), Ok(-200));
        check(json!(123456789012.25), Ok(12345678901225));
        check(json!(1234567890123.4567), Err(MoneyError::Inexact));
        check(json!(1e30), Err(MoneyError::NotDecimal));
        check(json!(null), Err(MoneyError::NotDecimal));
        check(json!([1]), Err(MoneyError::NotDecimal));
    }

    #[test]
    fn amounts_are_written_with_all_decimals() {
        let check = |minor, code: &str, expected: &str| {
            assert_eq!(format_minor(minor, currency(code)), expected);
        };
        check(1000, "USD", "10.00");
        check(-5, "USD", "-0.05");
        check(0, "USD", "0.00");
        check(1000, "JPY", "1000");
        check(1, "KWD", "0.001");
        check(i64::MIN, "USD", "-92233720368547758.08");
    }

    #[test]
    fn conversion_rounds_half_to_even_and_minds_exponents() {
        let check = |minor, from: &str, to: &str, rate: &str, expected| {
            let rate: Decimal = rate.parse().unwrap();
            assert_eq!(convert(minor, currency(from), currency(to), rate), expected, "{minor} {from} {rate}");
        };
        check(1000, "USD", "EUR", "0.9", Ok(900));
        check(1, "USD", "EUR", "0.5", Ok(0));
        check(3, "USD", "EUR", "0.5", Ok(2));
        check(-3, "USD", "EUR", "0.5", Ok(-2));
        check(1000, "JPY", "USD", "0.0067", Ok(670));
        check(999, "USD", "JPY", "149.55", Ok(1494));
        check(1500, "KWD", "JPY", "488.5", Ok(733));
        check(i64::MAX, "USD", "JPY", "100000000000", Err(MoneyError::TooLarge));
    }

    proptest! {
        #[test]
        fn text_round_trips(
            minor in -MAX_MINOR..=MAX_MINOR,
            code in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"]),
        ) {
            let currency = currency(code);
            prop_assert_eq!(parse_minor(&format_minor(minor, currency), currency), Ok(minor));
        }

        #[test]
        fn cents_survive_json_numbers(minor in -99_999_999_999_999i64..=99_999_999_999_999) {
            let number: Value = serde_json::from_str(&format_minor(minor, currency("USD"))).unwrap();
            prop_assert_eq!(parse_minor_json(&number, currency("USD")), Ok(minor));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse_minor(&text, currency("USD"));
        }

        #[test]
        fn converting_at_one_changes_nothing(minor in -MAX_MINOR..=MAX_MINOR) {
            prop_assert_eq!(convert(minor, currency("USD"), currency("EUR"), Decimal::ONE), Ok(minor));
        }
    }
}
