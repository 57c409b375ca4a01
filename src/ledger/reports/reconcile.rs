//! Every received order and where its money went.

use sqlx::Row;

use super::{Clock, Dimension, Query, Slice};
use crate::ledger::{Ledger, LedgerError};

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedOrders {
    pub status: String,
    pub reason: Option<String>,
    /// The revenue basis that their amounts really have.
    pub basis: Option<String>,
    pub count: i64,
    pub amounts: Amounts,
}

/// Orders by status and reason: those of the slice's days, and their money by the slice's clock
/// (by the click clock as by the order clock, since an unattributed order has no click).
pub async fn received(ledger: &Ledger, slice: &Slice) -> Result<Vec<ReceivedOrders>, LedgerError> {
    let mut orders = Vec::new();
    let cash = slice.clock == Clock::Cash;
    let money = if cash { "0, 0" } else { "SUM(v.gross_minor), SUM(v.net_minor)" };
    fetch(ledger, slice, &format!("COUNT(*), {money}"), "conversions v", "v.order_day", &mut orders).await?;
    if cash {
        // A refund may fall into the slice while its order does not: a group of its own then.
        let net = "SUM(CASE WHEN x.kind = 'revenue' THEN x.amount_minor ELSE 0 END), SUM(x.amount_minor)";
        let tables = "changes x JOIN conversions v ON v.id = x.conversion";
        fetch(ledger, slice, &format!("0, {net}"), tables, "x.day", &mut orders).await?;
    }
    Ok(orders)
}

async fn fetch(
    ledger: &Ledger,
    slice: &Slice,
    sums: &str,
    tables: &str,
    day: &str,
    into: &mut Vec<ReceivedOrders>,
) -> Result<(), LedgerError> {
    let sums: Vec<String> = sums.split(", ").enumerate().map(|(n, sum)| format!("{sum} AS sum{n}")).collect();
    // By day first: SQLite reads those in the order of an index, and sorts the few that are left.
    let mut query = Query::new(&format!(
        "SELECT g.status, g.reason, g.basis, COALESCE(CAST(SUM(g.sum0) AS BIGINT), 0),
           COALESCE(CAST(SUM(g.sum1) AS BIGINT), 0), COALESCE(CAST(SUM(g.sum2) AS BIGINT), 0)
         FROM (SELECT v.status, v.reason, v.basis, {} FROM {tables}",
        sums.join(", ")
    ));
    query.push(" WHERE v.workspace = ").text(&slice.workspace);
    query.push(&format!(" AND {day} >= ")).number(slice.from_day);
    query.push(&format!(" AND {day} < ")).number(slice.to_day);
    // Said like this, the event stays a part of that order.
    query.push(" AND v.status IS NOT NULL AND COALESCE(v.event, '') = ").text(&slice.event);
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND v.source = ").key(source);
    }
    query.push(&format!(" GROUP BY {day}, v.event, v.status, v.reason, v.basis) AS g GROUP BY 1, 2, 3"));
    for row in query.fetch(ledger).await? {
        let (revenue_minor, net_minor): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
        into.push(ReceivedOrders {
            status: row.try_get(0)?,
            reason: row.try_get(1)?,
            basis: row.try_get(2)?,
            count: row.try_get(3)?,
            amounts: Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor },
        });
    }
    Ok(())
}

/// What rival touches take of the attributed orders, per model's column.
pub async fn rival_share(
    ledger: &Ledger,
    slice: &Slice,
    model: &'static str,
) -> Result<Amounts, LedgerError> {
    let mut query = credit_sums(model);
    query.push(" JOIN conversions v ON v.id = g.conversion AND v.status = 'attributed'");
    let day = if slice.clock == Clock::Cash { "g.cash_day" } else { "g.order_day" };
    and_scope(&mut query, slice, day);
    query.push(" AND g.link IS NULL");
    one(ledger, query).await
}

/// For the click clock: (orders of other days whose click is in the slice, orders of the slice whose
/// click is not).
pub async fn moved(
    ledger: &Ledger,
    slice: &Slice,
    model: &'static str,
) -> Result<(Amounts, Amounts), LedgerError> {
    let mut moved = [Amounts::default(); 2];
    for (sum, (inside, outside)) in
        moved.iter_mut().zip([("g.click_day", "g.order_day"), ("g.order_day", "g.click_day")])
    {
        let mut query = credit_sums(model);
        and_scope(&mut query, slice, inside);
        query.push(&format!(" AND g.link IS NOT NULL AND ({outside} < ")).number(slice.from_day);
        query.push(&format!(" OR {outside} >= ")).number(slice.to_day).push(")");
        *sum = one(ledger, query).await?;
    }
    Ok((moved[0], moved[1]))
}

fn credit_sums(model: &'static str) -> Query {
    Query::new(&format!(
        "SELECT COALESCE(CAST(SUM(CASE WHEN g.kind = 'revenue' THEN g.{model} ELSE 0 END) AS BIGINT), 0),
                COALESCE(CAST(SUM(g.{model}) AS BIGINT), 0)
         FROM credits g"
    ))
}

fn and_scope(query: &mut Query, slice: &Slice, day: &str) {
    query.push(" WHERE g.workspace = ").text(&slice.workspace);
    query.push(&format!(" AND {day} >= ")).number(slice.from_day);
    query.push(&format!(" AND {day} < ")).number(slice.to_day);
    query.push(" AND g.event = ").text(&slice.event);
    if slice.clock != Clock::Cash {
        query.push(" AND g.kind <> 'fx'");
    }
    if let Some(source) = slice.filter(Dimension::Source) {
        query.push(" AND g.source = ").key(source);
    }
}

async fn one(ledger: &Ledger, query: Query) -> Result<Amounts, LedgerError> {
    let rows = query.fetch(ledger).await?;
    let Some(row) = rows.first() else { return Ok(Amounts::default()) };
    let (revenue_minor, net_minor): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor })
}
