//! Segment and RudderStack: `track` calls by the ecommerce specification
//! (<https://segment.com/docs/connections/spec/ecommerce/v2/>), single or as `/v1/batch` sends them.

use super::fact::{Fact, Gone, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};

/// Other events that count as conversions, by their names in Segment's specifications.
const LEADS: [(&str, &str); 3] =
    [("signed up", "sign_up"), ("trial started", "trial"), ("lead generated", "lead")];

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let batch = json.at("batch");
    let mut said = Interpretation::default();
    if batch.is_list() {
        said.topic = "batch".into();
        let ids: Vec<_> = batch.items().iter().filter_map(|call| call.at("messageId").opt_id()).collect();
        said.dedupe_key = Some(format!("batch/{}", blake3::hash(ids.join("\n").as_bytes()).to_hex()));
        for call in batch.items() {
            said.facts.extend(track(&call, delivery.received_ms)?);
        }
    } else {
        if !json.is_object() {
            return Err(json.wrong("an object"));
        }
        let event = json.at("event").opt_text().or_else(|| json.at("type").opt_text());
        said.topic = event.unwrap_or_default().into();
        said.dedupe_key = json.at("messageId").opt_id();
        said.facts.extend(track(json, delivery.received_ms)?);
    }
    if said.facts.is_empty() {
        said.ignored = Some("no event of orders or leads");
    }
    Ok(said)
}

/// What one call says of an order; None if nothing.
fn track(call: &Field<'_>, received_ms: i64) -> Result<Option<Fact>, InterpretError> {
    if call.at("type").opt_text().is_some_and(|kind| kind != "track") {
        return Ok(None);
    }
    let Some(event) = call.at("event").opt_text().map(str::to_ascii_lowercase) else { return Ok(None) };
    let properties = call.at("properties");
    let lead = LEADS.iter().find(|(name, _)| *name == event).map(|(_, lead)| *lead);
    if lead.is_none() && !event.starts_with("order ") {
        return Ok(None);
    }
    let at_ms = time_ms(call, received_ms)?;
    let order_id = || properties.at("order_id").id();
    let (order_id, says) = match event.as_str() {
        "order completed" | "order updated" => (order_id()?, order(call, at_ms)?),
        "order refunded" => (order_id()?, refund(call, at_ms)?),
        "order cancelled" => (order_id()?, Says::Gone(Gone::Cancelled)),
        _ => match lead {
            Some(lead) => (call.at("messageId").id()?, self::lead(call, lead, at_ms)),
            None => return Ok(None),
        },
    };
    Ok(Some(Fact { order_id, version_ms: at_ms, says }))
}

fn order(call: &Field<'_>, occurred_ms: i64) -> Result<Says, InterpretError> {
    let properties = call.at("properties");
    let currency = properties.at("currency").currency()?;
    let price = |name: &str| properties.at(name).opt_price(currency);
    let (tax_minor, shipping_minor) = (price("tax")?, price("shipping")?);
    // `revenue` leaves out what `total` holds.
    let total_minor = match price("total")? {
        Some(total) => total,
        None => {
            let revenue = properties.at("revenue").price(currency)?;
            revenue.saturating_add(tax_minor.unwrap_or(0)).saturating_add(shipping_minor.unwrap_or(0))
        }
    };
    let mut keys = keys(call);
    keys.add_coupon(properties.at("coupon").opt_text());
    keys.add_reference(properties.at("checkout_id").opt_id());
    Ok(Says::Order(Order {
        event: "purchase".into(),
        status: OrderStatus::Paid,
        occurred_ms,
        currency: currency.code().into(),
        total_minor,
        tax_minor,
        shipping_minor,
        cost_of_goods_minor: None,
        renews: None,
        keys,
    }))
}

/// Without an amount it is the whole order that is given back.
fn refund(call: &Field<'_>, occurred_ms: i64) -> Result<Says, InterpretError> {
    let properties = call.at("properties");
    let amounts = [properties.at("total"), properties.at("revenue")];
    let Some(amount) = amounts.iter().find(|amount| !amount.is_null()) else {
        return Ok(Says::Gone(Gone::Cancelled));
    };
    let currency = properties.at("currency").currency()?;
    Ok(Says::Refund(Refund {
        id: call.at("messageId").id()?,
        // Some sites send refunds as negative amounts.
        amount_minor: amount.amount(currency)?.abs(),
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: Some(occurred_ms),
    }))
}

fn lead(call: &Field<'_>, event: &str, occurred_ms: i64) -> Says {
    Says::Order(Order {
        event: event.into(),
        status: OrderStatus::Paid,
        occurred_ms,
        currency: String::new(),
        total_minor: 0,
        tax_minor: None,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews: None,
        keys: keys(call),
    })
}

fn keys(call: &Field<'_>) -> Keys {
    let email = ["properties.email", "context.traits.email", "traits.email"];
    let mut keys = Keys {
        customer_id: call.at("userId").opt_id(),
        email: email.iter().find_map(|path| call.at(path).opt_text()).map(Into::into),
        ..Keys::default()
    };
    for (name, value) in call.at("context.campaign").entries() {
        let Some(value) = value.opt_text() else { continue };
        match name {
            "name" => keys.add_utm("campaign", value),
            "source" | "medium" | "term" | "content" | "id" => keys.add_utm(name, value),
            _ => keys.note(name, value),
        }
    }
    if let Some(url) = call.at("context.page.url").opt_text() {
        keys.add_landing(url);
    }
    keys.add_referrer(call.at("context.page.referrer").opt_text());
    for (name, value) in call.at("properties").entries() {
        if let Some(value) = value.opt_text() {
            keys.note(name, value);
        }
    }
    keys
}

fn time_ms(call: &Field<'_>, received_ms: i64) -> Result<i64, InterpretError> {
    for name in ["timestamp", "originalTimestamp", "sentAt"] {
        if let Some(at_ms) = call.at(name).opt_time_ms()? {
            return Ok(at_ms);
        }
    }
    Ok(received_ms)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{fixture, interpret, keys, lines, patched};
    use super::super::{Interpretation, Platform};

    fn said(body: &Value) -> Interpretation {
        interpret(Platform::Segment, &[], body).unwrap()
    }

    #[test]
    fn completed_orders_are_sales() {
        let sale = said(&fixture("segment_order"));
        assert_eq!(
            lines(&sale),
            ["50314b8e9bcf@2026-11-20T10:00:00Z paid purchase 27.50 USD, tax 2.00 USD, shipping 3.00 USD, \
              at 2026-11-20T10:00:00Z"]
        );
        assert_eq!(
            (sale.topic.as_str(), sale.dedupe_key.as_deref()),
            ("Order Completed", Some("node-next-1795168800-1"))
        );
        let keys = keys(&sale);
        assert_eq!(keys.tokens, ["segment-token"]);
        assert_eq!(keys.customer_id.as_deref(), Some("user-7"));
        assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
        assert_eq!(keys.coupons, ["hasbros"]);
        assert_eq!(keys.references, ["fksdjfsdjfisjf9s"]);
        let mut utm: Vec<_> = keys.utm.iter().map(|(name, value)| format!("{name}={value}")).collect();
        utm.sort();
        assert_eq!(utm, ["campaign=spring", "content=post-42", "medium=social", "source=facebook"]);

        let by_revenue = patched("segment_order", [("/properties/total", Value::Null)]);
        assert!(lines(&said(&by_revenue))[0].contains("purchase 27.50 USD"));
        let guest = patched("segment_order", [("/userId", Value::Null)]);
        assert_eq!(super::super::testing::keys(&said(&guest)).customer_id, None);
        let untimed = patched("segment_order", [("/timestamp", Value::Null)]);
        assert!(lines(&said(&untimed))[0].ends_with("at 2026-11-23T10:00:00Z"));
    }

    #[test]
    fn refunds_and_cancellations_give_back() {
        let event = |event: &str, total: Value| {
            let patches = [
                ("/event", json!(event)),
                ("/properties/total", total),
                ("/properties/revenue", Value::Null),
            ];
            lines(&said(&patched("segment_order", patches))).remove(0)
        };
        let refund = "50314b8e9bcf@2026-11-20T10:00:00Z refund node-next-1795168800-1 7.50 USD, \
                      at 2026-11-20T10:00:00Z";
        assert_eq!(event("order refunded", json!("7.50")), refund);
        assert_eq!(event("Order Refunded", json!(-7.5)), refund);
        let gone = "50314b8e9bcf@2026-11-20T10:00:00Z gone: cancelled";
        assert_eq!(event("Order Refunded", Value::Null), gone);
        assert_eq!(event("Order Cancelled", json!(1)), gone);
    }

    #[test]
    fn batches_hold_several_calls() {
        let batch = interpret(Platform::Rudderstack, &[], &fixture("rudderstack_batch")).unwrap();
        assert_eq!(
            lines(&batch),
            [
                "50314b8e9bcf@2026-11-21T10:00:00Z refund m-2 7.50 USD, at 2026-11-21T10:00:00Z",
                "m-3@2026-11-21T10:00:01Z paid sign_up 0, at 2026-11-21T10:00:01Z",
            ]
        );
        assert_eq!(keys(&batch).tokens, ["signup-token"]);
        let again = patched("rudderstack_batch", [("/sentAt", json!("2026-11-21T10:09:00Z"))]);
        assert_eq!(said(&again).dedupe_key, batch.dedupe_key);
        let error = interpret(
            Platform::Segment,
            &[],
            &patched("rudderstack_batch", [("/batch/1/properties/total", json!("free"))]),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "batch[1].properties.total: \"free\" is not an amount; expected a decimal string such as \"10.00\""
        );
    }

    #[test]
    fn the_rest_is_ignored_or_named() {
        for event in ["Product Viewed", "Order Shipped", ""] {
            assert!(said(&patched("segment_order", [("/event", json!(event))])).ignored.is_some(), "{event}");
        }
        assert!(said(&patched("segment_order", [("/type", json!("identify"))])).ignored.is_some());
        assert!(said(&json!({"batch": []})).ignored.is_some());
        let error = |pointer: &str, value: Value, expected: &str| {
            let body = patched("segment_order", [(pointer, value)]);
            assert_eq!(interpret(Platform::Segment, &[], &body).unwrap_err().to_string(), expected);
        };
        error(
            "/properties/order_id",
            Value::Null,
            "properties.order_id is missing; expected an id: a string or a whole number",
        );
        error(
            "/properties/currency",
            Value::Null,
            "properties.currency is missing; expected a currency of ISO 4217 such as \"EUR\"",
        );
        error(
            "/properties/total",
            json!(-27.5),
            "properties.total: -27.5 is negative; expected a decimal string such as \"10.00\"",
        );
        let text = interpret(Platform::Segment, &[], &json!("hello")).unwrap_err();
        assert_eq!(text.to_string(), "the body: found \"hello\"; expected an object");
    }
}
