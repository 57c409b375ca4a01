//! Puts an attribution report together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::costs::{self, Cost};
use super::reconcile::reconcile;
use super::report::{Report, Row};
use super::{Figures, Problem, ReportError, ReportRequest};
use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::ids::LinkId;
use crate::domain::money::Currency;
use crate::domain::time::{day_date, hour_of_week, now_ms, rfc3339};
use crate::ledger::reports::{self as sums, Amounts, Clicks, Clock, Dimension, Key, ReceivedOrders, Slice};
use crate::ledger::{Ledger, LedgerError, workspaces};

/// Milliseconds in a quarter of an hour.
const QUARTER_MS: i64 = 900_000;

/// The attribution report of a workspace; its own settings stand over `defaults`.
pub async fn attribution(
    ledger: &Ledger,
    workspace: &str,
    request: &ReportRequest,
    defaults: &Attribution,
) -> Result<Report, ReportError> {
    let found = workspaces::get(ledger, workspace).await?;
    let found = found.ok_or_else(|| ReportError::UnknownWorkspace(workspace.to_owned()))?;
    let damaged = |problem: String| LedgerError::Damaged(format!("workspace {workspace}: {problem}"));
    let zone = TimeZone::get(&found.timezone).map_err(|error| damaged(error.to_string()))?;
    let currency: Currency = found.currency.parse().map_err(|_| damaged(found.currency.clone()))?;
    let own: WorkspaceSettings =
        serde_json::from_str(&found.settings).map_err(|error| damaged(error.to_string()))?;
    let settings = &own.over_for(defaults, &request.event);
    let as_of_ms = now_ms();
    let used = sums::days(ledger, workspace).await?;
    let slice = request.slice(workspace, &zone, used, as_of_ms)?;

    let (rows, totals, mut problems) = figures(ledger, &slice, request, &zone, currency).await?;
    let orders = sums::received(ledger, &slice).await?;
    let rival_share = sums::rival_share(ledger, &slice, request.model.as_str()).await?;
    let moved = match slice.clock {
        Clock::Click => sums::moved(ledger, &slice, request.model.as_str()).await?,
        _ => (Amounts::default(), Amounts::default()),
    };
    let filtered = slice.filters.iter().any(|(dimension, _)| *dimension != Dimension::Source);
    let credited =
        Amounts { revenue_minor: totals.credits.revenue_minor, refunds_minor: totals.credits.refunds_minor };
    let (reconciliation, difference) = reconcile(&orders, rival_share, moved, credited, filtered);
    problems.extend(difference);
    problems.extend(order_problems(&orders, settings));
    let pending = sums::pending(ledger, workspace).await?;
    if pending > 0 {
        let detail = format!("received orders that are not evaluated yet: {pending}");
        problems.push(Problem { code: "pending", detail });
    }

    Ok(Report {
        by: request.by,
        model: request.model.as_str(),
        from: day_date(slice.from_day as i32),
        to: day_date(slice.to_day as i32),
        timezone: zone.iana_name().unwrap_or_default().to_owned(),
        currency,
        clock: slice.clock,
        filters: slice.filters.iter().map(|(d, key)| (*d, name(*d, key).unwrap_or_default())).collect(),
        event: slice.event.clone(),
        revenue_basis: revenue_basis(settings),
        as_of: rfc3339(as_of_ms),
        settings_hash: settings_hash(defaults, &found.settings),
        rows: rows_of(ledger, &slice, request.by, rows).await?,
        totals,
        reconciliation,
        problems,
    })
}

type Rows = BTreeMap<Key, Figures>;

/// The figures of all rows and of the whole.
async fn figures(
    ledger: &Ledger,
    slice: &Slice,
    request: &ReportRequest,
    zone: &TimeZone,
    currency: Currency,
) -> Result<(Rows, Figures, Vec<Problem>), ReportError> {
    let (by, model) = (request.by, request.model.as_str());
    let mut rows = Rows::new();
    let mut totals = Figures::default();
    // A key of the ledger is one row, but a set of tags is many and a quarter of an hour belongs to an hour.
    let keys_of = |key: &Key| -> Result<Vec<Key>, LedgerError> {
        Ok(match (by, key) {
            (Dimension::Tag, key) => match sums::tags_of(key)? {
                tags if tags.is_empty() => vec![Key::None],
                tags => tags.into_iter().map(Key::Text).collect(),
            },
            (Dimension::HourOfWeek, Key::Number(quarter)) => {
                vec![Key::Number(i64::from(hour_of_week(quarter * QUARTER_MS, zone)))]
            }
            _ => vec![key.clone()],
        })
    };
    if by != Dimension::Source {
        totals.clicks = Some(Clicks::default());
    }
    for (key, clicks) in sums::clicks(ledger, slice, by).await? {
        let keys = if by == Dimension::HourOfWeek { vec![key] } else { keys_of(&key)? };
        for key in keys {
            add_clicks(rows.entry(key).or_default().clicks.get_or_insert_default(), clicks);
        }
        add_clicks(totals.clicks.get_or_insert_default(), clicks);
    }
    for (key, credits) in sums::credits(ledger, slice, by, &[model]).await? {
        for figures in keys_of(&key)?.into_iter().map(Some).chain([None]) {
            let into = match figures {
                Some(key) => &mut rows.entry(key).or_default().credits,
                None => &mut totals.credits,
            };
            into.revenue_minor += credits[0].revenue_minor;
            into.refunds_minor += credits[0].refunds_minor;
            into.weight += credits[0].weight;
        }
    }
    for (key, assigned) in sums::assigned(ledger, slice, by, model).await? {
        let value = i128::from(assigned.value_minor) * i128::from(assigned.weight);
        for key in keys_of(&key)? {
            rows.entry(key).or_default().assigned_value += value;
        }
        totals.assigned_value += value;
    }
    let mut problems = Vec::new();
    if costs::are_known(slice, by) {
        let (by_row, missing) = costs::spread(ledger, slice, by, currency).await?;
        problems = missing;
        let mut whole = Cost::default();
        for (key, cost) in by_row {
            rows.entry(key).or_default().cost = Some(cost);
            whole.direct_minor += cost.direct_minor;
            whole.shared_minor += cost.shared_minor;
        }
        totals.cost = Some(whole);
    }
    if by != Dimension::HourOfWeek {
        for (key, conversions) in assisted(ledger, slice, by).await? {
            rows.entry(key).or_default().assisted = Some(conversions);
        }
        let whole = sums::assisted(ledger, slice, None).await?;
        totals.assisted = Some(whole.iter().map(|(_, conversions)| conversions).sum());
    }
    for figures in rows.values_mut() {
        figures.clicks = figures.clicks.or(totals.clicks.map(|_| Clicks::default()));
        figures.cost = figures.cost.or(totals.cost.map(|_| Cost::default()));
        figures.assisted = figures.assisted.or(totals.assisted.map(|_| 0));
    }
    Ok((rows, totals, problems))
}

fn add_clicks(into: &mut Clicks, clicks: Clicks) {
    into.human += clicks.human;
    into.uniques += clicks.uniques;
    into.bots += clicks.bots;
    into.recorded += clicks.recorded;
}

async fn assisted(ledger: &Ledger, slice: &Slice, by: Dimension) -> Result<Vec<(Key, i64)>, LedgerError> {
    if by != Dimension::Tag {
        return sums::assisted(ledger, slice, Some(by)).await;
    }
    let mut touched: BTreeSet<(i64, String)> = BTreeSet::new();
    let mut last: BTreeSet<(i64, String)> = BTreeSet::new();
    for (conversion, key, is_last) in sums::touches(ledger, slice, by).await? {
        let into = if is_last { &mut last } else { &mut touched };
        into.extend(sums::tags_of(&key)?.into_iter().map(|tag| (conversion, tag)));
    }
    let mut by_tag: BTreeMap<String, i64> = BTreeMap::new();
    for (_, tag) in touched.difference(&last) {
        *by_tag.entry(tag.clone()).or_default() += 1;
    }
    Ok(by_tag.into_iter().map(|(tag, conversions)| (Key::Text(tag), conversions)).collect())
}

fn order_problems(orders: &[ReceivedOrders], settings: &Attribution) -> Vec<Problem> {
    let mut problems = Vec::new();
    let missing: i64 =
        orders.iter().filter(|o| o.reason.as_deref() == Some("missing_rate")).map(|o| o.count).sum();
    if missing > 0 {
        let detail = format!("orders excluded, since no exchange rate is known for their day: {missing}");
        problems.push(Problem { code: "missing_rate", detail });
    }
    let wanted = revenue_basis(settings);
    let mut fallen_back: BTreeMap<&str, i64> = BTreeMap::new();
    for order in orders.iter().filter(|order| order.status != "excluded") {
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

fn revenue_basis(settings: &Attribution) -> &'static str {
    use crate::attribution::order::RevenueBasis;
    // The configuration was checked; an unknown word would be a new one without its meaning here.
    RevenueBasis::from_setting(&settings.revenue_basis).unwrap_or(RevenueBasis::ExTax).as_str()
}

/// Over all settings by name and value, as their debug text gives them, and the workspace's own.
fn settings_hash(defaults: &Attribution, own: &str) -> String {
    blake3::hash(format!("{defaults:?} {own}").as_bytes()).to_hex()[..16].to_owned()
}

/// Rows with names and labels: time in its order, others by net revenue, the largest first.
async fn rows_of(ledger: &Ledger, slice: &Slice, by: Dimension, rows: Rows) -> Result<Vec<Row>, LedgerError> {
    let keys: Vec<Key> = rows.keys().cloned().collect();
    let mut labels: BTreeMap<Key, String> =
        sums::labels(ledger, &slice.workspace, by, &keys).await?.into_iter().collect();
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(key, figures)| Row { name: name(by, &key), label: labels.remove(&key), key, figures })
        .collect();
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
        Key::Number(hour) if by == Dimension::HourOfWeek => hour.to_string(),
        Key::Number(day) => day_date(i32::try_from(*day).ok()?).to_string(),
    })
}
