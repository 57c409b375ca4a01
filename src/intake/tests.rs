use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::RECEIVED_MS;
use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    header_map(&pairs)
}

#[test]
fn platforms_go_by_their_names() {
    for platform in Platform::ALL {
        assert_eq!(platform.to_string().parse(), Ok(platform));
        assert_eq!(serde_json::to_string(&platform).unwrap(), format!("\"{platform}\""));
        assert!(UnknownPlatform.to_string().contains(platform.as_str()));
    }
    assert_eq!("WooCommerce".parse(), Ok(Platform::Woocommerce));
    assert_eq!("magento".parse::<Platform>(), Err(UnknownPlatform));
}

#[test]
fn the_door_tells_four_kinds_of_delivery() {
    let signed = headers(&[("x-wc-webhook-signature", "c9zrvVpXPxYuepwF/4WK7Vkm25mbY5zRJp0wCScUMn4=")]);
    let body = br#"{"test": 2432232314}"#;
    let check = |headers: &HeaderMap, body: &[u8], secrets: &[Secret], expected| {
        assert_eq!(verify(Platform::Woocommerce, headers, body, secrets, 0), expected);
    };
    let known = [Secret::new("a&b<c>\"'")];
    check(&signed, body, &known, Verdict::Verified);
    check(&signed, body, &[], Verdict::Unverified);
    check(&HeaderMap::new(), b"webhook_id=12", &known, Verdict::Ping);
    check(&HeaderMap::new(), b"webhook_id=12", &[], Verdict::Ping);
    let missing = SignatureError::MissingHeader("x-wc-webhook-signature");
    check(&HeaderMap::new(), body, &known, Verdict::Refused(missing));
    let refused = verify(Platform::Api, &HeaderMap::new(), body, &[], 0);
    assert_eq!(refused, Verdict::Refused(SignatureError::NotSigned));
}

#[test]
fn few_headers_are_kept() {
    let given = headers(&[
        ("X-Shopify-Topic", "orders/create"),
        ("Shopify-Webhook-Id", "b54557e4"),
        ("Authorization", "Bearer hush"),
        ("Cookie", "a=b"),
        ("User-Agent", "Shopify-Captain-Hook"),
    ]);
    let kept = kept_headers(Platform::Shopify, &given);
    let expected = [("x-shopify-topic", "orders/create"), ("shopify-webhook-id", "b54557e4")];
    assert_eq!(kept, expected.map(|(name, value)| (name.to_string(), value.to_string())));
    assert!(kept_headers(Platform::Api, &given).is_empty());
    let huge = headers(&[("stripe-signature", &"x".repeat(5000))]);
    assert!(kept_headers(Platform::Stripe, &huge).is_empty());
}

#[test]
fn bodies_must_be_whole_json() {
    for platform in Platform::ALL {
        let read = |body: &[u8]| interpret(platform, &[], body, RECEIVED_MS);
        assert_eq!(read(br#"{"id": 820982911946154508, "tot"#), Err(InterpretError::CutOff));
        assert_eq!(read(b""), Err(InterpretError::CutOff));
        assert!(matches!(read(b"<html>"), Err(InterpretError::NotJson(_))));
        assert!(matches!(read(&[0xff, 0xfe]), Err(InterpretError::NotJson(_))));
    }
}

/// Every body of `tests/fixtures/webhooks/` with the platform and the topic that it comes with.
fn fixtures() -> Vec<(Platform, &'static str, Value)> {
    let of = |name: &'static str, topic| {
        let platform = match name.split('_').next().unwrap() {
            "woocommerce" => Platform::Woocommerce,
            platform => platform.parse().unwrap(),
        };
        (platform, topic, super::testing::fixture(name))
    };
    vec![
        of("shopify_order", "orders/create"),
        of("shopify_order_old", "orders/create"),
        of("shopify_refund", "refunds/create"),
        of("shopify_refund_old", "refunds/create"),
        of("shopify_customers_redact", "customers/redact"),
        of("woocommerce_order", "order.updated"),
        of("stripe_session", ""),
        of("stripe_session_subscription", ""),
        of("stripe_invoice", ""),
        of("stripe_invoice_payment", ""),
        of("stripe_payment_intent", ""),
        of("stripe_charge_refunded", ""),
        of("stripe_refund", ""),
        of("stripe_dispute", ""),
        of("paddle_transaction", ""),
        of("paddle_adjustment", ""),
        of("lemonsqueezy_order", ""),
        of("lemonsqueezy_subscription_invoice", ""),
        of("paypal_capture", ""),
        of("paypal_refund", ""),
        of("paypal_checkout", ""),
        of("segment_order", ""),
        of("rudderstack_batch", ""),
        of("bigcommerce_notice", ""),
        of("bigcommerce_order", FETCHED),
        of("standard_conversion", ""),
        of("standard_refund", ""),
    ]
}

fn topic_headers(topic: &str) -> Vec<(String, String)> {
    let named = ["x-shopify-topic", "x-wc-webhook-topic"].map(|name| (name.to_string(), topic.to_string()));
    let fetched = (topic == FETCHED).then(|| (FETCHED.to_string(), "d1".to_string()));
    named.into_iter().chain(fetched).collect()
}

/// All pointers into a value, in one order.
fn pointers(value: &Value, at: String, into: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let name = name.replace('~', "~0").replace('/', "~1");
        pointers(child, format!("{at}/{name}"), into);
    }
    into.push(at);
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "-?[0-9]{1,30}(\\.[0-9]{0,4})?".prop_map(Value::from),
        prop::sample::select(vec!["", "\0", "JPY", "kwd", "ISK", "?um_click=%00&%", "9999-12-31T23:59:59Z"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// What holds for everything that is understood.
fn sound(said: &Interpretation) -> bool {
    said.facts.iter().all(|fact| {
        let refunds_sound = |refunds: &[fact::Refund]| {
            refunds.iter().all(|refund| refund.amount_minor >= 0 && !refund.id.is_empty())
        };
        !fact.order_id.is_empty()
            && fact.order_id.len() <= 255
            && match &fact.says {
                fact::Says::Order(order) => {
                    order.total_minor >= 0 && order.tax_minor.is_none_or(|tax| tax >= 0)
                }
                fact::Says::Refund(refund) => refunds_sound(std::slice::from_ref(refund)),
                fact::Says::Refunds(refunds) => refunds_sound(refunds),
                fact::Says::RefundedTotal { amount_minor, .. } => *amount_minor >= 0,
                fact::Says::Keys(_) | fact::Says::Gone(_) => true,
            }
    })
}

#[test]
fn every_fixture_is_understood() {
    for (platform, topic, body) in fixtures() {
        let said = interpret(platform, &topic_headers(topic), body.to_string().as_bytes(), RECEIVED_MS);
        let said = said.unwrap_or_else(|error| panic!("{platform} {error}"));
        assert!(
            !said.facts.is_empty() || said.privacy.is_some() || said.fetch.is_some(),
            "{platform} {}",
            said.topic
        );
        assert!(said.ignored.is_none() && sound(&said), "{platform} {}", said.topic);
        // Facts are stored as JSON and come back the same.
        let stored = serde_json::to_string(&said.facts).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Fact>>(&stored).unwrap(), said.facts);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), topic in ".{0,20}") {
        for platform in Platform::ALL {
            let _ = interpret(platform, &topic_headers(&topic), &body, RECEIVED_MS);
        }
    }

    #[test]
    fn any_json_is_read_or_refused(body in junk()) {
        for platform in Platform::ALL {
            for topic in ["orders/create", "refunds/create", "order.updated", "customers/redact", ""] {
                let said = interpret(platform, &topic_headers(topic), body.to_string().as_bytes(), RECEIVED_MS);
                prop_assert!(said.is_err() || said.is_ok_and(|said| sound(&said)));
            }
        }
    }

    #[test]
    fn damaged_bodies_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for (platform, topic, mut body) in fixtures() {
            for (index, value) in &changes {
                let mut all = Vec::new();
                pointers(&body, String::new(), &mut all);
                let pointer = &all[index.index(all.len())];
                *body.pointer_mut(pointer).unwrap() = value.clone();
            }
            let text = body.to_string();
            let said = interpret(platform, &topic_headers(topic), text.as_bytes(), RECEIVED_MS);
            prop_assert!(said.is_err() || said.is_ok_and(|said| sound(&said)), "{}", text);
            let _ = interpret(platform, &topic_headers(topic), &text.as_bytes()[..cut.index(text.len())], RECEIVED_MS);
        }
    }

    #[test]
    fn any_signature_is_judged(text in "\\PC{0,80}", body in prop::collection::vec(any::<u8>(), 0..50)) {
        let names = ["x-signature", "stripe-signature", "webhook-id", "webhook-timestamp", "webhook-signature",
            "paddle-signature", "x-shopify-hmac-sha256", "x-wc-webhook-signature", "paypal-auth-algo",
            "paypal-cert-url", "paypal-transmission-id", "paypal-transmission-time", "paypal-transmission-sig"];
        let given = headers(&names.map(|name| (name, text.as_str())));
        for platform in Platform::ALL {
            let verdict = verify(platform, &given, &body, &[Secret::new("hush")], RECEIVED_MS);
            prop_assert!(matches!(verdict, Verdict::Refused(_) | Verdict::Ping));
        }
    }
}
