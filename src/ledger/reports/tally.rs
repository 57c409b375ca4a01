//! All that a report sums: of conversions in one pass over their packs, and of clicks beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::{IndexMap, IndexSet};
use jiff::tz::TimeZone;

use super::clicks::{Begun, ClickSums};
use super::link_keys::LinkKeys;
use super::{Amounts, Clock, Credits, Dimension, Goods, Key, ReceivedOrders, Slice, day_key};
use crate::attribution::models::Model;
use crate::domain::time::hour_of_week;
use crate::ledger::packs::{Change, ChangeKind, Conversion, Link, Reading, Span, Status, Touch};
use crate::ledger::{Ledger, LedgerError, blocking};

/// Within a quarter of an hour the hour of the week is one, in all zones.
const QUARTER_MS: i64 = 900_000;

/// What a report asks of conversions besides its slice.
#[derive(Debug, Clone)]
pub struct Question {
    pub by: Dimension,
    pub zone: TimeZone,
    /// By which assigned values, goods, and what rivals and other days take are told.
    pub main: Option<Model>,
    /// Whether the journeys of attributed conversions are wanted.
    pub journeys: bool,
}

/// The sums of one row or of the whole.
#[derive(Debug, Clone, Default)]
pub struct TallyRow {
    /// By each model, in the order of [`Model::ALL`]. None: nothing was credited.
    pub credits: Option<[Credits; 5]>,
    /// Assigned values, minor units times billionths: of the slice's event, or of all others where that is `purchase`.
    pub assigned: Option<i128>,
    /// Conversions that it has touched without being their last touch. Of the whole: those that some of our touches
    /// assisted and none ended.
    pub assisted: i64,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub rows: BTreeMap<Key, TallyRow>,
    pub totals: TallyRow,
    /// By row, and of the whole; dated as the sale. A cancelled order's goods were never sent.
    pub goods: Vec<(Option<Key>, Goods)>,
    /// Orders by status and reason: those of the slice's days, and their money by the slice's clock (by the click clock
    /// as by the order clock, since an unattributed order has no click).
    pub received: Vec<ReceivedOrders>,
    /// What rival touches take of the attributed orders.
    pub rival: Amounts,
    /// For the click clock: what orders of other days brought whose click is in the slice.
    pub orders_outside: Amounts,
    /// And what orders of the slice brought whose click is not.
    pub clicks_outside: Amounts,
    pub journeys: Journeys,
}

/// A key in the path of a journey.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathKey {
    Ours(Key),
    /// A rival touch, by its channel.
    Rival(String),
}

/// The journeys of attributed conversions of the slice, by the order's day.
#[derive(Debug, Default)]
pub struct Journeys {
    pub keys: IndexSet<PathKey>,
    /// Keys by number, in order of the journey.
    pub paths: IndexMap<Vec<usize>, Outcome, RandomState>,
}

/// What came of the journeys that went through the same keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub conversions: i64,
    pub amounts: Amounts,
    /// Journeys that did not convert.
    pub nulls: i64,
}

/// Everything that is counted and credited in a slice.
pub async fn sum_up(
    ledger: &Ledger,
    slice: &Slice,
    question: &Question,
) -> Result<(Tally, ClickSums), LedgerError> {
    let span = match slice.clock {
        Clock::Order => Span::Orders(slice.from_day, slice.to_day),
        Clock::Click | Clock::Cash => Span::Anything(slice.from_day, slice.to_day),
    };
    let valued = slice.event == "purchase";
    let begin = || Reading::begin(ledger, &slice.workspace, &slice.event, span, valued);
    let (clicks, links) = tokio::try_join!(
        Begun::load(ledger, slice, question.by),
        LinkKeys::load_all(ledger, slice, question.by),
    )?;
    let (clicks, links) = match links {
        Some(links) => (clicks, links),
        None => {
            let links = used_links(begin().await?, &clicks).await?;
            (clicks, LinkKeys::load(ledger, slice, question.by, &links).await?)
        }
    };
    let tally = async {
        let (slice, question) = (Arc::new(slice.clone()), Arc::new(question.clone()));
        let mut tallying = Tallying::new(slice, question, links.clone());
        let mut reading = begin().await?;
        let mut next = reading.next().await?;
        while let Some(packs) = next {
            // A year of a busy shop takes a while: others are not to wait for it, nor the next read.
            let adding = blocking(move || {
                packs.each(|event, conversion| tallying.add(event, &conversion))?;
                Ok(tallying)
            });
            (tallying, next) = tokio::try_join!(adding, reading.next())?;
        }
        Ok(tallying.end())
    };
    tokio::try_join!(tally, clicks.sum(ledger, slice, question.by, links.clone()))
}

/// The links of all touches and of all packed clicks.
async fn used_links(mut reading: Reading, clicks: &Begun) -> Result<BTreeSet<i64>, LedgerError> {
    let mut links = BTreeSet::new();
    clicks.add_links(&mut links)?;
    while let Some(packs) = reading.next().await? {
        links = blocking(move || packs.add_links(&mut links).map(|()| links)).await?;
    }
    Ok(links)
}

/// Cost of goods that are summed together: their row (None: the whole), currency, rate and weight.
type GoodsGroup = (Option<usize>, String, Option<String>, i64);
/// Status, reason and basis.
type ReceivedGroup = (Status, Option<String>, Option<String>);

struct Tallying {
    slice: Arc<Slice>,
    question: Arc<Question>,
    /// The main model's place in `Model::ALL`.
    main: Option<usize>,
    links: LinkKeys,
    numbers: Numbers,
    /// By the keys' numbers.
    rows: Vec<TallyRow>,
    goods: BTreeMap<GoodsGroup, (i64, i64)>,
    received: BTreeMap<ReceivedGroup, (i64, Amounts)>,
    tally: Tally,
    /// Of a key, its number among the keys of journeys.
    on_paths: Vec<Option<usize>>,
    /// Used again for each conversion.
    assisting: Vec<usize>,
    ending: Vec<usize>,
}

/// Numbers of keys that links do not tell.
#[derive(Default)]
struct Numbers {
    texts: HashMap<String, usize, RandomState>,
    /// By day, or by quarter of an hour.
    times: HashMap<i64, usize, RandomState>,
}

impl Tallying {
    fn new(slice: Arc<Slice>, question: Arc<Question>, links: LinkKeys) -> Self {
        Self {
            main: question.main.and_then(|main| Model::ALL.iter().position(|model| *model == main)),
            slice,
            question,
            links,
            numbers: Numbers::default(),
            rows: Vec::new(),
            goods: BTreeMap::new(),
            received: BTreeMap::new(),
            tally: Tally::default(),
            on_paths: Vec::new(),
            assisting: Vec::new(),
            ending: Vec::new(),
        }
    }

    fn add(&mut self, event: &str, conversion: &Conversion<'_>) -> Result<(), LedgerError> {
        if !matches(self.slice.filter(Dimension::Source), conversion.source) {
            return Ok(());
        }
        let is_own = event == self.slice.event;
        if is_own {
            self.receive(conversion);
            self.set_apart(conversion);
            self.assist(conversion)?;
            if self.question.journeys {
                self.travel(conversion);
            }
        }
        self.credit(conversion, is_own)
    }

    fn in_slice(&self, day: i64) -> bool {
        (self.slice.from_day..self.slice.to_day).contains(&day)
    }

    /// Whether the clock counts a change at all.
    fn counts(&self, change: &Change) -> bool {
        change.kind != ChangeKind::Fx || self.slice.clock == Clock::Cash
    }

    /// Whether a touch of ours passes the filters.
    fn passes(&self, link: Link, touch: &Touch<'_>) -> bool {
        matches(self.slice.filter(Dimension::Country), touch.country)
            && matches(self.slice.filter(Dimension::Device), touch.device)
            && (!self.slice.filters_links() || self.links.of(link).passes)
    }

    fn receive(&mut self, conversion: &Conversion<'_>) {
        let cash = self.slice.clock == Clock::Cash;
        let mut received = (0, Amounts::default());
        let mut is_received = false;
        if self.in_slice(conversion.order_day) {
            is_received = true;
            received.0 = 1;
            if !cash {
                let (revenue_minor, net_minor) = (conversion.gross_minor, conversion.net_minor);
                received.1 = Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor };
            }
        }
        // A refund may fall into the slice while its order does not.
        for change in conversion.changes.iter().filter(|change| cash && self.in_slice(change.day)) {
            is_received = true;
            received.1 = received.1 + moved(change, change.amount_minor);
        }
        if is_received {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let group = (conversion.status, text(conversion.reason), text(conversion.basis));
            let sum = self.received.entry(group).or_default();
            *sum = (sum.0 + received.0, sum.1 + received.1);
        }
    }

    /// What rivals take, and what the click clock moves out of the slice or into it.
    fn set_apart(&mut self, conversion: &Conversion<'_>) {
        let Some(main) = self.main else { return };
        let order_inside = self.in_slice(conversion.order_day);
        for change in &conversion.changes {
            if !self.counts(change) {
                continue;
            }
            let inside =
                if self.slice.clock == Clock::Cash { self.in_slice(change.day) } else { order_inside };
            for ((link, touch), credits) in
                conversion.links.iter().zip(&conversion.touches).zip(change.shares())
            {
                let amounts = moved(change, credits[main]);
                let click_inside = self.in_slice(touch.day);
                let tally = &mut self.tally;
                let sum = match link {
                    None if inside && conversion.status == Status::Attributed => &mut tally.rival,
                    Some(_) if self.slice.clock == Clock::Click && click_inside != order_inside => {
                        match click_inside {
                            true => &mut tally.orders_outside,
                            false => &mut tally.clicks_outside,
                        }
                    }
                    _ => continue,
                };
                *sum = *sum + amounts;
            }
        }
    }

    fn credit(&mut self, conversion: &Conversion<'_>, is_own: bool) -> Result<(), LedgerError> {
        let value = conversion.assigned_value_minor.filter(|_| is_own != (self.slice.event == "purchase"));
        let is_cancelled = || conversion.changes.iter().any(|change| change.kind == ChangeKind::Cancelled);
        let goods = conversion.goods.filter(|_| is_own && !is_cancelled());
        if !is_own && value.is_none() {
            return Ok(());
        }
        for (change_no, change) in conversion.changes.iter().enumerate() {
            if !self.counts(change) {
                continue;
            }
            for ((link, touch), shares) in
                conversion.links.iter().zip(&conversion.touches).zip(change.shares())
            {
                let Some(link) = link else { continue };
                let (day, at_ms) = match self.slice.clock {
                    Clock::Order => (conversion.order_day, conversion.occurred_ms),
                    Clock::Click => (touch.day, Some(touch.at_ms)),
                    Clock::Cash => (change.day, Some(change.at_ms)),
                };
                if !self.in_slice(day) || !self.passes(*link, touch) {
                    continue;
                }
                let weights = touch.weights();
                let mut credits = [Credits::default(); 5];
                for (model, credits) in credits.iter_mut().enumerate() {
                    let Amounts { revenue_minor, refunds_minor } = moved(change, shares[model]);
                    let weight = if change_no == 0 { weights[model] } else { 0 };
                    *credits = Credits { revenue_minor, refunds_minor, weight };
                }
                let weight = self.main.filter(|_| change_no == 0).map(|main| weights[main]);
                let values = value.zip(weight).map(|(value, weight)| i128::from(value) * i128::from(weight));
                let place = Place { conversion, touch, day, at_ms };
                let single;
                let keys: &[usize] = match self.question.by.is_of_link() {
                    true => &self.links.of(*link).keys,
                    false => {
                        single = [self.numbers.of(&mut self.links.keys, &self.question, &place)?];
                        &single
                    }
                };
                if self.rows.len() < self.links.keys.len() {
                    self.rows.resize_with(self.links.keys.len(), TallyRow::default);
                }
                for key in keys {
                    self.rows[*key].add(is_own.then_some(&credits), values);
                }
                self.tally.totals.add(is_own.then_some(&credits), values);
                if let Some((goods, weight)) = goods.zip(weight) {
                    for key in keys.iter().copied().map(Some).chain([None]) {
                        let rate = goods.rate.map(str::to_owned);
                        let sum =
                            self.goods.entry((key, goods.currency.to_owned(), rate, weight)).or_default();
                        *sum = (sum.0 + goods.cost_minor, sum.1 + 1);
                    }
                }
            }
        }
        Ok(())
    }

    fn assist(&mut self, conversion: &Conversion<'_>) -> Result<(), LedgerError> {
        let of_slice = self.slice.clock == Clock::Click || self.in_slice(conversion.order_day);
        if conversion.touches.len() < 2 || !of_slice || self.question.by == Dimension::HourOfWeek {
            return Ok(());
        }
        let (mut assisting, mut ending) =
            (std::mem::take(&mut self.assisting), std::mem::take(&mut self.ending));
        assisting.clear();
        ending.clear();
        let last = conversion.touches.len() - 1;
        let mut is_ended = false;
        for (n, (link, touch)) in conversion.links.iter().zip(&conversion.touches).enumerate() {
            let Some(link) = link.filter(|link| self.passes(*link, touch)) else { continue };
            is_ended |= n == last;
            // Whatever day the last one was of, it ended the conversion.
            if n != last && self.slice.clock == Clock::Click && !self.in_slice(touch.day) {
                continue;
            }
            let into = if n == last { &mut ending } else { &mut assisting };
            if self.question.by.is_of_link() {
                into.extend(&self.links.of(link).keys);
                continue;
            }
            let day = if self.slice.clock == Clock::Click { touch.day } else { conversion.order_day };
            let place = Place { conversion, touch, day, at_ms: None };
            into.push(self.numbers.of(&mut self.links.keys, &self.question, &place)?);
        }
        self.tally.totals.assisted += i64::from(!assisting.is_empty() && !is_ended);
        assisting.sort_unstable();
        assisting.dedup();
        self.rows.resize_with(self.links.keys.len().max(self.rows.len()), TallyRow::default);
        for key in assisting.iter().filter(|key| !ending.contains(key)) {
            self.rows[*key].assisted += 1;
        }
        (self.assisting, self.ending) = (assisting, ending);
        Ok(())
    }

    fn travel(&mut self, conversion: &Conversion<'_>) {
        let is_wanted = conversion.status == Status::Attributed && !conversion.touches.is_empty();
        if !is_wanted || !self.in_slice(conversion.order_day) {
            return;
        }
        let Journeys { keys, paths } = &mut self.tally.journeys;
        self.on_paths.resize(self.links.keys.len(), None);
        let path = conversion.links.iter().zip(&conversion.touches).map(|(link, touch)| match link {
            Some(link) => {
                let number = self.links.of(*link).keys.first().copied().unwrap_or_default();
                let add = || keys.insert_full(PathKey::Ours(self.links.keys[number].clone())).0;
                *self.on_paths[number].get_or_insert_with(add)
            }
            None => keys.insert_full(PathKey::Rival(touch.channel.to_owned())).0,
        });
        let (revenue_minor, net_minor) = (conversion.gross_minor, conversion.net_minor);
        let amounts = Amounts { revenue_minor, refunds_minor: revenue_minor - net_minor };
        let outcome = paths.entry(path.collect()).or_default();
        outcome.conversions += 1;
        outcome.amounts = outcome.amounts + amounts;
    }

    fn end(self) -> Tally {
        let Self { links, rows, goods, received, mut tally, .. } = self;
        let keys = links.keys;
        let is_told = |row: &TallyRow| row.credits.is_some() || row.assigned.is_some() || row.assisted > 0;
        let goods = goods.into_iter().map(|((key, currency, rate, weight), (cost_minor, conversions))| {
            let goods = Goods { cost_minor, currency, rate, weight, conversions };
            (key.map(|key| keys[key].clone()), goods)
        });
        tally.goods = goods.collect();
        let received = received.into_iter().map(|((status, reason, basis), (count, amounts))| {
            ReceivedOrders { status, reason, basis, count, amounts }
        });
        tally.received = received.collect();
        tally.rows = keys.into_iter().zip(rows).filter(|(_, row)| is_told(row)).collect();
        tally
    }
}

impl TallyRow {
    fn add(&mut self, credits: Option<&[Credits; 5]>, assigned: Option<i128>) {
        if let Some(credits) = credits {
            let sums = self.credits.get_or_insert_default();
            sums.iter_mut().zip(credits).for_each(|(sum, credits)| sum.add(*credits));
        }
        if let Some(assigned) = assigned {
            *self.assigned.get_or_insert_default() += assigned;
        }
    }
}

/// Where a credit or an assist belongs.
struct Place<'a> {
    conversion: &'a Conversion<'a>,
    touch: &'a Touch<'a>,
    day: i64,
    at_ms: Option<i64>,
}

impl Numbers {
    /// The number of the key that a dimension which links do not tell has at a place.
    fn of(
        &mut self,
        keys: &mut IndexSet<Key>,
        question: &Question,
        place: &Place<'_>,
    ) -> Result<usize, LedgerError> {
        let time = match question.by {
            Dimension::Source => return Ok(self.text(keys, place.conversion.source)),
            Dimension::Country => return Ok(self.text(keys, place.touch.country)),
            Dimension::Device => return Ok(self.text(keys, place.touch.device)),
            Dimension::HourOfWeek => match place.at_ms {
                Some(at_ms) => at_ms.div_euclid(QUARTER_MS),
                None => return Ok(0),
            },
            _ => place.day,
        };
        if let Some(number) = self.times.get(&time) {
            return Ok(*number);
        }
        let key = match question.by {
            Dimension::HourOfWeek => i64::from(hour_of_week(time * QUARTER_MS, &question.zone)),
            by => day_key(by, time)?,
        };
        let number = keys.insert_full(Key::Number(key)).0;
        self.times.insert(time, number);
        Ok(number)
    }

    fn text(&mut self, keys: &mut IndexSet<Key>, text: &str) -> usize {
        if text.is_empty() {
            return 0;
        }
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = keys.insert_full(Key::Text(text.to_owned())).0;
        self.texts.insert(text.to_owned(), number);
        number
    }
}

/// Whether a filter, if there is one, lets a text pass.
fn matches(filter: Option<&Key>, text: &str) -> bool {
    filter.is_none_or(|wanted| matches!(wanted, Key::Text(wanted) if wanted == text))
}

/// A share of a change, as revenue or as what went back.
fn moved(change: &Change, share_minor: i64) -> Amounts {
    match change.kind {
        ChangeKind::Revenue => Amounts { revenue_minor: share_minor, refunds_minor: 0 },
        ChangeKind::Refund | ChangeKind::Cancelled | ChangeKind::Fx => {
            Amounts { revenue_minor: 0, refunds_minor: -share_minor }
        }
    }
}
