//! The reference's money: exchange, movements, weights, splits. Integers and fractions only, but for the
//! weights of time_decay, whose billionths are taken from the ledger once they are seen to be right.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::bodies::decimals;
use crate::outcome::{Change, Fraction};
use crate::world::{Basis, DAY_MS, Order, Rate, Refund, Rules};

/// The local day, counted from 1970-01-01.
pub fn local_day(at_ms: i64, zone: &str) -> i32 {
    let zone = TimeZone::get(zone).expect("a zone");
    let date = Timestamp::from_millisecond(at_ms).expect("a time").to_zoned_datetime(zone).date();
    date.since(jiff::civil::date(1970, 1, 1)).expect("days").get_days()
}

/// One unit of `from` in units of `to`: the newest statement of at most a week ago, all against EUR.
pub fn rate(rates: &[Rate], from: &str, to: &str, day: i32) -> Option<Fraction> {
    if from == to {
        return Some(Fraction::ONE);
    }
    let per_eur = |currency: &str| {
        if currency == "EUR" {
            return Some(Fraction::ONE);
        }
        let known = rates.iter().filter(|rate| rate.currency == currency);
        let newest =
            known.filter(|rate| rate.day <= day && rate.day > day - 7).max_by_key(|rate| rate.day)?;
        Some(Fraction::decimal(&newest.rate))
    };
    Some(per_eur(to)?.divided_by(per_eur(from)?))
}

/// Minor units of `from` into those of `to`, halves to the even neighbour.
pub fn converted(minor: i64, from: &str, to: &str, rate: Fraction) -> i64 {
    let over = i128::from(minor) * rate.over * 10_i128.pow(decimals(to));
    let under = rate.under * 10_i128.pow(decimals(from));
    let (whole, rest) = (over.div_euclid(under), over.rem_euclid(under));
    let up = match (2 * rest).cmp(&under) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole.rem_euclid(2),
        std::cmp::Ordering::Greater => 1,
    };
    i64::try_from(whole + up).expect("worlds are small")
}

/// The basis that an order allows, and its gross on it.
pub fn gross(order: &Order, wanted: Basis) -> (Basis, i64) {
    match (wanted, order.tax_minor, order.shipping_minor) {
        (Basis::ExTaxShipping, Some(tax), Some(shipping)) => {
            (Basis::ExTaxShipping, order.total_minor - tax - shipping)
        }
        (Basis::ExTaxShipping | Basis::ExTax, Some(tax), _) => (Basis::ExTax, order.total_minor - tax),
        _ => (Basis::Total, order.total_minor),
    }
}

/// What an order's money did, in the reporting currency.
pub struct Moves<'a> {
    pub order: &'a Order,
    pub refunds: &'a [Refund],
    pub cancelled_ms: Option<i64>,
    pub gross_minor: i64,
    pub to: &'a str,
    pub zone: &'a str,
    pub rates: &'a [Rate],
}

/// None without a rate for the order's day.
pub fn changes(moves: &Moves<'_>) -> Option<Vec<Change>> {
    let order = moves.order;
    let from = if order.currency.is_empty() { moves.to } else { order.currency };
    let order_rate = rate(moves.rates, from, moves.to, local_day(order.occurred_ms, moves.zone))?;
    let gross = moves.gross_minor;

    // What stands of the gross after each step, in the order's currency.
    let mut steps = vec![("revenue", None, order.occurred_ms, gross)];
    let mut refunded = 0;
    for refund in moves.refunds {
        refunded += refund.amount_minor;
        let lost = if order.total_minor == 0 || gross == order.total_minor {
            refunded
        } else {
            half_away_from_zero(gross, refunded, order.total_minor)
        };
        steps.push(("refund", Some(refund.id.clone()), refund.occurred_ms, gross - lost));
    }
    let left = steps.last().expect("the sale").3;
    if let Some(at_ms) = moves.cancelled_ms.filter(|_| left > 0) {
        steps.push(("cancelled", None, at_ms, 0));
    }

    let mut changes = Vec::new();
    let (mut before_own, mut before) = (0, 0);
    for (kind, refund_id, at_ms, own) in steps {
        let day = local_day(at_ms, moves.zone);
        let after = converted(own, from, moves.to, order_rate);
        let moved = after - before;
        let change = |kind: &str, amount_minor| Change {
            kind: kind.to_owned(),
            refund_id: refund_id.clone(),
            amount_minor,
            at_ms,
            day,
        };
        changes.push(change(kind, moved));
        // On its own day's rate a refund moves another amount.
        if kind != "revenue"
            && let Some(own_rate) = rate(moves.rates, from, moves.to, day)
        {
            let by_own_rate =
                converted(own, from, moves.to, own_rate) - converted(before_own, from, moves.to, own_rate);
            if by_own_rate != moved {
                changes.push(change("fx", by_own_rate - moved));
            }
        }
        (before_own, before) = (own, after);
    }
    Some(changes)
}

/// `gross x part / whole`; all of these worlds' numbers are at least 0.
fn half_away_from_zero(gross: i64, part: i64, whole: i64) -> i64 {
    let over = i128::from(gross) * i128::from(part);
    let twice = 2 * i128::from(whole);
    let size = (2 * over.abs() + i128::from(whole)) / twice;
    i64::try_from(size * over.signum()).expect("worlds are small")
}

/// Shares of each touch, as fractions that need not sum to anything. `None` for time_decay.
pub fn shares(model: &str, n: usize, rules: &Rules) -> Option<Vec<Fraction>> {
    let whole = |is_one: &dyn Fn(usize) -> bool| (0..n).map(|i| Fraction::new(is_one(i).into(), 1)).collect();
    let [first, middle, last] = rules.shares_percent.map(i128::from);
    let sum = if n == 2 { first + last } else { 0 };
    Some(match model {
        "first_touch" => whole(&|i| i == 0),
        "last_touch" => whole(&|i| i + 1 == n),
        "linear" => whole(&|_| true),
        "position_based" if n < 2 || (n == 2 && sum == 0) => whole(&|_| true),
        "position_based" => (0..n)
            .map(|i| match i {
                0 => Fraction::new(first, 1),
                _ if i + 1 == n => Fraction::new(last, 1),
                _ => Fraction::new(middle, n as i128 - 2),
            })
            .collect(),
        _ => return None,
    })
}

/// Touch i weighs 2^-(age / half-life), in billionths of all, in floats.
pub fn decayed(times_ms: &[i64], t_ms: i64, rules: &Rules) -> Vec<f64> {
    let newest = times_ms.iter().copied().max().unwrap_or(t_ms);
    let half_life_ms = (rules.half_life_days * DAY_MS) as f64;
    let parts: Vec<f64> =
        times_ms.iter().map(|at_ms| ((at_ms - newest) as f64 / half_life_ms).exp2()).collect();
    let sum: f64 = parts.iter().sum();
    parts.iter().map(|part| part / sum * 1e9).collect()
}

/// Splits by largest remainder, ties to the earlier touch.
pub fn split(total: i64, shares: &[Fraction]) -> Vec<i64> {
    let under = shares.iter().fold(1, |under, share| under * Fraction::new(share.under, under).over);
    let sizes: Vec<i128> = shares.iter().map(|share| share.over * (under / share.under)).collect();
    let sum: i128 = sizes.iter().sum();
    let size = i128::from(total.abs());
    let mut parts: Vec<i128> = sizes.iter().map(|share| size * share / sum).collect();
    let mut left = size - parts.iter().sum::<i128>();
    while left > 0 {
        let rest = |i: usize| size * sizes[i] - parts[i] * sum;
        let mut best = 0;
        for i in 1..parts.len() {
            if rest(i) > rest(best) {
                best = i;
            }
        }
        parts[best] += 1;
        left -= 1;
    }
    let sign = total.signum();
    parts.iter().map(|part| sign * i64::try_from(*part).expect("a part of it")).collect()
}

/// Splits by billionths.
pub fn split_by(total: i64, billionths: &[i64]) -> Vec<i64> {
    let shares: Vec<Fraction> =
        billionths.iter().map(|b| Fraction { over: i128::from(*b), under: 1 }).collect();
    if shares.is_empty() { Vec::new() } else { split(total, &shares) }
}
