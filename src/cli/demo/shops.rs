//! The demo's shops: they build the webhooks that their platforms would send, and sign them.

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};

use super::story::{Order, Shop};
use crate::cli::client::Client;
use crate::domain::time;
use crate::intake::{Platform, Secret, sign};

/// A shop account with its source in utmost.
pub struct Account {
    pub shop: Shop,
    pub webhook_url: String,
    pub secret: String,
}

impl Shop {
    pub const ALL: [Self; 3] = [Self::Shopify, Self::Woocommerce, Self::Stripe];

    pub fn platform(self) -> Platform {
        match self {
            Self::Shopify => Platform::Shopify,
            Self::Woocommerce => Platform::Woocommerce,
            Self::Stripe => Platform::Stripe,
        }
    }
}

impl Account {
    /// Creates the source, as a shop owner would.
    pub async fn open(client: &Client, shop: Shop) -> anyhow::Result<Self> {
        let secret = match shop {
            Shop::Stripe => "whsec_demo_4f1d5c8a9b7e".to_owned(),
            other => format!("demo-secret-of-{}", other.platform()),
        };
        let body = json!({
            "platform": shop.platform().to_string(),
            "name": format!("Demo {}", shop.platform()),
            "secret": secret,
        });
        let source = client.api(Method::POST, "/api/v1/sources", Some(body)).await?;
        let text = |name: &str| source[name].as_str().unwrap_or_default().to_owned();
        Ok(Self { shop, webhook_url: text("webhook_url"), secret })
    }

    /// Sends the order as its platform would, signed.
    pub async fn send_order(
        &self,
        client: &Client,
        order: &Order,
        token: Option<&str>,
    ) -> anyhow::Result<()> {
        let now_ms = time::now_ms();
        let (topic, body) = match self.shop {
            Shop::Shopify => ("orders/paid", shopify_order(order, token, now_ms)),
            Shop::Woocommerce => ("order.updated", woocommerce_order(order, token, now_ms)),
            Shop::Stripe => ("", stripe_session(order, token, now_ms)),
        };
        self.deliver(client, topic, &body).await
    }

    /// A partial refund of a Shopify order.
    pub async fn send_refund(&self, client: &Client, order: &Order, amount: &str) -> anyhow::Result<()> {
        let at = time::rfc3339(time::now_ms());
        let body = json!({
            "id": 890_000_000_000_000 + u64::from(order.number),
            "order_id": shopify_id(order),
            "created_at": at,
            "processed_at": at,
            "transactions": [{
                "id": 1, "amount": amount, "currency": "EUR", "kind": "refund", "status": "success",
            }],
        });
        self.deliver(client, "refunds/create", &body).await
    }

    async fn deliver(&self, client: &Client, topic: &str, body: &Value) -> anyhow::Result<()> {
        let body = serde_json::to_vec(body)?;
        let platform = self.shop.platform();
        let id = uuid::Uuid::now_v7().to_string();
        let secret = Secret::new(self.secret.as_str());
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse()?);
        for (name, value) in sign(platform, &secret, &id, &body, time::now_ms())? {
            headers.insert(HeaderName::from_static(name), value.parse()?);
        }
        match self.shop {
            Shop::Shopify => {
                headers.insert("x-shopify-topic", topic.parse()?);
                headers.insert("x-shopify-shop-domain", "demo.myshopify.com".parse()?);
                headers.insert("x-shopify-webhook-id", id.parse()?);
            }
            Shop::Woocommerce => {
                headers.insert("x-wc-webhook-topic", topic.parse()?);
            }
            Shop::Stripe => {}
        }
        let answer = client.send(Method::POST, &self.webhook_url, headers, body).await?;
        anyhow::ensure!(
            answer.status == 200,
            "{platform} webhook: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }
}

/// Above 2^53, as Shopify's are.
fn shopify_id(order: &Order) -> u64 {
    9_007_199_254_740_993 + u64::from(order.number)
}

fn shopify_order(order: &Order, token: Option<&str>, now_ms: i64) -> Value {
    let at = time::rfc3339(now_ms);
    let attributes: Vec<Value> =
        token.iter().map(|token| json!({"name": "um_click", "value": token})).collect();
    json!({
        "id": shopify_id(order),
        "name": format!("#{}", order.number),
        "order_number": order.number,
        "created_at": at,
        "processed_at": at,
        "updated_at": at,
        "cancelled_at": null,
        "financial_status": "paid",
        "test": false,
        "currency": "EUR",
        "total_price": order.total,
        "total_price_set": {"shop_money": {"amount": order.total, "currency_code": "EUR"}},
        "total_tax": order.tax,
        "email": order.email,
        "customer": {"id": 7_000_000 + u64::from(order.number % 1000), "email": order.email},
        "note_attributes": attributes,
        "landing_site": "/",
        "discount_codes": [],
        "shipping_lines": [],
        "line_items": [],
        "refunds": [],
    })
}

fn woocommerce_order(order: &Order, token: Option<&str>, now_ms: i64) -> Value {
    let at = time::rfc3339(now_ms);
    // WooCommerce gives times in UTC without saying so.
    let gmt = at.split(['.', 'Z']).next().unwrap_or_default();
    let entry = format!("https://shop.example/?utm_medium=social&um_click={}", token.unwrap_or_default());
    json!({
        "id": order.number,
        "number": order.number.to_string(),
        "status": "processing",
        "currency": "EUR",
        "total": order.total,
        "total_tax": order.tax,
        "shipping_total": "0.00",
        "date_created_gmt": gmt,
        "date_modified_gmt": gmt,
        "date_paid_gmt": gmt,
        "customer_id": 0,
        "billing": {"email": order.email},
        "coupon_lines": [],
        "refunds": [],
        "transaction_id": "",
        "meta_data": [
            {"id": 1, "key": "_wc_order_attribution_source_type", "value": "utm"},
            {"id": 2, "key": "_wc_order_attribution_session_entry", "value": entry},
        ],
    })
}

fn stripe_session(order: &Order, token: Option<&str>, now_ms: i64) -> Value {
    let minor = |text: &str| text.replace('.', "").parse::<i64>().unwrap_or_default();
    json!({
        "id": format!("evt_demo_{}", order.number),
        "object": "event",
        "created": now_ms / 1000,
        "livemode": true,
        "type": "checkout.session.completed",
        "data": {"object": {
            "id": format!("cs_demo_{}", order.number),
            "object": "checkout.session",
            "mode": "payment",
            "payment_status": "paid",
            "payment_intent": format!("pi_demo_{}", order.number),
            "amount_total": minor(order.total),
            "total_details": {"amount_tax": minor(order.tax), "amount_shipping": 0, "amount_discount": 0},
            "currency": "eur",
            "created": now_ms / 1000,
            "client_reference_id": token,
            "customer": null,
            "customer_details": {"email": order.email},
            "metadata": {},
        }},
    })
}
