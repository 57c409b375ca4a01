use serde_json::{Value, json};

use super::super::testing::{fixture, interpret, keys, lines, patched};
use super::super::{Interpretation, Platform, PrivacyRequest};

fn said(topic: &str, body: &Value) -> Interpretation {
    interpret(Platform::Shopify, &[("x-shopify-topic", topic)], body).unwrap()
}

#[test]
fn orders_are_read_in_the_shops_currency() {
    let order = said("orders/create", &fixture("shopify_order"));
    assert_eq!(
        lines(&order),
        [
            "9007199254740993@2026-11-20T10:00:07Z paid purchase 119.00 EUR, tax 19.00 EUR, shipping 10.00 EUR, \
          at 2026-11-20T10:00:03Z"
        ]
    );
    assert!(!order.test);
    let keys = keys(&order);
    assert_eq!(keys.tokens, ["token-from-landing", "token-from-cart", "earlier-token"]);
    assert_eq!(keys.customer_id.as_deref(), Some("7014321098765"));
    assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
    assert_eq!(keys.coupons, ["SPRING10"]);
    assert_eq!(keys.referrer.as_deref(), Some("https://l.instagram.com/"));
    assert_eq!(keys.references, ["#2041", "2041", "c0ffee5f8d1b7f4c", "Z2NwLWV1cm9wZS13ZXN0NDowMUpE"]);
    let utm: Vec<_> = keys.utm.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(utm, ["source=instagram", "medium=social", "campaign=Spring", "content=0jb3k2x9v4qfs"]);
}

#[test]
fn old_api_versions_and_guests_are_read() {
    let order = said("orders/create", &fixture("shopify_order_old"));
    assert_eq!(
        lines(&order),
        ["450111@2016-01-10T16:00:00Z paid purchase 4099 JPY, tax 119 JPY, shipping 300 JPY, \
          at 2016-01-10T16:00:00Z"]
    );
    let keys = keys(&order);
    assert_eq!((&keys.customer_id, &keys.email, &keys.referrer), (&None, &None, &None));
    assert_eq!(keys.landing_url.as_deref(), Some("http://shop.example.com?source=abc"));
}

#[test]
fn status_decides_what_is_sold() {
    let check = |patch: (&str, Value), expected: &str| {
        let order = said("orders/updated", &patched("shopify_order", [patch.clone()]));
        assert!(
            lines(&order)[0].contains(&format!("Z {expected} purchase")),
            "{patch:?}: {:?}",
            lines(&order)
        );
    };
    for paid in ["paid", "authorized", "partially_paid", "partially_refunded", "refunded"] {
        check(("/financial_status", json!(paid)), "paid");
    }
    for unpaid in ["pending", "expired", "voided"] {
        check(("/financial_status", json!(unpaid)), "unpaid");
    }
    check(("/financial_status", Value::Null), "paid");
    check(("/cancelled_at", json!("2026-11-21T10:00:00Z")), "cancelled");
    check(("/test", json!(true)), "test");
    assert!(said("orders/create", &patched("shopify_order", [("/test", json!(true))])).test);
}

#[test]
fn landings_may_be_junk() {
    for landing in
        [json!(null), json!(""), json!("/"), json!("::::"), json!("/password?%%%"), json!(7), json!({})]
    {
        let order = said("orders/create", &patched("shopify_order", [("/landing_site", landing)]));
        assert_eq!(keys(&order).tokens, ["token-from-cart", "earlier-token"]);
    }
    let absolute = json!("https://shop.example.com/?um_click=abc#frag");
    let order = said("orders/create", &patched("shopify_order", [("/landing_site", absolute)]));
    assert_eq!(keys(&order).tokens[0], "abc");
}

#[test]
fn refunds_are_successful_transactions_in_the_shops_currency() {
    let refund = said("refunds/create", &fixture("shopify_refund"));
    let expected = "refund 929361465 59.50 EUR, at 2026-11-22T08:00:00Z";
    assert_eq!(lines(&refund), [format!("9007199254740993@2026-11-22T08:00:00Z {expected}")]);

    // The same refund within its order counts by the order's own rate, at the order's version.
    let embedded = json!([fixture("shopify_refund")]);
    let order = said("orders/updated", &patched("shopify_order", [("/refunds", embedded)]));
    assert_eq!(lines(&order)[1], format!("9007199254740993@2026-11-20T10:00:07Z {expected}"));

    let transactions = |list: Value| patched("shopify_refund", [("/transactions", list)]);
    let in_euros = json!([{"kind": "refund", "status": "success", "amount": "5.00", "currency": "EUR"}]);
    assert!(lines(&said("refunds/create", &transactions(in_euros)))[0].contains(" 5.00 EUR"));
    let unnamed = json!([{"kind": "refund", "status": "success", "amount": "5.00"}]);
    assert!(lines(&said("refunds/create", &transactions(unnamed)))[0].contains(" 5.00 EUR"));
    let pending = json!([{"kind": "refund", "status": "pending", "amount": "5.00", "currency": "EUR"}]);
    for moves_nothing in [json!([]), pending] {
        let refund = said("refunds/create", &transactions(moves_nothing));
        assert!(refund.facts.is_empty() && refund.ignored.is_some());
    }
}

#[test]
fn a_full_refund_in_another_currency_leaves_no_residue() {
    let mut refund = fixture("shopify_refund");
    refund["transactions"][0]["amount"] = json!("130.90");
    let order = said("orders/updated", &patched("shopify_order", [("/refunds", json!([refund]))]));
    assert!(lines(&order)[1].contains("refund 929361465 119.00 EUR"), "{:?}", lines(&order));
}

#[test]
fn refunds_without_transactions_go_by_their_lines() {
    let refund = said("refunds/create", &fixture("shopify_refund_old"));
    assert_eq!(
        lines(&refund),
        ["450111@2016-06-20T17:35:06Z refund 509562969 39950, at 2016-06-20T17:35:06Z"]
    );

    let yen = json!([{"id": 1, "quantity": 2, "line_item": {"price": "1200"}}]);
    let refund = said("refunds/create", &patched("shopify_refund_old", [("/refund_line_items", yen)]));
    assert!(lines(&refund)[0].contains("refund 509562969 2400,"), "{:?}", lines(&refund));

    let embedded =
        json!([{"id": 9, "refund_line_items": [{"quantity": 1, "subtotal": 1000, "total_tax": 80.0}]}]);
    let order = said("orders/updated", &patched("shopify_order_old", [("/refunds", embedded)]));
    assert!(lines(&order)[1].contains("refund 9 1080 JPY"), "{:?}", lines(&order));
}

#[test]
fn deletions_and_privacy_requests_are_understood() {
    let headers = [("shopify-topic", "orders/delete"), ("shopify-triggered-at", "2026-11-21T10:00:00.5Z")];
    let gone = interpret(Platform::Shopify, &headers, &json!({"id": 820982911946154508u64})).unwrap();
    assert_eq!(lines(&gone), ["820982911946154508@2026-11-21T10:00:00.5Z gone: deleted"]);

    let redact = fixture("shopify_customers_redact");
    assert_eq!(
        said("customers/redact", &redact).privacy,
        Some(PrivacyRequest::EraseCustomer {
            source: None,
            customer_id: Some("7014321098765".into()),
            email: Some("ada@example.com".into()),
            order_ids: vec!["9007199254740993".into(), "299938".into()],
        })
    );
    let request = json!({"customer": {"id": 1}, "orders_requested": [3]});
    assert_eq!(
        said("customers/data_request", &request).privacy,
        Some(PrivacyRequest::ReportCustomer {
            customer_id: Some("1".into()),
            email: None,
            order_ids: vec!["3".into()],
        })
    );
    assert_eq!(
        said("shop/redact", &redact).privacy,
        Some(PrivacyRequest::EraseShop { shop_domain: Some("hats.myshopify.com".into()) })
    );
}

#[test]
fn duplicates_and_topics_are_told_apart() {
    let headers = [
        ("x-shopify-topic", "orders/paid"),
        ("x-shopify-shop-domain", "hats.myshopify.com"),
        ("x-shopify-webhook-id", "b54557e4"),
    ];
    let order = interpret(Platform::Shopify, &headers, &fixture("shopify_order")).unwrap();
    assert_eq!(order.dedupe_key.as_deref(), Some("hats.myshopify.com/orders/paid/b54557e4"));
    assert_eq!(said("orders/paid", &fixture("shopify_order")).dedupe_key, None);

    for topic in ["products/update", "carts/create", "orders/edited", "app/uninstalled", "junk"] {
        let other = said(topic, &json!({"id": 1}));
        assert!(other.facts.is_empty() && other.ignored.is_some() && other.topic == topic, "{topic}");
    }
    let by_shape = |name| interpret(Platform::Shopify, &[], &fixture(name)).unwrap().topic;
    assert_eq!(by_shape("shopify_order"), "orders/updated");
    assert_eq!(by_shape("shopify_refund"), "refunds/create");
}

#[test]
fn errors_name_the_field() {
    let check = |topic: &str, body: Value, expected: &str| {
        let error = interpret(Platform::Shopify, &[("x-shopify-topic", topic)], &body).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let order = |pointer, value| patched("shopify_order", [(pointer, value)]);
    let old = |pointer, value| patched("shopify_order_old", [(pointer, value)]);
    check(
        "orders/create",
        order("/id", Value::Null),
        "id is missing; expected an id: a string or a whole number",
    );
    check("orders/create", json!([]), "id is missing; expected an id: a string or a whole number");
    check(
        "orders/create",
        old("/total_price", json!("-5")),
        "total_price: \"-5\" is negative; expected a decimal string such as \"10.00\"",
    );
    check(
        "orders/create",
        old("/total_price", json!("12,50")),
        "total_price: \"12,50\" is not an amount; expected a decimal string such as \"10.00\"",
    );
    check(
        "orders/create",
        old("/total_price", Value::Null),
        "total_price is missing; expected a decimal string such as \"10.00\"",
    );
    check(
        "orders/create",
        old("/total_price", json!("1.5")),
        "total_price: \"1.5\" is more decimals than JPY has (0)",
    );
    check(
        "orders/create",
        order("/total_price_set/shop_money/currency_code", json!("XYZ")),
        "total_price_set.shop_money.currency_code: \"XYZ\" is not a currency of ISO 4217; expected three letters \
         such as \"EUR\"",
    );
    check(
        "orders/create",
        order("/processed_at", json!("20.11.2026")),
        "processed_at: \"20.11.2026\" is not a time; expected RFC 3339 such as \"2026-11-20T10:00:00Z\"",
    );
    let refund = |pointer, value| patched("shopify_refund", [(pointer, value)]);
    check(
        "refunds/create",
        refund("/order_id", Value::Null),
        "order_id is missing; expected an id: a string or a whole number",
    );
    check(
        "refunds/create",
        refund("/transactions/0/currency", json!("GBP")),
        "transactions[0].currency: found \"GBP\"; expected the shop's currency, or amounts in both",
    );
}
