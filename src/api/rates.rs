//! Exchange rates, shared by all workspaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::put;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{Answer, Kind, Problem, Problems};
use super::extract::{BULK_MAX_BYTES, is_json, parse_json, parse_list, read_body};
use crate::domain::flaw::{Flaw, Flaws};
use crate::domain::money::Currency;
use crate::domain::time::day_number;
use crate::ledger::rates::{self, RateRow};

pub fn routes() -> Router<Arc<Api>> {
    Router::new().route("/rates", put(put_rates))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DayRates {
    /// One unit of this currency (ISO 4217) ...
    base: String,
    #[schema(format = Date)]
    date: String,
    /// ... is worth so many of these: `{"USD": "1.0512"}`.
    #[schema(value_type = BTreeMap<String, String>)]
    rates: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RatesStored {
    stored: usize,
}

/// Store exchange rates by day. Needs the platform's administration key.
///
/// JSON (a list of days, or one), or the European Central Bank's CSV (`eurofxref.csv`, `eurofxref-hist.csv`) with
/// content-type text/csv. Orders that waited for a rate are evaluated anew.
#[utoipa::path(put, path = "/api/v1/rates", tag = "costs",
    request_body(content((Vec<DayRates> = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = RatesStored), Problems))]
pub async fn put_rates(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Answer<JsonAnswer<RatesStored>> {
    caller.must_be_platform_admin()?;
    let is_json = is_json(request.headers());
    let is_csv = request
        .headers()
        .get("content-type")
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"text/csv"));
    if !is_json && !is_csv {
        let detail = "send application/json, or the European Central Bank's CSV as text/csv";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = read_body(request.into_body(), BULK_MAX_BYTES).await?;
    let rows = if is_json { from_json(parse_list(parse_json(&body)?, "rates")?)? } else { from_ecb(&body)? };
    let mut tx = api.ledger.begin_alone().await?;
    rates::put(&mut tx, &rows).await?;
    tx.commit().await?;
    Ok(JsonAnswer(RatesStored { stored: rows.len() }))
}

fn from_json(days: Vec<DayRates>) -> Result<Vec<RateRow>, Vec<Flaw>> {
    let mut flaws = Flaws::default();
    let mut rows = Vec::new();
    for (i, day) in days.into_iter().enumerate() {
        let base = flaws.note(&format!("[{i}].base"), day.base.parse::<Currency>());
        let date = day_of(&day.date);
        if date.is_none() {
            flaws.add(format!("[{i}].date"), "date must be a date such as 2026-11-23");
        }
        for (code, rate) in day.rates {
            let field = format!("[{i}].rates.{code}");
            let text = rate.as_str().map_or_else(|| rate.to_string(), str::to_owned);
            let currency = flaws.note(&field, code.parse::<Currency>());
            let rate = rate_of(&text);
            if rate.is_none() {
                flaws.add(field, "a rate must be a decimal above 0, such as \"1.0512\"");
            }
            if let (Some(base), Some(day), Some(currency), Some(rate)) = (base, date, currency, rate) {
                let (base, currency) = (base.code().to_owned(), currency.code().to_owned());
                rows.push(RateRow { base, currency, day, rate });
            }
        }
    }
    flaws.check()?;
    Ok(rows)
}

/// `Date, USD, JPY, ...` and a row a day, all against one EUR. Currencies that are none (any more) and days
/// without a rate (`N/A`) are passed over.
fn from_ecb(body: &[u8]) -> Answer<Vec<RateRow>> {
    let wrong = |line: usize, detail: &str| Problem::invalid(format!("line {line}"), detail);
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).flexible(true).from_reader(body);
    let mut records = reader.records();
    let head = records.next().and_then(Result::ok);
    let head = head.filter(|head| head.get(0).is_some_and(|name| name.eq_ignore_ascii_case("date")));
    let head = head.ok_or_else(|| wrong(1, "the first line must be: Date, USD, JPY, ..."))?;
    let currencies: Vec<Option<Currency>> = head.iter().map(|code| code.parse().ok()).collect();
    let mut rows = Vec::new();
    for (line, record) in (2..).zip(records) {
        let record = record.map_err(|error| wrong(line, &error.to_string()))?;
        let text = record.get(0).unwrap_or_default();
        let day = day_of(text).or_else(|| {
            // The file of the day writes 23 November 2026.
            Date::strptime("%d %B %Y", text).ok().map(|date| i64::from(day_number(date)))
        });
        let day = day.ok_or_else(|| wrong(line, "the line must begin with a date such as 2026-11-23"))?;
        for (currency, text) in currencies.iter().zip(&record).skip(1) {
            if let (Some(currency), Some(rate)) = (currency, rate_of(text)) {
                let currency = currency.code().to_owned();
                rows.push(RateRow { base: "EUR".to_owned(), currency, day, rate });
            }
        }
    }
    Ok(rows)
}

fn day_of(text: &str) -> Option<i64> {
    text.parse::<Date>().ok().filter(|_| text.len() == 10).map(|date| i64::from(day_number(date)))
}

fn rate_of(text: &str) -> Option<Decimal> {
    text.parse::<Decimal>().ok().filter(|rate| *rate > Decimal::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_central_banks_files_are_read() {
        let check = |csv: &str, expected: &[(&str, i64, &str)]| {
            let rows = from_ecb(csv.as_bytes()).unwrap();
            let rows: Vec<(String, i64, String)> =
                rows.into_iter().map(|row| (row.currency, row.day, row.rate.to_string())).collect();
            let expected: Vec<(String, i64, String)> =
                expected.iter().map(|(code, day, rate)| ((*code).into(), *day, (*rate).into())).collect();
            assert_eq!(rows, expected);
        };
        check("Date,USD,XYZ,JPY,\n1970-01-03,1.05,2,N/A,\n", &[("USD", 2, "1.05")]);
        check(
            "Date, USD, JPY, \n02 January 1970, 1.05, 160.1, \n",
            &[("USD", 1, "1.05"), ("JPY", 1, "160.1")],
        );
        assert!(from_ecb(b"a,b\n").is_err());
        assert!(from_ecb(b"Date,USD\nnever,1\n").is_err());
    }
}
