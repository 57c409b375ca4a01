//! Counts the journeys that did not convert, before they expire: null paths of markov over a past period.
//!
//! What a journey came to can still change while its conversion may be late, so its count is taken anew each
//! time, from the journey itself, and only what differs is written. Shortly before the first click of a journey
//! expires its day is settled: its counts are final, and the journeys are not asked about it again. So each journey
//! counts once, however often and by however many workers this runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::journeys::{Step, Who};
use super::workspaces::Workspace;
use super::{DAY_MS, Worker, WorkerError};
use crate::attribution::null_journeys::{Rules, null_journeys};
use crate::domain::ids::{LinkId, VisitorId};
use crate::domain::time;
use crate::ledger::paths::{self, Counts, Reached, Settling};
use crate::ledger::rollups::{LinkHistories, link_histories};
use crate::ledger::workspaces;

/// Kinds of events per workspace besides purchases: each has null paths of its own.
const EVENTS_MAX: i64 = 10;
const WORKSPACES_PER_READ: i64 = 100;

/// A workspace while its journeys are counted.
struct Folding {
    workspace: Workspace,
    settling: Settling,
    rules: BTreeMap<String, Rules>,
    counts: Counts,
}

/// Counts all journeys that are there at `now_ms`.
pub(super) async fn fold(worker: &Worker, now_ms: i64) -> Result<(), WorkerError> {
    let mut foldings = foldings(worker, now_ms).await?;
    let mut histories = LinkHistories::default();
    let mut walk = worker.journeys.walk();
    while let Some(page) = walk.next().await? {
        let links: BTreeSet<LinkId> =
            page.iter().flat_map(|(_, steps)| steps.iter().map(|step| step.link)).collect();
        let unknown: Vec<LinkId> = links.into_iter().filter(|link| !histories.contains_key(link)).collect();
        histories.extend(link_histories(&worker.ledger, &unknown).await?);
        let mut by_workspace: BTreeMap<Arc<str>, Vec<(VisitorId, Vec<Step>)>> = BTreeMap::new();
        for (Who { workspace, visitor, .. }, steps) in page {
            by_workspace.entry(workspace).or_default().push((visitor, steps));
        }
        for (workspace, journeys) in by_workspace {
            let Some(folding) = foldings.get_mut(&*workspace) else { continue };
            let visitors: Vec<VisitorId> = journeys.iter().map(|(visitor, _)| *visitor).collect();
            let reached = paths::reached(&worker.ledger, &workspace, &visitors).await?;
            for (visitor, steps) in &journeys {
                folding.count(steps, reached.get(visitor), &histories);
            }
        }
    }
    for (id, Folding { settling, counts, .. }) in foldings {
        let mut tx = worker.ledger.begin().await?;
        if paths::replace(&worker.ledger, &mut tx, &id, settling, &counts).await? {
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn foldings(worker: &Worker, now_ms: i64) -> Result<BTreeMap<String, Folding>, WorkerError> {
    let mut foldings = BTreeMap::new();
    let mut after = String::new();
    loop {
        let rows = workspaces::list(&worker.ledger, &after, WORKSPACES_PER_READ).await?;
        let Some(last) = rows.last() else { return Ok(foldings) };
        after.clone_from(&last.id);
        for row in rows {
            let workspace = Workspace::from_row(&row, &worker.attribution)?;
            let mut events = paths::events(&worker.ledger, &row.id, EVENTS_MAX).await?;
            events.insert("purchase".to_owned());
            let rules: BTreeMap<String, Rules> =
                events.into_iter().map(|event| (event.clone(), rules(&workspace, &event))).collect();
            let windows = rules.values().map(|rules| rules.window_ms / DAY_MS);
            let window_days = windows.max().unwrap_or_default();
            // The first click of a journey that ended on a day may be a window older, and expires that much
            // earlier; a day is kept in hand.
            let kept_days = i64::from(worker.attribution.journey_retention_days) - window_days - 1;
            let today = time::local_day(now_ms, &workspace.zone);
            let folding = Folding {
                settling: Settling {
                    settled: paths::settled_day(&worker.ledger, &row.id).await?,
                    settles: today - i32::try_from(kept_days.max(1)).unwrap_or(i32::MAX),
                    today,
                },
                workspace,
                rules,
                counts: Counts::new(),
            };
            foldings.insert(row.id, folding);
        }
    }
}

/// A window longer than half the time that journeys are kept would leave no time between the end of a journey
/// and its first click's expiry.
fn rules(workspace: &Workspace, event: &str) -> Rules {
    let settings = workspace.settings_for(event);
    let half_days = (settings.journey_retention_days.saturating_sub(2) / 2).max(1);
    Rules {
        lookback_ms: i64::from(settings.lookback_days) * DAY_MS,
        window_ms: i64::from(settings.lookback_days.min(half_days)) * DAY_MS,
        duplicate_ms: settings.duplicate_ms(),
    }
}

impl Folding {
    fn count(&mut self, steps: &[Step], reached: Option<&Reached>, histories: &LinkHistories) {
        let clicks: Vec<_> = steps.iter().map(|step| (step.click, step.link)).collect();
        let nothing = Reached::default();
        let Reached { conversions_ms, named } = reached.unwrap_or(&nothing);
        for (event, rules) in &self.rules {
            let (no_conversions, no_clicks) = (BTreeSet::new(), BTreeSet::new());
            let conversions_ms = conversions_ms.get(event).unwrap_or(&no_conversions);
            let named = named.get(event).unwrap_or(&no_clicks);
            for journey in null_journeys(&clicks, conversions_ms, named, rules) {
                let Some((last, _)) = journey.last() else { continue };
                let day = time::local_day(last.at_ms(), &self.workspace.zone);
                if self.settling.settled.is_some_and(|settled| day < settled) {
                    continue;
                }
                let keys = journey.iter().map(|(click, link)| {
                    let revision =
                        histories.get(link).map_or(1, |history| history.revision_at(click.at_ms()));
                    (link.as_i64(), revision)
                });
                *self.counts.entry((event.clone(), day)).or_default().entry(keys.collect()).or_default() += 1;
            }
        }
    }
}
