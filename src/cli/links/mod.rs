//! `utmost links`: straight to the ledger, with or without a running server. Redirectors learn of it as they
//! do of each other's links: by the copies in Redis, or within a second by the ledger's list of changes.

mod export;
mod formats;
mod import;

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::app;
use crate::config::Config;
use crate::domain::time::parse_rfc3339;
use crate::domain::utm::UTM_PARAMS;
use crate::ledger::Ledger;
use crate::ledger::workspaces;
use crate::links::issue::{IssueError, Issuer, LinkFields};

/// Make, list, import and export short links
#[derive(Debug, Args)]
pub struct LinksArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(CreateArgs),
    List(export::ListArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
}

/// Make a link and print its short URL
#[derive(Debug, Args)]
struct CreateArgs {
    /// Where it leads to
    url: String,
    /// What stands after the domain [default: drawn at random]
    #[arg(long)]
    slug: Option<String>,
    #[arg(long)]
    domain: Option<String>,
    #[arg(long)]
    post: Option<String>,
    #[arg(long)]
    network: Option<String>,
    #[arg(long)]
    campaign: Option<String>,
    /// May be given more than once
    #[arg(long = "tag")]
    tags: Vec<String>,
    #[arg(long)]
    title: Option<String>,
    /// Your own id of the link; with one that is taken, that link is changed
    #[arg(long)]
    external_id: Option<String>,
    /// UTM tags, such as --utm medium=email; an empty value for none
    #[arg(long = "utm", value_name = "NAME=VALUE", value_parser = parse_utm)]
    utm: Vec<(&'static str, Option<String>)>,
    /// RFC 3339, such as 2026-12-31T23:00:00Z
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_rfc3339(text).map_err(|e| e.to_string()))]
    expires_at: Option<i64>,
    #[arg(long, value_name = "URL")]
    expired_url: Option<String>,
    #[arg(long)]
    max_clicks: Option<i64>,
    /// Name of the query parameter with the click token; empty for none
    #[arg(long)]
    click_param: Option<String>,
    #[arg(long, default_value = "default")]
    workspace: String,
}

fn parse_utm(text: &str) -> Result<(&'static str, Option<String>), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as medium=email")?;
    let name = name.trim_start_matches("utm_");
    let param = UTM_PARAMS.into_iter().find(|param| param.trim_start_matches("utm_") == name);
    let param = param.ok_or_else(|| format!("{name:?} is no UTM tag"))?;
    Ok((param, Some(value.to_owned())))
}

/// Errors: what is wrong with the links, or the ledger's and the hot store's.
pub async fn run(args: &LinksArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let ledger = app::open_ledger(config).await?;
    let result = with_ledger(args, config, &ledger, out).await;
    ledger.close().await;
    result
}

async fn with_ledger(
    args: &LinksArgs,
    config: &Config,
    ledger: &Ledger,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let issuer = app::open_issuer(config, ledger)?;
    let workspace = match &args.action {
        Action::Create(args) => &args.workspace,
        Action::List(args) => args.workspace(),
        Action::Import(args) => args.workspace(),
        Action::Export(args) => args.workspace(),
    };
    if workspaces::get(ledger, workspace).await?.is_none() {
        bail!(
            "there is no workspace {workspace} in this ledger; the first `utmost serve` makes the default one"
        );
    }
    match &args.action {
        Action::Create(args) => create(args, &issuer, out).await,
        Action::List(args) => export::list(args, ledger, &issuer, out).await,
        Action::Import(args) => import::run(args, ledger, &issuer, out).await,
        Action::Export(args) => export::export(args, ledger, &issuer, out).await,
    }
}

async fn create(args: &CreateArgs, issuer: &Issuer, out: &mut dyn Write) -> anyhow::Result<()> {
    let fields = LinkFields {
        url: Some(args.url.clone()),
        domain: args.domain.clone(),
        slug: args.slug.clone(),
        post: args.post.clone().map(Some),
        network: args.network.clone().map(Some),
        campaign: args.campaign.clone().map(Some),
        utm: args.utm.clone(),
        tags: (!args.tags.is_empty()).then(|| args.tags.clone()),
        title: args.title.clone().map(Some),
        expires_ms: args.expires_at.map(Some),
        expired_url: args.expired_url.clone().map(Some),
        max_clicks: args.max_clicks.map(Some),
        click_param: args.click_param.clone().map(Some),
        ..LinkFields::default()
    };
    let issued = match &args.external_id {
        None => issuer.create(&args.workspace, fields).await.map(|issued| (issued.value, issued.fed)),
        Some(id) => {
            let issued = issuer.upsert(&args.workspace, id, fields).await;
            issued.map(|issued| (issued.value.0, issued.fed))
        }
    };
    let (link, fed) = match issued {
        Ok(issued) => issued,
        Err(IssueError::Invalid(flaws)) => {
            let details: Vec<String> = flaws.into_iter().map(|flaw| flaw.detail).collect();
            bail!("{}", details.join("; "));
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(out, "{}", issuer.short_url(&link))?;
    fed.context("the link is saved, and redirects will know it once the hot store takes it")
}
