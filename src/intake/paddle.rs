//! Paddle Billing (<https://developer.paddle.com/webhooks/overview>). Amounts are strings of minor units.

use super::fact::{Fact, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let event = &delivery.json;
    let topic = event.at("event_type").text("an event type such as \"transaction.completed\"")?;
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: Some(event.at("event_id").id()?),
        ..Interpretation::default()
    };
    let data = event.at("data");
    let at_ms = event.at("occurred_at").time_ms()?;
    match topic {
        "transaction.paid" | "transaction.completed" => {
            said.facts.push(transaction(&data, at_ms, OrderStatus::Paid)?);
        }
        // What is canceled was never collected.
        "transaction.canceled" => said.facts.push(transaction(&data, at_ms, OrderStatus::Unpaid)?),
        "adjustment.created" | "adjustment.updated" => match adjustment(&data, at_ms)? {
            Some(fact) => said.facts.push(fact),
            None => said.ignored = Some("the adjustment gives no money back, or not yet"),
        },
        _ => said.ignored = Some("not an event of sales or refunds"),
    }
    Ok(said)
}

fn transaction(data: &Field<'_>, at_ms: i64, status: OrderStatus) -> Result<Fact, InterpretError> {
    let currency = data.at("currency_code").currency()?;
    let totals = data.at("details.totals");
    let total_minor = totals.at("grand_total").minor()?;
    let tax = totals.at("grand_total_tax");
    let tax = if tax.is_null() { totals.at("tax") } else { tax };
    let subscription = data.at("subscription_id").opt_id();
    let renews = match data.at("origin").opt_text() {
        Some(origin) if origin.starts_with("subscription_") => subscription.clone(),
        _ => None,
    };
    let has_trial = data.at("items").items().iter().any(|item| !item.at("price.trial_period").is_null());
    let billed_ms = data.at("billed_at").opt_time_ms()?;
    let occurred_ms = billed_ms.map_or_else(|| data.at("created_at").time_ms(), Ok)?;

    let mut keys = Keys { customer_id: data.at("customer_id").opt_id(), ..Keys::default() };
    keys.note_all(&data.at("custom_data"));
    if let Some(url) = data.at("checkout.url").opt_text() {
        keys.add_query_of(url);
    }
    for name in ["invoice_id", "invoice_number"] {
        keys.add_reference(data.at(name).opt_id());
    }
    if renews.is_none() {
        keys.add_reference(subscription);
    }
    let says = Says::Order(Order {
        event: if total_minor == 0 && has_trial { "trial" } else { "purchase" }.into(),
        status,
        occurred_ms,
        currency: currency.code().into(),
        total_minor,
        tax_minor: tax.opt_minor()?,
        shipping_minor: None,
        cost_of_goods_minor: None,
        renews,
        keys,
    });
    Ok(Fact { order_id: data.at("id").id()?, version_ms: at_ms, says })
}

/// Refunds and charge-backs count once they are approved; a charge-back that is reversed takes itself
/// back. Credits lower what is owed before it is paid, so they move no money.
fn adjustment(data: &Field<'_>, at_ms: i64) -> Result<Option<Fact>, InterpretError> {
    if !matches!(data.at("action").opt_text(), Some("refund" | "chargeback")) {
        return Ok(None);
    }
    let currency = data.at("currency_code").currency()?;
    let amount_minor = match data.at("status").opt_text() {
        Some("approved") => data.at("totals.total").minor()?,
        Some("reversed") => 0,
        _ => return Ok(None),
    };
    let says = Says::Refund(Refund {
        id: data.at("id").id()?,
        amount_minor,
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: Some(data.at("created_at").opt_time_ms()?.unwrap_or(at_ms)),
    });
    Ok(Some(Fact { order_id: data.at("transaction_id").id()?, version_ms: at_ms, says }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Platform;
    use super::super::testing::{fixture, interpret, keys, lines, patched};

    fn check<const N: usize>(name: &str, patches: [(&str, Value); N], expected: &[&str]) {
        let said = interpret(Platform::Paddle, &[], &patched(name, patches)).unwrap();
        assert_eq!(lines(&said), expected, "{name}");
        assert_eq!(said.ignored.is_some(), expected.is_empty(), "{name}");
    }

    #[test]
    fn transactions_are_sales() {
        const AT: &str = "txn_01jd5b2zzz@2026-11-20T10:00:45.366Z";
        let sale = format!("{AT} paid purchase 5500 JPY, tax 500 JPY, at 2026-11-20T10:00:44.296Z");
        check("paddle_transaction", [], &[&sale]);
        check("paddle_transaction", [("/event_type", json!("transaction.paid"))], &[&sale]);

        let said = interpret(Platform::Paddle, &[], &fixture("paddle_transaction")).unwrap();
        assert_eq!(said.dedupe_key.as_deref(), Some("evt_01jd5b3w0q8m7x"));
        let keys = keys(&said);
        assert_eq!(keys.tokens, ["paddle-token"]);
        assert_eq!(keys.customer_id.as_deref(), Some("ctm_01jd5b1aaa"));
        assert_eq!(keys.utm, [("campaign".to_string(), "launch".to_string())]);
        assert_eq!(keys.references, ["inv_01jd5b2ccc", "4321-10001", "sub_01jd5b2bbb"]);

        let renewal = format!(
            "{AT} paid purchase 5500 JPY, tax 500 JPY, renews sub_01jd5b2bbb, at 2026-11-20T10:00:44.296Z"
        );
        check("paddle_transaction", [("/data/origin", json!("subscription_recurring"))], &[&renewal]);

        let trial = [
            ("/data/details/totals/grand_total", json!("0")),
            ("/data/details/totals/tax", json!("0")),
            ("/data/items/0/price/trial_period", json!({"interval": "day", "frequency": 14})),
        ];
        let trial = interpret(Platform::Paddle, &[], &patched("paddle_transaction", trial)).unwrap();
        assert!(lines(&trial)[0].contains("paid trial 0 JPY"));
        let unpaid = [("/event_type", json!("transaction.canceled"))];
        let unpaid = interpret(Platform::Paddle, &[], &patched("paddle_transaction", unpaid)).unwrap();
        assert!(lines(&unpaid)[0].contains("unpaid purchase 5500 JPY"));
    }

    #[test]
    fn adjustments_count_once_approved() {
        const AT: &str = "txn_01jd5b2zzz@2026-11-23T08:00:00Z refund adj_01jd7";
        let refund = format!("{AT} 1100 JPY, at 2026-11-22T08:00:00Z");
        let reversed = format!("{AT} 0 JPY, at 2026-11-22T08:00:00Z");
        let of = |action: &str, status: &str, expected: &[&str]| {
            let patches = [("/data/action", json!(action)), ("/data/status", json!(status))];
            check("paddle_adjustment", patches, expected);
        };
        of("refund", "approved", &[&refund]);
        of("chargeback", "approved", &[&refund]);
        of("chargeback", "reversed", &[&reversed]);
        of("refund", "pending_approval", &[]);
        of("refund", "rejected", &[]);
        of("credit", "approved", &[]);
        of("chargeback_reverse", "approved", &[]);
    }

    #[test]
    fn the_rest_is_ignored_or_named() {
        check("paddle_transaction", [("/event_type", json!("subscription.created"))], &[]);
        let error = |pointer: &str, value: Value, expected: &str| {
            let body = patched("paddle_transaction", [(pointer, value)]);
            assert_eq!(interpret(Platform::Paddle, &[], &body).unwrap_err().to_string(), expected);
        };
        error(
            "/data/details/totals/grand_total",
            json!("55.00"),
            "data.details.totals.grand_total: found \"55.00\"; expected a whole number of minor units",
        );
        error(
            "/data/details/totals/grand_total",
            json!("-5"),
            "data.details.totals.grand_total: \"-5\" is negative; expected a whole number of minor units",
        );
        error("/data/id", Value::Null, "data.id is missing; expected an id: a string or a whole number");
        error("/event_id", Value::Null, "event_id is missing; expected an id: a string or a whole number");
        error(
            "/data/currency_code",
            json!("YEN"),
            "data.currency_code: \"YEN\" is not a currency of ISO 4217; expected three letters such as \"EUR\"",
        );
    }
}
