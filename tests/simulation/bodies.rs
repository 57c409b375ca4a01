//! The webhooks that tell a world's statements, in the platforms' own words.

use serde_json::{Value, json};
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::domain::time::rfc3339;

use crate::world::{Keys, Landing, Order, Refund, Status, Token, World};

/// Topic and body.
pub type Body = (&'static str, Vec<u8>);

/// The decimals of a currency of these worlds.
pub fn decimals(currency: &str) -> u32 {
    match currency {
        "JPY" => 0,
        "KWD" => 3,
        _ => 2,
    }
}

fn decimal(minor: i64, currency: &str) -> String {
    let decimals = decimals(currency);
    let unit = 10_i64.pow(decimals);
    match decimals {
        0 => minor.to_string(),
        _ => format!("{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize),
    }
}

pub fn token_text(world: &World, token: Token) -> String {
    match token {
        Token::Of(click) => {
            let click = &world.clicks[click];
            let link = LinkId::from_i64(world.links[click.link].id).expect("a link id");
            let visitor = click.visitor.map(VisitorId::from_bytes);
            let text = world.keys.token.mint(ClickId::from_bytes(click.id), link, visitor);
            String::from_utf8(text.to_vec()).expect("base64 is ASCII")
        }
        Token::Forged(n) => format!("AQ{}", ["xY", "zW", "Pq", "uV"][usize::from(n)].repeat(31)),
    }
}

fn landing_text(world: &World, landing: &Landing) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &landing.tags {
        query.append_pair(&format!("utm_{name}"), value);
    }
    if landing.gclid {
        query.append_pair("gclid", "Cj0KCQ");
    }
    if let Some(token) = landing.token {
        // Links may call their parameter what they like.
        let name = if landing.base.starts_with('/') { "um_click" } else { "ref" };
        query.append_pair(name, &token_text(world, token));
    }
    match query.finish() {
        query if query.is_empty() => landing.base.to_owned(),
        query => format!("{}?{query}", landing.base),
    }
}

fn tokens_text(world: &World, keys: &Keys) -> String {
    keys.tokens.iter().map(|token| token_text(world, *token)).collect::<Vec<_>>().join(",")
}

/// The generic body of an order.
pub fn conversion(world: &World, order_id: &str, version_ms: i64, order: &Order) -> Body {
    let keys = &order.keys;
    let tokens: Vec<String> = keys.tokens.iter().map(|token| token_text(world, *token)).collect();
    let mut data = json!({
        "id": order_id,
        "event": order.event,
        "occurred_at": rfc3339(order.occurred_ms),
        "click_ids": tokens,
        "customer": {"id": keys.customer_id, "email": keys.email},
        "coupon": keys.coupons.first(),
        "utm": keys.utm,
        "landing_url": keys.landing.as_ref().map(|landing| landing_text(world, landing)),
        "referrer": keys.referrer,
    });
    if order.event == "purchase" {
        let price = |minor: Option<i64>| minor.map(|minor| decimal(minor, order.currency));
        data["currency"] = json!(order.currency);
        data["amount"] = json!(price(Some(order.total_minor)));
        data["tax"] = json!(price(order.tax_minor));
        data["shipping"] = json!(price(order.shipping_minor));
    }
    wrapped("conversion", version_ms, data)
}

/// The generic body of a refund.
pub fn refund(order_id: &str, version_ms: i64, refund: &Refund) -> Body {
    let data = json!({
        "conversion": order_id,
        "id": refund.id,
        "amount": decimal(refund.amount_minor, refund.currency),
        "currency": refund.currency,
        "occurred_at": rfc3339(refund.occurred_ms),
    });
    wrapped("refund", version_ms, data)
}

fn wrapped(topic: &'static str, version_ms: i64, data: Value) -> Body {
    let body = json!({"type": topic, "timestamp": rfc3339(version_ms), "data": data});
    (topic, body.to_string().into_bytes())
}

pub fn shopify(world: &World, order_id: &str, version_ms: i64, order: &Order, refunds: &[Refund]) -> Body {
    let keys = &order.keys;
    let price = |minor: i64| decimal(minor, order.currency);
    let number = &keys.references[1];
    let mut body = json!({
        "id": order_id.parse::<u64>().expect("a number"),
        "name": keys.references[0],
        "order_number": number.parse::<u64>().expect("a number"),
        "checkout_token": keys.references[2],
        "cart_token": null,
        "currency": order.currency,
        "total_price": price(order.total_minor),
        "created_at": rfc3339(order.occurred_ms),
        "processed_at": rfc3339(order.occurred_ms),
        "updated_at": rfc3339(version_ms),
        "cancelled_at": (order.status == Status::Cancelled).then(|| rfc3339(version_ms)),
        "test": order.status == Status::Test,
        "financial_status": if order.status == Status::Unpaid { "pending" } else { "paid" },
        "email": keys.email,
        "customer": keys.customer_id.as_ref().map(|id| json!({"id": id.parse::<u64>().expect("a number")})),
        "landing_site": keys.landing.as_ref().map(|landing| landing_text(world, landing)),
        "referring_site": keys.referrer,
        "discount_codes": keys.coupons.iter().map(|code| json!({"code": code})).collect::<Vec<_>>(),
        "note_attributes": [{"name": "um_click", "value": tokens_text(world, keys)}],
        "refunds": refunds.iter().map(|refund| refund_object(order_id, refund)).collect::<Vec<_>>(),
    });
    if let Some(tax) = order.tax_minor {
        body["total_tax"] = json!(price(tax));
    }
    if let Some(shipping) = order.shipping_minor {
        body["shipping_lines"] = json!([{"price": price(shipping)}]);
    }
    ("orders/updated", body.to_string().into_bytes())
}

pub fn shopify_refund(order_id: &str, version_ms: i64, refund: &Refund) -> Body {
    let mut body = refund_object(order_id, refund);
    body["created_at"] = json!(rfc3339(version_ms));
    ("refunds/create", body.to_string().into_bytes())
}

fn refund_object(order_id: &str, refund: &Refund) -> Value {
    let transaction = |status, amount_minor| {
        json!({"kind": "refund", "status": status, "currency": refund.currency,
               "amount": decimal(amount_minor, refund.currency)})
    };
    json!({
        "id": refund.id.parse::<u64>().expect("a number"),
        "order_id": order_id.parse::<u64>().expect("a number"),
        "created_at": rfc3339(refund.occurred_ms),
        "processed_at": rfc3339(refund.occurred_ms),
        "refund_line_items": [],
        "transactions": [transaction("success", refund.amount_minor), transaction("failure", 77)],
    })
}

pub fn deleted(order_id: &str) -> Body {
    let body = json!({"id": order_id.parse::<u64>().expect("a number")});
    ("orders/delete", body.to_string().into_bytes())
}

pub fn shopify_headers(topic: &str, version_ms: i64) -> Vec<(String, String)> {
    vec![("x-shopify-topic".into(), topic.into()), ("x-shopify-triggered-at".into(), rfc3339(version_ms))]
}
