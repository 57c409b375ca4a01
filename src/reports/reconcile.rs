//! The reconciliation: every received order is attributed, unattributed or excluded, with its money.

use std::collections::BTreeMap;

use super::Problem;
use crate::ledger::packs::Status;
use crate::ledger::reports::{Amounts, ReceivedOrders};

/// Received = attributed + unattributed + excluded, in number and in money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    pub received: Line,
    /// Its money is without the share of rival touches, which stands in unattributed as `other_channel`.
    pub attributed: Line,
    pub unattributed: BTreeMap<String, Line>,
    pub excluded: BTreeMap<String, Line>,
    /// How the attributed amounts become the report's totals.
    pub to_totals: ToTotals,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    pub orders: i64,
    pub amounts: Amounts,
}

impl Line {
    fn add(&mut self, orders: i64, amounts: Amounts) {
        self.orders += orders;
        self.amounts = self.amounts + amounts;
    }
}

/// totals = attributed - clicks_outside + orders_outside - filtered_out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToTotals {
    /// By the click clock: of the period's orders, what is credited to clicks outside the period.
    pub clicks_outside: Amounts,
    /// By the click clock: of orders outside the period, what is credited to clicks inside.
    pub orders_outside: Amounts,
    /// What the report's filters leave out.
    pub filtered_out: Amounts,
}

/// Puts the lines together. `totals` are the report's own, summed from credits; where they are not what
/// the orders say, the second value says so.
pub fn reconcile(
    orders: &[ReceivedOrders],
    rival_share: Amounts,
    (orders_outside, clicks_outside): (Amounts, Amounts),
    totals: Amounts,
    filtered: bool,
) -> (Reconciliation, Option<Problem>) {
    let mut all = Reconciliation::default();
    for group in orders {
        let reason = || group.reason.clone().unwrap_or_else(|| "unknown".to_owned());
        let line = match group.status {
            Status::Attributed => &mut all.attributed,
            Status::Unattributed => all.unattributed.entry(reason()).or_default(),
            Status::Excluded => all.excluded.entry(reason()).or_default(),
        };
        line.add(group.count, group.amounts);
        all.received.add(group.count, group.amounts);
    }
    if rival_share != Amounts::default() {
        all.attributed.add(0, Amounts::default() - rival_share);
        all.unattributed.entry("other_channel".to_owned()).or_default().add(0, rival_share);
    }
    let expected = all.attributed.amounts - clicks_outside + orders_outside;
    let difference = expected - totals;
    all.to_totals = ToTotals {
        clicks_outside,
        orders_outside,
        filtered_out: if filtered { difference } else { Amounts::default() },
    };
    let problem = (!filtered && difference != Amounts::default()).then(|| Problem {
        code: "not_reconciled",
        detail: format!(
            "credits differ from orders by {} minor units of revenue and {} of refunds",
            difference.revenue_minor, difference.refunds_minor
        ),
    });
    (all, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(status: Status, reason: Option<&str>, count: i64, revenue: i64, refunds: i64) -> ReceivedOrders {
        ReceivedOrders {
            status,
            reason: reason.map(str::to_owned),
            basis: None,
            count,
            amounts: amounts(revenue, refunds),
        }
    }

    fn amounts(revenue_minor: i64, refunds_minor: i64) -> Amounts {
        Amounts { revenue_minor, refunds_minor }
    }

    #[test]
    fn rival_shares_move_money_and_no_orders() {
        let orders = [
            group(Status::Attributed, None, 3, 3000, 100),
            group(Status::Unattributed, Some("no_match"), 1, 500, 0),
            group(Status::Unattributed, Some("other_channel"), 1, 200, 0),
            group(Status::Excluded, Some("test"), 2, 900, 0),
        ];
        let none = (Amounts::default(), Amounts::default());
        let (all, problem) = reconcile(&orders, amounts(1000, 30), none, amounts(2000, 70), false);
        assert_eq!(problem, None);
        assert_eq!(all.received, Line { orders: 7, amounts: amounts(4600, 100) });
        assert_eq!(all.attributed, Line { orders: 3, amounts: amounts(2000, 70) });
        assert_eq!(all.unattributed["other_channel"], Line { orders: 1, amounts: amounts(1200, 30) });
        let parts = all.unattributed.values().chain(all.excluded.values()).chain([&all.attributed]);
        let (orders, sum) =
            parts.fold((0, Amounts::default()), |(n, sum), line| (n + line.orders, sum + line.amounts));
        assert_eq!(Line { orders, amounts: sum }, all.received);
    }

    #[test]
    fn a_difference_is_said_and_a_filter_explains_it() {
        let orders = [group(Status::Attributed, None, 1, 1000, 0)];
        let none = (Amounts::default(), Amounts::default());
        let (_, problem) = reconcile(&orders, Amounts::default(), none, amounts(900, 0), false);
        assert_eq!(problem.unwrap().code, "not_reconciled");
        let (all, problem) = reconcile(&orders, Amounts::default(), none, amounts(900, 0), true);
        assert_eq!((problem, all.to_totals.filtered_out), (None, amounts(100, 0)));
    }
}
