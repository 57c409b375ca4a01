//! What other rules would change: every order is evaluated by the rules in force and by the others, from what
//! the ledger keeps of it, and nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::decide::decide;
use super::known::{Known, gather};
use super::{EvaluateError, VisitorKey};
use crate::config::{Attribution, WorkspaceSettings};
use crate::domain::ids::LinkId;
use crate::domain::money::Currency;
use crate::ledger::conversions::{Due, Evaluation};
use crate::ledger::rollups::{LinkHistories, link_histories};
use crate::ledger::workspaces::WorkspaceRow;
use crate::ledger::{Ledger, dry_run};
use crate::worker::journeys::Step;
use crate::worker::workspaces::Workspace;

const CONVERSIONS_PER_READ: i64 = 500;

/// Who has the money of an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Post(String),
    /// Links without a post.
    NoPost,
    /// Other channels, and orders without any touch.
    Unattributed,
    /// Orders that do not count, such as tests.
    Excluded,
}

/// Net in minor units, and conversions in billionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub net_minor: i64,
    pub weight: i64,
}

/// By the rules in force, and by the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shift {
    pub before: Share,
    pub after: Share,
}

pub struct DryRun {
    pub currency: Currency,
    /// How many orders of the event there are.
    pub conversions: usize,
    /// How many of them wait to be evaluated, so that reports do not show yet what stands here as `before`.
    pub pending: usize,
    /// How many would be shared otherwise.
    pub changed: usize,
    /// By model, in the order of [`Model::ALL`](crate::attribution::models::Model::ALL).
    pub shifts: BTreeMap<Holder, [Shift; 5]>,
}

/// Evaluates the orders of an event by the workspace's settings and by `others`. Touches are those that were
/// found when each order was evaluated last: the journeys themselves are not read.
pub async fn try_out(
    ledger: &Ledger,
    defaults: &Attribution,
    workspace: &WorkspaceRow,
    others: &WorkspaceSettings,
    event: &str,
) -> Result<DryRun, EvaluateError> {
    let in_force = Workspace::from_row(workspace, defaults)?;
    let by_others = Workspace::with_settings(workspace, others, defaults)?;
    let mut run = DryRun {
        currency: in_force.currency,
        conversions: 0,
        pending: 0,
        changed: 0,
        shifts: BTreeMap::new(),
    };
    let mut after = 0;
    loop {
        let page = dry_run::conversions(ledger, &workspace.id, after, CONVERSIONS_PER_READ).await?;
        let Some(last) = page.last() else { return Ok(run) };
        after = last.id;
        for due in &page {
            let read = Read::of(ledger, due).await?;
            if read.known.state.as_ref().is_none_or(|state| state.order.event != event) {
                continue;
            }
            let before = read.decided(ledger, &in_force).await?;
            let after = read.decided(ledger, &by_others).await?;
            run.conversions += 1;
            run.pending += usize::from(due.due > 0);
            let (before, after) = (shares(&before, &read.posts), shares(&after, &read.posts));
            run.changed += usize::from(before != after);
            for (holder, shares) in before {
                add(run.shifts.entry(holder).or_default(), shares, |shift| &mut shift.before);
            }
            for (holder, shares) in after {
                add(run.shifts.entry(holder).or_default(), shares, |shift| &mut shift.after);
            }
        }
    }
}

/// What evaluating one order takes.
struct Read {
    due: Due,
    known: Known,
    histories: LinkHistories,
    posts: HashMap<(LinkId, i64), String>,
    /// The first sale of the subscription that this order renews: by other rules it has other touches.
    first_sale: Option<Box<Read>>,
}

impl Read {
    async fn of(ledger: &Ledger, due: &Due) -> Result<Self, EvaluateError> {
        let mut read = Self::alone(ledger, due).await?;
        if let Some((first, ..)) = read.known.renewed_from
            && let Some(first) = dry_run::conversion(ledger, first).await?
        {
            let first = Self::alone(ledger, &first).await?;
            read.posts.extend(first.posts.clone());
            read.first_sale = Some(Box::new(first));
        }
        Ok(read)
    }

    async fn alone(ledger: &Ledger, due: &Due) -> Result<Self, EvaluateError> {
        // It only reads, and ends without a commit.
        let known = gather(&mut ledger.read.begin().await?, due).await?;
        let links: BTreeSet<LinkId> = known.links(&no_journeys()).collect();
        let links = Vec::from_iter(links);
        let histories = link_histories(ledger, &links).await?;
        let posts = dry_run::posts(ledger, &links).await?;
        Ok(Self { due: due.clone(), known, histories, posts, first_sale: None })
    }

    async fn decided(&self, ledger: &Ledger, rules: &Workspace) -> Result<Evaluation, EvaluateError> {
        let mut known = self.known.clone();
        if let (Some(first), Some((id, t_ms, _))) = (&self.first_sale, &self.known.renewed_from) {
            let first =
                decide(ledger, &first.due, &first.known, rules, &no_journeys(), &first.histories).await?;
            let touches = first.touches.into_iter().filter(|touch| touch.counted).collect();
            known.renewed_from = Some((*id, *t_ms, touches));
        }
        decide(ledger, &self.due, &known, rules, &no_journeys(), &self.histories).await
    }
}

fn no_journeys() -> HashMap<VisitorKey, Vec<Step>> {
    HashMap::new()
}

/// Who has what of one order, by model. What is split sums to its net, and to one conversion.
fn shares(evaluation: &Evaluation, posts: &HashMap<(LinkId, i64), String>) -> BTreeMap<Holder, [Share; 5]> {
    let mut shares: BTreeMap<Holder, [Share; 5]> = BTreeMap::new();
    let whole = |holder| {
        let share = Share { net_minor: evaluation.net_minor.unwrap_or(0), weight: 1_000_000_000 };
        BTreeMap::from([(holder, [share; 5])])
    };
    if evaluation.status == Some("excluded") {
        return whole(Holder::Excluded);
    }
    if evaluation.credits.is_empty() {
        return whole(Holder::Unattributed);
    }
    for credit in evaluation.credits.iter().filter(|credit| {
        evaluation
            .changes
            .get(credit.change_no as usize)
            .is_some_and(|change| !change.is_exchange_difference())
    }) {
        let touch = &evaluation.touches[credit.touch_no as usize];
        let holder = match touch.link {
            None => Holder::Unattributed,
            Some(link) => {
                let post = posts.get(&(link, touch.revision.unwrap_or(1)));
                post.map_or(Holder::NoPost, |post| Holder::Post(post.clone()))
            }
        };
        let of_holder = shares.entry(holder).or_default();
        for (share, (minor, weight)) in
            of_holder.iter_mut().zip(credit.amounts_minor.iter().zip(&credit.weights))
        {
            share.net_minor += minor;
            share.weight += weight;
        }
    }
    shares
}

fn add(shifts: &mut [Shift; 5], shares: [Share; 5], side: impl Fn(&mut Shift) -> &mut Share) {
    for (shift, share) in shifts.iter_mut().zip(shares) {
        let side = side(shift);
        side.net_minor += share.net_minor;
        side.weight += share.weight;
    }
}
