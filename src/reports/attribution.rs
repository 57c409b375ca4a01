//! Puts an attribution report together.

use std::collections::BTreeMap;

use super::frame::{Frame, revenue_basis};
use super::gather::{Gathered, Measured, gather};
use super::reconcile::reconcile;
use super::report::{Report, Row};
use super::{Problem, ReportError, ReportRequest};
use crate::config::Attribution;
use crate::domain::ids::LinkId;
use crate::domain::time::{day_date, now_ms, rfc3339};
use crate::ledger::packs::Status;
use crate::ledger::reports::{self as sums, Amounts, Dimension, Key, ReceivedOrders, Slice};
use crate::ledger::{Ledger, LedgerError};

/// The attribution report of a workspace; its own settings stand over `defaults`.
pub async fn attribution(
    ledger: &Ledger,
    workspace: &str,
    request: &ReportRequest,
    defaults: &Attribution,
) -> Result<Report, ReportError> {
    let frame = Frame::open(ledger, workspace, &request.event, defaults).await?;
    let Frame { zone, settings, .. } = &frame;
    let as_of_ms = now_ms();
    let used = sums::days(ledger, workspace).await?;
    let slice = request.slice(workspace, zone, used, as_of_ms)?;

    let pending = async { Ok::<_, ReportError>(sums::pending(ledger, workspace).await?) };
    let (Gathered { rows, totals, models, received: orders, rival, moved, mut problems }, pending) =
        tokio::try_join!(gather(ledger, &slice, request, &frame), pending)?;
    let filtered = slice.filters.iter().any(|(dimension, _)| *dimension != Dimension::Source);
    let credits = totals.figures.credits;
    let credited = Amounts { revenue_minor: credits.revenue_minor, refunds_minor: credits.refunds_minor };
    let (reconciliation, difference) = reconcile(&orders, rival, moved, credited, filtered);
    problems.extend(difference);
    problems.extend(missing_rates(ledger, &slice, &orders).await?);
    problems.extend(basis_fallback(&orders, settings));
    if pending > 0 {
        let detail = format!("received orders that are not evaluated yet: {pending}");
        problems.push(Problem { code: "pending", detail });
    }

    Ok(Report {
        by: request.by,
        model: request.model,
        models,
        from: day_date(slice.from_day as i32),
        to: day_date(slice.to_day as i32),
        timezone: frame.timezone(),
        currency: frame.currency,
        clock: slice.clock,
        filters: slice.filters.iter().map(|(d, key)| (*d, name(*d, key).unwrap_or_default())).collect(),
        event: slice.event.clone(),
        revenue_basis: revenue_basis(settings),
        as_of: rfc3339(as_of_ms),
        settings_hash: frame.settings_hash,
        rows: rows_of(ledger, &slice, request.by, rows).await?,
        totals: totals.figures,
        totals_by_model: totals.by_model,
        reconciliation,
        problems,
    })
}

/// Per currency: orders that no exchange rate lets count, and their days.
async fn missing_rates(
    ledger: &Ledger,
    slice: &Slice,
    orders: &[ReceivedOrders],
) -> Result<Vec<Problem>, LedgerError> {
    if orders.iter().all(|group| group.reason.as_deref() != Some("missing_rate")) {
        return Ok(Vec::new());
    }
    let problem = |missing: sums::MissingRate| {
        let date = |day: i64| day_date(i32::try_from(day).unwrap_or(i32::MAX));
        let detail = format!(
            "orders in {} excluded for want of an exchange rate: {}, on {} days from {} to {}; PUT /api/v1/rates mends it",
            missing.currency,
            missing.orders,
            missing.days,
            date(missing.first_day),
            date(missing.last_day)
        );
        Problem { code: "missing_rate", detail }
    };
    Ok(sums::missing_rates(ledger, slice).await?.into_iter().map(problem).collect())
}

fn basis_fallback(orders: &[ReceivedOrders], settings: &Attribution) -> Vec<Problem> {
    let mut problems = Vec::new();
    let wanted = revenue_basis(settings);
    let mut fallen_back: BTreeMap<&str, i64> = BTreeMap::new();
    for order in orders.iter().filter(|order| order.status != Status::Excluded) {
        let basis = order.basis.as_deref().filter(|basis| *basis != wanted);
        if let Some(basis) = basis.filter(|_| order.amounts.revenue_minor != 0) {
            *fallen_back.entry(basis).or_default() += order.count;
        }
    }
    for (basis, count) in fallen_back.into_iter().filter(|(_, count)| *count > 0) {
        let detail = format!("orders on the basis {basis}, since their platform states no more: {count}");
        problems.push(Problem { code: "basis_fallback", detail });
    }
    problems
}

/// Rows with names and labels: time in its order, others by net revenue, the largest first.
async fn rows_of(
    ledger: &Ledger,
    slice: &Slice,
    by: Dimension,
    rows: BTreeMap<Key, Measured>,
) -> Result<Vec<Row>, LedgerError> {
    let keys: Vec<Key> = rows.keys().cloned().collect();
    let mut labels: BTreeMap<Key, String> =
        sums::labels(ledger, &slice.workspace, by, &keys).await?.into_iter().collect();
    let row = |(key, Measured { figures, by_model })| {
        let label = labels.remove(&key);
        Row { name: name(by, &key), label, key, figures, by_model }
    };
    let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
    if !by.is_time() {
        rows.sort_by_key(|row| std::cmp::Reverse(row.figures.net_minor()));
    }
    Ok(rows)
}

fn name(by: Dimension, key: &Key) -> Option<String> {
    Some(match key {
        Key::None => return None,
        Key::Unallocated => "unallocated".to_owned(),
        Key::Text(text) => text.clone(),
        Key::Number(id) if by == Dimension::Link => LinkId::from_i64(*id).ok()?.to_string(),
        Key::Number(hour) if matches!(by, Dimension::HourOfWeek | Dimension::PublishedHour) => {
            hour.to_string()
        }
        Key::Number(day) => day_date(i32::try_from(*day).ok()?).to_string(),
    })
}
