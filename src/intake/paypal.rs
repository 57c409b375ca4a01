//! PayPal: captures and their refunds (<https://developer.paypal.com/api/rest/webhooks/event-names/>).
//! The order id is the capture's.

use super::fact::{Fact, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let event = &delivery.json;
    let topic = event.at("event_type").text("an event type such as \"PAYMENT.CAPTURE.COMPLETED\"")?;
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: Some(event.at("id").id()?),
        ..Interpretation::default()
    };
    let resource = event.at("resource");
    let at_ms = event.at("create_time").time_ms()?;
    match topic {
        "PAYMENT.CAPTURE.COMPLETED" => said.facts.push(capture(&resource, at_ms, OrderStatus::Paid)?),
        "PAYMENT.CAPTURE.PENDING" | "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED" => {
            said.facts.push(capture(&resource, at_ms, OrderStatus::Unpaid)?);
        }
        "PAYMENT.CAPTURE.REFUNDED" | "PAYMENT.CAPTURE.REVERSED" => {
            said.facts.push(refund(&resource, at_ms)?);
        }
        "CHECKOUT.ORDER.COMPLETED" => {
            said.facts = checkout(&resource, at_ms)?;
            if said.facts.is_empty() {
                said.ignored = Some("the order names no capture");
            }
        }
        _ => said.ignored = Some("not an event of captures or refunds"),
    }
    Ok(said)
}

fn capture(resource: &Field<'_>, at_ms: i64, status: OrderStatus) -> Result<Fact, InterpretError> {
    let amount = resource.at("amount");
    let currency = amount.at("currency_code").currency()?;
    let mut keys = Keys::default();
    note_custom_id(&mut keys, resource);
    for path in ["supplementary_data.related_ids.order_id", "invoice_id"] {
        keys.add_reference(resource.at(path).opt_id());
    }
    let says = Says::Order(Order {
        event: "purchase".into(),
        status,
        occurred_ms: resource.at("create_time").time_ms()?,
        currency: currency.code().into(),
        total_minor: amount.at("value").price(currency)?,
        tax_minor: None,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews: None,
        keys,
    });
    Ok(Fact { order_id: resource.at("id").id()?, version_ms: version_ms(resource, at_ms)?, says })
}

/// The capture stands only in the link `up`. A reversal's amount may be negative.
fn refund(resource: &Field<'_>, at_ms: i64) -> Result<Fact, InterpretError> {
    let links = resource.at("links").items();
    let up = links.iter().find(|link| link.at("rel").opt_text() == Some("up"));
    let capture = up.and_then(|link| link.at("href").opt_text()?.rsplit_once("/captures/")).map(|(_, id)| id);
    let order_id =
        capture.ok_or_else(|| resource.at("links").wrong("a link \"up\" to /v2/payments/captures/{id}"))?;
    let amount = resource.at("amount");
    let currency = amount.at("currency_code").currency()?;
    let amount_minor = amount.at("value").amount(currency)?.abs();
    let is_void = matches!(resource.at("status").opt_text(), Some("CANCELLED" | "FAILED"));
    let says = Says::Refund(Refund {
        id: resource.at("id").id()?,
        amount_minor: if is_void { 0 } else { amount_minor },
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: Some(resource.at("create_time").time_ms()?),
    });
    Ok(Fact { order_id: order_id.into(), version_ms: version_ms(resource, at_ms)?, says })
}

/// A completed order tells of its captures who paid; the captures tell the money.
fn checkout(resource: &Field<'_>, at_ms: i64) -> Result<Vec<Fact>, InterpretError> {
    let mut facts = Vec::new();
    for unit in resource.at("purchase_units").items() {
        for capture in unit.at("payments.captures").items() {
            let mut keys = Keys {
                customer_id: resource.at("payer.payer_id").opt_id(),
                email: resource.at("payer.email_address").opt_text().map(Into::into),
                ..Keys::default()
            };
            note_custom_id(&mut keys, &unit);
            for field in [resource.at("id"), unit.at("invoice_id")] {
                keys.add_reference(field.opt_id());
            }
            facts.push(Fact { order_id: capture.at("id").id()?, version_ms: at_ms, says: Says::Keys(keys) });
        }
    }
    Ok(facts)
}

/// Sites put a bare token, `um_click=...` or a JSON object of their own here.
fn note_custom_id(keys: &mut Keys, of: &Field<'_>) {
    let Some(custom) = of.at("custom_id").opt_text() else { return };
    if let Ok(object) = serde_json::from_str(custom) {
        keys.note_all(&Field::root(&object));
    } else if custom.contains('=') {
        keys.add_query_of(&format!("?{custom}"));
    } else {
        keys.add_token(custom);
    }
}

fn version_ms(resource: &Field<'_>, at_ms: i64) -> Result<i64, InterpretError> {
    Ok(resource.at("update_time").opt_time_ms()?.unwrap_or(at_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{fixture, interpret, keys, lines, patched};
    use super::super::{Interpretation, Platform};

    fn said(body: &Value) -> Interpretation {
        interpret(Platform::Paypal, &[], body).unwrap()
    }

    #[test]
    fn captures_are_sales() {
        let sale = said(&fixture("paypal_capture"));
        assert_eq!(
            lines(&sale),
            ["27M47624FP291604U@2026-11-20T09:59:58Z paid purchase 25.10 EUR, at 2026-11-20T09:59:58Z"]
        );
        assert_eq!(sale.dedupe_key.as_deref(), Some("WH-58D329510W468432D-8HN650336L201105X"));
        assert_eq!(keys(&sale).tokens, ["paypal-token"]);
        assert_eq!(keys(&sale).references, ["1AB234567A1234567", "WC-727"]);

        let pending = patched("paypal_capture", [("/event_type", json!("PAYMENT.CAPTURE.PENDING"))]);
        assert!(lines(&said(&pending))[0].contains(" unpaid purchase 25.10 EUR"));
        let query = json!("a=1&um_click=abc&utm_source=x");
        let query = said(&patched("paypal_capture", [("/resource/custom_id", query)]));
        assert_eq!(keys(&query).tokens, ["abc"]);
    }

    #[test]
    fn refunds_name_their_capture_by_a_link() {
        const AT: &str = "27M47624FP291604U@2026-11-22T10:00:01Z refund 1JU08902781691411";
        assert_eq!(
            lines(&said(&fixture("paypal_refund"))),
            [format!("{AT} 5.00 EUR, at 2026-11-22T10:00:01Z")]
        );
        let reversed =
            [("/event_type", json!("PAYMENT.CAPTURE.REVERSED")), ("/resource/amount/value", json!("-5.00"))];
        assert!(lines(&said(&patched("paypal_refund", reversed)))[0].contains(" 5.00 EUR"));
        let failed = patched("paypal_refund", [("/resource/status", json!("FAILED"))]);
        assert!(lines(&said(&failed))[0].contains(" 0.00 EUR"));
        let error =
            interpret(Platform::Paypal, &[], &patched("paypal_refund", [("/resource/links", json!([]))]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "resource.links: found a list; expected a link \"up\" to /v2/payments/captures/{id}"
        );
    }

    #[test]
    fn a_completed_order_tells_who_paid() {
        let order = said(&fixture("paypal_checkout"));
        assert_eq!(lines(&order), ["27M47624FP291604U@2026-11-20T10:00:05Z keys"]);
        let keys = keys(&order);
        assert_eq!(keys.customer_id.as_deref(), Some("QYR5Z8XDVJNXQ"));
        assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
        assert_eq!(keys.tokens, ["json-token"]);
        assert_eq!(keys.references, ["727", "1AB234567A1234567", "WC-727"]);
        let none = patched("paypal_checkout", [("/resource/purchase_units", json!([]))]);
        assert!(said(&none).ignored.is_some());
    }

    #[test]
    fn the_rest_is_ignored_or_named() {
        let other = patched("paypal_capture", [("/event_type", json!("BILLING.PLAN.CREATED"))]);
        assert!(said(&other).ignored.is_some());
        let error = |pointer: &str, value: Value, expected: &str| {
            let body = patched("paypal_capture", [(pointer, value)]);
            assert_eq!(interpret(Platform::Paypal, &[], &body).unwrap_err().to_string(), expected);
        };
        error(
            "/resource/id",
            Value::Null,
            "resource.id is missing; expected an id: a string or a whole number",
        );
        error(
            "/resource/amount/value",
            json!("-25.10"),
            "resource.amount.value: \"-25.10\" is negative; expected a decimal string such as \"10.00\"",
        );
        error(
            "/resource/amount/currency_code",
            json!(""),
            "resource.amount.currency_code: \"\" is not a currency of ISO 4217; expected three letters such as \
             \"EUR\"",
        );
    }
}
