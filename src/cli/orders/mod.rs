//! `utmost import orders`: orders from before, by the running server, which alone holds the log.

mod platforms;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use http::{HeaderMap, Method};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::client::Client;
use super::refusals::Refusals;
use super::rows::{Row, Rows};
use super::serve::administrator;
use crate::config::Config;
use crate::domain::flaw::{Flaw, Flaws};
use platforms::{Reading, shopify_order, woocommerce_order};

/// Orders in one request.
const BATCH: usize = 200;
const ROWS: usize = 1000;

/// Bring in what happened before
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Orders(OrdersArgs),
}

/// Read a shop's CSV export of orders, as if its webhooks had come
#[derive(Debug, Args)]
struct OrdersArgs {
    file: PathBuf,
    #[arg(long, value_enum)]
    platform: Platform,
    /// The source whose webhooks bring the orders from now on
    #[arg(long, value_name = "ID")]
    source: String,
    /// Zone of times that have none
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    timezone: String,
    /// Currency of orders that name none
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Check everything, keep nothing
    #[arg(long)]
    dry_run: bool,
    /// CSV file for what is refused: line, field, reason
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    #[arg(long, default_value = "default")]
    workspace: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Platform {
    Shopify,
    Woocommerce,
}

impl Platform {
    fn word(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::Woocommerce => "woocommerce",
        }
    }
}

/// Errors: the file, the server, or orders that were refused (after all others were taken).
pub async fn run(args: &ImportArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let What::Orders(args) = &args.what;
    let zone = TimeZone::get(&args.timezone).with_context(|| format!("--timezone {}", args.timezone))?;
    let client = administrator(config)?;
    let source = call(&client, args, Method::GET, &format!("/api/v1/sources/{}", args.source), None).await?;
    ensure!(
        source["platform"] == args.platform.word(),
        "source {} is of the platform {}, not {}",
        args.source,
        source["platform"],
        args.platform.word()
    );
    let mut rows = Rows::open(&args.file, &[])?;
    let refusals = Refusals::new(args.refused.as_deref())?;
    let reading = Reading { zone, currency: args.currency.clone() };
    let mut import = Import { args, client: &client, out, refusals, batch: Vec::new(), taken: 0 };
    let mut last: Option<String> = None;
    loop {
        let readings = rows.next(ROWS).await?;
        if readings.is_empty() {
            break;
        }
        for row in readings {
            let row = match row {
                Ok(row) => row,
                Err((line, reason)) => {
                    import.refusals.add(line, &[Flaw::new("line", reason)], import.out)?;
                    continue;
                }
            };
            let of = match args.platform {
                Platform::Shopify => shopify_order(&row),
                Platform::Woocommerce => woocommerce_order(&row),
            };
            // Further rows of an order hold nothing but its further lines.
            if of.is_some() && of == last.as_deref() {
                continue;
            }
            last = of.map(str::to_owned);
            import.add(&reading, &row).await?;
        }
        rows.bar.set_message(format!("{} orders", import.taken));
    }
    import.send().await?;
    rows.bar.finish_and_clear();
    let Import { out, refusals, taken, .. } = import;
    let verb = if args.dry_run { "could be taken" } else { "taken" };
    writeln!(out, "{taken} orders {verb}, {} refused", refusals.rows())?;
    refusals.finish("orders")
}

struct Import<'a> {
    args: &'a OrdersArgs,
    client: &'a Client,
    out: &'a mut dyn Write,
    refusals: Refusals,
    /// Lines and bodies.
    batch: Vec<(u64, Value)>,
    taken: u64,
}

impl Import<'_> {
    async fn add(&mut self, reading: &Reading, row: &Row) -> anyhow::Result<()> {
        let mut flaws = Flaws::default();
        let body = match self.args.platform {
            Platform::Shopify => reading.shopify(row, &mut flaws),
            Platform::Woocommerce => reading.woocommerce(row, &mut flaws),
        };
        if let Err(flaws) = flaws.check() {
            return self.refusals.add(row.line, &flaws, self.out);
        }
        self.batch.push((row.line, body));
        if self.batch.len() >= BATCH { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let (lines, orders): (Vec<u64>, Vec<Value>) = batch.into_iter().unzip();
        let path = format!("/api/v1/sources/{}/orders", self.args.source);
        let body = json!({"orders": orders, "dry_run": self.args.dry_run});
        let answer = call(self.client, self.args, Method::POST, &path, Some(body)).await?;
        let results = answer["results"].as_array().context("the server's results")?;
        ensure!(
            results.len() == lines.len(),
            "the server answered {} of {} orders",
            results.len(),
            lines.len()
        );
        for (line, result) in lines.into_iter().zip(results) {
            match result["problem"].as_str() {
                None => self.taken += 1,
                Some(problem) => {
                    let field = problem.split([':', ' ']).next().unwrap_or_default();
                    self.refusals.add(line, &[Flaw::new(field, problem)], self.out)?;
                }
            }
        }
        Ok(())
    }
}

async fn call(
    client: &Client,
    args: &OrdersArgs,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", client.authorization()?);
    headers.insert("utmost-workspace", args.workspace.parse()?);
    headers.insert("content-type", "application/json".parse()?);
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let answer = client.send(method.clone(), path, headers, body).await?;
    ensure!(
        answer.status.is_success(),
        "{method} {path}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(serde_json::from_slice(&answer.body)?)
}
