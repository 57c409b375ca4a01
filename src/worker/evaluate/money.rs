//! An order's money in the workspace's currency.

use crate::attribution::order::{self, MovementKind, OrderState, RevenueBasis};
use crate::config::Attribution;
use crate::domain::money::{self, Currency};
use crate::domain::time;
use crate::ledger::conversions::{ChangeRow, Evaluation};
use crate::ledger::rates::{self, Rate};
use crate::ledger::{Ledger, LedgerError};
use crate::worker::workspaces::Workspace;

/// The kind of a change that counts only under clock=cash.
pub(super) const FX: &str = "fx";

/// An order's money in the reporting currency.
pub(super) struct Money {
    basis: RevenueBasis,
    /// None: no rate is known for the order's day.
    pub(super) rate: Option<Rate>,
    order_day: i32,
    changes: Vec<ChangeRow>,
    assigned_value_minor: Option<i64>,
}

impl Money {
    pub(super) async fn new(
        ledger: &Ledger,
        workspace: &Workspace,
        settings: &Attribution,
        state: &OrderState,
    ) -> Result<Self, LedgerError> {
        let order = &state.order;
        let basis = RevenueBasis::from_setting(&settings.revenue_basis).unwrap_or(RevenueBasis::ExTax);
        let order_day = time::local_day(order.occurred_ms, &workspace.zone);
        let from: Currency = order.currency.parse().unwrap_or(workspace.currency);
        let to = workspace.currency;
        let rate_on = async |day| rates::rate(ledger, &from.to_string(), &to.to_string(), day).await;
        let rate = rate_on(order_day).await?;
        let mut changes = Vec::new();
        if let Some(rate) = rate {
            let converted =
                |minor, rate: Rate| money::convert(minor, from, to, rate.value).unwrap_or_default();
            let (mut net_own, mut net) = (0, 0);
            for movement in order::movements(state, basis) {
                let after = converted(movement.net_minor, rate);
                let day = time::local_day(movement.at_ms, &workspace.zone);
                changes.push(ChangeRow {
                    kind: movement.kind.as_str(),
                    refund_id: movement.refund_id.clone(),
                    amount_minor: after - net,
                    at_ms: movement.at_ms,
                    day,
                });
                // On its own day's rate a refund moves another amount; without one, the order's stands.
                if movement.kind != MovementKind::Revenue
                    && let Some(cash_rate) = rate_on(day).await?
                {
                    // As a difference of nets, so that equal rates differ by nothing and all parts
                    // of a full refund give back all that stood.
                    let cash = converted(movement.net_minor, cash_rate) - converted(net_own, cash_rate);
                    let difference = cash - (after - net);
                    if difference != 0 {
                        changes.push(ChangeRow {
                            kind: FX,
                            refund_id: movement.refund_id,
                            amount_minor: difference,
                            at_ms: movement.at_ms,
                            day,
                        });
                    }
                }
                (net_own, net) = (movement.net_minor, after);
            }
        }
        let assigned = settings.assigned_values.get(&order.event).filter(|_| order.event != "purchase");
        let assigned_value_minor = assigned.and_then(|text| money::parse_minor(text, to).ok());
        Ok(Self { basis: basis.possible_for(order), rate, order_day, changes, assigned_value_minor })
    }

    pub(super) fn evaluation(&self, state: &OrderState, workspace: &Workspace) -> Evaluation {
        let order = &state.order;
        let sum = |of: &dyn Fn(&ChangeRow) -> bool| -> Option<i64> {
            self.rate.map(|_| self.changes.iter().filter(|c| of(c)).map(|c| c.amount_minor).sum())
        };
        Evaluation {
            event: Some(order.event.clone()),
            occurred_ms: Some(order.occurred_ms),
            order_day: Some(self.order_day),
            currency: Some(match order.currency.as_str() {
                "" => workspace.currency.to_string(),
                currency => currency.to_owned(),
            }),
            total_minor: Some(order.total_minor),
            tax_minor: order.tax_minor,
            shipping_minor: order.shipping_minor,
            refunded_minor: Some(state.refunds.iter().map(|refund| refund.amount_minor).sum()),
            cost_of_goods_minor: order.cost_of_goods_minor,
            gross_minor: sum(&|change| change.kind == "revenue"),
            refunds_minor: sum(&|change| !matches!(change.kind, "revenue" | FX)).map(|minor| -minor),
            net_minor: sum(&|change| change.kind != FX),
            basis: Some(self.basis.as_str()),
            rate: self.rate.map(|rate| rate.value.normalize().to_string()),
            rate_day: self.rate.map(|rate| rate.day),
            assigned_value_minor: self.assigned_value_minor,
            renews: order.renews.clone(),
            changes: self.changes.clone(),
            ..Evaluation::default()
        }
    }
}
