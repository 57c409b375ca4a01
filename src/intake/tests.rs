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

/// Each platform's order with another id, customer, landing and currency, where it has such a thing.
struct Shape {
    platform: Platform,
    fixture: &'static str,
    topic: &'static str,
    /// Pointers into the body.
    id: &'static str,
    customer: Option<&'static str>,
    landing: Option<&'static str>,
    currency: &'static str,
    /// Whether ids are numbers, or only ever texts.
    has_number: bool,
}

fn shapes() -> Vec<Shape> {
    let shape = |platform, fixture, id, customer, landing, currency, has_number| Shape {
        platform,
        fixture,
        topic: "",
        id,
        customer,
        landing,
        currency,
        has_number,
    };
    let shopify = shape(
        Platform::Shopify,
        "shopify_order",
        "/id",
        Some("/customer"),
        Some("/landing_site"),
        "/total_price_set/shop_money/currency_code",
        true,
    );
    let woocommerce = shape(
        Platform::Woocommerce,
        "woocommerce_order",
        "/id",
        Some("/customer_id"),
        Some("/meta_data"),
        "/currency",
        true,
    );
    let bigcommerce = shape(
        Platform::Bigcommerce,
        "bigcommerce_order",
        "/order/id",
        Some("/order/customer_id"),
        None,
        "/order/default_currency_code",
        true,
    );
    vec![
        Shape { topic: "orders/create", ..shopify },
        Shape { topic: "order.updated", ..woocommerce },
        Shape { topic: FETCHED, ..bigcommerce },
        shape(
            Platform::Stripe,
            "stripe_session",
            "/data/object/payment_intent",
            Some("/data/object/customer"),
            Some("/data/object/metadata"),
            "/data/object/currency",
            false,
        ),
        shape(
            Platform::Standard,
            "standard_conversion",
            "/data/id",
            Some("/data/customer"),
            Some("/data/landing_url"),
            "/data/currency",
            true,
        ),
        shape(
            Platform::Paddle,
            "paddle_transaction",
            "/data/id",
            Some("/data/customer_id"),
            Some("/data/checkout/url"),
            "/data/currency_code",
            false,
        ),
        shape(
            Platform::Lemonsqueezy,
            "lemonsqueezy_order",
            "/data/id",
            Some("/data/attributes/customer_id"),
            Some("/meta/custom_data"),
            "/data/attributes/currency",
            true,
        ),
        shape(
            Platform::Paypal,
            "paypal_capture",
            "/resource/id",
            None,
            Some("/resource/custom_id"),
            "/resource/amount/currency_code",
            false,
        ),
        shape(
            Platform::Segment,
            "segment_order",
            "/properties/order_id",
            Some("/userId"),
            Some("/context/page"),
            "/properties/currency",
            true,
        ),
    ]
}

impl Shape {
    fn read(&self, patches: &[(&str, Value)]) -> Interpretation {
        let mut body = super::testing::fixture(self.fixture);
        for (pointer, value) in patches {
            *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{} {pointer}", self.platform)) =
                value.clone();
        }
        // As text, since that is what comes.
        let said =
            interpret(self.platform, &topic_headers(self.topic), body.to_string().as_bytes(), RECEIVED_MS);
        said.unwrap_or_else(|error| panic!("{} {patches:?}: {error}", self.platform))
    }
}

#[test]
fn ids_above_two_to_the_53_are_exact_on_every_platform() {
    const IDS: [u64; 3] = [9_007_199_254_740_993, 9_007_199_254_740_992, u64::MAX];
    for shape in shapes() {
        for id in IDS {
            let value = if shape.has_number { json!(id) } else { json!(id.to_string()) };
            let said = shape.read(&[(shape.id, value)]);
            let ids: Vec<&str> = said.facts.iter().map(|fact| fact.order_id.as_str()).collect();
            assert!(
                !ids.is_empty() && ids.iter().all(|it| *it == id.to_string()),
                "{} {ids:?}",
                shape.platform
            );
        }
    }
}

#[test]
fn guests_are_nobody_on_every_platform() {
    for shape in shapes() {
        let Some(customer) = shape.customer else { continue };
        for nobody in [Value::Null, json!(""), json!({})] {
            let said = shape.read(&[(customer, nobody.clone())]);
            let keys = super::testing::keys(&said);
            assert_eq!(keys.customer_id, None, "{} {nobody}", shape.platform);
        }
    }
}

#[test]
fn landings_may_be_junk_on_every_platform() {
    let junk = [
        Value::Null,
        json!(""),
        json!("::::"),
        json!("/password?%%%&um_click=%00&um_click="),
        json!(7),
        json!([1, {"key": 2}]),
        json!({"landing_url": "?&&=&um_click", "url": "http://[junk?click_id=%ff"}),
        json!("x".repeat(100_000)),
    ];
    for shape in shapes() {
        let Some(landing) = shape.landing else { continue };
        let sold = shape.read(&[]);
        for value in &junk {
            // Our own JSON is held to its description, and says so.
            if shape.platform == Platform::Standard && !(value.is_null() || value.is_string()) {
                continue;
            }
            let said = shape.read(&[(landing, value.clone())]);
            assert!(sound(&said), "{}", shape.platform);
            // Whatever led there, the money stands.
            let (fact::Says::Order(read), fact::Says::Order(whole)) =
                (&said.facts[0].says, &sold.facts[0].says)
            else {
                panic!("{} no order", shape.platform)
            };
            assert_eq!(
                (read.total_minor, read.status),
                (whole.total_minor, whole.status),
                "{}",
                shape.platform
            );
            assert!(read.keys.tokens.iter().all(|token| token.len() <= 80), "{}", shape.platform);
        }
    }
}

#[test]
fn currencies_are_the_orders_own_on_every_platform() {
    for shape in shapes() {
        for code in ["USD", "EUR", "GBP", "INR"] {
            let said = shape.read(&[(shape.currency, json!(code))]);
            let fact::Says::Order(order) = &said.facts[0].says else { panic!("{} no order", shape.platform) };
            assert_eq!((order.currency.as_str(), order.total_minor > 0), (code, true), "{}", shape.platform);
        }
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
