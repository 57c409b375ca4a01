//! What a world should come to and what the ledger says it came to, in one shape that can be compared.

use std::collections::{BTreeMap, BTreeSet};

/// Source and order id.
pub type OrderKey = (String, String);

#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// None: not an order (yet), or evidence of one.
    pub conversions: BTreeMap<OrderKey, Option<Conversion>>,
    /// By workspace, link and local day.
    pub clicks: BTreeMap<(String, i64, i32), Counts>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Counts {
    pub human: i64,
    pub duplicate: i64,
    pub bot: i64,
    pub preview: i64,
    pub prefetch: i64,
    pub uniques: i64,
}

/// Money is in the reporting currency unless it says otherwise.
#[derive(Debug, PartialEq)]
pub struct Conversion {
    pub event: String,
    pub status: String,
    pub reason: Option<String>,
    pub method: Option<String>,
    pub runners_up: Vec<String>,
    pub occurred_ms: i64,
    pub t_ms: i64,
    pub order_day: i32,
    /// In the order's own currency.
    pub total_minor: i64,
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    pub refunded_minor: i64,
    pub currency: String,
    pub gross_minor: Option<i64>,
    pub refunds_minor: Option<i64>,
    pub net_minor: Option<i64>,
    pub basis: String,
    pub rate: Option<Fraction>,
    pub assigned_value_minor: Option<i64>,
    /// The smallest of the customer's hashes.
    pub customer: Option<String>,
    pub touches: Vec<Touch>,
    /// Clicks that are known but do not count.
    pub others: BTreeSet<(String, i64)>,
    pub changes: Vec<Change>,
    /// Per model and touch, billionths.
    pub weights: [Vec<i64>; 5],
    /// Per change, model and touch, minor units.
    pub credits: Vec<[Vec<i64>; 5]>,
}

pub const MODELS: [&str; 5] = ["first_touch", "last_touch", "linear", "time_decay", "position_based"];
pub const TIME_DECAY: usize = 3;

#[derive(Debug, PartialEq)]
pub struct Touch {
    pub at_ms: i64,
    pub via: String,
    pub link: Option<i64>,
    pub revision: Option<i64>,
    /// 32 hexadecimal digits.
    pub click: Option<String>,
    pub channel: Option<String>,
    pub device: Option<String>,
    pub click_day: i32,
}

#[derive(Debug, PartialEq)]
pub struct Change {
    pub kind: String,
    pub refund_id: Option<String>,
    pub amount_minor: i64,
    pub at_ms: i64,
    pub day: i32,
}

/// Exact; in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    pub over: i128,
    pub under: i128,
}

impl Fraction {
    pub const ONE: Self = Self { over: 1, under: 1 };

    pub fn new(over: i128, under: i128) -> Self {
        let (mut a, mut b) = (over.abs(), under.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { over: over / a.max(1), under: under / a.max(1) }
    }

    /// From decimal text without sign.
    pub fn decimal(text: &str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().expect("digits");
        Self::new(digits, 10_i128.pow(fraction.len() as u32))
    }

    pub fn divided_by(self, other: Self) -> Self {
        Self::new(self.over * other.under, self.under * other.over)
    }
}
