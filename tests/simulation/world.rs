//! What happens in one seed, as plain data: the stage tells it to the worker as clicks and webhooks, the
//! reference reads it as it is.

use std::collections::BTreeMap;

use utmost::domain::keys::KeyRing;

pub const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Debug)]
pub struct World {
    pub keys: KeyRing,
    pub spaces: Vec<Space>,
    pub links: Vec<Link>,
    pub coupons: Vec<Coupon>,
    pub sources: Vec<Source>,
    pub rates: Vec<Rate>,
    pub clicks: Vec<Click>,
    pub statements: Vec<Statement>,
    pub deliveries: Vec<Delivery>,
    pub duplicate_seconds: i64,
}

/// A workspace.
#[derive(Debug)]
pub struct Space {
    pub id: &'static str,
    pub zone: &'static str,
    pub currency: &'static str,
    pub rules: Rules,
}

#[derive(Debug)]
pub struct Rules {
    pub lookback_days: i64,
    pub half_life_days: i64,
    /// Of the first, the middle and the last touches.
    pub shares_percent: [i64; 3],
    pub basis: Basis,
    pub rivals_count: bool,
    pub purchase_cuts: bool,
    pub duplicates_count: bool,
    pub lead_lookback_days: Option<i64>,
    pub lead_value_minor: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Total,
    ExTax,
    ExTaxShipping,
}

#[derive(Debug)]
pub struct Link {
    pub id: i64,
    pub space: usize,
    pub slug: String,
    /// Oldest first.
    pub revisions: Vec<Revision>,
}

/// What a link stood for from a time on; tags in lower case.
#[derive(Debug, Clone)]
pub struct Revision {
    pub from_ms: i64,
    pub post: Option<String>,
    pub tags: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
pub struct Coupon {
    pub space: usize,
    /// Upper case.
    pub code: &'static str,
    pub bound_to: BoundTo,
}

#[derive(Debug)]
pub enum BoundTo {
    Post(String),
    Link(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    Api,
    Standard,
    Shopify,
}

#[derive(Debug)]
pub struct Source {
    pub id: String,
    pub space: usize,
    pub platform: Platform,
    pub is_of_record: bool,
}

/// One EUR is `rate` units of `currency`.
#[derive(Debug)]
pub struct Rate {
    pub currency: &'static str,
    pub day: i32,
    pub rate: String,
    /// Comes while events arrive, not before.
    pub is_late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Get,
    Head,
    Prefetch,
}

#[derive(Debug)]
pub struct Click {
    /// A UUIDv7.
    pub id: [u8; 16],
    pub at_ms: i64,
    pub link: usize,
    pub visitor: Option<[u8; 12]>,
    /// The first three bytes of an address.
    pub network: Option<[u8; 3]>,
    pub request: Request,
    /// Index in [`AGENTS`].
    pub agent: usize,
    pub referrer: &'static str,
    /// Otherwise only its token tells of it.
    pub is_recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Human,
    Bot,
    Preview,
    Prefetch,
}

/// User agents with what they are when they ask by GET, and their devices.
pub const AGENTS: [(&str, Class, &str); 6] = [
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile/15E148 Safari/604.1",
        Class::Human,
        "mobile",
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
        Class::Human,
        "desktop",
    ),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Class::Bot, "other"),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", Class::Preview, "other"),
    ("curl/8.5.0", Class::Bot, "other"),
    ("", Class::Bot, "other"),
];

impl Click {
    pub fn class(&self) -> Class {
        match (AGENTS[self.agent].1, self.request) {
            (Class::Human, Request::Head) => Class::Preview,
            (Class::Human, Request::Prefetch) => Class::Prefetch,
            (by_agent, _) => by_agent,
        }
    }

    pub fn device(&self) -> &'static str {
        AGENTS[self.agent].2
    }
}

/// What a shop says about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub source: usize,
    pub order_id: String,
    pub version_ms: i64,
    pub says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    Order(Box<Order>),
    Refund(Refund),
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Paid,
    Unpaid,
    Cancelled,
    Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub event: &'static str,
    pub status: Status,
    pub occurred_ms: i64,
    /// Empty for a lead.
    pub currency: &'static str,
    pub total_minor: i64,
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    pub keys: Keys,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub id: String,
    pub amount_minor: i64,
    pub currency: &'static str,
    pub occurred_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    pub tokens: Vec<Token>,
    pub customer_id: Option<String>,
    pub email: Option<String>,
    pub coupons: Vec<&'static str>,
    pub landing: Option<Landing>,
    pub referrer: Option<&'static str>,
    /// Stated apart from the landing (only the standard body can).
    pub utm: BTreeMap<&'static str, String>,
    /// Other names of the order.
    pub references: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Of a click, by its index.
    Of(usize),
    Forged(u8),
}

/// The URL on which the customer landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    pub base: &'static str,
    pub tags: BTreeMap<&'static str, String>,
    pub token: Option<Token>,
    /// An advertiser's click id.
    pub gclid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Accepted,
    Ignored,
    Unverified,
    Dead,
}

#[derive(Debug)]
pub struct Delivery {
    /// A UUIDv7 as text.
    pub id: String,
    pub source: usize,
    pub received_ms: i64,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Indices of what it says; counts only where `expected` is `Accepted`.
    pub statements: Vec<usize>,
    pub expected: Expected,
}
