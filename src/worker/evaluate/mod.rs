//! Evaluating due conversions: gather what is known, decide (pure), write. Run again on the same
//! knowledge it writes the same.
//!
//! Two transactions: the first makes the conversion's visitors known, then its journeys are read,
//! then the second writes the results. A click that comes in between finds the conversion by its
//! visitors and marks it due again; whoever comes second sees the other (invariant 5).

mod decide;
pub mod dry_run;
mod known;
mod money;

use std::collections::{BTreeSet, HashMap};

use super::journeys::{JourneyError, Journeys, Step, Who};
use super::workspaces::Workspaces;
use crate::domain::ids::{LinkId, VisitorId};
use crate::domain::time;
use crate::ledger::conversions::{self, Due, Put};
use crate::ledger::rollups::link_histories;
use crate::ledger::webhooks;
use crate::ledger::{Ledger, LedgerError, facts};
use crate::webhooks::outbox::{Audience, tell_conversion};
use decide::decide;
use known::{Known, gather};

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Journey(#[from] JourneyError),
}

const DAY_MS: i64 = 24 * 3_600_000;
/// Touches are kept this long, so that a longer lookback can be tried later.
const KEPT_DAYS: i64 = 400;

/// Evaluates up to `limit` due conversions; returns how many there were.
pub async fn evaluate_due(
    ledger: &Ledger,
    journeys: &Journeys,
    workspaces: &mut Workspaces,
    limit: i64,
) -> Result<usize, EvaluateError> {
    let due = conversions::due(ledger, limit).await?;
    if due.is_empty() {
        return Ok(0);
    }
    workspaces.forget();
    let mut tx = ledger.begin_alone().await?;
    let mut all_known = Vec::with_capacity(due.len());
    for due in &due {
        let known = gather(&mut tx, due).await?;
        let renews = known.state.as_ref().and_then(|state| state.order.renews.as_deref());
        let is_moved = conversions::announce(&mut tx, due, &known.visitors, known.t_ms(), renews).await?;
        if is_moved && workspaces.get(ledger, &due.workspace).await?.purchases_may_cut() {
            facts::mark_related(&mut tx, &due.workspace, &due.order()).await?;
        }
        all_known.push(known);
    }
    tx.commit().await?;

    let journeys_of = read_journeys(journeys, &due, &all_known).await?;
    let links: BTreeSet<LinkId> = all_known.iter().flat_map(|known| known.links(&journeys_of)).collect();
    let histories = link_histories(ledger, &Vec::from_iter(links)).await?;

    let mut decided = Vec::with_capacity(due.len());
    for (due, known) in due.iter().zip(&all_known) {
        let workspace = workspaces.get(ledger, &due.workspace).await?;
        decided.push(decide(ledger, due, known, workspace, &journeys_of, &histories).await?);
    }

    let now_ms = time::now_ms();
    let mut tx = ledger.begin_alone().await?;
    let audience = Audience::of(&mut tx, due.iter().map(|due| due.workspace.as_str())).await?;
    for ((due, known), evaluation) in due.iter().zip(&all_known).zip(&decided) {
        let before = match audience.wants_conversions(&due.workspace) {
            true => Some(webhooks::standing(&mut tx, due.id).await?),
            false => None,
        };
        let put = conversions::put_evaluation(ledger, &mut tx, due, evaluation, now_ms).await?;
        let Put::Done { counts_anew } = put else { continue };
        if let Some(before) = before {
            let currency = workspaces.get(ledger, &due.workspace).await?.currency;
            tell_conversion(&mut tx, &audience, &due.workspace, currency, due.id, &before, now_ms).await?;
        }
        // Whoever has read the former results evaluates anew.
        if counts_anew && workspaces.get(ledger, &due.workspace).await?.purchases_may_cut() {
            facts::mark_related(&mut tx, &due.workspace, &due.order()).await?;
        }
        if evaluation.renews.is_none() {
            conversions::mark_renewals(&mut tx, &due.source, &known.references).await?;
        }
    }
    tx.commit().await?;
    Ok(due.len())
}

/// Workspace and visitor.
type VisitorKey = (String, VisitorId);
async fn read_journeys(
    journeys: &Journeys,
    due: &[Due],
    known: &[Known],
) -> Result<HashMap<VisitorKey, Vec<Step>>, JourneyError> {
    let keys: BTreeSet<VisitorKey> = due
        .iter()
        .zip(known)
        .flat_map(|(due, known)| known.visitors.iter().map(|visitor| (due.workspace.clone(), *visitor)))
        .collect();
    let ts = || known.iter().filter_map(Known::t_ms);
    let (Some(first_ms), Some(last_ms)) = (ts().min(), ts().max()) else { return Ok(HashMap::new()) };
    let whose: Vec<Who> = keys
        .iter()
        .map(|(workspace, visitor)| Who {
            workspace: workspace.as_str().into(),
            visitor: *visitor,
            anonymous: false,
        })
        .collect();
    let steps = journeys.read(&whose, first_ms - KEPT_DAYS * DAY_MS, last_ms).await?;
    Ok(keys.into_iter().zip(steps).collect())
}
