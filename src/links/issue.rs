//! Making and changing links: one place, used by the API, the CLI and the dialects.
//!
//! A link is written in one transaction with the revision that says what it stands for and a note of the
//! change; then its hot copy is put in place. Where that fails the link is saved all the same, and the
//! feeder (`Issuer::feed`) puts the copy in place later.

use std::collections::{HashMap, HashSet};
use std::fmt;

use url::Url;

use super::cache::{Located, SourceError};
use super::copies::{Copies, CopiesError};
use super::draft::{Draft, Known, authority};
use super::{HotLink, domain_key, slug};
use crate::domain::flaw::Flaw;
use crate::domain::ids::LinkId;
use crate::domain::time::now_ms;
use crate::domain::utm::{ClickParam, link_destination};
use crate::ledger::links::{self, LinkRow, RevisionRow};
use crate::ledger::{Ledger, LedgerError, Tx, posts, workspaces};

/// Links in one call at most.
pub const BULK_MAX: usize = 1000;
/// Draws of a random slug before giving up: at 10^9 links the first one is free in 2,000 of 2,001 cases.
const SLUG_DRAWS: usize = 8;

/// What a caller says of a link; None leaves a thing as it is, `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkFields {
    pub url: Option<String>,
    pub domain: Option<String>,
    pub slug: Option<String>,
    pub post: Option<Option<String>>,
    pub network: Option<Option<String>>,
    pub campaign: Option<Option<String>>,
    /// By parameter (`utm_source`); None gives the default back, an empty text means no tag.
    pub utm: Vec<(&'static str, Option<String>)>,
    pub tags: Option<Vec<String>>,
    pub title: Option<Option<String>>,
    pub external_id: Option<Option<String>>,
    pub expires_ms: Option<Option<i64>>,
    pub expired_url: Option<Option<String>>,
    pub max_clicks: Option<Option<i64>>,
    pub forward_query: Option<bool>,
    /// None inside: the usual name; empty: no click token.
    pub click_param: Option<Option<String>>,
    pub archived: Option<bool>,
    /// When it was made elsewhere; for links that move in.
    pub created_ms: Option<i64>,
    /// What a dialect keeps with a link, by name.
    pub extra: Vec<(String, Option<serde_json::Value>)>,
}

/// Why a link was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("{}", .0.first().map_or("", |flaw| flaw.detail.as_str()))]
    Invalid(Vec<Flaw>),
    #[error("the slug {slug} is taken on {domain}; choose another or leave it out")]
    SlugTaken { domain: String, slug: String },
    #[error("the external_id {0} belongs to another link; change that one by its external id")]
    ExternalIdTaken(String),
    #[error("there is no such link in this workspace")]
    NotFound,
    /// Two processes drew the same id in the same millisecond; nothing was done.
    #[error("the link was not made, since its number was just taken; try again")]
    IdTaken,
    #[error(transparent)]
    NotFed(#[from] NotFed),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Changes up to number `change` are saved, but their hot copies are not in place yet.
#[derive(Debug, thiserror::Error)]
#[error("saved, but redirects do not know it yet")]
pub struct NotFed {
    pub change: i64,
    #[source]
    pub cause: CopiesError,
}

/// What was saved, and whether its hot copies are in place.
#[derive(Debug)]
pub struct Issued<T> {
    pub value: T,
    pub fed: Result<(), NotFed>,
}

impl From<sqlx::Error> for IssueError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error.into())
    }
}

/// Makes and changes links.
#[derive(Clone)]
pub struct Issuer {
    pub(super) ledger: Ledger,
    pub(super) copies: Copies,
    /// Base of short URLs on the default domain.
    public_url: Url,
    public_domain: String,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("public_url", &self.public_url.as_str()).finish_non_exhaustive()
    }
}

impl Issuer {
    /// `public_url`: the base of short links as visitors see it, without a path.
    pub fn new(ledger: Ledger, copies: Copies, public_url: Url) -> Self {
        let public_domain = authority(public_url.as_str()).unwrap_or_default();
        Self { ledger, copies, public_url, public_domain }
    }

    /// The domain that links get which name none.
    pub fn public_domain(&self) -> &str {
        &self.public_domain
    }

    /// What the hot copies are to know of short domains.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    pub fn short_url(&self, link: &LinkRow) -> String {
        self.short_url_of(&link.domain, &link.slug)
    }

    pub fn short_url_of(&self, domain: &str, slug: &str) -> String {
        format!("{}://{domain}/{slug}", self.public_url.scheme())
    }

    /// Where this program is reached: ends with a slash.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// Makes one link.
    pub async fn create(&self, workspace: &str, fields: LinkFields) -> Result<Issued<LinkRow>, IssueError> {
        let Issued { mut value, fed } = self.create_many(workspace, vec![fields]).await?;
        let value = value.pop().unwrap_or(Err(IssueError::NotFound))?;
        Ok(Issued { value, fed })
    }

    /// Makes up to [`BULK_MAX`] links in one transaction. A link that cannot be made keeps none of the others
    /// from being made; its error stands in its place.
    pub async fn create_many(
        &self,
        workspace: &str,
        items: Vec<LinkFields>,
    ) -> Result<Issued<Vec<Result<LinkRow, IssueError>>>, IssueError> {
        let mut tx = self.ledger.begin().await?;
        let mut batch = Batch::default();
        let value = self.create_in(&mut tx, workspace, items, &mut batch).await?;
        tx.commit().await?;
        Ok(Issued { value, fed: self.put_copies(batch).await })
    }

    /// The same inside a transaction; after its commit, `put_copies` has to follow.
    pub async fn create_in(
        &self,
        tx: &mut Tx,
        workspace: &str,
        items: Vec<LinkFields>,
        batch: &mut Batch,
    ) -> Result<Vec<Result<LinkRow, IssueError>>, IssueError> {
        let now_ms = now_ms();
        let known = self.known(tx, workspace, &items).await?;
        let mut drafts = Vec::with_capacity(items.len());
        let mut results: Vec<Option<Result<LinkRow, IssueError>>> = Vec::with_capacity(items.len());
        let ids = LinkId::generate_many(now_ms, items.len());
        for (id, fields) in ids.zip(items) {
            match Draft::blank(workspace, id.as_i64(), now_ms, fields).check(&known) {
                Ok(link) => {
                    drafts.push((results.len(), link));
                    results.push(None);
                }
                Err(flaws) => results.push(Some(Err(IssueError::Invalid(flaws)))),
            }
        }
        let taken = self.insert(tx, &mut drafts, now_ms).await?;
        for (index, error) in taken {
            results[index] = Some(Err(error));
        }
        self.describe(tx, workspace, drafts.iter().map(|(_, link)| (link, true)), now_ms).await?;
        for (index, link) in drafts {
            batch.add(&link);
            results[index] = Some(Ok(link));
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Changes a link.
    pub async fn change(
        &self,
        workspace: &str,
        id: LinkId,
        fields: LinkFields,
    ) -> Result<Issued<LinkRow>, IssueError> {
        let mut tx = self.ledger.begin().await?;
        let link = links::lock(&self.ledger, &mut tx, workspace, id.as_i64()).await?;
        let link = link.ok_or(IssueError::NotFound)?;
        let mut batch = Batch::default();
        let value = self.change_in(&mut tx, link, fields, &mut batch).await?;
        tx.commit().await?;
        Ok(Issued { value, fed: self.put_copies(batch).await })
    }

    /// Makes the link with this external id, or changes it; whether it is new.
    pub async fn upsert(
        &self,
        workspace: &str,
        external_id: &str,
        mut fields: LinkFields,
    ) -> Result<Issued<(LinkRow, bool)>, IssueError> {
        let mut tx = self.ledger.begin().await?;
        let mut batch = Batch::default();
        let found = links::lock_external(&self.ledger, &mut tx, workspace, external_id).await?;
        let value = match found {
            Some(link) => {
                // To name a link again is to want it.
                fields.archived.get_or_insert(false);
                (self.change_in(&mut tx, link, fields, &mut batch).await?, false)
            }
            None => {
                fields.external_id = Some(Some(external_id.to_owned()));
                let mut results = self.create_in(&mut tx, workspace, vec![fields], &mut batch).await?;
                (results.pop().unwrap_or(Err(IssueError::NotFound))?, true)
            }
        };
        tx.commit().await?;
        Ok(Issued { value, fed: self.put_copies(batch).await })
    }

    /// Changes a locked link inside a transaction; after its commit, `put_copies` has to follow.
    pub async fn change_in(
        &self,
        tx: &mut Tx,
        old: LinkRow,
        fields: LinkFields,
        batch: &mut Batch,
    ) -> Result<LinkRow, IssueError> {
        let now_ms = now_ms();
        let workspace = old.workspace.clone();
        let mut known = self.known(tx, &workspace, std::slice::from_ref(&fields)).await?;
        if let Some(post) = &old.post {
            known.posts.extend(posts::get_many(tx, &workspace, &[post]).await?);
        }
        let mut link = Draft::of(&old, &known, fields).check(&known).map_err(IssueError::Invalid)?;
        if link == old {
            return Ok(old);
        }
        link.updated_ms = now_ms;
        if link.max_clicks != old.max_clicks {
            let clicks = links::human_clicks(&self.ledger, &[link.id]).await?;
            let clicks = clicks.get(&link.id).copied().unwrap_or(0);
            link.full_ms = link.max_clicks.filter(|max| clicks >= *max).map(|_| now_ms);
        }
        let mut changes = vec![(link.hot_key(), link.id)];
        if link.hot_key() != old.hot_key() {
            changes.push((old.hot_key(), link.id));
            batch.0.push((old.hot_key(), None));
        }
        let seqs = links::record_changes(&self.ledger, tx, &changes, now_ms).await?;
        link.version = seqs.into_iter().max().unwrap_or(old.version);
        self.write(tx, &old, &link).await?;
        self.describe(tx, &workspace, std::iter::once((&link, false)), now_ms).await?;
        batch.add(&link);
        Ok(link)
    }

    /// Puts the hot copies of a committed batch in place.
    pub async fn put_copies(&self, batch: Batch) -> Result<(), NotFed> {
        if batch.0.is_empty() {
            return Ok(());
        }
        let copies: Vec<(String, Option<HotLink>)> =
            batch.0.iter().map(|(key, link)| (key.clone(), link.as_ref().map(hot_link))).collect();
        self.copies.put(&copies).await.map_err(|cause| {
            let versions = batch.0.iter().flat_map(|(_, link)| link).map(|link| link.version);
            NotFed { change: versions.max().unwrap_or_default(), cause }
        })
    }

    /// What the drafts are judged by: domains and posts that they name.
    async fn known(&self, tx: &mut Tx, workspace: &str, items: &[LinkFields]) -> Result<Known, IssueError> {
        let mut names: HashSet<String> = HashSet::from([self.public_domain.clone()]);
        let mut post_ids: HashSet<&str> = HashSet::new();
        for fields in items {
            let urls = [fields.url.as_deref(), fields.expired_url.as_ref().and_then(Option::as_deref)];
            names.extend(urls.into_iter().flatten().filter_map(authority));
            names.extend(fields.domain.as_deref().map(|domain| domain_key(domain.trim()).into_owned()));
            post_ids.extend(fields.post.as_ref().and_then(Option::as_deref).map(str::trim));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let post_ids: Vec<&str> = post_ids.into_iter().collect();
        let rows = workspaces::own_domains(tx, &names).await?;
        let mut domains: HashMap<String, bool> = rows
            .into_iter()
            .map(|row| (row.domain, row.workspace.is_none_or(|owner| owner == workspace)))
            .collect();
        domains.insert(self.public_domain.clone(), true);
        let posts = posts::get_many(tx, workspace, &post_ids).await?;
        Ok(Known { domains, default_domain: self.public_domain.clone(), posts })
    }

    /// Inserts what it can, drawing random slugs anew where they are taken. The drafts that are left are in
    /// the ledger; the others are given with the reason.
    async fn insert(
        &self,
        tx: &mut Tx,
        drafts: &mut Vec<(usize, LinkRow)>,
        now_ms: i64,
    ) -> Result<Vec<(usize, IssueError)>, IssueError> {
        let mut waiting = std::mem::take(drafts);
        let mut refused = Vec::new();
        let drawn: HashSet<i64> =
            waiting.iter().filter(|(_, link)| link.slug.is_empty()).map(|(_, link)| link.id).collect();
        for _ in 0..SLUG_DRAWS {
            if waiting.is_empty() {
                break;
            }
            for (_, link) in &mut waiting {
                if drawn.contains(&link.id) {
                    link.slug = slug::generate();
                }
            }
            let changes: Vec<(String, i64)> =
                waiting.iter().map(|(_, link)| (link.hot_key(), link.id)).collect();
            let seqs = links::record_changes(&self.ledger, tx, &changes, now_ms).await?;
            for ((_, link), seq) in waiting.iter_mut().zip(seqs) {
                link.version = seq;
            }
            let rows: Vec<&LinkRow> = waiting.iter().map(|(_, link)| link).collect();
            let inserted = links::insert(tx, &rows).await?;
            let (done, left): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, link)| inserted.contains(&link.id));
            drafts.extend(done);
            waiting = Vec::new();
            for (index, link) in left {
                let by_slug = links::by_slug(tx, &link.domain, &link.slug).await?;
                match by_slug {
                    Some(_) if drawn.contains(&link.id) => waiting.push((index, link)),
                    Some(_) => refused.push((index, slug_taken(&link))),
                    None if self.has_external_id(tx, &link).await? => {
                        refused.push((index, external_id_taken(&link)));
                    }
                    None => return Err(IssueError::IdTaken),
                }
            }
        }
        refused.extend(waiting.into_iter().map(|(index, link)| (index, slug_taken(&link))));
        Ok(refused)
    }

    /// Writes a changed row, unless its new slug or external id is another link's.
    async fn write(&self, tx: &mut Tx, old: &LinkRow, link: &LinkRow) -> Result<(), IssueError> {
        if link.hot_key() != old.hot_key() && links::by_slug(tx, &link.domain, &link.slug).await?.is_some() {
            return Err(slug_taken(link));
        }
        if link.external_id != old.external_id && self.has_external_id(tx, link).await? {
            return Err(external_id_taken(link));
        }
        Ok(links::update(tx, link).await?)
    }

    /// Whether a link in the ledger has the external id of this one.
    async fn has_external_id(&self, tx: &mut Tx, link: &LinkRow) -> Result<bool, IssueError> {
        let Some(external_id) = &link.external_id else { return Ok(false) };
        Ok(links::lock_external(&self.ledger, tx, &link.workspace, external_id).await?.is_some())
    }

    /// Writes what links stand for, where that is new, and bare rows for the posts they name.
    async fn describe(
        &self,
        tx: &mut Tx,
        workspace: &str,
        links: impl Iterator<Item = (&LinkRow, bool)>,
        now_ms: i64,
    ) -> Result<(), IssueError> {
        let mut revisions = Vec::new();
        let mut post_ids = HashSet::new();
        for (link, new) in links {
            post_ids.extend(link.post.as_deref());
            let last = match new {
                true => None,
                false => links::last_revision(tx, link.id).await?,
            };
            let mut revision = revision_of(link, now_ms);
            match last {
                None => revisions.push(revision),
                Some(last) => {
                    revision.revision = last.revision;
                    revision.from_ms = last.from_ms;
                    if revision != last {
                        revision.revision += 1;
                        revision.from_ms = now_ms;
                        revisions.push(revision);
                    }
                }
            }
        }
        let post_ids: Vec<&str> = post_ids.into_iter().collect();
        posts::ensure(tx, workspace, &post_ids, now_ms).await?;
        links::insert_revisions(tx, &revisions).await?;
        Ok(())
    }
}

/// Links changed in a transaction, whose hot copies have to follow its commit.
#[derive(Debug, Default)]
pub struct Batch(Vec<(String, Option<LinkRow>)>);

impl Batch {
    fn add(&mut self, link: &LinkRow) {
        self.0.push((link.hot_key(), Some(link.clone())));
    }
}

/// The hot copy of a link.
pub fn hot_link(link: &LinkRow) -> HotLink {
    HotLink {
        id: LinkId::from_i64(link.id).expect("link ids in the ledger were made from link ids"),
        workspace: link.workspace.clone(),
        destination: link_destination(&link.url, &link.utm, click_param(link)),
        forward_query: link.forward_query,
        expires_at_ms: link.expires_ms,
        expired_url: link.expired_url.clone(),
        closed: link.archived_ms.is_some() || link.full_ms.is_some(),
        revision: link.version,
    }
}

/// What a redirect needs of `domain/slug`, read from the ledger itself.
pub(super) async fn locate(ledger: &Ledger, key: &str) -> Result<Located, SourceError> {
    if let Some(link) = links::by_hot_keys(ledger, &[key]).await?.first() {
        return Ok(Located::Link(hot_link(link)));
    }
    let domain = key.split('/').next().unwrap_or_default();
    let is_own = workspaces::is_domain(ledger, domain).await?;
    Ok(if is_own { Located::NoLink } else { Located::UnknownDomain })
}

/// Where clicks go, as it is shown to people: with the link's tags, without a click token.
pub fn shown_destination(link: &LinkRow) -> String {
    link_destination(&link.url, &link.utm, click_param(link)).to_url()
}

fn click_param(link: &LinkRow) -> ClickParam<'_> {
    match link.click_param.as_deref() {
        None => ClickParam::Default,
        Some("") => ClickParam::Off,
        Some(name) => ClickParam::Named(name),
    }
}

fn revision_of(link: &LinkRow, now_ms: i64) -> RevisionRow {
    // The destination's own tags stay at the click, so they are what the click is counted under.
    let own = super::draft::own_tags(&link.url);
    let tag = |own: &Option<String>, given: &Option<String>| {
        let value = own.as_deref().or(given.as_deref()).filter(|value| !value.is_empty());
        value.map(str::to_lowercase)
    };
    RevisionRow {
        link: link.id,
        revision: 1,
        from_ms: now_ms,
        workspace: link.workspace.clone(),
        post: link.post.clone(),
        network: link.network.clone(),
        campaign: link.campaign.clone(),
        utm: [
            tag(&own.source, &link.utm.source),
            tag(&own.medium, &link.utm.medium),
            tag(&own.campaign, &link.utm.campaign),
            tag(&own.term, &link.utm.term),
            tag(&own.content, &link.utm.content),
        ],
        tags: link.tags.clone(),
    }
}

fn slug_taken(link: &LinkRow) -> IssueError {
    IssueError::SlugTaken { domain: link.domain.clone(), slug: link.slug.clone() }
}

fn external_id_taken(link: &LinkRow) -> IssueError {
    IssueError::ExternalIdTaken(link.external_id.clone().unwrap_or_default())
}
