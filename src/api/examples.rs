//! Signed examples that show whether a source works: test orders, unpaid ones, or events of no interest.

use serde_json::{Value, json};

use crate::domain::time::rfc3339;
use crate::intake::Platform;

pub struct Example {
    pub topic: &'static str,
    /// Besides the signature's.
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// Orders in it have ids that no shop uses.
pub fn of(platform: Platform, now_ms: i64) -> Example {
    let now = rfc3339(now_ms);
    let local = now.split(['.', 'Z']).next().unwrap_or_default();
    let now_s = now_ms / 1000;
    let mut headers: Vec<(&'static str, String)> = Vec::new();
    let (topic, body): (&'static str, Value) = match platform {
        Platform::Shopify => {
            headers.push(("x-shopify-topic", "orders/create".into()));
            headers.push(("x-shopify-webhook-id", "utmost-test".into()));
            let order = json!({"id": 1, "test": true, "total_price": "1.00", "currency": "USD", "created_at": now,
                "updated_at": now, "financial_status": "paid", "email": null, "landing_site": "/"});
            ("orders/create", order)
        }
        Platform::Woocommerce => {
            headers.push(("x-wc-webhook-topic", "order.created".into()));
            let order = json!({"id": 999_999_999_999_i64, "status": "pending", "currency": "USD", "total": "1.00",
                "date_created_gmt": local, "date_modified_gmt": local, "customer_id": 0, "meta_data": [],
                "refunds": []});
            ("order.created", order)
        }
        Platform::Stripe => {
            let event = json!({"id": format!("evt_utmost_test_{now_s}"), "type": "utmost.test", "created": now_s,
                "livemode": false, "data": {"object": {"id": "utmost_test"}}});
            ("utmost.test", event)
        }
        Platform::Standard | Platform::Api => ("test", json!({"type": "test", "timestamp": now, "data": {}})),
        Platform::Bigcommerce => {
            let notice = json!({"scope": "store/utmost/test", "store_id": "1", "created_at": now_s,
                "hash": format!("utmost-test-{now_s}"), "producer": "stores/test", "data": {"type": "test", "id": 1}});
            ("store/utmost/test", notice)
        }
        Platform::Paddle => {
            let event = json!({"event_id": format!("evt_utmost_test_{now_s}"), "event_type": "utmost.test",
                "occurred_at": now, "data": {}});
            ("utmost.test", event)
        }
        Platform::Lemonsqueezy => {
            headers.push(("x-event-name", "utmost_test".into()));
            let event = json!({"meta": {"event_name": "utmost_test", "test_mode": true},
                "data": {"type": "tests", "id": "1", "attributes": {"updated_at": now}}});
            ("utmost_test", event)
        }
        Platform::Paypal => {
            let event = json!({"id": format!("WH-UTMOST-TEST-{now_s}"), "event_type": "UTMOST.TEST",
                "create_time": now, "resource": {}});
            ("UTMOST.TEST", event)
        }
        Platform::Segment | Platform::Rudderstack => {
            let event = json!({"messageId": format!("utmost-test-{now_s}"), "type": "track",
                "event": "Utmost Test", "timestamp": now, "properties": {}});
            ("Utmost Test", event)
        }
    };
    Example { topic, headers, body: body.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::fact::{OrderStatus, Says};
    use crate::intake::{self, interpret};

    #[test]
    fn examples_are_read_and_never_count() {
        let now_ms = 1_795_000_000_123;
        for platform in Platform::ALL {
            let example = of(platform, now_ms);
            let headers = example.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let headers = intake::header_map(&headers.collect::<Vec<_>>());
            let kept = intake::kept_headers(platform, &headers);
            let read = interpret(platform, &kept, example.body.as_bytes(), now_ms)
                .unwrap_or_else(|error| panic!("{platform}: {error}"));
            assert_eq!(read.topic, example.topic, "{platform}");
            for fact in &read.facts {
                match &fact.says {
                    Says::Order(order) => {
                        assert!(
                            matches!(order.status, OrderStatus::Test | OrderStatus::Unpaid),
                            "{platform}"
                        );
                    }
                    Says::Refunds(refunds) => assert!(refunds.is_empty(), "{platform}"),
                    _ => panic!("{platform}: {fact:?}"),
                }
            }
            assert!(!read.facts.is_empty() || read.ignored.is_some(), "{platform}");
        }
    }
}
