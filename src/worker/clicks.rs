//! A batch of clicks: derive, remember, count, commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::classify::{Class, Classifier, Device};
use super::journeys::{Journeys, Step, Who};
use super::rollup::{self, Derived, Zones};
use super::workspaces::Workspaces;
use super::{BATCH_MAX, READ_MAX, Worker, WorkerError};
use crate::domain::ids::{ClickId, VisitorId};
use crate::domain::time;
use crate::ledger::rollups::{LinkHistory, link_histories};
use crate::ledger::{facts, links, rollups};
use crate::log::record::{Click, Record, Request};
use crate::log::{Position, Stream};
use crate::webhooks::outbox::{ToldClick, tell_clicks};

const DAY_MS: i64 = 24 * 3_600_000;

/// Reads the clicks of one partition. Holds what may be remembered between batches.
pub(super) struct ClickReader {
    partition: u16,
    position: Position,
    /// As stored: empty before the first batch.
    stored: String,
    classifier: Classifier,
    workspaces: Workspaces,
    /// Ids counted from marked entries; an unmarked twin may still follow one.
    replayed: HashSet<ClickId>,
    /// Of the last batch; empty, but with the memory that the next one needs.
    spare: Batch,
}

impl ClickReader {
    pub(super) async fn open(worker: &Worker, partition: u16) -> Result<Self, WorkerError> {
        let stored = rollups::position(&worker.ledger, STREAM, partition).await?;
        let position = match stored.as_str() {
            "" => Position::START,
            text => text.parse().map_err(|_| WorkerError::Position(text.to_owned()))?,
        };
        worker.log.raise_above(Stream::Clicks, partition, position).await?;
        let since_ms = time::now_ms() - rollups::CLICK_IDS_KEPT_MS;
        let replayed = rollups::replayed_ids(&worker.ledger, partition, since_ms).await?;
        Ok(Self {
            partition,
            position,
            stored,
            classifier: Classifier::default(),
            workspaces: Workspaces::new(worker.attribution.clone()),
            replayed,
            spare: Batch::default(),
        })
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Counts the next batch; returns how many entries it had.
    pub(super) async fn next(&mut self, worker: &Worker) -> Result<usize, WorkerError> {
        let batch = self.read(worker).await?;
        let Some(last) = batch.last else { return Ok(0) };
        let before = steps_before(&worker.journeys, &batch).await?;
        let duplicate_ms = i64::from(worker.attribution.duplicate_seconds) * 1000;
        let counted = rollup::count(&batch.clicks, &before, &batch.zones, duplicate_ms);
        let steps = &batch.steps;
        let retention_ms = i64::from(worker.attribution.journey_retention_days) * DAY_MS;
        worker.journeys.add(steps, time::now_ms(), retention_ms).await?;

        // Journeys are written: whoever evaluates a conversion from here on sees these clicks, and
        // whoever has announced one before is found here.
        let mut tx = worker.ledger.begin().await?;
        let text = last.to_string();
        if !rollups::move_position(&mut tx, STREAM, self.partition, &self.stored, &text).await? {
            return Err(WorkerError::Overtaken { stream: STREAM, partition: self.partition });
        }
        rollups::add(&mut tx, &counted).await?;
        tell_clicks(&mut tx, batch.clicks.iter().map(told), time::now_ms()).await?;
        let clicked = counted.by_day.iter().filter(|(_, counts)| counts.human > 0);
        let clicked: BTreeSet<i64> = clicked.map(|((_, _, link, ..), _)| link.as_i64()).collect();
        let clicked = Vec::from_iter(clicked);
        links::close_full(&worker.ledger, &mut tx, &clicked, time::now_ms()).await?;
        let mut marked = 0;
        worker.ledger.go_alone(&mut tx).await?;
        for (workspace, first_ms) in first_clicks(steps) {
            if facts::latest_t_ms(&mut tx, workspace).await?.is_some_and(|t_ms| first_ms <= t_ms) {
                marked += facts::mark_visitors(&mut tx, workspace, &visitors(steps, workspace)).await?;
            }
        }
        if worker.log.can_repeat() {
            let ids: Vec<ClickId> = batch.ids.iter().copied().collect();
            rollups::put_click_ids(&mut tx, self.partition, &text, &ids, &batch.replayed).await?;
        }
        tx.commit().await?;

        self.replayed.extend(&batch.replayed);
        self.position = last;
        self.stored = text;
        worker.metrics.counted(&counted);
        if marked > 0 {
            worker.due.notify_one();
        }
        let read = batch.read;
        self.spare = batch.emptied();
        Ok(read)
    }

    /// Reads and derives the next batch, in pieces: what clicks are made of is dropped while it is still at
    /// hand, and Redis blocks nobody for long.
    ///
    /// It goes on until it has [`BATCH_MAX`] entries or there are no more: so what a batch that died between
    /// its journeys and its commit had written is part of the next batch from the same position, and is not
    /// mistaken for something that was counted.
    async fn read(&mut self, worker: &Worker) -> Result<Batch, WorkerError> {
        let mut batch = std::mem::take(&mut self.spare);
        loop {
            let after = batch.last.unwrap_or(self.position);
            let entries = worker.log.read(Stream::Clicks, self.partition, after, READ_MAX).await?;
            let Some((last, _)) = entries.last() else { break };
            batch.last = Some(*last);
            let read = entries.len();
            batch.read += read;
            let is_more = read == READ_MAX && batch.read < BATCH_MAX;
            if is_more {
                worker.log.read_ahead(Stream::Clicks, self.partition, *last, READ_MAX).await;
            }
            let mut clicks = Vec::with_capacity(read);
            for (_, record) in entries {
                match record {
                    Record::Click(click) => clicks.push(click),
                    Record::Delivery(_) | Record::Unreadable(_) => {
                        worker.metrics.unreadable.inc();
                    }
                }
            }
            if worker.log.can_repeat() {
                self.once(worker, &mut clicks, &mut batch).await?;
            }
            self.derive(worker, &clicks, &mut batch).await?;
            if !is_more {
                break;
            }
        }
        Ok(batch)
    }

    /// Drops what was counted before: a marked entry whose id was there, and an unmarked one whose
    /// marked twin came first.
    async fn once(
        &self,
        worker: &Worker,
        clicks: &mut Vec<Click<'static>>,
        batch: &mut Batch,
    ) -> Result<(), WorkerError> {
        let marked: Vec<i64> = clicks.iter().filter(|c| c.is_replayed).map(|c| c.id.at_ms()).collect();
        let counted = match (marked.iter().min(), marked.iter().max()) {
            (Some(first), Some(last)) => {
                rollups::counted_ids(&worker.ledger, self.partition, *first, *last).await?
            }
            _ => HashSet::new(),
        };
        let read = clicks.len();
        clicks.retain(|click| {
            let before = match click.is_replayed {
                true => &counted,
                false => &self.replayed,
            };
            !before.contains(&click.id) && batch.ids.insert(click.id)
        });
        batch.replayed.extend(clicks.iter().filter(|click| click.is_replayed).map(|click| click.id));
        worker.metrics.repeated.inc_by((read - clicks.len()) as u64);
        Ok(())
    }

    /// A click of an unknown link is not counted: there is no workspace to count it for.
    async fn derive(
        &mut self,
        worker: &Worker,
        clicks: &[Click<'static>],
        batch: &mut Batch,
    ) -> Result<(), WorkerError> {
        let links: BTreeSet<_> = clicks.iter().map(|click| click.link).collect();
        let histories = link_histories(&worker.ledger, &Vec::from_iter(links)).await?;
        for history in histories.values() {
            if !batch.zones.contains_key(&history.workspace) {
                let zone = self.workspaces.get(&worker.ledger, &history.workspace).await?.zone.clone();
                batch.zones.insert(Arc::clone(&history.workspace), zone);
            }
        }
        let mut classified: BTreeMap<(Class, &str), u64> = BTreeMap::new();
        for click in clicks {
            let Some(history) = histories.get(&click.link) else {
                worker.metrics.unreadable.inc();
                continue;
            };
            let (derived, rule) = derive(click, history, &batch.zones, &mut self.classifier, worker);
            *classified.entry((derived.class, rule)).or_default() += 1;
            batch.steps.extend(step(&derived));
            batch.clicks.push(derived);
            // By way of the spool a visitor's later clicks may have overtaken the one that made the cookie.
            if click.is_new_visitor && !click.is_replayed {
                batch.new_visitors.extend(click.visitor);
            }
        }
        for ((class, rule), clicks) in classified {
            worker.metrics.classified(class, rule, clicks);
        }
        Ok(())
    }
}

/// What was read and derived; nothing of it is counted yet.
#[derive(Default)]
struct Batch {
    /// Of the last entry; None if there is none.
    last: Option<Position>,
    /// Entries, of any kind.
    read: usize,
    clicks: Vec<Derived>,
    /// Of those of people.
    steps: Vec<(Who, Step)>,
    zones: Zones,
    /// They have no earlier clicks to look up.
    new_visitors: HashSet<VisitorId, RandomState>,
    /// Of a log that can repeat itself: all that counts.
    ids: HashSet<ClickId, RandomState>,
    /// Those of them that came marked.
    replayed: Vec<ClickId>,
}

impl Batch {
    /// Memory that is touched for the first time costs more than counting the clicks in it.
    fn emptied(mut self) -> Self {
        let Self { last, read, clicks, steps, zones, new_visitors, ids, replayed } = &mut self;
        (*last, *read) = (None, 0);
        clicks.clear();
        steps.clear();
        zones.clear();
        new_visitors.clear();
        ids.clear();
        replayed.clear();
        self
    }
}

const STREAM: &str = "clicks";

/// With the rule by which it was classified.
fn derive(
    click: &Click<'_>,
    history: &LinkHistory,
    zones: &Zones,
    classifier: &mut Classifier,
    worker: &Worker,
) -> (Derived, &'static str) {
    let classified = classifier.classify(
        click.request == Request::Head,
        click.request == Request::Prefetch,
        &click.user_agent,
    );
    let at_ms = click.id.at_ms();
    let who = (classified.class == Class::Human).then(|| {
        // Without a cookie, people are told apart for one day only, by a hash that dies with it.
        let anonymous = || {
            let day = time::local_day(at_ms, &zones[&history.workspace]);
            let address = click.address.map(|network| network.to_string()).unwrap_or_default();
            let hash = worker.keys.daily_hash(&history.workspace, day, &address, &click.user_agent);
            VisitorId::from_bytes(std::array::from_fn(|i| hash[i]))
        };
        Who {
            workspace: Arc::clone(&history.workspace),
            visitor: click.visitor.unwrap_or_else(anonymous),
            anonymous: click.visitor.is_none(),
        }
    });
    let derived = Derived {
        click: click.id,
        workspace: Arc::clone(&history.workspace),
        link: click.link,
        revision: history.revision_at(at_ms),
        class: classified.class,
        who,
        device: classified.device,
        country: click.address.map_or([0; 2], |network| worker.countries.country(network.address())),
        referrer: classifier.referrer_host(&click.referrer),
    };
    (derived, classified.rule)
}

/// What was counted before this batch, of everybody in it who may have clicked before.
async fn steps_before(journeys: &Journeys, batch: &Batch) -> Result<HashMap<Who, Vec<Step>>, WorkerError> {
    let is_known = |who: &&Who| !batch.new_visitors.contains(&who.visitor);
    let known = batch.clicks.iter().filter_map(|derived| derived.who.as_ref()).filter(is_known);
    let whose: Vec<Who> = known.collect::<BTreeSet<_>>().into_iter().cloned().collect();
    if whose.is_empty() {
        return Ok(HashMap::new());
    }
    // Two days around: no local day is longer.
    let times = || batch.clicks.iter().map(|derived| derived.click.at_ms());
    let from_ms = times().min().unwrap_or_default() - 2 * DAY_MS;
    let to_ms = times().max().unwrap_or_default() + 2 * DAY_MS;
    let own: HashSet<ClickId> = batch.clicks.iter().map(|derived| derived.click).collect();
    let read = journeys.read(&whose, from_ms, to_ms).await?;
    let others = |steps: Vec<Step>| steps.into_iter().filter(|step| !own.contains(&step.click)).collect();
    Ok(whose.into_iter().zip(read.into_iter().map(others)).collect())
}

fn told(derived: &Derived) -> ToldClick<'_> {
    ToldClick {
        id: derived.click,
        workspace: &derived.workspace,
        link: derived.link,
        revision: derived.revision,
        class: derived.class.as_str(),
        country: derived.country,
        device: derived.device.as_str(),
        referrer: &derived.referrer,
    }
}

fn step(derived: &Derived) -> Option<(Who, Step)> {
    let who = derived.who.clone()?;
    let device = Device::ALL.iter().position(|device| *device == derived.device)? as u8;
    Some((who, Step { click: derived.click, link: derived.link, country: derived.country, device }))
}

/// Per workspace the time of the earliest click of a visitor.
fn first_clicks(steps: &[(Who, Step)]) -> BTreeMap<&str, i64> {
    let mut first_clicks: BTreeMap<&str, i64> = BTreeMap::new();
    for (who, step) in steps.iter().filter(|(who, _)| !who.anonymous) {
        let first_ms = first_clicks.entry(&who.workspace).or_insert(i64::MAX);
        *first_ms = step.click.at_ms().min(*first_ms);
    }
    first_clicks
}

fn visitors(steps: &[(Who, Step)], workspace: &str) -> Vec<String> {
    let own = steps.iter().filter(|(who, _)| !who.anonymous && &*who.workspace == workspace);
    let visitors: BTreeSet<VisitorId> = own.map(|(who, _)| who.visitor).collect();
    visitors.iter().map(ToString::to_string).collect()
}
