//! Webhooks: verify, keep raw, interpret later.
//!
//! ```text
//! headers, raw body --verify--> Verdict            (at the door, before the answer)
//!                   --kept_headers--> log record
//! log record        --interpret--> Interpretation  (in the worker: facts about orders)
//! ```
//!
//! Everything here is pure. A delivery of no interest is no error; one that cannot be read is, and
//! becomes a dead letter.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

pub mod fact;
pub mod signature;
pub mod standard;

mod bigcommerce;
mod certificate;
mod fields;
mod keys;
mod lemonsqueezy;
mod paddle;
mod paypal;
mod segment;
mod shopify;
mod stripe;
#[cfg(test)]
mod testing;
mod woocommerce;

pub use bigcommerce::{FETCHED, fetched, has_refunds};
pub use fields::InterpretError;
pub use keys::{is_token_name, looks_like_a_token};
pub use signature::{Secret, SignatureError, sign};

use fact::Fact;
use fields::Field;

/// Longest value of a header that is kept; PayPal's signatures have some 350 characters.
const MAX_HEADER_BYTES: usize = 4096;

/// Who sends: decides the signature and the meaning of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    Shopify,
    Woocommerce,
    Stripe,
    /// utmost's own JSON over Standard Webhooks or Svix headers.
    Standard,
    Bigcommerce,
    Paddle,
    Lemonsqueezy,
    Paypal,
    Segment,
    /// Segment's bodies and signature.
    Rudderstack,
    /// utmost's own JSON by `POST /api/v1/conversions`.
    Api,
}

impl Platform {
    pub const ALL: [Self; 11] = [
        Self::Shopify,
        Self::Woocommerce,
        Self::Stripe,
        Self::Standard,
        Self::Bigcommerce,
        Self::Paddle,
        Self::Lemonsqueezy,
        Self::Paypal,
        Self::Segment,
        Self::Rudderstack,
        Self::Api,
    ];

    /// Lower case, one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::Woocommerce => "woocommerce",
            Self::Stripe => "stripe",
            Self::Standard => "standard",
            Self::Bigcommerce => "bigcommerce",
            Self::Paddle => "paddle",
            Self::Lemonsqueezy => "lemonsqueezy",
            Self::Paypal => "paypal",
            Self::Segment => "segment",
            Self::Rudderstack => "rudderstack",
            Self::Api => "api",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown platform; expected shopify, woocommerce, stripe, standard, bigcommerce, paddle, lemonsqueezy, \
     paypal, segment, rudderstack or api"
)]
pub struct UnknownPlatform;

impl FromStr for Platform {
    type Err = UnknownPlatform;

    /// Accepts any case.
    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        Self::ALL
            .into_iter()
            .find(|platform| platform.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownPlatform)
    }
}

/// What the door does with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it, answer 200.
    Verified,
    /// No secret is known yet: keep it, bounded, answer 200; it counts once a secret verifies it.
    Unverified,
    /// WooCommerce's first call, unsigned and without an order: answer 200, keep nothing.
    Ping,
    /// Answer 401.
    Refused(SignatureError),
}

/// Judges a delivery by its raw body. `now_ms` is the time of receipt, also when a kept delivery is
/// judged again: see [`header_map`].
pub fn verify(
    platform: Platform,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now_ms: i64,
) -> Verdict {
    if platform == Platform::Woocommerce && woocommerce::is_ping(body) {
        return Verdict::Ping;
    }
    if secrets.is_empty() && platform != Platform::Api {
        return Verdict::Unverified;
    }
    match signature::verify(platform, headers, body, secrets, now_ms) {
        Ok(()) => Verdict::Verified,
        Err(error) => Verdict::Refused(error),
    }
}

/// Judges a batch that Segment's or RudderStack's own library sends. It signs nothing: the user of its Basic
/// authentication is its write key, which is a secret of the source here.
pub fn verify_write_key(platform: Platform, headers: &HeaderMap, secrets: &[Secret]) -> Verdict {
    match signature::verify_write_key(platform, headers, secrets) {
        Ok(()) => Verdict::Verified,
        Err(error) => Verdict::Refused(error),
    }
}

/// The few headers that interpreting, telling duplicates and verifying later need: names in lower case
/// as they came, with or without `x-`.
pub fn kept_headers(platform: Platform, headers: &HeaderMap) -> Vec<(String, String)> {
    let names: &[&'static str] = match platform {
        Platform::Shopify => &[
            "x-shopify-topic",
            "x-shopify-shop-domain",
            "x-shopify-webhook-id",
            "x-shopify-event-id",
            "x-shopify-triggered-at",
            "x-shopify-api-version",
            "x-shopify-hmac-sha256",
        ],
        Platform::Woocommerce => &["x-wc-webhook-topic", "x-wc-webhook-source", "x-wc-webhook-signature"],
        Platform::Stripe => &["stripe-signature"],
        Platform::Standard | Platform::Bigcommerce => &[
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "svix-id",
            "svix-timestamp",
            "svix-signature",
        ],
        Platform::Paddle => &["paddle-signature"],
        Platform::Lemonsqueezy => &["x-event-name", "x-signature"],
        Platform::Paypal => &[
            "paypal-transmission-id",
            "paypal-transmission-time",
            "paypal-transmission-sig",
            "paypal-cert-url",
            "paypal-auth-algo",
        ],
        Platform::Segment | Platform::Rudderstack => &["x-signature"],
        Platform::Api => &[],
    };
    let both = names.iter().flat_map(|name| [Some(*name), name.strip_prefix("x-")]).flatten();
    both.flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
        .filter_map(|(name, value)| Some((name, value.to_str().ok()?)))
        .filter(|(_, value)| value.len() <= MAX_HEADER_BYTES)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Kept headers as they came, to verify a delivery once its source's secret is known.
pub fn header_map(kept: &[(String, String)]) -> HeaderMap {
    kept.iter()
        .filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
        })
        .collect()
}

/// What one delivery says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interpretation {
    /// The platform's own word, such as `orders/create` or `checkout.session.completed`.
    pub topic: String,
    /// Names the delivery among those of its source, where the platform has such a name.
    pub dedupe_key: Option<String>,
    pub facts: Vec<Fact>,
    /// Why there are no facts, where that is in order.
    pub ignored: Option<&'static str>,
    /// What it only points at, where the shop's API has the rest (BigCommerce).
    pub fetch: Option<Fetch>,
    /// What the law asks of us about a customer or a shop (Shopify).
    pub privacy: Option<PrivacyRequest>,
    /// From a test order or a test mode. Whole sources run in test mode (Stripe, Lemon Squeezy), so
    /// only an order that its shop itself calls a test has `OrderStatus::Test`.
    pub test: bool,
}

/// An order that a notice names; both parts are fit for a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The store's name in its API.
    pub store: String,
    pub order_id: String,
}

/// Shopify's mandatory privacy topics. Ids are the shop's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivacyRequest {
    /// `customers/redact`, or by API: erase what is kept of a customer. `source` is the one whose customer id it
    /// is; None: the one that asks.
    EraseCustomer {
        source: Option<String>,
        customer_id: Option<String>,
        email: Option<String>,
        order_ids: Vec<String>,
    },
    /// `customers/data_request`: tell the shop's owner what is kept of a customer.
    ReportCustomer { customer_id: Option<String>, email: Option<String>, order_ids: Vec<String> },
    /// `shop/redact`: erase what is kept of the whole shop.
    EraseShop { shop_domain: Option<String> },
}

/// Reads a delivery in its platform's terms. `received_ms` stands in where the platform gives no time
/// of its own, such as WooCommerce's `order.deleted`.
pub fn interpret(
    platform: Platform,
    kept_headers: &[(String, String)],
    body: &[u8],
    received_ms: i64,
) -> Result<Interpretation, InterpretError> {
    let json = fields::parse(body)?;
    let delivery = Delivery { headers: kept_headers, json: Field::root(&json), body, received_ms };
    match platform {
        Platform::Shopify => shopify::interpret(&delivery),
        Platform::Woocommerce => woocommerce::interpret(&delivery),
        Platform::Stripe => stripe::interpret(&delivery),
        Platform::Standard | Platform::Api => standard::interpret(&delivery),
        Platform::Bigcommerce => bigcommerce::interpret(&delivery),
        Platform::Paddle => paddle::interpret(&delivery),
        Platform::Lemonsqueezy => lemonsqueezy::interpret(&delivery),
        Platform::Paypal => paypal::interpret(&delivery),
        Platform::Segment | Platform::Rudderstack => segment::interpret(&delivery),
    }
}

/// What an export says came back of an order in all. Single refunds that are known by their ids explain it, so
/// that nothing counts twice.
fn refunded_total(order: &Field<'_>, stated: &Fact) -> Result<Option<Fact>, InterpretError> {
    let fact::Says::Order(of) = &stated.says else { return Ok(None) };
    let currency = order.at("currency").currency()?;
    let amount_minor = order.at("refunded_total").opt_price(currency)?.unwrap_or(0);
    Ok((amount_minor > 0).then(|| Fact {
        order_id: stated.order_id.clone(),
        version_ms: stated.version_ms,
        says: fact::Says::RefundedTotal {
            amount_minor,
            currency: of.currency.clone(),
            occurred_ms: stated.version_ms,
        },
    }))
}

/// A kept delivery, its body parsed.
struct Delivery<'a> {
    headers: &'a [(String, String)],
    json: Field<'a>,
    body: &'a [u8],
    received_ms: i64,
}

impl<'a> Delivery<'a> {
    /// A kept header by its name, which is given without `x-`.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(kept, _)| kept.strip_prefix("x-").unwrap_or(kept) == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests;
