//! `utmost links list` and `utmost links export`: the links of a workspace, filtered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::formats::{IMPORTED_CLICKS, NONE};
use crate::domain::ids::LinkId;
use crate::domain::time::rfc3339;
use crate::domain::utm::UTM_PARAMS;
use crate::ledger::Ledger;
use crate::ledger::links::{self, LinkFilter, LinkRow};
use crate::links::domain_key;
use crate::links::issue::Issuer;

const PAGE: i64 = 1000;

/// Which links.
#[derive(Debug, Args)]
pub struct Filters {
    #[arg(long)]
    post: Option<String>,
    #[arg(long)]
    network: Option<String>,
    #[arg(long)]
    campaign: Option<String>,
    /// May be given more than once: links with one of them
    #[arg(long = "tag")]
    tags: Vec<String>,
    #[arg(long)]
    domain: Option<String>,
    #[arg(long)]
    slug: Option<String>,
    /// In slug, domain, destination, title and tags
    #[arg(long)]
    search: Option<String>,
    /// Archived links only
    #[arg(long)]
    archived: bool,
    #[arg(long, default_value = "default")]
    workspace: String,
}

impl Filters {
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    fn to_filter(&self, archived: Option<bool>) -> LinkFilter {
        LinkFilter {
            workspace: self.workspace.clone(),
            post: self.post.clone(),
            network: self.network.as_deref().map(str::to_lowercase),
            campaign: self.campaign.clone(),
            tags: self.tags.clone(),
            domain: self.domain.as_deref().map(|domain| domain_key(domain).into_owned()),
            slug: self.slug.clone(),
            search: self.search.clone(),
            archived: if self.archived { Some(true) } else { archived },
            ..LinkFilter::default()
        }
    }
}

/// List links, newest first
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filters: Filters,
    /// How many at most; 0 for all
    #[arg(long, default_value_t = 100)]
    limit: u64,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Write all links, archived ones too, as `links import` reads them
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    filters: Filters,
    #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
    format: FileFormat,
    /// Where to [default: to standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Csv,
    /// A list of objects
    Json,
}

impl ListArgs {
    pub fn workspace(&self) -> &str {
        self.filters.workspace()
    }
}

impl ExportArgs {
    pub fn workspace(&self) -> &str {
        self.filters.workspace()
    }
}

pub async fn list(
    args: &ListArgs,
    ledger: &Ledger,
    issuer: &Issuer,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let max = if args.limit == 0 { u64::MAX } else { args.limit };
    let writer = match args.format {
        Format::Table => LinkWriter::Table(Vec::new()),
        Format::Csv => LinkWriter::csv(out),
        Format::Json => LinkWriter::json(out),
    };
    let written = write(writer, args.filters.to_filter(Some(false)), max, ledger, issuer).await?;
    if let Some(table) = written {
        out.write_all(table.as_bytes())?;
    }
    Ok(())
}

pub async fn export(
    args: &ExportArgs,
    ledger: &Ledger,
    issuer: &Issuer,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut file = match &args.output {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| path.display().to_string())?)),
        None => None,
    };
    let out: &mut dyn Write = match &mut file {
        Some(file) => file,
        None => out,
    };
    let writer = match args.format {
        FileFormat::Csv => LinkWriter::csv(out),
        FileFormat::Json => LinkWriter::json(out),
    };
    write(writer, args.filters.to_filter(None), u64::MAX, ledger, issuer).await?;
    if let Some(mut file) = file {
        file.flush()?;
        file.get_ref().sync_all()?;
    }
    Ok(())
}

/// A link as it is written: every field under the name by which import knows it.
#[derive(Debug, Serialize)]
struct Shown {
    short_url: String,
    domain: String,
    slug: String,
    url: String,
    title: Option<String>,
    post: Option<String>,
    network: Option<String>,
    campaign: Option<String>,
    /// In the order of `UTM_PARAMS`.
    utm_source: Option<String>,
    utm_medium: Option<String>,
    utm_campaign: Option<String>,
    utm_term: Option<String>,
    utm_content: Option<String>,
    utm_id: Option<String>,
    utm_source_platform: Option<String>,
    utm_creative_format: Option<String>,
    utm_marketing_tactic: Option<String>,
    tags: String,
    external_id: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    expired_url: Option<String>,
    max_clicks: Option<i64>,
    forward_query: bool,
    click_param: Option<String>,
    archived: bool,
    /// Of people, here and, where it moved in, before.
    clicks: i64,
}

impl Shown {
    fn new(link: LinkRow, clicks: i64, issuer: &Issuer) -> Self {
        let own_id = LinkId::from_i64(link.id).map(|id| id.to_string()).ok();
        let mut utm = link.utm.clone();
        let mut tags = UTM_PARAMS.into_iter().map(|param| {
            let tag = utm.field_mut(param).and_then(Option::take);
            // The link's own id identifies no other link, which will get its own.
            let tag = tag.filter(|tag| param != "utm_content" || Some(tag) != own_id.as_ref());
            tag.map(|tag| if tag.is_empty() { NONE.to_owned() } else { tag })
        });
        let mut tag = || tags.next().flatten();
        let before = link.extra.get(IMPORTED_CLICKS).and_then(serde_json::Value::as_i64).unwrap_or(0);
        let separator = if link.tags.iter().any(|tag| tag.contains(',')) { "|" } else { "," };
        Self {
            short_url: issuer.short_url(&link),
            utm_source: tag(),
            utm_medium: tag(),
            utm_campaign: tag(),
            utm_term: tag(),
            utm_content: tag(),
            utm_id: tag(),
            utm_source_platform: tag(),
            utm_creative_format: tag(),
            utm_marketing_tactic: tag(),
            domain: link.domain,
            slug: link.slug,
            url: link.url,
            title: link.title,
            post: link.post,
            network: link.network,
            campaign: link.campaign,
            tags: link.tags.join(separator),
            external_id: link.external_id,
            created_at: rfc3339(link.created_ms),
            expires_at: link.expires_ms.map(rfc3339),
            expired_url: link.expired_url,
            max_clicks: link.max_clicks,
            forward_query: link.forward_query,
            click_param: link.click_param.map(|name| if name.is_empty() { NONE.to_owned() } else { name }),
            archived: link.archived_ms.is_some(),
            clicks: clicks + before,
        }
    }
}

enum LinkWriter<'a> {
    /// Short URL, network, post, clicks, destination.
    Table(Vec<[String; 5]>),
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
    Json {
        out: &'a mut dyn Write,
        is_first: bool,
    },
}

impl<'a> LinkWriter<'a> {
    fn csv(out: &'a mut dyn Write) -> Self {
        Self::Csv(Box::new(csv::Writer::from_writer(out)))
    }

    fn json(out: &'a mut dyn Write) -> Self {
        Self::Json { out, is_first: true }
    }

    fn add(&mut self, shown: Shown) -> anyhow::Result<()> {
        match self {
            Self::Table(rows) => rows.push([
                shown.short_url,
                shown.network.unwrap_or_default(),
                shown.post.unwrap_or_default(),
                shown.clicks.to_string(),
                shown.url,
            ]),
            Self::Csv(csv) => csv.serialize(shown)?,
            Self::Json { out, is_first } => {
                write!(out, "{}", if *is_first { "[\n" } else { ",\n" })?;
                *is_first = false;
                serde_json::to_writer(&mut **out, &shown)?;
            }
        }
        Ok(())
    }

    /// The table, where it is one.
    fn finish(self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Table(rows) => return Ok(Some(table(&rows))),
            Self::Csv(mut csv) => csv.flush()?,
            Self::Json { out, is_first } => writeln!(out, "{}", if is_first { "[]" } else { "\n]" })?,
        }
        Ok(None)
    }
}

fn table(rows: &[[String; 5]]) -> String {
    const HEAD: [&str; 5] = ["short url", "network", "post", "clicks", "destination"];
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let head = HEAD.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                3 => line.push_str(&format!("{cell:>width$}  ")),
                _ => line.push_str(&format!("{cell:<width$}  ")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

async fn write(
    mut writer: LinkWriter<'_>,
    mut filter: LinkFilter,
    max: u64,
    ledger: &Ledger,
    issuer: &Issuer,
) -> anyhow::Result<Option<String>> {
    let mut left = max;
    loop {
        filter.limit = PAGE.min(i64::try_from(left).unwrap_or(PAGE));
        let rows = links::list(ledger, &filter).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let clicks: HashMap<i64, i64> = links::human_clicks(ledger, &ids).await?;
        filter.after = rows.last().map(|last| (last.updated_ms, last.id));
        let is_end = (rows.len() as i64) < filter.limit;
        left -= rows.len() as u64;
        for row in rows {
            let clicks = clicks.get(&row.id).copied().unwrap_or(0);
            writer.add(Shown::new(row, clicks, issuer))?;
        }
        if is_end || left == 0 {
            return writer.finish();
        }
    }
}
