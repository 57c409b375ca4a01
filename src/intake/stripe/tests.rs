use serde_json::{Value, json};

use super::super::testing::{fixture, interpret, keys, lines, patched};
use super::super::{Interpretation, Platform};

fn said(body: &Value) -> Interpretation {
    interpret(Platform::Stripe, &[], body).unwrap()
}

fn check<const N: usize>(name: &str, patches: [(&str, Value); N], expected: &[&str]) {
    let said = said(&patched(name, patches));
    assert_eq!(lines(&said), expected, "{name}");
    assert_eq!(said.ignored.is_some(), expected.is_empty(), "{name}");
}

const OBJECT: &str = "/data/object";

#[test]
fn a_paid_session_is_a_sale() {
    let sale = said(&fixture("stripe_session"));
    assert_eq!(
        lines(&sale),
        ["pi_3QNabc@2026-11-20T10:00:03.001Z paid purchase 59.50 EUR, tax 9.50 EUR, shipping 4.50 EUR, \
          at 2026-11-20T09:59:40Z"]
    );
    assert_eq!(sale.topic, "checkout.session.completed");
    assert_eq!(sale.dedupe_key.as_deref(), Some("evt_1QNsession"));
    assert!(!sale.test);
    let keys = keys(&sale);
    assert_eq!(keys.tokens, ["meta-token", "stripe-token"]);
    assert_eq!(keys.customer_id.as_deref(), Some("cus_NffrFeUfNV2Hib"));
    assert_eq!(keys.email.as_deref(), Some("ada@example.com"));
    assert_eq!(keys.coupons, ["SPRING10"]);
    assert_eq!(keys.utm, [("source".to_string(), "newsletter".to_string())]);
    assert_eq!(keys.references, ["727", "cs_live_a1YS1URlnyQCN5fU"]);
}

#[test]
fn a_session_counts_once_it_is_paid() {
    check(
        "stripe_session",
        [("/data/object/payment_status", json!("unpaid"))],
        &["pi_3QNabc@2026-11-20T10:00:03Z unpaid purchase 59.50 EUR, tax 9.50 EUR, shipping 4.50 EUR, \
           at 2026-11-20T09:59:40Z"],
    );
    let paid_later = [("/type", json!("checkout.session.async_payment_succeeded"))];
    assert!(lines(&said(&patched("stripe_session", paid_later)))[0].contains(" paid purchase 59.50 EUR"));
    let unpaid_without_money =
        [("/data/object/payment_status", json!("unpaid")), ("/data/object/amount_total", Value::Null)];
    check("stripe_session", unpaid_without_money, &[]);
    check("stripe_session", [("/data/object/mode", json!("setup"))], &[]);
    let without_intent = [("/data/object/payment_intent", Value::Null)];
    assert!(
        lines(&said(&patched("stripe_session", without_intent)))[0].starts_with("cs_live_a1YS1URlnyQCN5fU@")
    );
    let expanded = [("/data/object/payment_intent", json!({"id": "pi_3QNabc", "object": "payment_intent"}))];
    assert!(lines(&said(&patched("stripe_session", expanded)))[0].starts_with("pi_3QNabc@"));
}

#[test]
fn a_subscription_is_sold_by_its_first_invoice() {
    let session = said(&fixture("stripe_session_subscription"));
    assert!(lines(&session)[0].starts_with("in_1First@2026-11-20T10:01:40.001Z paid purchase 12.00 USD"));
    assert_eq!(keys(&session).references, ["cs_live_sub", "sub_1"]);

    let first = [
        ("/data/object/id", json!("in_1First")),
        ("/data/object/billing_reason", json!("subscription_create")),
    ];
    let first = said(&patched("stripe_invoice", first));
    assert!(lines(&first)[0].starts_with("in_1First@"), "{:?}", lines(&first));
    assert!(lines(&first)[0].contains("paid purchase 12.00 USD, tax 1.50 USD, at"), "{:?}", lines(&first));
    assert_eq!(keys(&first).references, ["sub_1"]);
    assert_eq!(keys(&first).tokens, ["sub-token"]);
}

#[test]
fn later_invoices_renew() {
    let expected = "in_2Second@2026-12-20T10:01:40.001Z paid purchase 12.00 USD, tax 1.50 USD, renews sub_1, \
                    at 2026-12-20T10:00:00Z";
    check("stripe_invoice", [], &[expected]);
    assert!(keys(&said(&fixture("stripe_invoice"))).references.is_empty());
    // The shape before API version 2025-03-31.
    let old = [
        ("/data/object/parent", Value::Null),
        ("/data/object/total_taxes", Value::Null),
        ("/data/object/subscription", json!("sub_1")),
        ("/data/object/payment_intent", json!("pi_renewal")),
        ("/data/object/tax", json!(150)),
    ];
    let old = said(&patched("stripe_invoice", old));
    assert_eq!(lines(&old), [expected]);
    assert_eq!(keys(&old).references, ["pi_renewal"]);

    check("stripe_invoice", [("/data/object/billing_reason", json!("manual"))], &[]);
    check("stripe_invoice", [("/data/object/amount_paid", json!(0))], &[]);
}

#[test]
fn an_invoice_learns_its_payment_intent() {
    let payment = said(&fixture("stripe_invoice_payment"));
    assert_eq!(lines(&payment), ["in_2Second@2026-12-20T10:01:41Z keys"]);
    assert_eq!(keys(&payment).references, ["pi_renewal"]);
    check("stripe_invoice_payment", [("/data/object/payment", Value::Null)], &[]);

    let by_intent = [("/data/object/payment_details/order_reference", json!("in_2Second"))];
    let by_intent = said(&patched("stripe_payment_intent", by_intent));
    assert!(lines(&by_intent)[0].starts_with("in_2Second@"));
    assert!(keys(&by_intent).references.contains(&"pi_3QNabc".to_string()));
}

#[test]
fn a_trial_is_a_lead() {
    let trial = [
        ("/data/object/payment_status", json!("no_payment_required")),
        ("/data/object/amount_total", json!(0)),
    ];
    let trial = said(&patched("stripe_session_subscription", trial));
    assert!(lines(&trial)[0].contains("Z paid trial 0.00 USD"), "{:?}", lines(&trial));
    let invoice = [
        ("/data/object/amount_paid", json!(0)),
        ("/data/object/billing_reason", json!("subscription_create")),
    ];
    assert!(lines(&said(&patched("stripe_invoice", invoice)))[0].contains("Z paid trial 0.00 USD"));
}

#[test]
fn payment_intents_sell_without_checkout() {
    let sale = said(&fixture("stripe_payment_intent"));
    assert_eq!(
        lines(&sale),
        ["pi_3QNabc@2026-11-20T10:00:01Z paid purchase 5000 JPY, at 2026-11-20T09:59:50Z"]
    );
    assert!(sale.test, "test mode is told, but its orders count");
    let keys = keys(&sale);
    assert_eq!(keys.tokens, ["intent-token"]);
    assert_eq!(keys.references, ["wc_order_58d2d042d1d", "ch_3QNabcDEF"]);
}

#[test]
fn stripes_own_minor_units_are_translated() {
    let amount = |currency: &str, amount: i64| {
        let patches =
            [("/data/object/currency", json!(currency)), ("/data/object/amount_received", json!(amount))];
        interpret(Platform::Stripe, &[], &patched("stripe_payment_intent", patches))
    };
    let check = |currency: &str, minor: i64, expected: &str| {
        let line = &lines(&amount(currency, minor).unwrap())[0];
        assert!(line.contains(&format!("purchase {expected},")), "{line}");
    };
    check("usd", 1099, "10.99 USD");
    check("kwd", 1230, "1.230 KWD");
    check("isk", 50000, "500 ISK");
    check("ugx", 50000, "500 UGX");
    check("mga", 500, "500.00 MGA");
    assert_eq!(
        amount("isk", 50001).unwrap_err().to_string(),
        "data.object.amount_received: 50001 is more decimals than ISK has (0)"
    );
}

#[test]
fn refunds_count_once() {
    check(
        "stripe_charge_refunded",
        [],
        &["pi_3QNabc@2026-11-22T10:00:00Z refunded in all 25.00 EUR, at 2026-11-22T10:00:00Z"],
    );
    let legacy = [("/data/object/payment_intent", Value::Null)];
    assert!(lines(&said(&patched("stripe_charge_refunded", legacy)))[0].starts_with("ch_3QNabcDEF@"));

    let one = "pi_3QNabc@2026-11-22T10:00:00Z refund re_3QNone 25.00 EUR, at 2026-11-22T09:59:59Z";
    check("stripe_refund", [], &[one]);
    check("stripe_refund", [("/data/object/status", json!("pending"))], &[one]);
    check("stripe_refund", [("/type", json!("charge.refund.updated"))], &[one]);
    for void in ["failed", "canceled"] {
        check(
            "stripe_refund",
            [("/type", json!("refund.updated")), ("/data/object/status", json!(void))],
            &["pi_3QNabc@2026-11-22T10:00:00.001Z refund re_3QNone 0.00 EUR explaining 25.00 EUR, \
               at 2026-11-22T09:59:59Z"],
        );
    }
}

#[test]
fn a_lost_dispute_is_a_charge_back() {
    let back = "refund du_1QNone 34.50 EUR explaining 0.00 EUR, at 2026-11-30T00:36:40Z";
    let returned = "refund du_1QNone 0.00 EUR explaining 0.00 EUR, at 2026-11-30T00:36:40Z";
    let event = |topic: &str, status: &str, expected: Option<String>| {
        let patches = [("/type", json!(topic)), ("/data/object/status", json!(status))];
        let said = said(&patched("stripe_dispute", patches));
        assert_eq!(lines(&said), Vec::from_iter(expected), "{topic} {status}");
    };
    let at = "pi_3QNabc@2026-11-30T00:53:20";
    event("charge.dispute.funds_withdrawn", "needs_response", Some(format!("{at}Z {back}")));
    event("charge.dispute.closed", "lost", Some(format!("{at}Z {back}")));
    event("charge.dispute.closed", "won", Some(format!("{at}.001Z {returned}")));
    event("charge.dispute.funds_reinstated", "won", Some(format!("{at}.001Z {returned}")));
    event("charge.dispute.closed", "warning_closed", None);
}

#[test]
fn other_events_are_ignored() {
    for topic in ["customer.created", "checkout.session.expired", "charge.succeeded", "ping"] {
        check("stripe_session", [("/type", json!(topic))], &[]);
    }
}

#[test]
fn errors_name_the_field() {
    let check = |pointer: &str, value: Value, expected: &str| {
        let body = patched("stripe_session", [(pointer, value)]);
        assert_eq!(interpret(Platform::Stripe, &[], &body).unwrap_err().to_string(), expected);
    };
    check("/id", Value::Null, "id is missing; expected an id: a string or a whole number");
    check(
        "/type",
        Value::Null,
        "type is missing; expected an event type such as \"checkout.session.completed\"",
    );
    check("/created", json!("now"), "created: found \"now\"; expected seconds since 1970");
    check("/created", json!(i64::MAX), "created: found 9223372036854775807; expected seconds since 1970");
    check(OBJECT, json!("x"), "data.object.id is missing; expected an id: a string or a whole number");
    check(
        "/data/object/currency",
        json!("xxx"),
        "data.object.currency: \"xxx\" is not a currency of ISO 4217; expected three letters such as \"EUR\"",
    );
    check(
        "/data/object/amount_total",
        json!(-1),
        "data.object.amount_total: -1 is negative; expected a whole number of minor units",
    );
    check(
        "/data/object/amount_total",
        json!(59.5),
        "data.object.amount_total: found 59.5; expected a whole number of minor units",
    );
    check(
        "/data/object/payment_status",
        Value::Null,
        "data.object.payment_status is missing; expected paid, unpaid or no_payment_required",
    );
}
