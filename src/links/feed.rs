//! Brings changes of links to the hot copies, for what a failed or killed request left behind.

use std::collections::HashMap;
use std::time::Duration;

use super::issue::{IssueError, Issuer, NotFed, hot_link};
use crate::domain::time::now_ms;
use crate::ledger::LedgerError;
use crate::ledger::links::{self, LinkRow};

const ROUND: i64 = 500;
const EVERY: Duration = Duration::from_secs(1);
/// Redirectors that were away for longer empty their caches anyway.
const CHANGES_KEPT_MS: i64 = 24 * 3600 * 1000;

impl Issuer {
    /// Runs until it is dropped.
    pub async fn feed(&self) {
        if !self.copies.need_feeding() {
            return self.follow().await;
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tick.tick().await;
            let failed = loop {
                match self.feed_round().await {
                    Ok(0) => break None,
                    Ok(_) => {}
                    Err(error) => break Some(error),
                }
            };
            // Once per outage; the changes wait in the ledger.
            if let Some(error) = failed.as_ref().filter(|_| !failing) {
                tracing::warn!(%error, "hot copies of links wait");
            }
            failing = failed.is_some();
        }
    }

    /// Tells the redirector of this process what others change in the ledger: the worker that closes a
    /// full link, a command that imports.
    async fn follow(&self) {
        let mut seen = None;
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.follow_round(&mut seen).await {
                tracing::warn!(%error, "changes of links do not come through");
            }
        }
    }

    async fn follow_round(&self, seen: &mut Option<i64>) -> Result<(), IssueError> {
        let Some(after) = *seen else {
            *seen = Some(links::last_change(&self.ledger).await?);
            return Ok(());
        };
        for change in links::changes_after(&self.ledger, after, ROUND).await? {
            let put = self.copies.put(&[(change.hot_key, None)]).await;
            put.map_err(|cause| NotFed { change: change.seq, cause })?;
            *seen = Some(change.seq);
        }
        Ok(())
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
