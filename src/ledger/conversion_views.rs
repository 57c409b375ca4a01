//! Conversions as people look at them: how each was matched, its journey, and what every model credits.

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Executor, Row};

use super::{Ledger, LedgerError, Tx};
use crate::intake::fact::Says;

#[derive(Debug, Clone)]
pub struct ConversionRow {
    pub id: i64,
    pub source: String,
    pub platform: Option<String>,
    pub order_id: String,
    pub is_due: bool,
    pub received_ms: i64,
    pub event: Option<String>,
    pub status: Option<String>,
    pub reason: Option<String>,
    pub match_method: Option<String>,
    pub runners_up: Vec<String>,
    pub occurred_ms: Option<i64>,
    pub order_day: Option<i64>,
    pub currency: Option<String>,
    pub total_minor: Option<i64>,
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    pub refunded_minor: Option<i64>,
    pub cost_of_goods_minor: Option<i64>,
    pub gross_minor: Option<i64>,
    pub refunds_minor: Option<i64>,
    pub net_minor: Option<i64>,
    pub basis: Option<String>,
    pub rate: Option<String>,
    pub rate_day: Option<i64>,
    pub assigned_value_minor: Option<i64>,
    pub renews: Option<String>,
}

const SELECT: &str = "SELECT c.id, c.source, s.platform, c.order_id, c.due, c.received_ms, c.event, c.status, c.reason, \
     c.match_method, c.runners_up, c.occurred_ms, c.order_day, c.currency, c.total_minor, c.tax_minor, \
     c.shipping_minor, c.refunded_minor, c.cost_of_goods_minor, c.gross_minor, c.refunds_minor, c.net_minor, \
     c.basis, c.rate, c.rate_day, c.assigned_value_minor, c.renews \
     FROM conversions c LEFT JOIN sources s ON s.id = c.source";

fn read(row: &AnyRow) -> Result<ConversionRow, LedgerError> {
    let id = row.try_get(0)?;
    let runners_up: Option<String> = row.try_get(10)?;
    let runners_up = runners_up
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| LedgerError::Damaged(format!("runners-up of conversion {id}: {error}")))?;
    Ok(ConversionRow {
        id,
        source: row.try_get(1)?,
        platform: row.try_get(2)?,
        order_id: row.try_get(3)?,
        is_due: row.try_get::<i64, _>(4)? > 0,
        received_ms: row.try_get(5)?,
        event: row.try_get(6)?,
        status: row.try_get(7)?,
        reason: row.try_get(8)?,
        match_method: row.try_get(9)?,
        runners_up: runners_up.unwrap_or_default(),
        occurred_ms: row.try_get(11)?,
        order_day: row.try_get(12)?,
        currency: row.try_get(13)?,
        total_minor: row.try_get(14)?,
        tax_minor: row.try_get(15)?,
        shipping_minor: row.try_get(16)?,
        refunded_minor: row.try_get(17)?,
        cost_of_goods_minor: row.try_get(18)?,
        gross_minor: row.try_get(19)?,
        refunds_minor: row.try_get(20)?,
        net_minor: row.try_get(21)?,
        basis: row.try_get(22)?,
        rate: row.try_get(23)?,
        rate_day: row.try_get(24)?,
        assigned_value_minor: row.try_get(25)?,
        renews: row.try_get(26)?,
    })
}

#[derive(Debug, Clone, Default)]
pub struct ConversionFilter {
    pub workspace: String,
    pub status: Option<String>,
    pub reason: Option<String>,
    pub event: Option<String>,
    pub source: Option<String>,
    pub order_id: Option<String>,
    pub from_day: Option<i64>,
    /// Exclusive.
    pub to_day: Option<i64>,
    /// Id of the last conversion seen.
    pub before: Option<i64>,
    pub limit: i64,
}

/// By id, downwards. What a source of evidence calls an order is none.
pub async fn list(ledger: &Ledger, filter: &ConversionFilter) -> Result<Vec<ConversionRow>, LedgerError> {
    let of_record = "COALESCE(s.role, 'of_record') = 'of_record'";
    let mut conditions = vec![of_record.to_owned(), "c.workspace = $1".to_owned()];
    let mut texts = vec![filter.workspace.clone()];
    for (column, value) in [
        ("status", &filter.status),
        ("reason", &filter.reason),
        ("event", &filter.event),
        ("source", &filter.source),
        ("order_id", &filter.order_id),
    ] {
        if let Some(value) = value {
            texts.push(value.clone());
            conditions.push(format!("c.{column} = ${}", texts.len()));
        }
    }
    let mut numbers = Vec::new();
    for (condition, value) in
        [("c.order_day >=", filter.from_day), ("c.order_day <", filter.to_day), ("c.id <", filter.before)]
    {
        if let Some(value) = value {
            numbers.push(value);
            conditions.push(format!("{condition} ${}", texts.len() + numbers.len()));
        }
    }
    numbers.push(filter.limit);
    let text = format!(
        "{SELECT} WHERE {} ORDER BY c.id DESC LIMIT ${}",
        conditions.join(" AND "),
        texts.len() + numbers.len()
    );
    let query = texts.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, text| query.bind(text));
    let query = numbers.into_iter().fold(query, |query, number| query.bind(number));
    query.fetch_all(&ledger.read).await?.iter().map(read).collect()
}

/// One conversion as it stands inside a transaction.
pub async fn of(tx: &mut Tx, conversion: i64) -> Result<Option<ConversionRow>, LedgerError> {
    let text = format!("{SELECT} WHERE c.id = $1");
    let row = sqlx::query(AssertSqlSafe(text)).bind(conversion).fetch_optional(&mut **tx).await?;
    row.as_ref().map(read).transpose()
}

/// A touch with what its link stood for then, and what it is credited over all changes.
#[derive(Debug, Clone)]
pub struct CreditedTouchRow {
    pub n: i64,
    pub at_ms: i64,
    pub via: String,
    pub link: Option<i64>,
    pub click: Option<String>,
    pub channel: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub is_counted: bool,
    pub domain: Option<String>,
    pub slug: Option<String>,
    pub post: Option<String>,
    pub network: Option<String>,
    pub campaign: Option<String>,
    /// By model in the order of `Model::ALL`: minor units of the reporting currency.
    pub amounts_minor: [i64; 5],
    /// Billionths of the conversion.
    pub weights: [i64; 5],
}

/// In order.
pub async fn touches<'e>(
    executor: impl Executor<'e, Database = Any>,
    conversion: i64,
) -> Result<Vec<CreditedTouchRow>, LedgerError> {
    let sums: Vec<String> = ["", "_weight"]
        .iter()
        .flat_map(|suffix| {
            ["first_touch", "last_touch", "linear", "time_decay", "position_based"].map(|model| {
                format!(
                    "(SELECT CAST(COALESCE(SUM(k.{model}{suffix}), 0) AS BIGINT) FROM credits k \
                     WHERE k.conversion = t.conversion AND k.n = t.n)"
                )
            })
        })
        .collect();
    let text = format!(
        "SELECT t.n, t.at_ms, t.via, t.link, t.click, t.channel, t.country, t.device, t.counted, l.domain, l.slug, \
         r.post, COALESCE(r.network, p.network), COALESCE(r.campaign, p.campaign), {} \
         FROM touches t LEFT JOIN links l ON l.id = t.link \
         LEFT JOIN link_revisions r ON r.link = t.link AND r.revision = t.revision \
         LEFT JOIN posts p ON p.workspace = r.workspace AND p.id = r.post \
         WHERE t.conversion = $1 ORDER BY t.n",
        sums.join(", ")
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(conversion).fetch_all(executor).await?;
    rows.iter()
        .map(|row| {
            let mut models = [0i64; 10];
            for (i, value) in models.iter_mut().enumerate() {
                *value = row.try_get(14 + i)?;
            }
            let [a, b, c, d, e, v, w, x, y, z] = models;
            Ok(CreditedTouchRow {
                n: row.try_get(0)?,
                at_ms: row.try_get(1)?,
                via: row.try_get(2)?,
                link: row.try_get(3)?,
                click: row.try_get(4)?,
                channel: row.try_get(5)?,
                country: row.try_get(6)?,
                device: row.try_get(7)?,
                is_counted: row.try_get::<i64, _>(8)? != 0,
                domain: row.try_get(9)?,
                slug: row.try_get(10)?,
                post: row.try_get(11)?,
                network: row.try_get(12)?,
                campaign: row.try_get(13)?,
                amounts_minor: [a, b, c, d, e],
                weights: [v, w, x, y, z],
            })
        })
        .collect()
}

/// What an order's money did, in the reporting currency on the revenue basis.
#[derive(Debug, Clone)]
pub struct ShownChangeRow {
    pub kind: String,
    pub refund_id: Option<String>,
    pub amount_minor: i64,
    pub at_ms: i64,
}

/// In order: the sale first.
pub async fn changes(ledger: &Ledger, conversion: i64) -> Result<Vec<ShownChangeRow>, LedgerError> {
    let rows = sqlx::query(
        "SELECT kind, refund_id, amount_minor, at_ms FROM changes WHERE conversion = $1 ORDER BY change_no",
    )
    .bind(conversion)
    .fetch_all(&ledger.read)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ShownChangeRow {
                kind: row.try_get(0)?,
                refund_id: row.try_get(1)?,
                amount_minor: row.try_get(2)?,
                at_ms: row.try_get(3)?,
            })
        })
        .collect()
}

/// The currency in which an order was sold, if the order has been read by now.
pub async fn order_currency(
    ledger: &Ledger,
    source: &str,
    order_id: &str,
) -> Result<Option<String>, LedgerError> {
    let rows =
        sqlx::query("SELECT says FROM facts WHERE source = $1 AND order_id = $2 ORDER BY version_ms DESC")
            .bind(source.to_owned())
            .bind(order_id.to_owned())
            .fetch_all(&ledger.read)
            .await?;
    for row in rows {
        let says: Says = serde_json::from_str(row.try_get(0)?)
            .map_err(|error| LedgerError::Damaged(format!("fact of order {order_id}: {error}")))?;
        if let Says::Order(order) = says {
            return Ok(Some(order.currency).filter(|currency| !currency.is_empty()));
        }
    }
    Ok(None)
}
