//! A report of a closed period, frozen as it was, and compared with what it would say today.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Cell, ReportError, ReportRequest, Sheet, SheetRow, attribution};
use crate::config::Attribution;
use crate::domain::money::{Currency, format_minor};
use crate::domain::time::{day_number, local_day, now_ms, parse_rfc3339, rfc3339};
use crate::ledger::snapshots::{self, SnapshotRow};
use crate::ledger::{Ledger, LedgerError};

/// The longest report that is kept, in bytes of JSON.
const REPORT_MAX: usize = 16 << 20;

/// What adds up over the rows, so that a change can be told.
const COMPARED: [&str; 6] = ["clicks", "conversions", "revenue", "refunds", "net_revenue", "cost"];

/// What fits a table for the eye.
const SHOWN: [(&str, &str); 6] = [
    ("net_revenue_then", "net then"),
    ("net_revenue_now", "net now"),
    ("net_revenue_change", "change"),
    ("refunds_change", "of it refunds"),
    ("cost_change", "cost change"),
    ("clicks_change", "clicks change"),
];

/// Freezes the attribution report that `pairs` ask for, and says what was kept.
///
/// Errors: a period that is not given or not over, and orders of it that wait to be evaluated.
pub async fn freeze(
    ledger: &Ledger,
    workspace: &str,
    name: &str,
    pairs: &[(String, String)],
    defaults: &Attribution,
) -> Result<SnapshotRow, ReportError> {
    let request = ReportRequest::parse(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    for (field, bound) in [("from", request.from), ("to", request.to)] {
        if bound.is_none() {
            return Err(ReportError::invalid(
                field,
                "a snapshot is of one period: give its first day and the day after its last",
            ));
        }
    }
    let report = attribution(ledger, workspace, &request, defaults).await?;
    let as_of_ms = parse_rfc3339(&report.as_of).unwrap_or_else(|_| now_ms());
    let zone = jiff::tz::TimeZone::get(&report.timezone)
        .map_err(|error| LedgerError::Damaged(format!("zone {}: {error}", report.timezone)))?;
    if day_number(report.to) > local_day(as_of_ms, &zone) {
        return Err(ReportError::invalid("to", "the period is not over: its last day must have passed"));
    }
    if report.problems.iter().any(|problem| problem.code == "pending") {
        return Err(ReportError::invalid(
            "to",
            "orders wait to be evaluated; ask again in a moment, or look at why they wait",
        ));
    }
    let text = serde_json::to_string(&report).map_err(|error| LedgerError::Damaged(error.to_string()))?;
    if text.len() > REPORT_MAX {
        return Err(ReportError::invalid("by", "the report is too long to keep; choose fewer rows"));
    }
    let row = SnapshotRow {
        workspace: workspace.to_owned(),
        id: Uuid::now_v7().simple().to_string(),
        name: name.to_owned(),
        query: url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish(),
        from_day: i64::from(day_number(report.from)),
        to_day: i64::from(day_number(report.to)),
        as_of_ms,
        settings_hash: report.settings_hash,
        report: text,
    };
    let mut tx = ledger.begin().await?;
    snapshots::insert(&mut tx, &row).await?;
    tx.commit().await.map_err(LedgerError::from)?;
    Ok(row)
}

/// The snapshot's figures against today's, row by row, and what has happened since.
pub async fn difference(
    ledger: &Ledger,
    snapshot: &SnapshotRow,
    defaults: &Attribution,
) -> Result<Sheet, ReportError> {
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(snapshot.query.as_bytes()).into_owned().collect();
    let request = ReportRequest::parse(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let report = attribution(ledger, &snapshot.workspace, &request, defaults).await?;
    let damaged =
        |error: serde_json::Error| LedgerError::Damaged(format!("snapshot {}: {error}", snapshot.id));
    let then: Value = serde_json::from_str(&snapshot.report).map_err(damaged)?;
    let now = serde_json::to_value(&report).map_err(damaged)?;
    let since = snapshots::since(ledger, snapshot, &request.event).await?;

    let why = json!({
        "late_orders": since.late_orders,
        "late_orders_net_revenue": format_minor(since.late_net_minor, report.currency),
        "orders_changed_by_later_deliveries": since.changed_orders,
        "orders_evaluated_again": since.evaluated_again,
        "costs_booked": since.costs_booked,
        "settings_changed": snapshot.settings_hash != report.settings_hash,
    });
    Ok(Sheet {
        head: vec![
            ("snapshot", json!(snapshot.id)),
            ("name", json!(snapshot.name)),
            ("by", now["by"].clone()),
            ("model", now["model"].clone()),
            ("from", now["from"].clone()),
            ("to", now["to"].clone()),
            ("currency", now["currency"].clone()),
            ("then", json!(rfc3339(snapshot.as_of_ms))),
            ("now", json!(report.as_of)),
        ],
        columns: COMPARED
            .iter()
            .flat_map(|column| ["then", "now", "change"].map(|when| format!("{column}_{when}")))
            .collect(),
        rows: rows(&then, &now, report.currency),
        shown: SHOWN.map(|(column, title)| (column.to_owned(), title.to_owned())).to_vec(),
        totals: Some(cells(&then["totals"], &now["totals"], report.currency)),
        foot: vec![("why", why), ("reconciliation", reconciliation(&then, &now, report.currency))],
        problems: report.problems,
    })
}

/// Of all rows that either has, those that moved most first.
fn rows(then: &Value, now: &Value, currency: Currency) -> Vec<SheetRow> {
    let mut keys: BTreeMap<Option<String>, (Value, Value)> = BTreeMap::new();
    let of = |report: &Value| report["rows"].as_array().cloned().unwrap_or_default();
    let key = |row: &Value| row["key"].as_str().map(str::to_owned);
    for row in of(then) {
        let key = key(&row);
        keys.entry(key).or_default().0 = row;
    }
    for row in of(now) {
        let key = key(&row);
        keys.entry(key).or_default().1 = row;
    }
    let moved = |(then, now): &(Value, Value)| {
        (number(&now["net_revenue"]).unwrap_or_default() - number(&then["net_revenue"]).unwrap_or_default())
            .abs()
    };
    let mut all: Vec<_> = keys.into_iter().collect();
    all.sort_by_key(|(_, both)| std::cmp::Reverse(moved(both)));
    let row = |(name, (then, now)): (Option<String>, (Value, Value))| SheetRow {
        label: [&now, &then].iter().find_map(|row| row["label"].as_str()).map(str::to_owned),
        cells: cells(&then, &now, currency),
        name,
    };
    all.into_iter().map(row).collect()
}

/// Then, now and the change of each of [`COMPARED`]. A row that is not there has 0 of everything.
fn cells(then: &Value, now: &Value, currency: Currency) -> Vec<Cell> {
    let mut cells = Vec::new();
    for column in COMPARED {
        let value = |row: &Value| if row.is_null() { Some(Decimal::ZERO) } else { number(&row[column]) };
        let (then, now) = (value(then), value(now));
        let change = then.zip(now).map(|(then, now)| now - then);
        cells.extend([then, now, change].map(|number| cell(column, number, currency)));
    }
    cells
}

fn cell(column: &str, number: Option<Decimal>, currency: Currency) -> Cell {
    let Some(mut number) = number else { return Cell::Null };
    match column {
        "clicks" => Cell::Count(i64::try_from(number).unwrap_or_default()),
        "conversions" => {
            number.rescale(4);
            Cell::Number(number.to_string())
        }
        _ => {
            number.rescale(currency.exponent());
            Cell::Money(number.to_string())
        }
    }
}

/// A figure as reports write it: a number, or money as text.
fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Orders and money of each line of the reconciliation, then, now and their difference.
fn reconciliation(then: &Value, now: &Value, currency: Currency) -> Value {
    let mut lines = Map::new();
    let mut add = |name: String, path: &[&str]| {
        let at = |report: &Value, start: &[&str], end: &[&str]| {
            let steps = start.iter().chain(path).chain(end);
            number(steps.fold(report, |value, step| &value[*step])).unwrap_or_default()
        };
        let orders = |report| at(report, &["reconciliation"], &[]);
        let net = |report| at(report, &["reconciliation", "amounts"], &["net_revenue"]);
        let refunds = |report| at(report, &["reconciliation", "amounts"], &["refunds"]);
        let money = |mut number: Decimal| {
            number.rescale(currency.exponent());
            number.to_string()
        };
        let line = json!({
            "orders_change": i64::try_from(orders(now) - orders(then)).unwrap_or_default(),
            "net_revenue_change": money(net(now) - net(then)),
            "refunds_change": money(refunds(now) - refunds(then)),
        });
        lines.insert(name, line);
    };
    add("orders_received".to_owned(), &["orders_received"]);
    add("attributed".to_owned(), &["attributed"]);
    for status in ["unattributed", "excluded"] {
        let reasons = |report: &Value| {
            let found = report["reconciliation"][status].as_object();
            found.into_iter().flat_map(|lines| lines.keys().cloned()).collect::<Vec<_>>()
        };
        let both: std::collections::BTreeSet<String> =
            reasons(then).into_iter().chain(reasons(now)).collect();
        for reason in both {
            add(format!("{status}: {reason}"), &[status, &reason]);
        }
    }
    Value::Object(lines)
}
