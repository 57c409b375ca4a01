//! What conversions are summed to.

use crate::ledger::packs::Status;

/// Reporting currency, minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub revenue_minor: i64,
    /// Positive.
    pub refunds_minor: i64,
}

impl Amounts {
    pub fn net_minor(self) -> i64 {
        self.revenue_minor - self.refunds_minor
    }
}

impl std::ops::Add for Amounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            revenue_minor: self.revenue_minor + other.revenue_minor,
            refunds_minor: self.refunds_minor + other.refunds_minor,
        }
    }
}

impl std::ops::Sub for Amounts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            revenue_minor: self.revenue_minor - other.revenue_minor,
            refunds_minor: self.refunds_minor - other.refunds_minor,
        }
    }
}

/// What one model credits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credits {
    pub revenue_minor: i64,
    /// What went back, positive: refunds, cancellations and, by the cash clock, exchange differences.
    pub refunds_minor: i64,
    /// Billionths of a conversion.
    pub weight: i64,
}

impl Credits {
    pub fn add(&mut self, other: Self) {
        self.revenue_minor += other.revenue_minor;
        self.refunds_minor += other.refunds_minor;
        self.weight += other.weight;
    }

    pub fn net_minor(self) -> i64 {
        self.revenue_minor - self.refunds_minor
    }
}

/// Orders that came to the same, and their money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedOrders {
    pub status: Status,
    pub reason: Option<String>,
    /// The revenue basis that their amounts really have.
    pub basis: Option<String>,
    pub count: i64,
    pub amounts: Amounts,
}

/// Cost of goods of conversions with the same currency, rate and credited weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goods {
    /// Original currency, minor units, before the weight.
    pub cost_minor: i64,
    pub currency: String,
    /// Decimal, to the reporting currency.
    pub rate: Option<String>,
    /// Billionths of a conversion, of each of them.
    pub weight: i64,
    pub conversions: i64,
}
