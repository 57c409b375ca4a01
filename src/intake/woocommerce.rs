//! WooCommerce: orders as the REST API v3 shapes them (<https://woocommerce.github.io/woocommerce-rest-api-docs/>).
//!
//! There is no refund topic: every version of an order lists its refunds, complete and without dates.

use super::fact::{Fact, Gone, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, InterpretError, Interpretation};
use crate::domain::money::Currency;

/// Where WooCommerce's order attribution keeps what it knows of the landing.
const ATTRIBUTION: &str = "_wc_order_attribution_";

/// Where the extension "Cost of Goods" keeps the sum over an order's lines.
const COST_OF_GOODS: &str = "_wc_cog_order_total_cost";

/// Whether this is the form that WooCommerce posts once, unsigned, when a webhook is saved.
pub(super) fn is_ping(body: &[u8]) -> bool {
    let id = body.strip_prefix(b"webhook_id=").map(<[u8]>::trim_ascii);
    id.is_some_and(|id| !id.is_empty() && id.iter().all(u8::is_ascii_digit))
}

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    let topic = delivery.header("wc-webhook-topic").unwrap_or_else(|| topic_by_shape(json));
    let mut said = Interpretation { topic: topic.into(), ..Interpretation::default() };
    match topic {
        "order.created" | "order.updated" | "order.restored" => {
            let order_id = json.at("id").id()?;
            let modified = json.at("date_modified_gmt").opt_text().unwrap_or_default();
            let hash = blake3::hash(delivery.body).to_hex();
            said.dedupe_key = Some(format!("{order_id}/{modified}/{hash}"));
            said.facts = order(json, order_id, delivery.received_ms)?;
        }
        // From a CSV export, by utmost itself.
        "order.import" => {
            said.facts = order(json, json.at("id").id()?, delivery.received_ms)?;
            let total = super::refunded_total(json, &said.facts[0])?;
            said.facts.extend(total);
        }
        "order.deleted" => said.facts.push(Fact {
            order_id: json.at("id").id()?,
            version_ms: delivery.received_ms,
            says: Says::Gone(Gone::Deleted),
        }),
        _ => said.ignored = Some("not a topic of orders"),
    }
    Ok(said)
}

/// For bodies that come without their headers, such as those sent by hand.
fn topic_by_shape(json: &Field<'_>) -> &'static str {
    if json.at("total").is_null() { "" } else { "order.updated" }
}

/// The order, then the complete list of its refunds.
fn order(order: &Field<'_>, order_id: String, received_ms: i64) -> Result<Vec<Fact>, InterpretError> {
    let currency = order.at("currency").currency()?;
    let created_ms = order.at("date_created_gmt").opt_utc_ms()?;
    let occurred_ms = created_ms.ok_or_else(|| order.at("date_created_gmt").wrong("a time in UTC"))?;
    let version_ms = order.at("date_modified_gmt").opt_utc_ms()?.unwrap_or(received_ms);
    let says = Says::Order(Order {
        event: "purchase".into(),
        status: status(order)?,
        occurred_ms,
        currency: currency.code().into(),
        total_minor: order.at("total").price(currency)?,
        tax_minor: order.at("total_tax").opt_price(currency)?,
        shipping_minor: order.at("shipping_total").opt_price(currency)?,
        cost_of_goods_minor: cost_of_goods_minor(order, currency)?,
        renews: None,
        keys: keys(order),
    });
    let mut facts = vec![Fact { order_id: order_id.clone(), version_ms, says }];
    let refunds = order.at("refunds");
    if refunds.is_list() {
        let list: Result<_, _> = refunds.items().iter().map(|item| refund(item, currency)).collect();
        facts.push(Fact { order_id, version_ms, says: Says::Refunds(list?) });
    }
    Ok(facts)
}

/// WooCommerce's own total (since 9.5, where the feature is on), else what the extension "Cost of Goods" keeps.
/// Both write 0 where no product has a cost: that states none.
fn cost_of_goods_minor(order: &Field<'_>, currency: Currency) -> Result<Option<i64>, InterpretError> {
    let own = order.at("cost_of_goods_sold.total_value");
    let meta = order.at("meta_data").items().into_iter();
    let mut kept =
        meta.filter(|meta| meta.at("key").opt_text() == Some(COST_OF_GOODS)).map(|meta| meta.at("value"));
    let cost = if own.is_null() { kept.next().unwrap_or(own) } else { own };
    Ok(cost.opt_rounded_price(currency)?.filter(|cost| *cost > 0))
}

/// Only processing, completed and refunded count as sold; shops add words of their own. WooCommerce
/// cancels by itself what nobody pays, and that was never a sale.
fn status(order: &Field<'_>) -> Result<OrderStatus, InterpretError> {
    let never_paid = order.has("date_paid_gmt") && order.at("date_paid_gmt").is_null();
    Ok(match order.at("status").text("an order status such as \"processing\"")? {
        "processing" | "completed" | "refunded" => OrderStatus::Paid,
        "cancelled" if never_paid => OrderStatus::Unpaid,
        "cancelled" | "trash" => OrderStatus::Cancelled,
        _ => OrderStatus::Unpaid,
    })
}

/// `total` is negative: `"-10.00"`.
fn refund(refund: &Field<'_>, currency: Currency) -> Result<Refund, InterpretError> {
    let amount_minor = refund.at("total").amount(currency)?.abs();
    Ok(Refund {
        id: refund.at("id").id()?,
        amount_minor,
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: None,
    })
}

fn keys(order: &Field<'_>) -> Keys {
    let mut keys = Keys {
        // 0 is a guest.
        customer_id: order.at("customer_id").opt_id().filter(|id| id != "0"),
        email: order.at("billing.email").opt_text().map(Into::into),
        ..Keys::default()
    };
    for meta in order.at("meta_data").items() {
        let (Some(name), Some(value)) = (meta.at("key").opt_text(), meta.at("value").opt_text()) else {
            continue;
        };
        match name.strip_prefix(ATTRIBUTION) {
            Some("session_entry") => keys.add_landing(value),
            Some("referrer") => keys.add_referrer(Some(value)),
            Some(tag) if tag.starts_with("utm_") => keys.add_utm(tag, value),
            Some(_) => {}
            None => keys.note(name, value),
        }
    }
    for coupon in order.at("coupon_lines").items() {
        keys.add_coupon(coupon.at("code").opt_text());
    }
    for name in ["number", "order_key", "transaction_id"] {
        keys.add_reference(order.at(name).opt_id());
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Platform;
    use super::super::fact::Says;
    use super::super::testing::{fixture, interpret, keys, lines, patched};

    fn said(topic: &str, body: &Value) -> super::Interpretation {
        interpret(Platform::Woocommerce, &[("x-wc-webhook-topic", topic)], body).unwrap()
    }

    #[test]
    fn orders_are_read() {
        let order = said("order.created", &fixture("woocommerce_order"));
        assert_eq!(
            lines(&order),
            [
                "727@2026-11-20T10:00:08Z paid purchase 34.35 EUR, tax 5.00 EUR, shipping 10.00 EUR, \
                 at 2026-11-20T10:00:02Z",
                "727@2026-11-20T10:00:08Z refunds []",
            ]
        );
        let keys = keys(&order);
        assert_eq!(keys.tokens, ["woo-token"]);
        assert_eq!(keys.customer_id, None);
        assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
        assert_eq!(keys.coupons, ["spring10"]);
        assert_eq!(keys.referrer.as_deref(), Some("https://l.facebook.com/"));
        assert_eq!(keys.references, ["727", "wc_order_58d2d042d1d", "ch_3QNabcDEF"]);
        assert!(keys.landing_url.as_deref().unwrap().starts_with("https://shop.example.com/product/hat/?"));
        let utm: Vec<_> = keys.utm.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(utm, ["source=facebook", "medium=social", "campaign=spring"]);
    }

    #[test]
    fn statuses_decide_what_is_sold() {
        let check = |status: &str, date_paid: Value, expected: &str| {
            let patches = [("/status", json!(status)), ("/date_paid_gmt", date_paid)];
            let order = said("order.updated", &patched("woocommerce_order", patches));
            let line = &lines(&order)[0];
            assert!(line.contains(&format!("Z {expected} purchase")), "{status}: {line}");
        };
        let paid = || json!("2026-11-20T10:00:08");
        check("processing", paid(), "paid");
        check("completed", paid(), "paid");
        check("refunded", paid(), "paid");
        check("cancelled", paid(), "cancelled");
        check("cancelled", Value::Null, "unpaid");
        check("pending", Value::Null, "unpaid");
        check("on-hold", Value::Null, "unpaid");
        check("failed", Value::Null, "unpaid");
        check("checkout-draft", Value::Null, "unpaid");
        check("in-the-kiln", paid(), "unpaid");
    }

    #[test]
    fn refunds_are_the_complete_list() {
        let refunds = json!([{"id": 726, "reason": "", "total": "-10.00"}, {"id": 800, "total": "-24.35"}]);
        let patches = [("/refunds", refunds), ("/status", json!("refunded")), ("/customer_id", json!(5))];
        let order = said("order.updated", &patched("woocommerce_order", patches));
        assert_eq!(lines(&order)[1], "727@2026-11-20T10:00:08Z refunds [726 10.00 EUR; 800 24.35 EUR]");
        assert_eq!(keys(&order).customer_id.as_deref(), Some("5"));
    }

    #[test]
    fn deletions_take_the_time_of_receipt() {
        let gone = said("order.deleted", &json!({"id": 727}));
        assert_eq!(lines(&gone), ["727@2026-11-23T10:00:00Z gone: deleted"]);
    }

    #[test]
    fn currencies_have_their_own_decimals() {
        let check = |currency: &str, total: &str, expected: &str| {
            let patches = [
                ("/currency", json!(currency)),
                ("/total", json!(total)),
                ("/total_tax", json!("0")),
                ("/shipping_total", json!("")),
            ];
            let order = said("order.updated", &patched("woocommerce_order", patches));
            assert!(lines(&order)[0].contains(expected), "{:?}", lines(&order));
        };
        check("JPY", "3435", "3435 JPY, tax 0 JPY,");
        check("JPY", "3435.00", "3435 JPY");
        check("KWD", "3.435", "3.435 KWD");
    }

    #[test]
    fn what_the_goods_cost_is_read() {
        let kept = |value: Value| json!([{"id": 1, "key": "_wc_cog_order_total_cost", "value": value}]);
        let check = |own: Value, meta: Value, expected: Option<i64>| {
            let patches = [("/cost_of_goods_sold", own.clone()), ("/meta_data", meta.clone())];
            let order = said("order.updated", &patched("woocommerce_order", patches));
            let Says::Order(read) = &order.facts[0].says else { panic!("no order") };
            assert_eq!(read.cost_of_goods_minor, expected, "{own} {meta}");
        };
        check(Value::Null, json!([]), None);
        check(json!({"total_value": 12.5}), json!([]), Some(1250));
        // A sum of floats, as PHP writes it.
        check(json!({"total_value": 0.1 + 0.2}), json!([]), Some(30));
        check(json!({"total_value": 0}), json!([]), None);
        check(Value::Null, kept(json!("7.25")), Some(725));
        check(json!({"total_value": 12.5}), kept(json!("7.25")), Some(1250));
        check(Value::Null, kept(json!("0")), None);
        check(Value::Null, kept(json!("")), None);
        let negative = patched("woocommerce_order", [("/cost_of_goods_sold", json!({"total_value": -1}))]);
        let error = interpret(Platform::Woocommerce, &[("wc-webhook-topic", "order.updated")], &negative);
        assert_eq!(
            error.unwrap_err().to_string(),
            "cost_of_goods_sold.total_value: -1 is negative; expected a decimal string such as \"10.00\""
        );
    }

    #[test]
    fn duplicates_and_topics_are_told_apart() {
        let body = fixture("woocommerce_order");
        let (created, updated) = (said("order.created", &body), said("order.updated", &body));
        assert_eq!(created.dedupe_key, updated.dedupe_key);
        assert!(created.dedupe_key.unwrap().starts_with("727/2026-11-20T10:00:08/"));
        let by_shape = interpret(Platform::Woocommerce, &[], &body).unwrap();
        assert_eq!(by_shape.topic, "order.updated");
        for topic in ["product.updated", "coupon.created", "action.woocommerce_add_to_cart", ""] {
            let other = said(topic, &json!({"id": 1}));
            assert!(other.facts.is_empty() && other.ignored.is_some(), "{topic}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        let check = |pointer: &str, value: Value, expected: &str| {
            let body = patched("woocommerce_order", [(pointer, value)]);
            let error = interpret(Platform::Woocommerce, &[("wc-webhook-topic", "order.updated")], &body);
            assert_eq!(error.unwrap_err().to_string(), expected);
        };
        check("/id", Value::Null, "id is missing; expected an id: a string or a whole number");
        check(
            "/total",
            json!("-34.35"),
            "total: \"-34.35\" is negative; expected a decimal string such as \"10.00\"",
        );
        check("/total_tax", json!("1.005"), "total_tax: \"1.005\" is more decimals than EUR has (2)");
        check(
            "/currency",
            json!("€"),
            "currency: \"€\" is not a currency of ISO 4217; expected three letters such as \"EUR\"",
        );
        check("/status", json!(7), "status: found 7; expected an order status such as \"processing\"");
        check("/date_created_gmt", Value::Null, "date_created_gmt is missing; expected a time in UTC");
        check(
            "/date_modified_gmt",
            json!("soon"),
            "date_modified_gmt: \"soon\" is not a time; expected a time in UTC such as \"2026-11-20T10:00:00\"",
        );
        check(
            "/refunds",
            json!([{"id": 1}]),
            "refunds[0].total is missing; expected a decimal string such as \"10.00\"",
        );
    }

    #[test]
    fn the_first_call_is_a_ping() {
        assert!(super::is_ping(b"webhook_id=12"));
        assert!(super::is_ping(b"webhook_id=12\n"));
        for body in [&b"webhook_id="[..], b"webhook_id=1&total=5", b"{}", b""] {
            assert!(!super::is_ping(body));
        }
    }
}
