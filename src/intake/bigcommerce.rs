//! BigCommerce (<https://developer.bigcommerce.com/docs/integrations/webhooks>) sends notices without the
//! order itself. Whoever holds the store's API token fetches it; see [`fetched`] for what comes of that.
//! Orders are those of the API V2, refunds those of V3.

use serde_json::{Value, json};

use super::fact::{Fact, Keys, Order, OrderStatus, Refund, Says};
use super::fields::Field;
use super::{Delivery, Fetch, InterpretError, Interpretation};
use crate::domain::money::Currency;

/// Marks what utmost has fetched itself; the door keeps no such header, so nobody else can send it. Its value is
/// the delivery that asked for it.
pub const FETCHED: &str = "utmost-fetched-for";

/// Longest hash that names a store.
const STORE_MAX_BYTES: usize = 64;

/// The body of a fetched order's own delivery.
pub fn fetched(order: Value, coupons: Value, refunds: Value) -> Value {
    json!({"order": order, "coupons": coupons, "refunds": refunds})
}

/// Whether refunds belong to an order as the API gives it. Its `refunded_amount` cannot tell: it is always 0.
pub fn has_refunds(order: &Value) -> bool {
    let order = Field::root(order);
    let status = order.at("payment_status").opt_text().unwrap_or_default();
    status.to_lowercase().contains("refunded")
        || matches!(order.at("status_id").opt_id().as_deref(), Some("4" | "14"))
}

pub(super) fn interpret(delivery: &Delivery<'_>) -> Result<Interpretation, InterpretError> {
    let json = &delivery.json;
    if delivery.header(FETCHED).is_some() {
        let facts = order(json, delivery.received_ms)?;
        return Ok(Interpretation { topic: "order".into(), facts, ..Interpretation::default() });
    }
    let topic = json.at("scope").text("a scope such as \"store/order/created\"")?;
    let mut said = Interpretation {
        topic: topic.into(),
        dedupe_key: json.at("hash").opt_id(),
        ..Interpretation::default()
    };
    match topic.starts_with("store/order/") {
        true => said.fetch = Some(wanted(json)?),
        false => said.ignored = Some("not a notice of orders"),
    }
    Ok(said)
}

/// Both go into a URL.
fn wanted(json: &Field<'_>) -> Result<Fetch, InterpretError> {
    const STORE: &str = "a store such as \"stores/abc123\"";
    let producer = json.at("producer");
    let store = producer.text(STORE)?.strip_prefix("stores/").unwrap_or_default();
    let is_plain =
        (1..=STORE_MAX_BYTES).contains(&store.len()) && store.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_plain {
        return Err(producer.wrong(STORE));
    }
    // A notice of a refund has the refund's id here and the order's beside it.
    let data = json.at("data");
    let id = if data.at("order_id").is_null() { data.at("id") } else { data.at("order_id") };
    let order_id = id.id()?;
    if !order_id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(id.wrong("an order's number"));
    }
    Ok(Fetch { store: store.to_owned(), order_id })
}

fn order(json: &Field<'_>, received_ms: i64) -> Result<Vec<Fact>, InterpretError> {
    let order = json.at("order");
    let order_id = order.at("id").id()?;
    // The one that the customer pays in; `currency_code` is the one that prices were shown in.
    let paid_in = order.at("default_currency_code");
    let currency = if paid_in.is_null() { order.at("currency_code") } else { paid_in }.currency()?;
    let version_ms = order.at("date_modified").opt_mail_ms()?.unwrap_or(received_ms);
    let created = order.at("date_created");
    let says = Says::Order(Order {
        event: "purchase".into(),
        status: status(&order)?,
        occurred_ms: created.opt_mail_ms()?.ok_or_else(|| created.wrong("a time of RFC 2822"))?,
        currency: currency.code().into(),
        total_minor: order.at("total_inc_tax").rounded_price(currency)?,
        tax_minor: order.at("total_tax").opt_rounded_price(currency)?,
        shipping_minor: order.at("shipping_cost_ex_tax").opt_rounded_price(currency)?,
        cost_of_goods_minor: None,
        renews: None,
        keys: keys(&order, &json.at("coupons")),
    });
    let mut facts = vec![Fact { order_id: order_id.clone(), version_ms, says }];
    let refunds = json.at("refunds");
    if refunds.is_list() {
        let list: Result<_, _> = refunds.items().iter().map(|item| refund(item, currency)).collect();
        facts.push(Fact { order_id, version_ms, says: Says::Refunds(list?) });
    }
    Ok(facts)
}

/// <https://docs.bigcommerce.com/developer/api-reference/rest/admin/management/orders/order-status>. Stores
/// may rename them, so only the number counts.
fn status(order: &Field<'_>) -> Result<OrderStatus, InterpretError> {
    if order.at("is_deleted").is_true() {
        return Ok(OrderStatus::Cancelled);
    }
    let id = order.at("status_id");
    Ok(match id.id()?.as_str() {
        // Incomplete, pending, awaiting payment, to be verified by hand.
        "0" | "1" | "7" | "12" => OrderStatus::Unpaid,
        // Cancelled, declined.
        "5" | "6" => OrderStatus::Cancelled,
        // Shipped, partly shipped, refunded, awaiting pick-up or shipment, completed, awaiting fulfilment,
        // disputed, partly refunded.
        "2" | "3" | "4" | "8" | "9" | "10" | "11" | "13" | "14" => OrderStatus::Paid,
        _ => return Err(id.wrong("the number of an order's status, 0 to 14")),
    })
}

fn refund(refund: &Field<'_>, currency: Currency) -> Result<Refund, InterpretError> {
    Ok(Refund {
        id: refund.at("id").id()?,
        amount_minor: refund.at("total_amount").rounded_price(currency)?,
        currency: currency.code().into(),
        explains_minor: None,
        occurred_ms: refund.at("created").opt_mail_ms()?,
    })
}

fn keys(order: &Field<'_>, coupons: &Field<'_>) -> Keys {
    let mut keys = Keys {
        // 0 is a guest.
        customer_id: order.at("customer_id").opt_id().filter(|id| id != "0"),
        email: order.at("billing_address.email").opt_text().map(Into::into),
        ..Keys::default()
    };
    for coupon in coupons.items() {
        keys.add_coupon(coupon.at("code").opt_text());
    }
    for name in ["cart_id", "payment_provider_id", "external_id"] {
        keys.add_reference(order.at(name).opt_id());
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{fixture, interpret, keys, lines, patched};
    use super::super::{Fetch, InterpretError, Interpretation, Platform};
    use super::{FETCHED, has_refunds};

    fn fetched(body: &Value) -> Result<Interpretation, InterpretError> {
        interpret(Platform::Bigcommerce, &[(FETCHED, "d1")], body)
    }

    #[test]
    fn an_orders_notice_says_what_is_to_be_fetched() {
        let said = interpret(Platform::Bigcommerce, &[], &fixture("bigcommerce_notice")).unwrap();
        assert_eq!(said.fetch, Some(Fetch { store: "abc123".into(), order_id: "250".into() }));
        assert_eq!(said.dedupe_key.as_deref(), Some("dd70c0976e06b67aaf671e73f49dcb79230ebf9d"));
        assert!(said.facts.is_empty() && said.ignored.is_none());
        let refund = [
            ("/scope", json!("store/order/refund/created")),
            ("/data", json!({"type": "order", "id": 9_007_199_254_740_993_u64, "refund": {"refund_id": 2}})),
        ];
        let said = interpret(Platform::Bigcommerce, &[], &patched("bigcommerce_notice", refund)).unwrap();
        assert_eq!(said.fetch.unwrap().order_id, "9007199254740993");
    }

    #[test]
    fn nothing_but_a_store_and_a_number_goes_into_a_url() {
        let check = |pointer: &str, value: Value, expected: &str| {
            let body = patched("bigcommerce_notice", [(pointer, value)]);
            let error = interpret(Platform::Bigcommerce, &[], &body).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        for store in ["stores/", "stores/a/../b", "abc123", "stores/a@b.example"] {
            let expected = format!("producer: found \"{store}\"; expected a store such as \"stores/abc123\"");
            check("/producer", json!(store), &expected);
        }
        check("/data/id", json!("1/../2"), "data.id: found \"1/../2\"; expected an order's number");
        check("/data/id", Value::Null, "data.id is missing; expected an id: a string or a whole number");
    }

    #[test]
    fn other_notices_are_ignored() {
        let body = patched("bigcommerce_notice", [("/scope", json!("store/product/updated"))]);
        let said = interpret(Platform::Bigcommerce, &[], &body).unwrap();
        assert!(said.ignored.is_some() && said.facts.is_empty() && said.fetch.is_none());
        let error = interpret(Platform::Bigcommerce, &[], &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "scope is missing; expected a scope such as \"store/order/created\"");
    }

    #[test]
    fn orders_are_read() {
        let order = fetched(&fixture("bigcommerce_order")).unwrap();
        assert_eq!(
            lines(&order),
            ["250@2026-11-20T10:05:00Z paid purchase 49.99 EUR, tax 7.98 EUR, shipping 4.00 EUR, \
              at 2026-11-20T10:00:00Z"]
        );
        let keys = keys(&order);
        assert_eq!(
            (keys.customer_id.as_deref(), keys.email.as_deref()),
            (Some("8"), Some("ada@example.com"))
        );
        assert_eq!(keys.coupons, ["SPRING10"]);
        assert_eq!(keys.references, ["a8458391-ef68-4fe5-9ec1-442e6a767364", "ch_3QNabcDEF"]);
        let guest =
            patched("bigcommerce_order", [("/order/customer_id", json!(0)), ("/coupons", Value::Null)]);
        let guest = fetched(&guest).unwrap();
        assert_eq!((&super::super::testing::keys(&guest).customer_id, lines(&guest).len()), (&None, 1));
    }

    #[test]
    fn statuses_decide_what_is_sold() {
        let check = |status: i64, is_deleted: bool, expected: &str| {
            let patches = [("/order/status_id", json!(status)), ("/order/is_deleted", json!(is_deleted))];
            let line = lines(&fetched(&patched("bigcommerce_order", patches)).unwrap())[0].clone();
            assert!(line.contains(&format!("Z {expected} purchase")), "{status}: {line}");
        };
        for unpaid in [0, 1, 7, 12] {
            check(unpaid, false, "unpaid");
        }
        for cancelled in [5, 6] {
            check(cancelled, false, "cancelled");
        }
        for sold in [2, 3, 4, 8, 9, 10, 11, 13, 14] {
            check(sold, false, "paid");
        }
        check(11, true, "cancelled");
        let unknown = fetched(&patched("bigcommerce_order", [("/order/status_id", json!(15))])).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "order.status_id: found 15; expected the number of an order's status, 0 to 14"
        );
    }

    #[test]
    fn refunds_are_the_complete_list() {
        let refunds = json!([
            {"id": 1, "order_id": 250, "created": "2026-11-21T10:00:00+00:00", "total_amount": 10, "items": []},
            {"id": 2, "order_id": 250, "created": "2026-11-22T10:00:00+00:00", "total_amount": "39.99"},
        ]);
        let order = fetched(&patched("bigcommerce_order", [("/refunds", refunds)])).unwrap();
        assert_eq!(
            lines(&order)[1],
            "250@2026-11-20T10:05:00Z refunds [1 10.00 EUR, at 2026-11-21T10:00:00Z; \
             2 39.99 EUR, at 2026-11-22T10:00:00Z]"
        );
        let asks =
            |name: &str, value: Value| has_refunds(&patched("bigcommerce_order", [(name, value)])["order"]);
        assert!(asks("/order/payment_status", json!("partially refunded")));
        assert!(asks("/order/status_id", json!(14)));
        assert!(!asks("/order/status_id", json!(10)));
    }

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        let check = |currency: &str, total: Value, expected: &str| {
            let patches =
                [("/order/default_currency_code", json!(currency)), ("/order/total_inc_tax", total)];
            let order = fetched(&patched("bigcommerce_order", patches)).unwrap();
            assert!(lines(&order)[0].contains(&format!("purchase {expected},")), "{:?}", lines(&order));
        };
        // V2 writes four decimals, whatever the currency, and computes with them.
        check("USD", json!("49.9850"), "49.98 USD");
        check("USD", json!("49.9851"), "49.99 USD");
        check("JPY", json!("4999.0000"), "4999 JPY");
        check("KWD", json!("49.9870"), "49.987 KWD");
        check("USD", json!(49.5), "49.50 USD");
        let shown_in = patched("bigcommerce_order", [("/order/default_currency_code", Value::Null)]);
        assert!(lines(&fetched(&shown_in).unwrap())[0].contains("49.99 USD"));
        let error =
            fetched(&patched("bigcommerce_order", [("/order/total_inc_tax", json!("-1"))])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "order.total_inc_tax: \"-1\" is negative; expected a decimal string such as \"10.00\""
        );
    }
}
