//! `utmost links import`: links of another shortener, slugs and all.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use jiff::tz::TimeZone;

use super::formats::{Mapping, Origin, Taking, Wanted};
use crate::cli::refusals::Refusals;
use crate::cli::rows::Rows;
use crate::domain::flaw::Flaw;
use crate::ledger::Ledger;
use crate::ledger::links::{self, LinkFilter, LinkRow};
use crate::links::domain_key;
use crate::links::issue::{BULK_MAX, Batch, IssueError, Issuer};

/// Take over the links of another shortener, or of a CSV file
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// CSV or JSON, as the other shortener exports it
    file: PathBuf,
    /// Whose export it is
    #[arg(long, value_enum, default_value_t = Origin::Csv)]
    from: Origin,
    /// What a column means, such as --map "Landing page=url"; may be given more than once
    #[arg(long = "map", value_name = "COLUMN=FIELD", value_parser = parse_pair)]
    map: Vec<(String, String)>,
    /// Domain that all links get, instead of those in the file
    #[arg(long)]
    domain: Option<String>,
    /// Zone of times that have none
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    timezone: String,
    /// Leave destinations without the UTM tags that links otherwise get
    #[arg(long)]
    no_utm: bool,
    /// Check everything, write nothing
    #[arg(long)]
    dry_run: bool,
    /// CSV file for what is refused: line, field, reason
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    #[arg(long, default_value = "default")]
    workspace: String,
}

impl ImportArgs {
    pub fn workspace(&self) -> &str {
        &self.workspace
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((column, field)) if !column.is_empty() => Ok((column.to_owned(), field.to_owned())),
        _ => Err("expected COLUMN=FIELD, such as \"Landing page=url\"".to_owned()),
    }
}

/// Makes the links of a file. A link that is there already with the same destination is left as it is.
///
/// Errors: the file, the ledger, or rows that were refused (after all others were taken).
pub async fn run(
    args: &ImportArgs,
    ledger: &Ledger,
    issuer: &Issuer,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let zone = TimeZone::get(&args.timezone).with_context(|| format!("--timezone {}", args.timezone))?;
    let mapping = Mapping::new(args.from, &args.map)?;
    let mut rows = Rows::open(&args.file, &[("url", mapping.keys("url"))])?;
    let domain = args.domain.as_deref().map(|domain| domain_key(domain.trim()).into_owned());
    let taking = Taking { mapping, domain, zone, bare: args.no_utm };
    let refusals = Refusals::new(args.refused.as_deref())?;
    let mut import = Import { args, ledger, issuer, out, refusals, seen: HashMap::new(), made: 0, there: 0 };
    loop {
        let readings = rows.next(BULK_MAX).await?;
        if readings.is_empty() {
            break;
        }
        let mut wanted = Vec::new();
        for reading in readings {
            match reading {
                Err((line, reason)) => import.refuse(line, &[Flaw::new("line", reason)])?,
                Ok(row) => match taking.read(&row) {
                    Ok(links) => wanted.extend(links),
                    Err(flaws) => import.refuse(row.line, &flaws)?,
                },
            }
        }
        for wanted in wanted.chunks(BULK_MAX) {
            import.take(wanted.to_vec()).await?;
        }
        rows.bar.set_message(format!("{} links", import.made + import.there));
    }
    rows.bar.finish_and_clear();
    let Import { out, refusals, made, there, .. } = import;
    let verb = if args.dry_run { "would be made" } else { "made" };
    writeln!(out, "{made} {verb}, {there} there already, {} refused", refusals.rows())?;
    refusals.finish("links")
}

struct Import<'a> {
    args: &'a ImportArgs,
    ledger: &'a Ledger,
    issuer: &'a Issuer,
    out: &'a mut dyn Write,
    refusals: Refusals,
    /// Short URLs of this file by a hash, and the line that had them first.
    seen: HashMap<u64, u64>,
    made: u64,
    there: u64,
}

impl Import<'_> {
    fn refuse(&mut self, line: u64, flaws: &[Flaw]) -> anyhow::Result<()> {
        self.refusals.add(line, flaws, self.out)
    }

    /// Makes what is not there yet of up to [`BULK_MAX`] links.
    async fn take(&mut self, wanted: Vec<Wanted>) -> anyhow::Result<()> {
        let mut fresh = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let Some(key) = self.hot_key(&wanted) else {
                fresh.push(wanted);
                continue;
            };
            let short = u64::from_le_bytes(blake3::hash(key.as_bytes()).as_bytes()[..8].try_into()?);
            match self.seen.insert(short, wanted.line) {
                None => fresh.push(wanted),
                Some(first) => {
                    let flaw = Flaw::new("slug", format!("line {first} has the same short URL"));
                    self.refuse(wanted.line, &[flaw])?;
                    self.seen.insert(short, first);
                }
            }
        }
        let keys: Vec<String> = fresh.iter().filter_map(|wanted| self.hot_key(wanted)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let there = links::by_hot_keys(self.ledger, &keys).await?;
        let there: HashMap<String, LinkRow> = there.into_iter().map(|link| (link.hot_key(), link)).collect();
        let mut new = Vec::with_capacity(fresh.len());
        for wanted in fresh {
            match self.hot_key(&wanted).and_then(|key| there.get(&key)) {
                Some(link) => self.meet(&wanted, link)?,
                None => new.push(wanted),
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let items = new.iter().map(|wanted| wanted.fields.clone()).collect();
        let results = match self.args.dry_run {
            true => {
                let mut tx = self.ledger.begin().await?;
                // Dropped without a commit: nothing of it stays.
                self.issuer.create_in(&mut tx, &self.args.workspace, items, &mut Batch::default()).await?
            }
            false => {
                let issued = self.issuer.create_many(&self.args.workspace, items).await?;
                if let Err(not_fed) = issued.fed {
                    return Err(not_fed)
                        .context("the links are saved, and redirects will know them once a server runs");
                }
                issued.value
            }
        };
        for (wanted, result) in new.iter().zip(results) {
            match result {
                Ok(_) => self.made += 1,
                Err(error) => self.settle(wanted, error).await?,
            }
        }
        Ok(())
    }

    /// `domain/slug` of a link with a slug.
    fn hot_key(&self, wanted: &Wanted) -> Option<String> {
        let slug = wanted.fields.slug.as_ref()?;
        let domain = wanted.fields.domain.as_deref().unwrap_or(self.issuer.public_domain());
        Some(format!("{}/{slug}", domain_key(domain.trim())))
    }

    /// What to say of a link whose short URL is there.
    fn meet(&mut self, wanted: &Wanted, link: &LinkRow) -> anyhow::Result<()> {
        if link.workspace == self.args.workspace
            && wanted.fields.url.as_deref().map(str::trim) == Some(&link.url)
        {
            self.there += 1;
            return Ok(());
        }
        let other =
            if link.workspace == self.args.workspace { "leads elsewhere" } else { "is another workspace's" };
        let detail = format!("{}/{} is taken and {other}", link.domain, link.slug);
        self.refuse(wanted.line, &[Flaw::new("slug", detail)])
    }

    /// What to say of a link that was not made.
    async fn settle(&mut self, wanted: &Wanted, error: IssueError) -> anyhow::Result<()> {
        match error {
            IssueError::Invalid(flaws) => self.refuse(wanted.line, &flaws),
            // Somebody made it since we looked.
            IssueError::SlugTaken { domain, slug } => {
                match links::read_by_slug(self.ledger, &domain, &slug).await? {
                    Some(link) => self.meet(wanted, &link),
                    None => {
                        self.refuse(wanted.line, &[Flaw::new("slug", format!("{domain}/{slug} is taken"))])
                    }
                }
            }
            IssueError::ExternalIdTaken(external_id) => {
                let filter = LinkFilter {
                    workspace: self.args.workspace.clone(),
                    external_id: Some(external_id),
                    limit: 1,
                    ..LinkFilter::default()
                };
                let link = links::list(self.ledger, &filter).await?.pop();
                match link.filter(|link| Some(&link.url) == wanted.fields.url.as_ref()) {
                    Some(_) => self.there += 1,
                    None => {
                        let detail = "another link of the workspace has this external_id";
                        self.refuse(wanted.line, &[Flaw::new("external_id", detail)])?;
                    }
                }
                Ok(())
            }
            error => Err(error.into()),
        }
    }
}
