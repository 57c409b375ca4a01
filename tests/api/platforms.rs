//! What holds for every platform, through its door and the worker.

use serde_json::{Value, json as j};
use utmost::domain::time::now_ms;
use utmost::intake::{Platform, Secret, sign};

use crate::server::Server;
use crate::sources::{deliveries, hook};

/// A topic that nobody has heard of, in each platform's own shape.
fn unknown(platform: Platform) -> (&'static str, Vec<(&'static str, String)>, Value) {
    let topic = "something/new";
    let (headers, body) = match platform {
        Platform::Shopify => {
            (vec![("x-shopify-topic", topic.to_owned())], j!({"id": 1, "total_price": "5.00"}))
        }
        Platform::Woocommerce => {
            (vec![("x-wc-webhook-topic", topic.to_owned())], j!({"id": 1, "total": "5.00"}))
        }
        Platform::Stripe => {
            (vec![], j!({"id": "evt_1", "type": topic, "created": 1_795_168_800, "data": {"object": {}}}))
        }
        Platform::Standard => (vec![], j!({"type": topic, "data": {"id": 1, "amount": "5.00"}})),
        Platform::Bigcommerce => {
            (vec![], j!({"scope": topic, "data": {"type": "order", "id": 1}, "hash": "h"}))
        }
        Platform::Paddle => (
            vec![],
            j!({"event_id": "evt_1", "event_type": topic, "occurred_at": "2026-11-20T10:00:00Z", "data": {}}),
        ),
        Platform::Lemonsqueezy => (
            vec![("x-event-name", topic.to_owned())],
            j!({"meta": {}, "data": {"id": "1", "attributes": {}}}),
        ),
        Platform::Paypal => (
            vec![],
            j!({"id": "WH-1", "event_type": topic, "create_time": "2026-11-20T10:00:00Z", "resource": {}}),
        ),
        Platform::Segment | Platform::Rudderstack => {
            (vec![], j!({"type": "track", "event": topic, "messageId": "m-1", "properties": {"order_id": 1}}))
        }
        Platform::Api => unreachable!("it has no door"),
    };
    (topic, headers, body)
}

fn secret(platform: Platform) -> String {
    match platform {
        Platform::Paypal => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/webhooks/paypal_secret.pem");
            std::fs::read_to_string(path).unwrap()
        }
        Platform::Standard => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        _ => "hush".to_owned(),
    }
}

#[tokio::test]
async fn an_unknown_topic_is_kept_and_answered_well() {
    let api = Server::start().await;
    for platform in Platform::ALL.into_iter().filter(|platform| *platform != Platform::Api) {
        let secret = secret(platform);
        let source = j!({"platform": platform, "name": "Shop", "secret": secret});
        let source = api.post("/api/v1/sources", source).await.expect(201)["id"].as_str().unwrap().to_owned();
        let (topic, mut headers, body) = unknown(platform);
        let body = body.to_string();
        headers.extend(sign(platform, &Secret::new(&secret), "msg_1", body.as_bytes(), now_ms()).unwrap());
        let answer = hook(&api, &source, &headers, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{platform}");
        api.work().await;
        let kept = deliveries(&api, &source).await;
        assert_eq!(kept.len(), 1, "{platform}");
        let said = (&kept[0]["topic"], &kept[0]["result"], &kept[0]["replayable"]);
        assert_eq!(said, (&j!(topic), &j!("ignored"), &j!(true)), "{platform}");
        let path = format!("/api/v1/deliveries/{}", kept[0]["id"].as_str().unwrap());
        assert_eq!(api.get(&path).await.expect(200)["body"], j!(body), "{platform}: as it came");
    }
    assert_eq!(api.get("/api/v1/conversions").await.expect(200)["data"], j!([]));
}
