//! Exchange rates by day.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, Row};

use super::{Ledger, LedgerError, Tx, sql};

/// A rate holds until the next one, but no longer than this: weekends and holidays have none of their own.
const VALID_DAYS: i32 = 7;

/// What one unit of a currency is worth in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub value: Decimal,
    /// The day for which it was stated, in days since 1970: of two that were multiplied, the earlier.
    pub day: i32,
}

/// How many units of `to` one unit of `from` is worth on a day. None: not known.
pub async fn rate(ledger: &Ledger, from: &str, to: &str, day: i32) -> Result<Option<Rate>, LedgerError> {
    if from == to {
        return Ok(Some(Rate { value: Decimal::ONE, day }));
    }
    Ok(Rates::load(ledger, &[from, to], day, day + 1).await?.find(from, to, day))
}

/// One unit of `base` is `rate` units of `currency` on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRow {
    pub base: String,
    pub currency: String,
    /// Days since 1970.
    pub day: i64,
    pub rate: Decimal,
}

/// Stores rates, in place of those of the same day, and marks the conversions due that may convert by them:
/// whatever order they come in, an order has the rate that is nearest to it. The transaction is one of
/// [`Ledger::begin_alone`].
pub async fn put(tx: &mut Tx, rows: &[RateRow]) -> Result<(), LedgerError> {
    for rows in rows.chunks(1000) {
        let text = format!(
            "INSERT INTO rates (base, currency, day, rate) VALUES {} \
             ON CONFLICT (base, currency, day) DO UPDATE SET rate = excluded.rate",
            sql::values(tx, rows.len(), 4)
        );
        let query = rows.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, row| {
            query.bind(row.base.clone()).bind(row.currency.clone()).bind(row.day).bind(row.rate.to_string())
        });
        query.execute(&mut **tx).await?;
    }
    let days = || rows.iter().map(|row| row.day);
    let (Some(first), Some(last)) = (days().min(), days().max()) else { return Ok(()) };
    // What is due already may be in the middle of being evaluated, by the former rates.
    sqlx::query(
        "UPDATE conversions SET due = ABS(due) + 1 WHERE due > 0
           OR (currency <> (SELECT w.currency FROM workspaces w WHERE w.id = conversions.workspace)
             AND ((order_day >= $1 AND order_day < $2)
               OR id IN (SELECT x.conversion FROM changes x WHERE x.day >= $1 AND x.day < $2)))",
    )
    .bind(first)
    .bind(last + i64::from(VALID_DAYS))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The rates of some currencies over some days, by base, currency and day.
#[derive(Debug, Default)]
pub struct Rates(BTreeMap<String, BTreeMap<String, BTreeMap<i32, Decimal>>>);

impl Rates {
    /// What [`Rates::find`] needs for these currencies and the days up to `to_day`, exclusive.
    pub async fn load(
        ledger: &Ledger,
        currencies: &[&str],
        from_day: i32,
        to_day: i32,
    ) -> Result<Self, LedgerError> {
        let mut rates = Self::default();
        if currencies.is_empty() {
            return Ok(rates);
        }
        let text = format!(
            "SELECT base, currency, day, rate FROM rates WHERE day > $1 AND day < $2 AND currency IN ({})",
            sql::list_from(3, currencies.len())
        );
        let mut query =
            sqlx::query(AssertSqlSafe(text)).bind(i64::from(from_day - VALID_DAYS)).bind(i64::from(to_day));
        for currency in currencies {
            query = query.bind(*currency);
        }
        for row in query.fetch_all(&ledger.read).await? {
            let (base, currency, text): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
            let damaged = || LedgerError::Damaged(format!("rate of {currency} in {base}"));
            let rate: Decimal = text.parse().map_err(|_| damaged())?;
            let day = i32::try_from(row.try_get::<i64, _>(2)?).map_err(|_| damaged())?;
            if rate > Decimal::ZERO {
                rates.0.entry(base).or_default().entry(currency).or_default().insert(day, rate);
            }
        }
        Ok(rates)
    }

    /// How many units of `to` one unit of `from` is worth on a day: stated directly, the other way round,
    /// or across a common base (the European Central Bank states all against EUR). None: not known.
    pub fn find(&self, from: &str, to: &str, day: i32) -> Option<Rate> {
        let stated = |base: &str, currency: &str| {
            if base == currency {
                return Some(Rate { value: Decimal::ONE, day });
            }
            let (stated_on, rate) = self.0.get(base)?.get(currency)?.range(..=day).next_back()?;
            (*stated_on > day - VALID_DAYS).then_some(Rate { value: *rate, day: *stated_on })
        };
        let across = |base: &String| {
            let (to, from) = (stated(base, to)?, stated(base, from)?);
            Some(Rate { value: to.value / from.value, day: to.day.min(from.day) })
        };
        stated(from, to).or_else(|| self.0.keys().find_map(across))
    }
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
        for (currency, day, rate) in [("USD", 100i64, "1.25"), ("JPY", 99, "160"), ("USD", 98, "2")] {
            sqlx::query("INSERT INTO rates (base, currency, day, rate) VALUES ('EUR', $1, $2, $3)")
                .bind(currency)
                .bind(day)
                .bind(rate)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let check = async |from: &str, to: &str, day, expected: Option<(&str, i32)>| {
            let found = rate(&ledger, from, to, day).await.unwrap();
            let expected = expected.map(|(value, day)| Rate { value: value.parse().unwrap(), day });
            assert_eq!(found, expected, "{from} {to} {day}");
        };
        check("EUR", "EUR", 1, Some(("1", 1))).await;
        check("EUR", "USD", 100, Some(("1.25", 100))).await;
        check("EUR", "USD", 99, Some(("2", 98))).await;
        check("USD", "EUR", 101, Some(("0.8", 100))).await;
        check("USD", "JPY", 105, Some(("128", 99))).await;
        check("USD", "JPY", 106, None).await;
        check("USD", "GBP", 100, None).await;
    }
}
