//! What becomes of orders, as the platforms tell it: gross, refunds and net follow, and the credits of every
//! model always sum to the net.

use serde_json::{Value, json as j};
use utmost::domain::money::{Currency, parse_minor};
use utmost::domain::time::{now_ms, rfc3339};

use crate::server::Server;

const HOUR_MS: i64 = 3_600_000;

struct Shop {
    api: Server,
    /// Of two clicks on two posts.
    tokens: Vec<String>,
}

impl Shop {
    async fn open() -> Self {
        let api = Server::start().await;
        let mut tokens = Vec::new();
        for (post, hours) in [("a", 50), ("b", 30)] {
            let body = j!({"url": "https://shop.test", "post": post});
            let link = api.post("/api/v1/links", body).await.expect(201);
            tokens.push(api.click(&link, now_ms() - hours * HOUR_MS).await);
        }
        Self { api, tokens }
    }

    /// An order's status and reason, revenue, refunds and net, once credits were seen to sum to it.
    async fn stands(&self, id: &str, expected: [&str; 4]) -> Value {
        let read = self.api.get(&format!("/api/v1/conversions/{id}")).await.expect(200);
        let text = |name: &str| read[name].as_str().unwrap_or("-").to_owned();
        let status = match read["reason"].as_str() {
            Some(reason) => format!("{} {reason}", text("status")),
            None => text("status"),
        };
        let found = [status, text("revenue"), text("refunds"), text("net_revenue")];
        assert_eq!(found, expected, "{id}");
        let counted = read["touches"].as_array().unwrap().iter().filter(|touch| touch["counted"] == j!(true));
        let counted: Vec<&Value> = counted.collect();
        if found[0] == "attributed" {
            let minor = |value: &Value| parse_minor_signed(value.as_str().unwrap());
            for model in ["first_touch", "last_touch", "linear", "time_decay", "position_based"] {
                let credits = counted.iter().map(|touch| minor(&touch["credits"][model]["net_revenue"]));
                assert_eq!(credits.sum::<i64>(), minor(&read["net_revenue"]), "{id} by {model}");
            }
        } else {
            assert_eq!(counted.len(), 0, "{id}");
        }
        read
    }
}

fn parse_minor_signed(text: &str) -> i64 {
    let usd: Currency = "USD".parse().unwrap();
    match text.strip_prefix('-') {
        Some(text) => -parse_minor(text, usd).unwrap(),
        None => parse_minor(text, usd).unwrap(),
    }
}

/// `changes` over an order of 100.01 with a tax of 20.00, told at that minute.
fn shopify(shop: &Shop, id: u64, minute: i64, changes: Value) -> Value {
    let placed_ms = now_ms() - HOUR_MS * 10;
    let mut order = j!({"id": id, "created_at": rfc3339(placed_ms), "updated_at": rfc3339(placed_ms + minute * 60_000),
        "currency": "USD", "total_price": "100.01", "total_tax": "20.00", "financial_status": "paid", "test": false,
        "cancelled_at": null, "email": "ada@example.com", "refunds": [],
        "note_attributes": [{"name": "um_click", "value": shop.tokens[0]}, {"name": "um_clicks", "value": shop.tokens.join(",")}]});
    order.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    order
}

fn shopify_refund(id: u64, amount: &str) -> Value {
    j!({"id": id, "order_id": 1, "created_at": rfc3339(now_ms() - HOUR_MS),
        "transactions": [{"kind": "refund", "status": "success", "amount": amount, "currency": "USD"}]})
}

#[tokio::test]
async fn a_shopify_order_lives_its_life() {
    let shop = Shop::open().await;
    let tell = async |minute, changes: Value| {
        let topic = "orders/updated";
        shop.api.webhook("shopify", "s1", topic, &shopify(&shop, 1, minute, changes)).await;
    };
    // Created and not paid; paid; edited up, then down.
    tell(0, j!({"financial_status": "pending"})).await;
    shop.stands("s1:1", ["excluded unpaid", "80.01", "0.00", "80.01"]).await;
    tell(1, j!({})).await;
    let read = shop.stands("s1:1", ["attributed", "80.01", "0.00", "80.01"]).await;
    assert_eq!(read["match"]["method"], "click_token");
    tell(2, j!({"total_price": "150.00", "total_tax": "30.00"})).await;
    shop.stands("s1:1", ["attributed", "120.00", "0.00", "120.00"]).await;
    tell(3, j!({})).await;
    shop.stands("s1:1", ["attributed", "80.01", "0.00", "80.01"]).await;
    // An older state that comes late changes nothing.
    tell(2, j!({"total_price": "150.00", "total_tax": "30.00"})).await;
    shop.stands("s1:1", ["attributed", "80.01", "0.00", "80.01"]).await;
    // Refunded in parts, by the order and by topics of its own, which count once.
    let (first, second) = (shopify_refund(11, "33.33"), shopify_refund(12, "33.33"));
    tell(4, j!({"financial_status": "partially_refunded", "refunds": [first]})).await;
    shop.api.webhook("shopify", "s1", "refunds/create", &first).await;
    shop.stands("s1:1", ["attributed", "80.01", "26.66", "53.35"]).await;
    shop.api.webhook("shopify", "s1", "refunds/create", &second).await;
    shop.stands("s1:1", ["attributed", "80.01", "53.33", "26.68"]).await;
    // Cancelled: what is left goes, and no more.
    let cancelled = j!({"cancelled_at": rfc3339(now_ms()), "refunds": [first, second]});
    tell(5, cancelled.clone()).await;
    shop.stands("s1:1", ["attributed", "80.01", "80.01", "0.00"]).await;
    shop.api.webhook("shopify", "s1", "refunds/create", &shopify_refund(13, "33.35")).await;
    shop.stands("s1:1", ["attributed", "80.01", "80.01", "0.00"]).await;

    let topic = "orders/create";
    for (id, changes, expected) in [
        (2, j!({"test": true}), ["excluded test", "80.01", "0.00", "80.01"]),
        (3, j!({"total_price": "0.00", "total_tax": "0.00"}), ["attributed", "0.00", "0.00", "0.00"]),
        (4, j!({"financial_status": "voided"}), ["excluded unpaid", "80.01", "0.00", "80.01"]),
    ] {
        shop.api.webhook("shopify", "s1", topic, &shopify(&shop, id, 0, changes)).await;
        shop.stands(&format!("s1:{id}"), expected).await;
    }
}

#[tokio::test]
async fn a_woocommerce_order_takes_refunds_back() {
    let shop = Shop::open().await;
    let placed_ms = now_ms() - 10 * HOUR_MS;
    let utc = |ms| rfc3339(ms).trim_end_matches('Z').to_owned();
    let order = |minute: i64, status: &str, refunds: Value| {
        let entry = format!("https://shop.test/?um_click={}", shop.tokens[1]);
        j!({"id": 727, "status": status, "currency": "USD", "total": "90.00", "total_tax": "0.00",
            "shipping_total": "0.00", "date_created_gmt": utc(placed_ms),
            "date_modified_gmt": utc(placed_ms + minute * 60_000), "date_paid_gmt": utc(placed_ms),
            "customer_id": 7, "billing": {"email": "ada@example.com"}, "refunds": refunds,
            "meta_data": [{"key": "_wc_order_attribution_session_entry", "value": entry}]})
    };
    let tell = async |body: Value| shop.api.webhook("woocommerce", "wc", "order.updated", &body).await;
    let unpaid = j!({"date_paid_gmt": null});
    let mut pending = order(0, "pending", j!([]));
    pending.as_object_mut().unwrap().extend(unpaid.as_object().unwrap().clone());
    tell(pending.clone()).await;
    shop.stands("wc:727", ["excluded unpaid", "90.00", "0.00", "90.00"]).await;
    tell(order(1, "processing", j!([]))).await;
    let before = shop.stands("wc:727", ["attributed", "90.00", "0.00", "90.00"]).await;
    let (one, two) = (j!({"id": 1, "total": "-10.00"}), j!({"id": 2, "total": "-20.00"}));
    tell(order(2, "completed", j!([one]))).await;
    tell(order(3, "completed", j!([one, two]))).await;
    shop.stands("wc:727", ["attributed", "90.00", "30.00", "60.00"]).await;
    tell(order(4, "completed", j!([two]))).await;
    shop.stands("wc:727", ["attributed", "90.00", "20.00", "70.00"]).await;
    // All taken back: as if nothing had been.
    tell(order(5, "completed", j!([]))).await;
    let after = shop.stands("wc:727", ["attributed", "90.00", "0.00", "90.00"]).await;
    assert_eq!((&after["touches"], &after["changes"]), (&before["touches"], &before["changes"]));
    tell(order(6, "cancelled", j!([]))).await;
    shop.stands("wc:727", ["attributed", "90.00", "90.00", "0.00"]).await;

    // What is never paid was never a sale, also when WooCommerce gives it up.
    for (minute, status) in [(1, "pending"), (2, "cancelled")] {
        let mut body = order(minute, status, j!([]));
        body.as_object_mut().unwrap().extend(unpaid.as_object().unwrap().clone());
        body["id"] = j!(728);
        tell(body).await;
    }
    shop.stands("wc:728", ["excluded unpaid", "90.00", "0.00", "90.00"]).await;
}

/// An event of Stripe at that minute.
fn stripe(minute: i64, kind: &str, object: Value) -> Value {
    let created = (now_ms() - 10 * HOUR_MS) / 1000 + minute * 60;
    let mut object = object;
    object["created"] = j!(created);
    j!({"id": format!("evt_{minute}_{kind}"), "type": kind, "created": created, "livemode": true,
        "data": {"object": object}})
}

#[tokio::test]
async fn a_charge_back_takes_the_money_and_a_won_dispute_gives_it_back() {
    let shop = Shop::open().await;
    let tell = async |body: Value| shop.api.webhook("stripe", "st", "", &body).await;
    tell(stripe(
        0,
        "checkout.session.completed",
        j!({"id": "cs_1", "mode": "payment", "payment_status": "paid",
        "amount_total": 5000, "currency": "usd", "payment_intent": "pi_1", "customer": "cus_1",
        "client_reference_id": shop.tokens[1]}),
    ))
    .await;
    let before = shop.stands("st:pi_1", ["attributed", "50.00", "0.00", "50.00"]).await;
    let dispute = |status: &str| j!({"id": "dp_1", "amount": 5000, "currency": "usd", "payment_intent": "pi_1", "status": status});
    tell(stripe(1, "charge.dispute.created", dispute("needs_response"))).await;
    shop.stands("st:pi_1", ["attributed", "50.00", "0.00", "50.00"]).await;
    tell(stripe(2, "charge.dispute.funds_withdrawn", dispute("under_review"))).await;
    shop.stands("st:pi_1", ["attributed", "50.00", "50.00", "0.00"]).await;
    tell(stripe(3, "charge.dispute.funds_reinstated", dispute("won"))).await;
    let won = shop.stands("st:pi_1", ["attributed", "50.00", "0.00", "50.00"]).await;
    assert_eq!(won["touches"], before["touches"]);
    tell(stripe(4, "charge.dispute.closed", dispute("lost"))).await;
    shop.stands("st:pi_1", ["attributed", "50.00", "50.00", "0.00"]).await;
}

#[tokio::test]
async fn a_trial_pays_and_renews() {
    let shop = Shop::open().await;
    let values = j!({"settings": {"assigned_values": {"trial": "7.50"}}});
    shop.api.patch("/api/v1/workspaces/default", values).await.expect(200);
    let tell = async |body: Value| shop.api.webhook("stripe", "st", "", &body).await;
    tell(stripe(
        0,
        "checkout.session.completed",
        j!({"id": "cs_1", "mode": "subscription",
        "payment_status": "no_payment_required", "amount_total": 0, "currency": "usd", "invoice": "in_1",
        "subscription": "sub_1", "customer": "cus_1", "client_reference_id": shop.tokens[0]}),
    ))
    .await;
    let trial = shop.stands("st:in_1", ["attributed", "0.00", "0.00", "0.00"]).await;
    assert_eq!((&trial["event"], &trial["assigned_value"]), (&j!("trial"), &j!("7.50")));
    // The trial's customer pays: known without another click.
    let invoice = |id: &str, reason: &str, cents: i64| {
        j!({"id": id, "billing_reason": reason, "amount_paid": cents, "currency": "usd", "customer": "cus_1",
            "subscription": "sub_1"})
    };
    tell(stripe(
        1,
        "checkout.session.completed",
        j!({"id": "cs_2", "mode": "payment", "payment_status": "paid",
        "amount_total": 2000, "currency": "usd", "payment_intent": "pi_2", "customer": "cus_1"}),
    ))
    .await;
    let paid = shop.stands("st:pi_2", ["attributed", "20.00", "0.00", "20.00"]).await;
    assert_eq!((&paid["event"], &paid["match"]["method"]), (&j!("purchase"), &j!("customer")));

    // A subscription that was sold; its renewal inherits, or is left out, as the workspace wants.
    tell(stripe(2, "checkout.session.completed", j!({"id": "cs_3", "mode": "subscription", "payment_status": "paid",
        "amount_total": 900, "currency": "usd", "invoice": "in_3", "subscription": "sub_3", "customer": "cus_3",
        "client_reference_id": shop.tokens[1]})))
    .await;
    let mut renewal = invoice("in_4", "subscription_cycle", 900);
    (renewal["subscription"], renewal["customer"]) = (j!("sub_3"), j!("cus_3"));
    tell(stripe(3, "invoice.paid", renewal)).await;
    let first = shop.stands("st:in_3", ["attributed", "9.00", "0.00", "9.00"]).await;
    let renewed = shop.stands("st:in_4", ["attributed", "9.00", "0.00", "9.00"]).await;
    assert_eq!((&renewed["match"]["method"], &renewed["renews"]), (&j!("renewal"), &j!("sub_3")));
    assert_eq!(renewed["touches"], first["touches"]);
    let settings = j!({"settings": {"renewals": "exclude"}});
    shop.api.patch("/api/v1/workspaces/default", settings).await.expect(200);
    shop.api.work().await;
    shop.stands("st:in_4", ["excluded renewal", "9.00", "0.00", "9.00"]).await;
}
