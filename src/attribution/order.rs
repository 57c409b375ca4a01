//! An order's state: a pure fold over its facts, the same in whatever order they arrived.

use std::collections::BTreeMap;

use crate::intake::fact::{Gone, Keys, Order, OrderStatus, Refund, Says};

/// A fact as stored: sorted by `(version_ms, hash)`, so that ties have one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFact {
    pub version_ms: i64,
    pub hash: String,
    pub says: Says,
}

/// What stands after all facts. Money in minor units of the order's own currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderState {
    /// The newest statement of the order, with tax, shipping and cost of goods filled from older ones
    /// where it is silent, and the keys of all of them.
    pub order: Order,
    /// Oldest first; each counts once.
    pub refunds: Vec<DatedRefund>,
    /// When it was cancelled or deleted.
    pub cancelled_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatedRefund {
    pub occurred_ms: i64,
    pub id: String,
    pub amount_minor: i64,
}

/// None while no fact has stated the order itself (a refund that came first waits here).
pub fn fold(mut facts: Vec<StoredFact>) -> Option<OrderState> {
    facts.sort_by(|a, b| (a.version_ms, &a.hash).cmp(&(b.version_ms, &b.hash)));
    let mut order: Option<Order> = None;
    let mut cancelled_ms = None;
    let mut single: BTreeMap<String, DatedRefund> = BTreeMap::new();
    let mut first_shown: BTreeMap<String, i64> = BTreeMap::new();
    let mut listed: Vec<Refund> = Vec::new();
    let mut explained: BTreeMap<String, i64> = BTreeMap::new();
    let mut cumulative: Option<DatedRefund> = None;
    let mut more_keys = Keys::default();

    for fact in facts {
        match fact.says {
            Says::Order(newer) => {
                cancelled_ms = match newer.status {
                    // The first statement that it is cancelled dates it.
                    OrderStatus::Cancelled => cancelled_ms.or(Some(fact.version_ms)),
                    _ => None,
                };
                order = Some(match order {
                    Some(older) => newer_over_older(newer, older),
                    None => newer,
                });
            }
            Says::Keys(keys) => more_keys = joined(keys, more_keys),
            Says::Refund(refund) => {
                explained.insert(refund.id.clone(), refund.explains_minor.unwrap_or(refund.amount_minor));
                let occurred_ms = refund.occurred_ms.unwrap_or(fact.version_ms);
                single.insert(refund.id.clone(), dated(refund, occurred_ms));
            }
            Says::Refunds(complete) => {
                for refund in &complete {
                    first_shown.entry(refund.id.clone()).or_insert(fact.version_ms);
                }
                listed = complete;
            }
            Says::RefundedTotal { amount_minor, occurred_ms, .. } => {
                // The total only grows; an older statement that arrives late changes nothing.
                if cumulative.as_ref().is_none_or(|known| known.amount_minor < amount_minor) {
                    cumulative = Some(DatedRefund { occurred_ms, id: "refunded total".into(), amount_minor });
                }
            }
            Says::Gone(Gone::Cancelled | Gone::Deleted) => {
                cancelled_ms = cancelled_ms.or(Some(fact.version_ms));
            }
        }
    }

    for refund in listed {
        let shown_ms = first_shown[&refund.id];
        let occurred_ms = refund.occurred_ms.unwrap_or(shown_ms);
        explained.entry(refund.id.clone()).or_insert(refund.amount_minor);
        single.entry(refund.id.clone()).or_insert_with(|| dated(refund, occurred_ms));
    }
    let mut refunds: Vec<DatedRefund> =
        single.into_values().filter(|refund| refund.amount_minor != 0).collect();
    if let Some(total) = cumulative {
        let explained: i64 = explained.values().sum();
        if total.amount_minor > explained {
            refunds.push(DatedRefund { amount_minor: total.amount_minor - explained, ..total });
        }
    }
    refunds.sort();
    order.map(|mut order| {
        order.keys = joined(order.keys, more_keys);
        OrderState { order, refunds, cancelled_ms }
    })
}

/// What the facts of an order name, whether or not they state it: evidence often does not.
pub fn named(mut facts: Vec<StoredFact>) -> Keys {
    facts.sort_by(|a, b| (a.version_ms, &a.hash).cmp(&(b.version_ms, &b.hash)));
    facts.into_iter().fold(Keys::default(), |older, fact| match fact.says {
        Says::Order(Order { keys, .. }) | Says::Keys(keys) => joined(keys, older),
        Says::Refund(_) | Says::Refunds(_) | Says::RefundedTotal { .. } | Says::Gone(_) => older,
    })
}

fn dated(refund: Refund, occurred_ms: i64) -> DatedRefund {
    DatedRefund { occurred_ms, id: refund.id, amount_minor: refund.amount_minor }
}

fn newer_over_older(newer: Order, older: Order) -> Order {
    Order {
        tax_minor: newer.tax_minor.or(older.tax_minor),
        shipping_minor: newer.shipping_minor.or(older.shipping_minor),
        cost_of_goods_minor: newer.cost_of_goods_minor.or(older.cost_of_goods_minor),
        renews: newer.renews.or(older.renews),
        keys: joined(newer.keys, older.keys),
        ..newer
    }
}

/// The keys of both, the newer ones first where only one can stand.
pub fn joined(newer: Keys, older: Keys) -> Keys {
    let union = |mut a: Vec<String>, b: Vec<String>| {
        a.extend(b);
        a.sort();
        a.dedup();
        a
    };
    Keys {
        tokens: union(newer.tokens, older.tokens),
        customer_id: newer.customer_id.or(older.customer_id),
        email: newer.email.or(older.email),
        coupons: union(newer.coupons, older.coupons),
        utm: if newer.utm.is_empty() { older.utm } else { newer.utm },
        landing_url: newer.landing_url.or(older.landing_url),
        referrer: newer.referrer.or(older.referrer),
        references: union(newer.references, older.references),
    }
}

/// What counts as revenue of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevenueBasis {
    Total,
    ExTax,
    ExTaxShipping,
}

impl RevenueBasis {
    pub fn from_setting(text: &str) -> Option<Self> {
        match text {
            "total" => Some(Self::Total),
            "ex_tax" => Some(Self::ExTax),
            "ex_tax_shipping" => Some(Self::ExTaxShipping),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::ExTax => "ex_tax",
            Self::ExTaxShipping => "ex_tax_shipping",
        }
    }

    /// The basis that this order allows: without a stated tax it falls back.
    pub fn possible_for(self, order: &Order) -> Self {
        match (self, order.tax_minor, order.shipping_minor) {
            (Self::ExTaxShipping, Some(_), Some(_)) => Self::ExTaxShipping,
            (Self::ExTaxShipping | Self::ExTax, Some(_), _) => Self::ExTax,
            _ => Self::Total,
        }
    }

    /// Gross revenue in minor units of the order's currency.
    pub fn gross_minor(self, order: &Order) -> i64 {
        let tax = order.tax_minor.unwrap_or(0);
        let shipping = order.shipping_minor.unwrap_or(0);
        match self.possible_for(order) {
            Self::Total => order.total_minor,
            Self::ExTax => order.total_minor - tax,
            Self::ExTaxShipping => order.total_minor - tax - shipping,
        }
    }
}

/// One movement of an order's money on the revenue basis, in minor units of its own currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    pub kind: MovementKind,
    pub refund_id: Option<String>,
    pub at_ms: i64,
    /// What stands after it: the net so far.
    pub net_minor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovementKind {
    Revenue,
    Refund,
    Cancelled,
}

impl MovementKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revenue => "revenue",
            Self::Refund => "refund",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The sale, its refunds in order, and the cancellation that brings what is left to 0.
///
/// A refund is stated with its tax, so on a basis without tax it counts for the same share of the
/// gross: after refunds of R the net is gross - round(gross x R / total), and a full refund leaves 0.
pub fn movements(state: &OrderState, basis: RevenueBasis) -> Vec<Movement> {
    let gross = basis.gross_minor(&state.order);
    let mut movements = vec![Movement {
        kind: MovementKind::Revenue,
        refund_id: None,
        at_ms: state.order.occurred_ms,
        net_minor: gross,
    }];
    let mut refunded = 0;
    for refund in &state.refunds {
        refunded += refund.amount_minor;
        movements.push(Movement {
            kind: MovementKind::Refund,
            refund_id: Some(refund.id.clone()),
            at_ms: refund.occurred_ms,
            net_minor: gross - share(gross, refunded, state.order.total_minor),
        });
    }
    let left = movements.last().map_or(0, |last| last.net_minor);
    if let Some(at_ms) = state.cancelled_ms
        && left > 0
    {
        movements.push(Movement { kind: MovementKind::Cancelled, refund_id: None, at_ms, net_minor: 0 });
    }
    movements
}

/// `gross x part / whole`, rounded half away from zero; where there is no whole, the part itself.
fn share(gross: i64, part: i64, whole: i64) -> i64 {
    if whole == 0 || gross == whole {
        return part;
    }
    let (numerator, whole) = (i128::from(gross) * i128::from(part), i128::from(whole));
    let rounded = (2 * numerator.abs() + whole.abs()) / (2 * whole.abs());
    let sign = numerator.signum() * whole.signum();
    i64::try_from(rounded * sign).unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(version: i64, total_minor: i64, status: OrderStatus) -> StoredFact {
        StoredFact {
            version_ms: version,
            hash: format!("{version}/{total_minor}"),
            says: Says::Order(Order {
                event: "purchase".into(),
                status,
                occurred_ms: 100,
                currency: "EUR".into(),
                total_minor,
                tax_minor: Some(total_minor / 5),
                shipping_minor: None,
                cost_of_goods_minor: None,
                renews: None,
                keys: Keys { tokens: vec![format!("t{version}")], ..Keys::default() },
            }),
        }
    }

    fn refund(version: i64, id: &str, amount_minor: i64) -> Refund {
        Refund {
            id: id.into(),
            amount_minor,
            currency: "EUR".into(),
            explains_minor: None,
            occurred_ms: Some(version),
        }
    }

    fn fact(version: i64, says: Says) -> StoredFact {
        StoredFact { version_ms: version, hash: format!("{version}/{says:?}"), says }
    }

    fn nets(facts: Vec<StoredFact>) -> Vec<i64> {
        let state = fold(facts).unwrap();
        movements(&state, RevenueBasis::ExTax).into_iter().map(|m| m.net_minor).collect()
    }

    #[test]
    fn money_moves_as_the_facts_say() {
        let paid = || order(1, 1000, OrderStatus::Paid);
        let single = |v, id: &str, amount| fact(v, Says::Refund(refund(v, id, amount)));
        let total = |v, amount_minor| {
            fact(v, Says::RefundedTotal { amount_minor, currency: "EUR".into(), occurred_ms: v })
        };
        let list = |v, refunds| fact(v, Says::Refunds(refunds));
        let check = |facts, expected: &[i64]| assert_eq!(nets(facts), expected);

        check(vec![paid()], &[800]);
        check(vec![paid(), single(2, "a", 500)], &[800, 400]);
        check(vec![paid(), single(2, "a", 500), single(2, "a", 500)], &[800, 400]);
        check(vec![paid(), single(2, "a", 333), single(3, "b", 667)], &[800, 534, 0]);
        // An edit moves the gross itself.
        check(vec![order(5, 500, OrderStatus::Paid), paid()], &[400]);
        // A list that no longer holds a refund took it back.
        check(vec![paid(), list(2, vec![refund(2, "a", 500)]), list(3, vec![])], &[800]);
        // The cumulative total explains only what single refunds do not.
        check(vec![paid(), single(2, "a", 500), total(2, 500)], &[800, 400]);
        check(vec![paid(), total(2, 300), total(3, 500)], &[800, 400]);
        // A refund that failed in the end takes its part of the total with it; a charge-back has none.
        let explaining = |v, id: &str, amount, explains_minor| {
            fact(v, Says::Refund(Refund { explains_minor: Some(explains_minor), ..refund(v, id, amount) }))
        };
        let failed = explaining(4, "a", 0, 500);
        check(vec![paid(), single(2, "a", 500), total(3, 500), failed], &[800]);
        check(vec![paid(), total(2, 500), explaining(3, "dispute", 500, 0)], &[800, 400, 0]);
        // Cancelled: 0, never below.
        check(vec![paid(), order(4, 1000, OrderStatus::Cancelled)], &[800, 0]);
        check(vec![paid(), single(2, "a", 1000), fact(3, Says::Gone(Gone::Deleted))], &[800, 0]);
        // Restored after it was deleted.
        check(vec![fact(3, Says::Gone(Gone::Deleted)), order(4, 1000, OrderStatus::Paid)], &[800]);
        assert_eq!(fold(vec![single(2, "a", 500)]), None);

        let keys = Keys { references: vec!["pi_1".into()], ..Keys::default() };
        let state = fold(vec![fact(9, Says::Keys(keys)), paid()]).unwrap();
        assert_eq!(state.order.keys.references, ["pi_1"]);
    }

    #[test]
    fn evidence_names_clicks_without_an_order() {
        let says = |version: i64, token: &str, referrer: &str| {
            let keys =
                Keys { tokens: vec![token.into()], referrer: Some(referrer.into()), ..Keys::default() };
            fact(version, Says::Keys(keys))
        };
        let refunded = fact(3, Says::Refund(refund(3, "r", 5)));
        let keys =
            named(vec![says(2, "b", "new"), refunded, says(1, "a", "old"), order(4, 9, OrderStatus::Paid)]);
        assert_eq!(keys.tokens, ["a", "b", "t4"]);
        assert_eq!(keys.referrer.as_deref(), Some("new"));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_state(
            steps in prop::collection::vec((1i64..6, 0u8..5, 0i64..1000), 1..12),
            seed in any::<u64>(),
        ) {
            let facts: Vec<StoredFact> = steps.iter().map(|(v, what, n)| match what {
                0 => order(*v, *n, OrderStatus::Paid),
                1 => order(*v, *n, OrderStatus::Cancelled),
                2 => fact(*v, Says::Refund(refund(*v, &format!("r{}", n % 3), *n))),
                3 => fact(*v, Says::Refunds(vec![refund(*v, &format!("l{}", n % 3), *n)])),
                _ => fact(*v, Says::RefundedTotal { amount_minor: *n, currency: "EUR".into(), occurred_ms: *v }),
            }).collect();
            let mut shuffled = facts.clone();
            let mut state = seed;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            let doubled: Vec<_> = shuffled.iter().chain(&facts).cloned().collect();
            prop_assert_eq!(fold(facts.clone()), fold(shuffled));
            prop_assert_eq!(fold(facts), fold(doubled));
        }

        #[test]
        fn a_full_refund_leaves_nothing(total in 1i64..1_000_000_000, tax_share in 0i64..100, cut in 0i64..100) {
            let mut state = fold(vec![order(1, total, OrderStatus::Paid)]).unwrap();
            state.order.tax_minor = Some(total * tax_share / 100);
            let first = total * cut / 100;
            state.refunds = vec![
                DatedRefund { occurred_ms: 2, id: "a".into(), amount_minor: first },
                DatedRefund { occurred_ms: 3, id: "b".into(), amount_minor: total - first },
            ];
            prop_assert_eq!(movements(&state, RevenueBasis::ExTax).last().unwrap().net_minor, 0);
        }
    }
}
