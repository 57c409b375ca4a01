//! Exchange rates by day.

use rust_decimal::Decimal;
use sqlx::Row;

use super::{Ledger, LedgerError};

/// A rate holds until the next one, but no longer than this: weekends and holidays have none of their own.
const VALID_DAYS: i32 = 7;

/// How many units of `to` one unit of `from` is worth on a day: stated directly, the other way round,
/// or across a common base (the European Central Bank states all against EUR). None: not known.
pub async fn rate(ledger: &Ledger, from: &str, to: &str, day: i32) -> Result<Option<Decimal>, LedgerError> {
    if from == to {
        return Ok(Some(Decimal::ONE));
    }
    let rows = sqlx::query(
        "SELECT base, currency, rate FROM rates
         WHERE currency IN ($1, $2) AND day <= $3 AND day > $4 ORDER BY day",
    )
    .bind(from)
    .bind(to)
    .bind(i64::from(day))
    .bind(i64::from(day - VALID_DAYS))
    .fetch_all(&ledger.read)
    .await?;
    // Later days overwrite earlier ones.
    let mut per_base = std::collections::BTreeMap::new();
    for row in rows {
        let (base, currency, text): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let rate: Decimal =
            text.parse().map_err(|_| LedgerError::Damaged(format!("rate of {currency} in {base}")))?;
        if rate > Decimal::ZERO {
            per_base.insert((base, currency), rate);
        }
    }
    let stated = |base: &str, currency: &str| match base == currency {
        true => Some(Decimal::ONE),
        false => per_base.get(&(base.to_owned(), currency.to_owned())).copied(),
    };
    if let Some(direct) = stated(from, to) {
        return Ok(Some(direct));
    }
    let bases = per_base.keys().map(|(base, _)| base.as_str());
    Ok(bases.filter_map(|base| Some(stated(base, to)? / stated(base, from)?)).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Synchronous;

    #[tokio::test]
    async fn rates_are_direct_inverse_or_across() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("l.db"), Synchronous::Normal).await.unwrap();
        let mut tx = ledger.begin().await.unwrap();
        for (currency, day, rate) in [("USD", 100i64, "1.25"), ("JPY", 100, "160"), ("USD", 98, "2")] {
            sqlx::query("INSERT INTO rates (base, currency, day, rate) VALUES ('EUR', $1, $2, $3)")
                .bind(currency)
                .bind(day)
                .bind(rate)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let check = async |from: &str, to: &str, day, expected: Option<&str>| {
            let found = rate(&ledger, from, to, day).await.unwrap();
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{from} {to} {day}");
        };
        check("EUR", "EUR", 1, Some("1")).await;
        check("EUR", "USD", 100, Some("1.25")).await;
        check("EUR", "USD", 99, Some("2")).await;
        check("USD", "EUR", 101, Some("0.8")).await;
        check("USD", "JPY", 106, Some("128")).await;
        check("USD", "JPY", 107, None).await;
        check("USD", "GBP", 100, None).await;
    }
}
