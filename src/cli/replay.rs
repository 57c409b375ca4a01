//! `utmost replay`: dead letters once more, after what stopped them was mended. With `--dry-run`, orders once
//! more by other rules, to see what these would change (cli/dry_run.rs).

use std::io::Write;

use anyhow::{Context, ensure};
use clap::Args;
use http::Method;

use super::dry_run::DryRunArgs;
use super::serve::administrator;
use crate::config::Config;

/// Feed kept deliveries to the running server's worker again
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Ids of deliveries, as the API and the logs show them
    deliveries: Vec<String>,
    /// All that could not be interpreted
    #[arg(long, conflicts_with = "deliveries")]
    dead: bool,
    /// Show what other attribution rules would change, order by order from the ledger; nothing is written
    #[arg(long, conflicts_with_all = ["deliveries", "dead"])]
    pub dry_run: bool,
    #[command(flatten)]
    pub rules: DryRunArgs,
}

/// Asks the server, which alone holds the log. Nothing counts twice by it.
pub async fn run(args: &ReplayArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    ensure!(args.dead || !args.deliveries.is_empty(), "name deliveries, or say --dead");
    let client = administrator(config)?;
    let mut ids = args.deliveries.clone();
    let mut path = args.dead.then(|| "/api/v1/deliveries?result=dead".to_owned());
    while let Some(page) = path {
        let list = client.api(Method::GET, &page, None).await?;
        let data = list["data"].as_array().context("a list of deliveries")?;
        ids.extend(data.iter().filter_map(|delivery| delivery["id"].as_str()).map(str::to_owned));
        path = list["next_cursor"]
            .as_str()
            .map(|cursor| format!("/api/v1/deliveries?result=dead&cursor={cursor}"));
    }
    for id in &ids {
        client.api(Method::POST, &format!("/api/v1/deliveries/{id}/replay"), None).await?;
        writeln!(out, "{id} is fed again")?;
    }
    writeln!(out, "{} deliveries", ids.len())?;
    Ok(())
}
