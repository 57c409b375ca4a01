//! Lemon Squeezy (<https://docs.lemonsqueezy.com/help/webhooks>). Amounts are in minor units; ids are
//! small numbers of their kind, so all but orders carry it: `subscriptions/7`.
//!
//! As with Stripe, whole stores run in test mode: its orders count, and `Interpretation::test` tells.

use super::fact::{Fact, Keys, Order, OrderStatus, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let topic = json.at("meta.event_name").opt_text().or(delivery.header("event-name"));
    let topic =
        topic.ok_or_else(|| json.at("meta.event_name").wrong("an event such as \"order_created\""))?;
    let data = json.at("data");
    let attributes = data.at("attributes");
    let id = data.at("id").id()?;
    let updated = attributes.at("updated_at").opt_text().unwrap_or_default();
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: Some(format!("{topic}/{id}/{updated}")),
        test: attributes.at("test_mode").is_true() || json.at("meta.test_mode").is_true(),
        ..Interpretation::default()
    };
    let mut keys = Keys {
        customer_id: attributes.at("customer_id").opt_id(),
        email: attributes.at("user_email").opt_text().map(Into::into),
        ..Keys::default()
    };
    keys.note_all(&json.at("meta.custom_data"));
    match topic {
        "order_created" | "order_refunded" => {
            for name in ["identifier", "order_number"] {
                keys.add_reference(attributes.at(name).opt_id());
            }
            said.facts = sale(id, &attributes, keys, None, delivery.received_ms)?;
        }
        // The first invoice is the order's own; later ones renew.
        "subscription_payment_success" | "subscription_payment_refunded"
            if attributes.at("billing_reason").opt_text() != Some("initial") =>
        {
            let subscription = format!("subscriptions/{}", attributes.at("subscription_id").id()?);
            let order_id = format!("subscription-invoices/{id}");
            said.facts = sale(order_id, &attributes, keys, Some(subscription), delivery.received_ms)?;
        }
        "subscription_created" => {
            keys.add_reference(Some(format!("subscriptions/{id}")));
            said.facts.push(Fact {
                order_id: attributes.at("order_id").id()?,
                version_ms: version_ms(&attributes, delivery.received_ms)?,
                says: Says::Keys(keys),
            });
        }
        _ => said.ignored = Some("not an event of sales or refunds, or the order's own invoice"),
    }
    Ok(said)
}

/// The sale, and what was given back of it in all.
fn sale(
    order_id: String,
    attributes: &Field<'_>,
    keys: Keys,
    renews: Option<String>,
    received_ms: i64,
) -> Result<Vec<Fact>, InterpretError> {
    let currency = attributes.at("currency").currency()?;
    let version_ms = version_ms(attributes, received_ms)?;
    let total_minor = attributes.at("total").minor()?;
    let status = match attributes.at("status").opt_text() {
        Some("pending" | "failed" | "fraudulent" | "void") => OrderStatus::Unpaid,
        _ => OrderStatus::Paid,
    };
    let order = Order {
        event: "purchase".into(),
        status,
        occurred_ms: attributes.at("created_at").time_ms()?,
        currency: currency.code().into(),
        total_minor,
        tax_minor: attributes.at("tax").opt_minor()?,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews,
        keys,
    };
    let refunded_minor = match attributes.at("refunded_amount").opt_minor()? {
        Some(amount) if amount > 0 => amount,
        _ if attributes.at("refunded").is_true() => total_minor,
        _ => 0,
    };
    let mut facts = vec![Fact { order_id: order_id.clone(), version_ms, says: Says::Order(order) }];
    if refunded_minor > 0 {
        let says = Says::RefundedTotal {
            amount_minor: refunded_minor,
            currency: currency.code().into(),
            occurred_ms: attributes.at("refunded_at").opt_time_ms()?.unwrap_or(version_ms),
        };
        facts.push(Fact { order_id, version_ms, says });
    }
    Ok(facts)
}

fn version_ms(attributes: &Field<'_>, received_ms: i64) -> Result<i64, InterpretError> {
    Ok(attributes.at("updated_at").opt_time_ms()?.unwrap_or(received_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{fixture, interpret, keys, lines, patched};
    use super::super::{Interpretation, Platform};

    const SALE: &str =
        "101@2026-11-20T10:00:29Z paid purchase 11.99 USD, tax 2.00 USD, at 2026-11-20T10:00:27Z";

    fn said(body: &Value) -> Interpretation {
        interpret(Platform::Lemonsqueezy, &[], body).unwrap()
    }

    #[test]
    fn orders_are_read() {
        let sale = said(&fixture("lemonsqueezy_order"));
        assert_eq!(lines(&sale), [SALE]);
        assert!(sale.test);
        assert_eq!(sale.dedupe_key.as_deref(), Some("order_created/101/2026-11-20T10:00:29.000000Z"));
        let keys = keys(&sale);
        assert_eq!(keys.tokens, ["lemon-token"]);
        assert_eq!(keys.customer_id.as_deref(), Some("5"));
        assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
        assert_eq!(keys.utm, [("source".to_string(), "youtube".to_string())]);
        assert_eq!(keys.references, ["104e18a2-d755-4d4b-80c4-a6c1dcbe1c10", "88"]);
        let by_header = patched("lemonsqueezy_order", [("/meta/event_name", Value::Null)]);
        let by_header =
            interpret(Platform::Lemonsqueezy, &[("x-event-name", "order_created")], &by_header).unwrap();
        assert_eq!(by_header.topic, "order_created");
        let pending = patched("lemonsqueezy_order", [("/data/attributes/status", json!("pending"))]);
        assert!(lines(&said(&pending))[0].contains(" unpaid purchase"));
    }

    #[test]
    fn refunds_are_cumulative() {
        let refunded = |patch: (&str, Value), expected: &str| {
            let patches = [
                ("/meta/event_name", json!("order_refunded")),
                ("/data/attributes/refunded_at", json!("2026-11-22T10:00:00.000000Z")),
                patch,
            ];
            let said = said(&patched("lemonsqueezy_order", patches));
            assert_eq!(lines(&said), [SALE, &format!("101@2026-11-20T10:00:29Z refunded in all {expected}")]);
        };
        refunded(("/data/attributes/refunded", json!(true)), "11.99 USD, at 2026-11-22T10:00:00Z");
        refunded(("/data/attributes/refunded_amount", json!(500)), "5.00 USD, at 2026-11-22T10:00:00Z");
    }

    #[test]
    fn subscriptions_renew() {
        let renewal = said(&fixture("lemonsqueezy_subscription_invoice"));
        assert_eq!(
            lines(&renewal),
            ["subscription-invoices/101@2026-12-20T10:00:29Z paid purchase 11.99 USD, tax 2.00 USD, \
              renews subscriptions/7, at 2026-12-20T10:00:27Z"]
        );
        let initial = [("/data/attributes/billing_reason", json!("initial"))];
        let initial = said(&patched("lemonsqueezy_subscription_invoice", initial));
        assert!(initial.facts.is_empty() && initial.ignored.is_some());

        let created = json!({
            "meta": {"event_name": "subscription_created"},
            "data": {"id": "7", "attributes": {"order_id": 101, "updated_at": "2026-11-20T10:00:30.000000Z"}},
        });
        let created = said(&created);
        assert_eq!(lines(&created), ["101@2026-11-20T10:00:30Z keys"]);
        assert_eq!(keys(&created).references, ["subscriptions/7"]);
    }

    #[test]
    fn the_rest_is_ignored_or_named() {
        let license = patched("lemonsqueezy_order", [("/meta/event_name", json!("license_key_created"))]);
        assert!(said(&license).ignored.is_some());
        let error = |pointer: &str, value: Value, expected: &str| {
            let body = patched("lemonsqueezy_order", [(pointer, value)]);
            assert_eq!(interpret(Platform::Lemonsqueezy, &[], &body).unwrap_err().to_string(), expected);
        };
        error("/data/id", Value::Null, "data.id is missing; expected an id: a string or a whole number");
        error(
            "/data/attributes/total",
            json!(-1),
            "data.attributes.total: -1 is negative; expected a whole number of minor units",
        );
        error(
            "/data/attributes/currency",
            json!(5),
            "data.attributes.currency: found 5; expected a currency of ISO 4217 such as \"EUR\"",
        );
        error(
            "/meta/event_name",
            Value::Null,
            "meta.event_name is missing; expected an event such as \"order_created\"",
        );
    }
}
