//! `utmost report`: reports straight from the ledger.

use std::io::Write;

use clap::ValueEnum;

use crate::config::Attribution;
use crate::ledger::Ledger;
use crate::reports::{
    CompareRequest, ReportRequest, RetentionRequest, Sheet, attribution, compare, retention,
};

/// Report what posts brought in and cost
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(subcommand)]
    report: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    /// Clicks, conversions, revenue, cost and ROI by post, network, day and more
    Attribution(AttributionArgs),
    /// How much each row gains or loses under each model against another
    Compare(CompareArgs),
    /// Customers that social brought against all others
    Retention(RetentionArgs),
}

#[derive(Debug, clap::Args)]
struct AttributionArgs {
    /// Who gets the credit: first_touch, last_touch, linear, time_decay, position_based, markov, shapley,
    /// or all side by side
    #[arg(long, default_value = "last_touch")]
    model: String,
    #[command(flatten)]
    asked: AskedArgs,
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    /// By commas: first_touch, linear, ... or all that have an answer
    #[arg(long, default_value = "all")]
    models: String,
    /// The model that they are compared with
    #[arg(long, default_value = "last_touch")]
    baseline: String,
    #[command(flatten)]
    asked: AskedArgs,
}

/// What rows stand for, and which part of the ledger counts.
#[derive(Debug, clap::Args)]
struct AskedArgs {
    /// What a row stands for: post, network, campaign, link, utm_source (and the other tags), tag, kind,
    /// source, country, device, day, week, month or hour_of_week
    #[arg(long, default_value = "post")]
    by: String,
    /// How many keys a state of markov remembers, 1 to 3 [default: 1]
    #[arg(long)]
    order: Option<String>,
    /// What markov and shapley do with repeated keys: exposure, first or unique [default: exposure]
    #[arg(long)]
    transform: Option<String>,
    /// What dates money: the order's day, the credited click's, or (cash) each refund's own
    #[arg(long, default_value = "order")]
    clock: String,
    /// The event whose conversions count
    #[arg(long, default_value = "purchase")]
    event: String,
    /// Only what matches, such as network=instagram; may be given more than once
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct RetentionArgs {
    /// all (social against the others), network, post, campaign or kind
    #[arg(long, default_value = "all")]
    by: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// First day, in the workspace's zone [default: the first on which anything happened]
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The day after the last [default: tomorrow]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    #[arg(long, default_value = "default")]
    workspace: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl CommonArgs {
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        let days = [("from", self.from.as_deref()), ("to", self.to.as_deref())];
        days.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

impl AskedArgs {
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        let options = [("order", self.order.as_deref()), ("transform", self.transform.as_deref())];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let fixed = [("by", self.by.as_str()), ("clock", &self.clock), ("event", &self.event)];
        let filters = self.filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fixed.into_iter().chain(options).chain(self.common.given()).chain(filters)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The main columns, at most 120 characters wide
    Table,
    /// All columns, the totals last
    Csv,
    /// As the API answers
    Json,
}

/// Computes the report and writes it. `defaults` are the configuration's attribution settings.
///
/// Errors: a request that cannot be answered (naming the option), an unknown workspace, the ledger's.
pub async fn run(
    args: &ReportArgs,
    ledger: &Ledger,
    defaults: &Attribution,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match &args.report {
        Kind::Attribution(AttributionArgs { model, asked }) => {
            let request = ReportRequest::parse(asked.given().chain([("model", model.as_str())]))?;
            let report = attribution(ledger, &asked.common.workspace, &request, defaults).await?;
            match asked.common.format {
                Format::Table => out.write_all(report.to_table().as_bytes())?,
                Format::Csv => out.write_all(report.to_csv()?.as_bytes())?,
                Format::Json => json(out, &report)?,
            }
        }
        Kind::Compare(CompareArgs { models, baseline, asked }) => {
            let own = [("models", models.as_str()), ("baseline", baseline)];
            let request = CompareRequest::parse(asked.given().chain(own))?;
            let sheet = compare(ledger, &asked.common.workspace, &request, defaults).await?;
            write_sheet(out, &sheet, asked.common.format)?;
        }
        Kind::Retention(RetentionArgs { by, common }) => {
            let request = RetentionRequest::parse(common.given().chain([("by", by.as_str())]))?;
            let sheet = retention(ledger, &common.workspace, &request, defaults).await?;
            write_sheet(out, &sheet, common.format)?;
        }
    }
    Ok(())
}

fn write_sheet(out: &mut dyn Write, sheet: &Sheet, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => out.write_all(sheet.to_table().as_bytes())?,
        Format::Csv => out.write_all(sheet.to_csv()?.as_bytes())?,
        Format::Json => json(out, sheet)?,
    }
    Ok(())
}

fn json(out: &mut dyn Write, report: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    Ok(writeln!(out)?)
}

fn parse_filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as network=instagram".to_owned()),
    }
}
