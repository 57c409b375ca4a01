//! A batch of clicks: derive, remember, count, commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::tz::TimeZone;

use super::classify::{Class, Classifier, Device};
use super::journeys::{Journeys, Step, Who};
use super::rollup::{self, Derived, Zones};
use super::workspaces::Workspaces;
use super::{BATCH_MAX, Worker, WorkerError};
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
        })
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Counts the next batch; returns how many entries it had.
    ///
    /// It always asks for [`BATCH_MAX`] entries: so what a batch that died between its journeys and its
    /// commit had written is part of the next batch from the same position, and is not mistaken for
    /// something that was counted.
    pub(super) async fn next(&mut self, worker: &Worker) -> Result<usize, WorkerError> {
        let entries = worker.log.read(Stream::Clicks, self.partition, self.position, BATCH_MAX).await?;
        let Some((last, _)) = entries.last() else { return Ok(0) };
        let last = *last;
        let read = entries.len();
        let mut clicks = Vec::with_capacity(read);
        for (_, record) in entries {
            match record {
                Record::Click(click) => clicks.push(click),
                Record::Delivery(_) | Record::Unreadable(_) => {
                    worker.metrics.unreadable.inc();
                }
            }
        }
        let clicks = self.once(worker, clicks).await?;

        let (batch, zones) = self.derive(worker, &clicks).await?;
        let before = steps_before(&worker.journeys, &batch, &clicks).await?;
        let duplicate_ms = i64::from(worker.attribution.duplicate_seconds) * 1000;
        let counted = rollup::count(&batch, &before, &zones, duplicate_ms);
        let steps: Vec<(Who, Step)> = batch.iter().filter_map(step).collect();
        let retention_ms = i64::from(worker.attribution.journey_retention_days) * DAY_MS;
        worker.journeys.add(&steps, time::now_ms(), retention_ms).await?;

        // Journeys are written: whoever evaluates a conversion from here on sees these clicks, and
        // whoever has announced one before is found here.
        let mut tx = worker.ledger.begin().await?;
        let text = last.to_string();
        if !rollups::move_position(&mut tx, STREAM, self.partition, &self.stored, &text).await? {
            return Err(WorkerError::Overtaken { stream: STREAM, partition: self.partition });
        }
        rollups::add(&mut tx, &counted).await?;
        tell_clicks(&mut tx, &batch.iter().map(told).collect::<Vec<_>>(), time::now_ms()).await?;
        let clicked = counted.by_day.iter().filter(|(_, counts)| counts.human > 0);
        let clicked: BTreeSet<i64> = clicked.map(|((_, _, link, ..), _)| link.as_i64()).collect();
        let clicked = Vec::from_iter(clicked);
        links::close_full(&worker.ledger, &mut tx, &clicked, time::now_ms()).await?;
        let mut marked = 0;
        worker.ledger.go_alone(&mut tx).await?;
        for (workspace, first_ms) in first_clicks(&steps) {
            if facts::latest_t_ms(&mut tx, workspace).await?.is_some_and(|t_ms| first_ms <= t_ms) {
                marked += facts::mark_visitors(&mut tx, workspace, &visitors(&steps, workspace)).await?;
            }
        }
        if worker.log.can_repeat() {
            let marked: Vec<ClickId> = clicks.iter().filter(|c| c.is_replayed).map(|c| c.id).collect();
            let ids: Vec<ClickId> = clicks.iter().map(|click| click.id).collect();
            rollups::put_click_ids(&mut tx, self.partition, &text, &ids, &marked).await?;
        }
        tx.commit().await?;

        self.replayed.extend(clicks.iter().filter(|click| click.is_replayed).map(|click| click.id));
        self.position = last;
        self.stored = text;
        worker.metrics.counted(&counted);
        if marked > 0 {
            worker.due.notify_one();
        }
        Ok(read)
    }

    /// Drops what was counted before: a marked entry whose id was there, and an unmarked one whose
    /// marked twin came first.
    async fn once(
        &self,
        worker: &Worker,
        clicks: Vec<Click<'static>>,
    ) -> Result<Vec<Click<'static>>, WorkerError> {
        let marked: Vec<i64> = clicks.iter().filter(|c| c.is_replayed).map(|c| c.id.at_ms()).collect();
        let counted = match (marked.iter().min(), marked.iter().max()) {
            (Some(first), Some(last)) => {
                rollups::counted_ids(&worker.ledger, self.partition, *first, *last).await?
            }
            _ => HashSet::new(),
        };
        let mut seen = HashSet::with_capacity_and_hasher(clicks.len(), RandomState::default());
        let fresh = |click: &Click<'_>| {
            let before = match click.is_replayed {
                true => &counted,
                false => &self.replayed,
            };
            !before.contains(&click.id)
        };
        let read = clicks.len();
        let once: Vec<_> = clicks.into_iter().filter(|click| fresh(click) && seen.insert(click.id)).collect();
        worker.metrics.repeated.inc_by((read - once.len()) as u64);
        Ok(once)
    }

    /// A click of an unknown link is not counted: there is no workspace to count it for.
    async fn derive(
        &mut self,
        worker: &Worker,
        clicks: &[Click<'static>],
    ) -> Result<(Vec<Derived>, Zones), WorkerError> {
        let links: BTreeSet<_> = clicks.iter().map(|click| click.link).collect();
        let histories = link_histories(&worker.ledger, &Vec::from_iter(links)).await?;
        let mut zones = Zones::new();
        for history in histories.values() {
            if !zones.contains_key(&history.workspace) {
                let zone = self.workspaces.get(&worker.ledger, &history.workspace).await?.zone.clone();
                zones.insert(Arc::clone(&history.workspace), zone);
            }
        }
        let mut batch = Vec::with_capacity(clicks.len());
        let mut classified: BTreeMap<(Class, &str), u64> = BTreeMap::new();
        for click in clicks {
            let Some(history) = histories.get(&click.link) else {
                worker.metrics.unreadable.inc();
                continue;
            };
            let (derived, rule) =
                derive(click, history, &zones[&history.workspace], &mut self.classifier, worker);
            *classified.entry((derived.class, rule)).or_default() += 1;
            batch.push(derived);
        }
        for ((class, rule), clicks) in classified {
            worker.metrics.classified(class, rule, clicks);
        }
        Ok((batch, zones))
    }
}

const STREAM: &str = "clicks";

/// With the rule by which it was classified.
fn derive(
    click: &Click<'_>,
    history: &LinkHistory,
    zone: &TimeZone,
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
            let day = time::local_day(at_ms, zone);
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
async fn steps_before(
    journeys: &Journeys,
    batch: &[Derived],
    clicks: &[Click<'_>],
) -> Result<HashMap<Who, Vec<Step>>, WorkerError> {
    // A visitor whose cookie this batch made has no earlier clicks to look up.
    // But by way of the spool its later ones may have overtaken it.
    let is_new = |click: &&Click<'_>| click.is_new_visitor && !click.is_replayed;
    let new: HashSet<VisitorId, RandomState> =
        clicks.iter().filter(is_new).filter_map(|click| click.visitor).collect();
    let known = batch.iter().filter_map(|derived| derived.who.clone());
    let whose: Vec<Who> =
        known.filter(|who| !new.contains(&who.visitor)).collect::<BTreeSet<_>>().into_iter().collect();
    if whose.is_empty() {
        return Ok(HashMap::new());
    }
    // Two days around: no local day is longer.
    let times = || batch.iter().map(|derived| derived.click.at_ms());
    let from_ms = times().min().unwrap_or_default() - 2 * DAY_MS;
    let to_ms = times().max().unwrap_or_default() + 2 * DAY_MS;
    let own: HashSet<ClickId> = batch.iter().map(|derived| derived.click).collect();
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
