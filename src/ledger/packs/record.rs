//! A conversion as reports read it, and its bytes.
//!
//! Bytes are postcard's, version 1 (<https://postcard.jamesmunns.com>). Whoever changes a field here adds a migration
//! that empties `packs` and marks all conversions due.

use serde::{Deserialize, Serialize};

use crate::attribution::credit::WEIGHT_SCALE;
use crate::ledger::LedgerError;

/// A customer's keyed hash.
pub type Customer = [u8; 16];

/// A link and its revision.
pub type Link = (i64, i64);

/// All that reports sum of one evaluated conversion. Money is in minor units of the reporting currency, days are
/// days since 1970 in the workspace's zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion<'a> {
    pub id: i64,
    /// Of each touch that has credits, in order; None: a rival's.
    pub links: Vec<Option<Link>>,
    pub order_day: i64,
    #[serde(borrow)]
    pub source: &'a str,
    pub status: Status,
    pub reason: Option<&'a str>,
    /// The revenue basis that its amounts really have.
    pub basis: Option<&'a str>,
    pub occurred_ms: Option<i64>,
    pub t_ms: i64,
    pub gross_minor: i64,
    pub net_minor: i64,
    pub assigned_value_minor: Option<i64>,
    pub goods: Option<Goods<'a>>,
    /// All hashes that its order names, the smallest first.
    pub customers: Vec<Customer>,
    /// As many as there are links.
    pub touches: Vec<Touch<'a>>,
    /// Change 0 is the sale.
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    Attributed,
    Unattributed,
    Excluded,
}

/// What the goods of an order cost, in its original currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goods<'a> {
    pub cost_minor: i64,
    pub currency: &'a str,
    /// Decimal, to the reporting currency.
    pub rate: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch<'a> {
    /// Of a rival's; empty for ours.
    pub channel: &'a str,
    pub at_ms: i64,
    pub day: i64,
    /// Empty where unknown, as is the device.
    pub country: &'a str,
    pub device: &'a str,
    /// Billionths of the conversion by each model, in the order of `Model::ALL`; None: all of it, as most are.
    pub weights: Option<[i64; 5]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    /// Signed.
    pub amount_minor: i64,
    pub at_ms: i64,
    pub day: i64,
    /// For each touch its share by each model, None: all of it. They sum to the amount. Empty where there are no touches.
    pub credits: Vec<Option<[i64; 5]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    Revenue,
    Refund,
    Cancelled,
    /// An exchange difference, which only the cash clock counts.
    Fx,
}

impl Touch<'_> {
    pub fn weights(&self) -> [i64; 5] {
        self.weights.unwrap_or([WEIGHT_SCALE; 5])
    }
}

impl Change {
    pub fn shares(&self) -> impl Iterator<Item = [i64; 5]> {
        self.credits.iter().map(|credits| credits.unwrap_or([self.amount_minor; 5]))
    }
}

impl ChangeKind {
    /// From its word in `changes`.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "revenue" => Self::Revenue,
            "refund" => Self::Refund,
            "cancelled" => Self::Cancelled,
            "fx" => Self::Fx,
            _ => return None,
        })
    }
}

impl Status {
    /// From its word in `conversions`.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Attributed, Self::Unattributed, Self::Excluded]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attributed => "attributed",
            Self::Unattributed => "unattributed",
            Self::Excluded => "excluded",
        }
    }
}

/// What comes first in a conversion's bytes.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub id: i64,
    pub links: Vec<Option<Link>>,
}

impl Conversion<'_> {
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be written")
    }

    /// The earliest and the latest day of the order, its clicks and what its money did.
    pub fn days(&self) -> (i64, i64) {
        let days =
            self.touches.iter().map(|touch| touch.day).chain(self.changes.iter().map(|change| change.day));
        days.fold((self.order_day, self.order_day), |(first, last), day| (first.min(day), last.max(day)))
    }
}

pub fn read(bytes: &[u8]) -> Result<Conversion<'_>, LedgerError> {
    let conversion: Conversion<'_> = postcard::from_bytes(bytes).map_err(damaged)?;
    let touches = conversion.touches.len();
    let whole = conversion.links.len() == touches
        && conversion.changes.iter().all(|change| change.credits.len() == touches);
    match whole {
        true => Ok(conversion),
        false => Err(LedgerError::Damaged(format!("the packed touches of conversion {}", conversion.id))),
    }
}

pub fn head(bytes: &[u8]) -> Result<Head, LedgerError> {
    postcard::take_from_bytes(bytes).map(|(head, _)| head).map_err(damaged)
}

fn damaged(error: postcard::Error) -> LedgerError {
    LedgerError::Damaged(format!("a packed conversion: {error}"))
}
