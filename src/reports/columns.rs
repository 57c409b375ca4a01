//! A row's figures and their columns, as docs/REPORTS.md defines them.
//!
//! Everything is computed in integers; what does not come out even is rounded once, half to even: money
//! to its currency's minor units (per click: two digits more), percentages to 2 digits, rates and
//! fractions of conversions to 4.

use super::costs::Cost;
use crate::domain::money::{Currency, format_minor};
use crate::ledger::reports::{Clicks, Credits, Engagement};

/// One billion: a whole conversion, in the ledger's unit.
pub(super) const WHOLE: i128 = 1_000_000_000;

/// What all columns of a row are computed from. None: cannot be told for such rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub clicks: Option<Clicks>,
    pub credits: Credits,
    /// Minor units times billionths.
    pub assigned_value: Option<i128>,
    pub cost: Option<Cost>,
    pub assisted: Option<i64>,
    /// Cost of goods of the credited shares, in minor units times billionths. None: no order states any.
    pub goods: Option<i128>,
    /// What the clicks would have cost as advertisements, in minor units times billionths.
    pub click_value: Option<i128>,
    /// What networks report of the posts.
    pub engagement: Option<Engagement>,
}

pub const COLUMNS: [&str; 26] = [
    "clicks",
    "unique_clicks",
    "bot_clicks",
    "recorded_clicks",
    "conversions",
    "revenue",
    "refunds",
    "net_revenue",
    "assigned_value",
    "cost_direct",
    "cost_shared",
    "cost",
    "roi_percent",
    "roi_with_assigned_value_percent",
    "cost_per_click",
    "cost_per_acquisition",
    "conversion_rate",
    "average_order_value",
    "earnings_per_click",
    "assisted_conversions",
    "cost_of_goods",
    "profit",
    "profit_roi_percent",
    "click_value",
    "reach",
    "engagement",
];

/// One value as every output shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Count(i64),
    /// A decimal that is a number in JSON.
    Number(String),
    /// A decimal amount of the report's currency, text in JSON.
    Money(String),
}

impl std::fmt::Display for Cell {
    /// Null is empty.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Count(count) => count.fmt(f),
            Self::Number(text) | Self::Money(text) => f.write_str(text),
        }
    }
}

impl serde::Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Count(count) => serializer.serialize_i64(*count),
            // The nearest float prints as the same few digits.
            Self::Number(text) => serializer.serialize_f64(text.parse().map_err(serde::ser::Error::custom)?),
            Self::Money(text) => serializer.serialize_str(text),
        }
    }
}

impl Figures {
    pub fn net_minor(&self) -> i64 {
        self.credits.revenue_minor - self.credits.refunds_minor
    }

    /// Return on investment in hundredths of a percent. None without cost.
    pub fn roi(&self) -> Option<i128> {
        let cost = i128::from(self.cost?.total_minor());
        ratio((i128::from(self.net_minor()) - cost) * 10_000, cost)
    }

    /// The cells in the order of [`COLUMNS`]. `with_rate` says whether clicks and conversions are of the same cohort (clock=click).
    pub fn cells(&self, currency: Currency, with_rate: bool) -> [Cell; COLUMNS.len()] {
        let exponent = currency.exponent();
        let money = |minor: i64| Cell::Money(format_minor(minor, currency));
        let or_null = |units: Option<i128>, cell: &dyn Fn(i128) -> Cell| units.map_or(Cell::Null, cell);
        let whole_money = |units| or_null(units, &|units| Cell::Money(decimal(units, exponent)));
        let fine_money = |units| or_null(units, &|units| Cell::Money(decimal(units, exponent + 2)));
        let number = |units, scale| or_null(units, &|units| Cell::Number(decimal(units, scale)));
        let count = |n: Option<i64>| n.map_or(Cell::Null, Cell::Count);

        let Credits { revenue_minor, refunds_minor, weight } = self.credits;
        let (revenue, net, weight) =
            (i128::from(revenue_minor), i128::from(self.net_minor()), i128::from(weight));
        let human = self.clicks.map(|clicks| i128::from(clicks.human));
        let cost = self.cost.map(|cost| i128::from(cost.total_minor()));
        let assigned = self.assigned_value.and_then(|value| ratio(value, WHOLE));
        let per_click = |minor: i128| ratio(minor * 100, human?);
        let profit = self.goods.zip(cost).map(|(goods, cost)| (net - cost) * WHOLE - goods);
        let profit_roi = || ratio(profit? * 10_000, cost? * WHOLE);
        let with_assigned = |cost: i128| ratio((net + assigned? - cost) * 10_000, cost);
        [
            count(self.clicks.map(|clicks| clicks.human)),
            count(self.clicks.map(|clicks| clicks.uniques)),
            count(self.clicks.map(|clicks| clicks.bots)),
            count(self.clicks.map(|clicks| clicks.recorded)),
            number(ratio(weight * 10_000, WHOLE), 4),
            money(revenue_minor),
            money(refunds_minor),
            money(self.net_minor()),
            whole_money(assigned),
            self.cost.map_or(Cell::Null, |cost| money(cost.direct_minor)),
            self.cost.map_or(Cell::Null, |cost| money(cost.shared_minor)),
            self.cost.map_or(Cell::Null, |cost| money(cost.total_minor())),
            number(self.roi(), 2),
            number(cost.and_then(with_assigned), 2),
            fine_money(cost.and_then(per_click)),
            whole_money(cost.and_then(|cost| ratio(cost * WHOLE, weight))),
            number(human.filter(|_| with_rate).and_then(|human| ratio(weight * 10_000, human * WHOLE)), 4),
            whole_money(ratio(revenue * WHOLE, weight)),
            fine_money(per_click(net)),
            count(self.assisted),
            whole_money(self.goods.and_then(|goods| ratio(goods, WHOLE))),
            whole_money(profit.and_then(|profit| ratio(profit, WHOLE))),
            number(profit_roi(), 2),
            whole_money(self.click_value.and_then(|value| ratio(value, WHOLE))),
            count(self.engagement.map(|engagement| engagement.reach)),
            count(self.engagement.map(|engagement| engagement.actions)),
        ]
    }
}

/// Rounded half to even. None where the denominator is 0.
pub(super) fn ratio(numerator: i128, denominator: i128) -> Option<i128> {
    if denominator == 0 {
        return None;
    }
    let (quotient, remainder) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    let up = match (2 * remainder).cmp(&denominator.abs()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    Some(quotient + if up { denominator.signum() } else { 0 })
}

/// `units` at `scale` digits behind the point, trailing zeros kept: 1234 at 2 is `12.34`.
pub(super) fn decimal(units: i128, scale: u32) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let one = 10u128.pow(scale);
    let (whole, rest) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
    match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{rest:0width$}", width = scale as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(revenue_minor: i64, refunds_minor: i64, cost_minor: i64) -> Figures {
        Figures {
            credits: Credits { revenue_minor, refunds_minor, weight: 3_000_000_000 },
            cost: Some(Cost { direct_minor: cost_minor, shared_minor: 0 }),
            clicks: Some(Clicks { human: 7, uniques: 6, bots: 2, recorded: 10 }),
            ..Figures::default()
        }
    }

    fn cell(figures: &Figures, column: &str) -> String {
        let index = COLUMNS.iter().position(|name| *name == column).unwrap();
        figures.cells("EUR".parse().unwrap(), true)[index].to_string()
    }

    #[test]
    fn roi_is_net_less_cost_by_cost() {
        let check = |revenue, refunds, cost, expected: &str| {
            assert_eq!(cell(&figures(revenue, refunds, cost), "roi_percent"), expected);
        };
        check(20_000, 0, 5_000, "300.00");
        check(2_000, 0, 5_000, "-60.00");
        check(20_000, 20_000, 5_000, "-100.00");
        check(10_000, 15_000, 5_000, "-200.00");
        check(20_000, 0, 0, "");
        check(0, 0, 0, "");
        check(10_000, 0, 30_000, "-66.67");
    }

    #[test]
    fn profit_is_what_goods_and_posts_leave() {
        let some = Figures { goods: Some(3_000 * WHOLE + WHOLE / 2), ..figures(10_000, 2_000, 1_000) };
        assert_eq!(cell(&some, "cost_of_goods"), "30.00");
        // 3,999.5 cents, half to even.
        assert_eq!(cell(&some, "profit"), "40.00");
        assert_eq!(cell(&some, "profit_roi_percent"), "399.95");
        assert_eq!(cell(&figures(10_000, 0, 1_000), "profit"), "");
        assert_eq!(cell(&Figures { cost: None, ..some }, "profit"), "");
        assert_eq!(cell(&Figures { cost: Some(Cost::default()), ..some }, "profit_roi_percent"), "");
    }

    #[test]
    fn ratios_have_their_digits_and_zero_denominators_are_null() {
        let some = figures(10_000, 2_000, 1_000);
        let check = |column: &str, expected: &str| assert_eq!(cell(&some, column), expected, "{column}");
        check("conversions", "3.0000");
        check("net_revenue", "80.00");
        check("cost_per_click", "1.4286");
        check("cost_per_acquisition", "3.33");
        check("average_order_value", "33.33");
        check("earnings_per_click", "11.4286");
        check("conversion_rate", "0.4286");
        let none =
            Figures { clicks: Some(Clicks::default()), cost: Some(Cost::default()), ..Figures::default() };
        for column in ["roi_percent", "cost_per_click", "cost_per_acquisition", "conversion_rate"] {
            assert_eq!(cell(&none, column), "", "{column}");
        }
        assert_eq!(cell(&none, "net_revenue"), "0.00");
        assert_eq!(some.cells("JPY".parse().unwrap(), false)[5], Cell::Money("10000".into()));
        assert_eq!(some.cells("EUR".parse().unwrap(), false)[16], Cell::Null);
    }

    #[test]
    fn assigned_values_are_no_revenue() {
        let leads = Figures { assigned_value: Some(500 * WHOLE * 3 / 2), ..figures(0, 0, 1_000) };
        assert_eq!(cell(&leads, "assigned_value"), "7.50");
        assert_eq!(cell(&leads, "roi_percent"), "-100.00");
        assert_eq!(cell(&leads, "roi_with_assigned_value_percent"), "-25.00");
    }

    #[test]
    fn rounding_is_half_to_even() {
        let check = |n, d, expected| assert_eq!(ratio(n, d), expected, "{n}/{d}");
        check(5, 2, Some(2));
        check(7, 2, Some(4));
        check(-5, 2, Some(-2));
        check(-7, 2, Some(-4));
        check(5, -2, Some(-2));
        check(7, -2, Some(-4));
        check(8, 3, Some(3));
        check(-8, 3, Some(-3));
        check(1, 0, None);
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(1234, 0), "1234");
    }
}
