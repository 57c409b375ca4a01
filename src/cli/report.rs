//! `utmost report attribution`: a report straight from the ledger.

use std::io::Write;

use clap::ValueEnum;

use crate::config::Attribution;
use crate::ledger::Ledger;
use crate::reports::{ReportRequest, attribution};

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
}

#[derive(Debug, clap::Args)]
struct AttributionArgs {
    /// What a row stands for: post, network, campaign, link, utm_source (and the other tags), tag, kind,
    /// source, country, device, day, week, month or hour_of_week
    #[arg(long, default_value = "post")]
    by: String,
    /// Who gets the credit: first_touch, last_touch, linear, time_decay, position_based, markov, shapley,
    /// or all side by side
    #[arg(long, default_value = "last_touch")]
    model: String,
    /// How many keys a state of markov remembers, 1 to 3 [default: 1]
    #[arg(long)]
    order: Option<String>,
    /// What markov and shapley do with repeated keys: exposure, first or unique [default: exposure]
    #[arg(long)]
    transform: Option<String>,
    /// First day, in the workspace's zone [default: the first on which anything happened]
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The day after the last [default: tomorrow]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// What dates money: the order's day, the credited click's, or (cash) each refund's own
    #[arg(long, default_value = "order")]
    clock: String,
    /// The event whose conversions count
    #[arg(long, default_value = "purchase")]
    event: String,
    /// Only what matches, such as network=instagram; may be given more than once
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    #[arg(long, default_value = "default")]
    workspace: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
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
    let Kind::Attribution(args) = &args.report;
    let given = [
        ("by", Some(&args.by)),
        ("model", Some(&args.model)),
        ("order", args.order.as_ref()),
        ("transform", args.transform.as_ref()),
        ("from", args.from.as_ref()),
        ("to", args.to.as_ref()),
        ("clock", Some(&args.clock)),
        ("event", Some(&args.event)),
    ];
    let options = given.into_iter().filter_map(|(name, value)| Some((name, value?.as_str())));
    let filters = args.filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = ReportRequest::parse(options.chain(filters))?;
    let report = attribution(ledger, &args.workspace, &request, defaults).await?;
    match args.format {
        Format::Table => out.write_all(report.to_table().as_bytes())?,
        Format::Csv => out.write_all(report.to_csv()?.as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn parse_filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as network=instagram".to_owned()),
    }
}
