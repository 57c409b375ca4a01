//! How conversions find their clicks: the documented order of methods, with the runners-up beside the winner.

use serde_json::{Value, json as j};
use utmost::domain::time::{now_ms, rfc3339};

use crate::server::Server;

const HOUR_MS: i64 = 3_600_000;

async fn link(api: &Server, body: Value) -> Value {
    let mut link = j!({"url": "https://shop.test"});
    link.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    api.post("/api/v1/links", link).await.expect(201)
}

async fn order(api: &Server, id: &str, body: Value) {
    let mut order = j!({"id": id, "amount": "10.00", "currency": "USD"});
    order.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    api.post("/api/v1/conversions", order).await.expect(202);
    api.work().await;
}

/// The method, the runners-up, and the posts of the touches that count.
async fn matched(api: &Server, id: &str) -> (Value, Value, Vec<Value>) {
    let read = api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
    let touches = read["touches"].as_array().unwrap().iter();
    let posts = touches.filter(|touch| touch["counted"] == j!(true)).map(|touch| touch["post"].clone());
    (read["match"]["method"].clone(), read["match"]["runners_up"].clone(), posts.collect())
}

#[tokio::test]
async fn coupons_stand_for_posts_and_links_whenever_they_are_bound() {
    let api = Server::start().await;
    let (one, two) = (link(&api, j!({"post": "p"})).await, link(&api, j!({"post": "q"})).await);
    order(&api, "o1", j!({"coupon": "spring "})).await;
    order(&api, "o2", j!({"coupon": "SUMMER"})).await;
    assert_eq!(matched(&api, "o1").await, (j!(null), j!([]), vec![]));
    // Bound after the order: it is evaluated anew by itself.
    api.put("/api/v1/coupons/spring", j!({"post": "p"})).await.expect(200);
    api.put("/api/v1/coupons/Summer", j!({"link": two["id"]})).await.expect(200);
    api.work().await;
    assert_eq!(matched(&api, "o1").await, (j!("coupon"), j!([]), vec![j!("p")]));
    assert_eq!(matched(&api, "o2").await, (j!("coupon"), j!([]), vec![j!("q")]));
    api.put("/api/v1/coupons/spring", j!({"link": two["id"]})).await.expect(200);
    api.work().await;
    assert_eq!(matched(&api, "o1").await.2, [j!("q")]);
    // A link that the post gets later takes no share of what was sold before.
    api.put("/api/v1/coupons/spring", j!({"post": "p"})).await.expect(200);
    link(&api, j!({"post": "p"})).await;
    api.post("/api/v1/workspaces/default/recompute", j!({})).await.expect(202);
    api.work().await;
    let read = api.get("/api/v1/conversions/o1").await.expect(200);
    let touches = read["touches"].as_array().unwrap();
    assert_eq!((touches.len(), &touches[0]["link"]), (1, &one["id"]));
    api.delete("/api/v1/coupons/SPRING").await.expect(204);
    api.work().await;
    assert_eq!(matched(&api, "o1").await, (j!(null), j!([]), vec![]));
}

#[tokio::test]
async fn tags_find_the_one_link_that_had_them() {
    let api = Server::start().await;
    let utm = j!({"source": "x", "campaign": "spring", "content": "red"});
    let stamped = link(&api, j!({"post": "p", "utm": {"source": "x", "campaign": "spring"}})).await;
    link(&api, j!({"post": "red", "utm": utm})).await;
    order(&api, "o1", j!({"utm": {"source": "X", "campaign": "Spring", "content": "Red"}})).await;
    assert_eq!(matched(&api, "o1").await, (j!("utm"), j!([]), vec![j!("red")]));
    // Links stamp their id; it alone is enough.
    order(&api, "o2", j!({"utm": {"content": stamped["utm"]["content"]}})).await;
    assert_eq!(matched(&api, "o2").await.2, [j!("p")]);
    // By source and campaign alone there are two, which identifies none.
    order(&api, "o3", j!({"utm": {"source": "x", "campaign": "spring"}})).await;
    assert_eq!(matched(&api, "o3").await.0, j!(null));
    // A twin that is made later takes the match of nothing that was ordered before.
    link(&api, j!({"post": "twin", "utm": utm})).await;
    api.post("/api/v1/workspaces/default/recompute", j!({})).await.expect(202);
    api.work().await;
    assert_eq!(matched(&api, "o1").await, (j!("utm"), j!([]), vec![j!("red")]));
    // From the landing's URL, as shops deliver it.
    let landing = format!("https://shop.test/?utm_content={}", stamped["utm"]["content"].as_str().unwrap());
    order(&api, "o4", j!({"landing_url": landing})).await;
    assert_eq!(matched(&api, "o4").await, (j!("utm"), j!([]), vec![j!("p")]));
}

#[tokio::test]
async fn the_best_method_wins_and_the_others_are_named() {
    let api = Server::start().await;
    let (a, b) = (link(&api, j!({"post": "a"})).await, link(&api, j!({"post": "b"})).await);
    link(&api, j!({"post": "c", "utm": {"source": "x", "campaign": "y", "content": "z"}})).await;
    api.put("/api/v1/coupons/D", j!({"post": "b"})).await.expect(200);
    let known = api.click(&a, now_ms() - 5 * HOUR_MS).await;
    let now = api.click(&b, now_ms() - HOUR_MS).await;
    let customer = j!({"email": "ada@example.com"});
    let earlier = rfc3339(now_ms() - 4 * HOUR_MS);
    order(&api, "o0", j!({"customer": customer, "click_id": known, "occurred_at": earlier})).await;
    let utm = j!({"source": "x", "campaign": "y", "content": "z"});
    // Everything at once: the click it names, and what is known of the customer, count together.
    let all = j!({"customer": customer, "click_id": now, "coupon": "d", "utm": utm});
    order(&api, "o1", all).await;
    let expected = (j!("click_token"), j!(["customer", "coupon", "utm"]), vec![j!("a"), j!("b")]);
    assert_eq!(matched(&api, "o1").await, expected);
    order(&api, "o2", j!({"coupon": "D", "utm": utm})).await;
    assert_eq!(matched(&api, "o2").await, (j!("coupon"), j!(["utm"]), vec![j!("b")]));
    order(&api, "o3", j!({"utm": utm})).await;
    assert_eq!(matched(&api, "o3").await, (j!("utm"), j!([]), vec![j!("c")]));
    // Several clicks of several devices, and one token that nobody made.
    let forged = "A".repeat(64);
    order(&api, "o4", j!({"click_ids": [now, known, forged]})).await;
    assert_eq!(matched(&api, "o4").await.2, [j!("a"), j!("b")]);
    order(&api, "o5", j!({"click_id": forged})).await;
    let read = api.get("/api/v1/conversions/o5").await.expect(200);
    assert_eq!((&read["status"], &read["reason"]), (&j!("unattributed"), &j!("invalid_token")));
}

#[tokio::test]
async fn a_customer_is_known_over_devices_and_from_today_on_backwards() {
    let api = Server::start().await;
    let (phone, laptop) = (link(&api, j!({"post": "phone"})).await, link(&api, j!({"post": "laptop"})).await);
    let on_phone = api.clicks_of_one(&phone, &[30, 20].map(|hours| now_ms() - hours * HOUR_MS)).await;
    let on_laptop = api.click(&laptop, now_ms() - 10 * HOUR_MS).await;
    let at = |hours: i64| rfc3339(now_ms() - hours * HOUR_MS);
    // An order from the laptop by a customer of whom no other device is known.
    let customer = j!({"email": "ada@example.com"});
    let order_1 = j!({"click_id": on_laptop, "customer": customer, "occurred_at": at(9)});
    order(&api, "o1", order_1).await;
    assert_eq!(matched(&api, "o1").await.2, [j!("laptop")]);
    // A sign-up on the phone under the same e-mail, told later: yesterday's order has a longer journey now.
    let lead = j!({"id": "l1", "event": "sign_up", "click_id": on_phone[0], "customer": customer, "occurred_at": at(25)});
    let values = j!({"settings": {"assigned_values": {"sign_up": "3.00"}}});
    api.patch("/api/v1/workspaces/default", values).await.expect(200);
    api.post("/api/v1/conversions", lead).await.expect(202);
    api.work().await;
    assert_eq!(matched(&api, "o1").await.2, [j!("phone"), j!("phone"), j!("laptop")]);
    let lead = api.get("/api/v1/conversions/l1").await.expect(200);
    assert_eq!((&lead["assigned_value"], &lead["net_revenue"]), (&j!("3.00"), &j!("0.00")));
    // Only the click before the sign-up led to it.
    assert_eq!(matched(&api, "l1").await.2, [j!("phone")]);
    // Whoever comes without any click is known by the e-mail.
    order(&api, "o2", j!({"customer": customer})).await;
    let (method, _, posts) = matched(&api, "o2").await;
    assert_eq!((method, posts.len()), (j!("customer"), 3));
    // A link that was passed on does not merge two strangers.
    order(&api, "o3", j!({"customer": {"email": "bob@example.com"}, "click_id": on_laptop})).await;
    assert_eq!(matched(&api, "o3").await, (j!("click_token"), j!([]), vec![j!("laptop")]));
}
