//! What the platforms' tests share: fixtures, patched as a case needs, and facts as lines of text.

use serde_json::Value;

use super::fact::{Keys, Refund, Says};
use super::{InterpretError, Interpretation, Platform};
use crate::domain::money::format_minor;
use crate::domain::time::rfc3339;

/// When the tests' deliveries come in: 2026-11-23T10:00:00Z.
pub(super) const RECEIVED_MS: i64 = 1_795_428_000_000;

/// A body of `tests/fixtures/webhooks/`, without `.json`.
pub(super) fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The fixture with other values at JSON pointers; null takes a field's value away.
pub(super) fn patched<const N: usize>(name: &str, patches: [(&str, Value); N]) -> Value {
    let mut body = fixture(name);
    for (pointer, value) in patches {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match body.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in {name}")) {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
    }
    body
}

pub(super) fn interpret(
    platform: Platform,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Interpretation, InterpretError> {
    let headers: Vec<_> = headers.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    super::interpret(platform, &headers, body.to_string().as_bytes(), RECEIVED_MS)
}

/// Facts as lines such as `727@2026-11-20T10:00:08Z paid purchase 34.35 EUR, tax 5.00, shipping 10.00`.
pub(super) fn lines(said: &Interpretation) -> Vec<String> {
    said.facts
        .iter()
        .map(|fact| format!("{}@{} {}", fact.order_id, rfc3339(fact.version_ms), says(&fact.says)))
        .collect()
}

/// The keys of the first order or of the first keys alone.
pub(super) fn keys(said: &Interpretation) -> &Keys {
    said.facts
        .iter()
        .find_map(|fact| match &fact.says {
            Says::Order(order) => Some(&order.keys),
            Says::Keys(keys) => Some(keys),
            _ => None,
        })
        .unwrap()
}

fn says(says: &Says) -> String {
    match says {
        Says::Order(order) => {
            let status = format!("{:?}", order.status).to_lowercase();
            let mut line = format!("{status} {} {}", order.event, money(order.total_minor, &order.currency));
            for (name, part) in [("tax", order.tax_minor), ("shipping", order.shipping_minor)] {
                if let Some(minor) = part {
                    line += &format!(", {name} {}", money(minor, &order.currency));
                }
            }
            if let Some(subscription) = &order.renews {
                line += &format!(", renews {subscription}");
            }
            line + &format!(", at {}", rfc3339(order.occurred_ms))
        }
        Says::Refund(refund) => format!("refund {}", self::refund(refund)),
        Says::Refunds(refunds) => {
            format!("refunds [{}]", refunds.iter().map(refund).collect::<Vec<_>>().join("; "))
        }
        Says::RefundedTotal { amount_minor, currency, occurred_ms } => {
            format!("refunded in all {}, at {}", money(*amount_minor, currency), rfc3339(*occurred_ms))
        }
        Says::Keys(_) => "keys".into(),
        Says::Gone(gone) => format!("gone: {gone:?}").to_lowercase(),
    }
}

fn refund(refund: &Refund) -> String {
    let mut line = format!("{} {}", refund.id, money(refund.amount_minor, &refund.currency));
    if let Some(minor) = refund.explains_minor {
        line += &format!(" explaining {}", money(minor, &refund.currency));
    }
    if let Some(at_ms) = refund.occurred_ms {
        line += &format!(", at {}", rfc3339(at_ms));
    }
    line
}

fn money(minor: i64, currency: &str) -> String {
    match currency.parse() {
        Ok(currency) => format!("{} {currency}", format_minor(minor, currency)),
        Err(_) => minor.to_string(),
    }
}
