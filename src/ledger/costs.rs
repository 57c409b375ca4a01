//! Costs as they are booked.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    pub workspace: String,
    pub id: String,
    /// post | link | campaign | network
    pub scope: String,
    /// The id of the post, the text form of the link's id, or the name.
    pub target: String,
    /// Minor units of `currency`.
    pub amount_minor: i64,
    pub currency: String,
    pub from_day: i64,
    /// Exclusive.
    pub to_day: i64,
    pub kind: String,
    pub note: Option<String>,
    pub created_ms: i64,
}

const COLUMNS: &str =
    "workspace, id, scope, target, amount_minor, currency, from_day, to_day, kind, note, created_ms";

fn read(row: &AnyRow) -> Result<CostRow, LedgerError> {
    Ok(CostRow {
        workspace: row.try_get(0)?,
        id: row.try_get(1)?,
        scope: row.try_get(2)?,
        target: row.try_get(3)?,
        amount_minor: row.try_get(4)?,
        currency: row.try_get(5)?,
        from_day: row.try_get(6)?,
        to_day: row.try_get(7)?,
        kind: row.try_get(8)?,
        note: row.try_get(9)?,
        created_ms: row.try_get(10)?,
    })
}

/// Writes the whole row, new or anew; the time of its making stays.
pub async fn put(tx: &mut Tx, cost: &CostRow) -> Result<(), LedgerError> {
    let text = format!(
        "INSERT INTO costs ({COLUMNS}) VALUES {} ON CONFLICT (workspace, id) DO UPDATE SET scope = excluded.scope, \
         target = excluded.target, amount_minor = excluded.amount_minor, currency = excluded.currency, \
         from_day = excluded.from_day, to_day = excluded.to_day, kind = excluded.kind, note = excluded.note",
        sql::values(tx, 1, 11)
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(cost.workspace.clone())
        .bind(cost.id.clone())
        .bind(cost.scope.clone())
        .bind(cost.target.clone())
        .bind(cost.amount_minor)
        .bind(cost.currency.clone())
        .bind(cost.from_day)
        .bind(cost.to_day)
        .bind(cost.kind.clone())
        .bind(cost.note.clone())
        .bind(cost.created_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A cost, locked by the transaction's first write.
pub async fn get_in(tx: &mut Tx, workspace: &str, id: &str) -> Result<Option<CostRow>, LedgerError> {
    let text = format!("SELECT {COLUMNS} FROM costs WHERE workspace = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(read).transpose()
}

#[derive(Debug, Clone, Default)]
pub struct CostFilter {
    pub workspace: String,
    pub id: Option<String>,
    /// (scope, target)
    pub of: Option<(String, String)>,
    pub kind: Option<String>,
    /// Costs with a day from here on.
    pub from_day: Option<i64>,
    /// Costs with a day before this.
    pub to_day: Option<i64>,
    /// Id of the last cost seen.
    pub after: String,
    pub limit: i64,
}

/// By id.
pub async fn list(ledger: &Ledger, filter: &CostFilter) -> Result<Vec<CostRow>, LedgerError> {
    let mut conditions = vec!["workspace = $1".to_owned(), "id > $2".to_owned()];
    let mut texts = vec![filter.workspace.clone(), filter.after.clone()];
    let (scope, target) = filter.of.clone().unzip();
    for (column, value) in
        [("id", &filter.id), ("scope", &scope), ("target", &target), ("kind", &filter.kind)]
    {
        if let Some(value) = value {
            texts.push(value.clone());
            conditions.push(format!("{column} = ${}", texts.len()));
        }
    }
    let mut numbers = Vec::new();
    for (condition, day) in [("to_day >", filter.from_day), ("from_day <", filter.to_day)] {
        if let Some(day) = day {
            numbers.push(day);
            conditions.push(format!("{condition} ${}", texts.len() + numbers.len()));
        }
    }
    numbers.push(filter.limit);
    let text = format!(
        "SELECT {COLUMNS} FROM costs WHERE {} ORDER BY id LIMIT ${}",
        conditions.join(" AND "),
        texts.len() + numbers.len()
    );
    let query = texts.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, text| query.bind(text));
    let query = numbers.into_iter().fold(query, |query, number| query.bind(number));
    query.fetch_all(&ledger.read).await?.iter().map(read).collect()
}

/// Whether it was there.
pub async fn delete(tx: &mut Tx, workspace: &str, id: &str) -> Result<bool, LedgerError> {
    let done = sqlx::query("DELETE FROM costs WHERE workspace = $1 AND id = $2")
        .bind(workspace.to_owned())
        .bind(id.to_owned())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}
