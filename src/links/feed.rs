//! Brings changes of links to redirectors: what a failed or killed request left behind, and what others
//! than the API changed.

use std::collections::HashMap;
use std::time::Duration;

use super::issue::{IssueError, Issuer, NotFed, hot_link};
use crate::domain::time::now_ms;
use crate::ledger::LedgerError;
use crate::ledger::links::{self, LinkRow};
use crate::ledger::workspaces;

const ROUND: i64 = 500;
const EVERY: Duration = Duration::from_secs(1);
/// Redirectors that were away for longer empty their caches anyway.
const CHANGES_KEPT_MS: i64 = 24 * 3600 * 1000;

impl Issuer {
    /// Runs until it is dropped.
    pub async fn feed(&self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = None;
        let mut is_fed = false;
        let mut is_failing = false;
        loop {
            tick.tick().await;
            let fed = match self.copies.need_feeding() {
                true => self.feed_all(!is_fed).await,
                false => self.invalidate_changed(&mut seen).await,
            };
            is_fed = fed.is_ok();
            if let Err(error) = &fed
                && !is_failing
            {
                // Once per outage; the changes wait in the ledger.
                tracing::warn!(%error, "changed links do not reach redirects");
            }
            is_failing = fed.is_err();
        }
    }

    /// Brings all that waits to the hot copies; domains too where they may have been missed.
    async fn feed_all(&self, with_domains: bool) -> Result<(), IssueError> {
        if with_domains {
            let domains = workspaces::all_domains(&self.ledger).await?;
            self.copies.add_domains(&domains).await.map_err(|cause| NotFed { change: 0, cause })?;
        }
        while self.feed_round().await? > 0 {}
        Ok(())
    }

    /// Tells the redirector of this process what others changed: the worker, or another program.
    async fn invalidate_changed(&self, seen: &mut Option<i64>) -> Result<(), IssueError> {
        let Some(after) = *seen else {
            *seen = Some(links::last_change(&self.ledger).await?);
            return Ok(());
        };
        let changes = links::changes_after(&self.ledger, after, ROUND).await?;
        *seen = changes.last().map(|change| change.seq).or(*seen);
        let copies: Vec<_> = changes.into_iter().map(|change| (change.hot_key, None)).collect();
        Ok(self.copies.put(&copies).await.map_err(|cause| NotFed { change: after, cause })?)
    }

    /// Returns once the hot copies are fed up to a change; errs if the hot store does not take them.
    pub async fn wait_for_copies(&self, change: i64) -> Result<(), IssueError> {
        while self.copies.need_feeding() && links::fed(&self.ledger).await? < change {
            self.feed_round().await?;
        }
        Ok(())
    }

    /// Feeds the next changes to the hot copies; how many there were.
    async fn feed_round(&self) -> Result<usize, IssueError> {
        let fed = links::fed(&self.ledger).await?;
        let changes = links::changes_after(&self.ledger, fed, ROUND).await?;
        let Some(last) = changes.last().map(|change| change.seq) else { return Ok(0) };
        let keys: Vec<&str> = changes.iter().map(|change| change.hot_key.as_str()).collect();
        let links = links::by_hot_keys(&self.ledger, &keys).await?;
        let links: HashMap<String, LinkRow> = links.into_iter().map(|link| (link.hot_key(), link)).collect();
        let copies: Vec<_> =
            keys.iter().map(|key| ((*key).to_owned(), links.get(*key).map(hot_link))).collect();
        self.copies.put(&copies).await.map_err(|cause| NotFed { change: last, cause })?;
        links::set_fed(&self.ledger, fed, last).await?;
        Ok(changes.len())
    }

    /// Forgets changes that everybody has seen.
    pub async fn forget_changes(&self) -> Result<(), LedgerError> {
        let fed = match self.copies.need_feeding() {
            true => links::fed(&self.ledger).await?,
            false => i64::MAX,
        };
        links::trim_changes(&self.ledger, fed, now_ms() - CHANGES_KEPT_MS).await
    }
}
