//! Spreading costs over the rows of a report. The rules are pure; [`spread`] fetches and applies them.
//!
//! A cost spreads evenly over its days. A day's part goes to the posts under the cost by their human
//! clicks of that day (under the cost, so a network's cost by the clicks on that network's links), equally
//! where there are none; a link without a post counts as one. Within a post it goes to its rows in the
//! same way. Every split is by largest remainder, so what was booked is what is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Problem;
use crate::attribution::credit::split_billionths as apportion;
use crate::domain::money::{self, Currency};
use crate::domain::time::day_date;
use crate::ledger::rates::Rates;
use crate::ledger::reports::{
    Atom, Booking, DayClicks, Dimension, Key, Slice, bookings, day_clicks, day_key, members,
};
use crate::ledger::{Ledger, LedgerError};

/// A row's costs, in minor units of the reporting currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Booked on the row itself or on something that belongs to it whole.
    pub direct_minor: i64,
    /// Spread from above.
    pub shared_minor: i64,
}

impl Cost {
    pub fn total_minor(self) -> i64 {
        self.direct_minor + self.shared_minor
    }
}

/// Whether costs can be told for such a report: no click rollup splits a post's cost by these.
pub fn are_known(slice: &Slice, by: Dimension) -> bool {
    let unknown = |dimension| {
        matches!(
            dimension,
            Dimension::Tag
                | Dimension::Source
                | Dimension::Country
                | Dimension::Device
                | Dimension::HourOfWeek
        )
    };
    !unknown(by) && !slice.filters.iter().any(|(d, _)| matches!(d, Dimension::Country | Dimension::Device))
}

/// Costs by row, and what could not be converted.
pub async fn spread(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    currency: Currency,
) -> Result<(BTreeMap<Key, Cost>, Vec<Problem>), LedgerError> {
    let booked = bookings(ledger, slice).await?;
    let (parts, problems) = day_parts(ledger, slice, &booked, currency).await?;
    let mut costs: BTreeMap<Key, Cost> = BTreeMap::new();
    for scope in [Dimension::Link, Dimension::Post, Dimension::Campaign, Dimension::Network] {
        let parts: Vec<&DayPart> = parts.iter().filter(|part| part.booking.scope == scope).collect();
        if parts.is_empty() {
            continue;
        }
        let whole = by.is_time() && !slice.filters_links();
        let under = if whole { BTreeMap::new() } else { all_under(ledger, slice, by, &parts).await? };
        let clicks = clicks_where_needed(ledger, slice, by, &parts, &under).await?;
        for part in parts {
            let target = &part.booking.target;
            let clicked = clicks.get(&(target.clone(), part.day));
            let nothing = [(Arc::new(nothing_under(slice, by, scope, target)), 0)];
            let members: Vec<(Arc<Atom>, i64)>;
            let atoms: &[(Arc<Atom>, i64)] = match (clicked, under.get(target)) {
                (Some(clicked), _) => clicked,
                (None, Some(atoms)) => {
                    members = atoms.iter().map(|atom| (Arc::clone(atom), 0)).collect();
                    &members
                }
                (None, None) => &nothing,
            };
            for ((atom, _), minor) in atoms.iter().zip(over_atoms(part.minor, atoms)) {
                if !atom.passes {
                    continue;
                }
                let row = if by.is_time() { Key::Number(day_key(by, part.day)?) } else { atom.key.clone() };
                let direct = is_direct(scope, by) && row != Key::Unallocated;
                let cost = costs.entry(row).or_default();
                *(if direct { &mut cost.direct_minor } else { &mut cost.shared_minor }) += minor;
            }
        }
    }
    Ok((costs, problems))
}

/// One booking's part of one day, in the reporting currency.
struct DayPart<'a> {
    booking: &'a Booking,
    day: i64,
    minor: i64,
}

async fn day_parts<'a>(
    ledger: &Ledger,
    slice: &Slice,
    booked: &'a [Booking],
    currency: Currency,
) -> Result<(Vec<DayPart<'a>>, Vec<Problem>), LedgerError> {
    let foreign: BTreeSet<&str> =
        booked.iter().map(|b| b.currency.code()).filter(|code| *code != currency.code()).collect();
    let rates = if foreign.is_empty() {
        Rates::default()
    } else {
        let all: Vec<&str> = foreign.iter().copied().chain([currency.code()]).collect();
        Rates::load(ledger, &all, day_i32(slice.from_day), day_i32(slice.to_day)).await?
    };
    let mut parts = Vec::new();
    let mut problems = Vec::new();
    for booking in booked {
        let mut missing: Option<(i64, i64)> = None;
        let days = booking.to_day - booking.from_day;
        for day in booking.from_day.max(slice.from_day)..booking.to_day.min(slice.to_day) {
            let original = day_share(booking.amount_minor, days, day - booking.from_day);
            let minor = if booking.currency == currency {
                Some(original)
            } else {
                let rate = rates.find(booking.currency.code(), currency.code(), day_i32(day));
                rate.and_then(|rate| money::convert(original, booking.currency, currency, rate.value).ok())
            };
            match minor {
                Some(minor) => parts.push(DayPart { booking, day, minor }),
                None => missing = Some((missing.map_or(day, |(first, _)| first), day)),
            }
        }
        if let Some((first, last)) = missing {
            problems.push(Problem {
                code: "missing_rate",
                detail: format!(
                    "cost {}: no rate from {} to {currency} on {} to {}; these days are left out",
                    booking.id,
                    booking.currency,
                    day_date(day_i32(first)),
                    day_date(day_i32(last)),
                ),
            });
        }
    }
    Ok((parts, problems))
}

async fn all_under(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    parts: &[&DayPart<'_>],
) -> Result<BTreeMap<Key, Vec<Arc<Atom>>>, LedgerError> {
    let targets: BTreeSet<Key> = parts.iter().map(|part| part.booking.target.clone()).collect();
    members(ledger, slice, by, parts[0].booking.scope, &targets).await
}

/// Clicks matter only where what stands under a target differs in its row or in passing the filters.
async fn clicks_where_needed(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    parts: &[&DayPart<'_>],
    under: &BTreeMap<Key, Vec<Arc<Atom>>>,
) -> Result<DayClicks, LedgerError> {
    let scope = parts[0].booking.scope;
    let differ = |atoms: &[Arc<Atom>]| {
        atoms.iter().any(|atom| (&atom.key, atom.passes) != (&atoms[0].key, atoms[0].passes))
    };
    if scope == Dimension::Link {
        return Ok(DayClicks::new());
    }
    let mut spans: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    for part in parts {
        let target = &part.booking.target;
        if under.get(target).is_some_and(|atoms| differ(atoms)) {
            let (first, end) = spans.entry(target.clone()).or_insert((part.day, part.day + 1));
            (*first, *end) = ((*first).min(part.day), (*end).max(part.day + 1));
        }
    }
    match spans.is_empty() {
        true => Ok(DayClicks::new()),
        false => day_clicks(ledger, slice, by, scope, &spans).await,
    }
}

/// Where a cost goes that has nothing under it: to its own row if the report has one.
fn nothing_under(slice: &Slice, by: Dimension, scope: Dimension, target: &Key) -> Atom {
    let own = |dimension| dimension == scope;
    Atom {
        unit: Key::None,
        key: if own(by) { target.clone() } else { Key::Unallocated },
        passes: slice.filters.iter().all(|(d, wanted)| !d.is_of_link() || own(*d) && wanted == target),
    }
}

/// Whether a cost of this scope belongs to the rows of such a report, instead of being spread to them.
fn is_direct(scope: Dimension, by: Dimension) -> bool {
    match scope {
        Dimension::Link => !by.is_time(),
        Dimension::Post => {
            matches!(by, Dimension::Post | Dimension::Kind | Dimension::Campaign | Dimension::Network)
        }
        _ => scope == by,
    }
}

/// The part of one of `days` equal days, counted from 0: the first days get the units that are left.
fn day_share(amount_minor: i64, days: i64, day: i64) -> i64 {
    let left = amount_minor % days;
    amount_minor / days + if day < left.abs() { left.signum() } else { 0 }
}

/// One part per atom, which are ordered by unit: first over the units by their clicks, then within each.
fn over_atoms(minor: i64, atoms: &[(Arc<Atom>, i64)]) -> Vec<i64> {
    let units: Vec<&[(Arc<Atom>, i64)]> = atoms.chunk_by(|(a, _), (b, _)| a.unit == b.unit).collect();
    let sum = |unit: &&[(Arc<Atom>, i64)]| unit.iter().map(|(_, clicks)| clicks).sum();
    let per_unit = apportion(minor, &units.iter().map(sum).collect::<Vec<i64>>());
    let within = |(unit, minor): (&&[(Arc<Atom>, i64)], i64)| {
        apportion(minor, &unit.iter().map(|(_, clicks)| *clicks).collect::<Vec<i64>>())
    };
    units.iter().zip(per_unit).flat_map(within).collect()
}

fn day_i32(day: i64) -> i32 {
    i32::try_from(day).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atom(unit: &str, key: &str, clicks: i64) -> (Arc<Atom>, i64) {
        let text = |s: &str| Key::Text(s.to_owned());
        (Arc::new(Atom { unit: text(unit), key: text(key), passes: true }), clicks)
    }

    #[test]
    fn days_are_equal_to_a_unit() {
        let check = |amount, days, expected: &[i64]| {
            let shares: Vec<i64> = (0..days).map(|day| day_share(amount, days, day)).collect();
            assert_eq!(shares, expected, "{amount} over {days}");
        };
        check(100, 3, &[34, 33, 33]);
        check(-100, 3, &[-34, -33, -33]);
        check(2, 4, &[1, 1, 0, 0]);
        check(0, 2, &[0, 0]);
        check(7, 1, &[7]);
    }

    #[test]
    fn a_day_goes_to_posts_by_clicks_and_then_to_rows() {
        let check = |minor, atoms: &[(Arc<Atom>, i64)], expected: &[i64]| {
            assert_eq!(over_atoms(minor, atoms), expected);
        };
        check(100, &[atom("a", "a", 3), atom("b", "b", 1)], &[75, 25]);
        // No clicks: equally over posts, whatever number of links each has.
        check(100, &[atom("a", "l1", 0), atom("a", "l2", 0), atom("b", "l3", 0)], &[25, 25, 50]);
        check(100, &[atom("a", "l1", 2), atom("a", "l2", 1), atom("b", "l3", 7)], &[20, 10, 70]);
        check(1, &[atom("a", "a", 1), atom("b", "b", 1)], &[1, 0]);
        check(-5, &[atom("a", "a", 0), atom("b", "b", 0)], &[-3, -2]);
    }

    proptest! {
        #[test]
        fn nothing_is_made_or_lost(
            amount in -1_000_000_000i64..1_000_000_000,
            days in 1i64..400,
            clicks in prop::collection::vec((0u8..4, 0u8..3, 0i64..50), 1..20),
        ) {
            let shares: Vec<i64> = (0..days).map(|day| day_share(amount, days, day)).collect();
            prop_assert_eq!(shares.iter().sum::<i64>(), amount);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);

            let mut atoms: Vec<(Arc<Atom>, i64)> =
                clicks.iter().map(|(unit, key, n)| atom(&unit.to_string(), &key.to_string(), *n)).collect();
            atoms.sort();
            prop_assert_eq!(over_atoms(amount, &atoms).iter().sum::<i64>(), amount);
        }
    }
}
