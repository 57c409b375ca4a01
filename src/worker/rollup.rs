//! Counting clicks: pure. What a batch adds to the rollups, given what was counted before it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::tz::TimeZone;

use super::classify::{Class, Device};
use super::journeys::{Step, Who};
use crate::domain::ids::{ClickId, LinkId};
use crate::domain::time;

/// A click with everything derived but whether it is a duplicate.
#[derive(Debug, Clone)]
pub struct Derived {
    pub click: ClickId,
    pub workspace: Arc<str>,
    pub link: LinkId,
    pub revision: i64,
    /// Human until the journey says duplicate.
    pub class: Class,
    /// Set for humans.
    pub who: Option<Who>,
    pub device: Device,
    /// ISO 3166 alpha-2; zeros where unknown.
    pub country: [u8; 2],
    pub referrer: Arc<str>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub human: i64,
    pub duplicate: i64,
    pub bot: i64,
    pub preview: i64,
    pub prefetch: i64,
    pub uniques: i64,
}

impl Counts {
    fn add(&mut self, class: Class, unique: bool) {
        *match class {
            Class::Human => &mut self.human,
            Class::Duplicate => &mut self.duplicate,
            Class::Bot => &mut self.bot,
            Class::Preview => &mut self.preview,
            Class::Prefetch => &mut self.prefetch,
        } += 1;
        self.uniques += i64::from(unique);
    }

    fn merge(&mut self, other: Self) {
        self.human += other.human;
        self.duplicate += other.duplicate;
        self.bot += other.bot;
        self.preview += other.preview;
        self.prefetch += other.prefetch;
        self.uniques += other.uniques;
    }

    /// All machines: bots, previews and prefetches.
    pub fn bots(&self) -> i64 {
        self.bot + self.preview + self.prefetch
    }

    pub fn recorded(&self) -> i64 {
        self.human + self.duplicate + self.bots()
    }
}

/// Workspace, day (or first day of the month), link, revision, and the value of one more dimension.
pub type Key<'a, D> = (&'a str, i32, LinkId, i64, D);

/// What a batch adds, with the names that stand in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rollups<'a> {
    pub by_day: BTreeMap<Key<'a, ()>, Counts>,
    pub by_country: BTreeMap<Key<'a, [u8; 2]>, Counts>,
    pub by_device: BTreeMap<Key<'a, Device>, Counts>,
    pub by_referrer: BTreeMap<Key<'a, &'a str>, Counts>,
    /// The day is the first of the month, the dimension the hour of the week.
    pub by_hour: BTreeMap<Key<'a, i32>, Counts>,
    /// All links together: workspace, day (for hours, the first of the month) and part.
    pub in_all: BTreeMap<(&'a str, i32, Part), Counts>,
}

impl Rollups<'_> {
    /// By workspace and first day of the month, the earliest day that it adds to.
    pub fn months(&self) -> BTreeMap<(&str, i32), i32> {
        let mut months = BTreeMap::new();
        let days: BTreeSet<(&str, i32)> =
            self.by_day.keys().map(|(workspace, day, ..)| (*workspace, *day)).collect();
        for (workspace, day) in days {
            let month = time::day_number(time::day_date(day).first_of_month());
            months.entry((workspace, month)).or_insert(day);
        }
        months
    }
}

/// A part of all clicks that reports ask for without looking at links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    All,
    Country([u8; 2]),
    Device(Device),
    /// Of the week.
    Hour(i32),
}

/// By workspace.
pub type Zones = HashMap<Arc<str>, TimeZone>;

/// Counts a batch. `before` holds, for everybody in the batch who may have clicked before, the steps
/// already counted (none of this batch's own) of at least the batch's local days.
///
/// A click is a duplicate if its visitor has another on the same link in the same span of the clock;
/// of a span's clicks exactly one counts, so the numbers do not depend on the order of arrival. The
/// first human click of a visitor on a link in a local day is a unique one; days start at multiples of
/// 15 minutes and spans divide them, so no span lies in two days.
pub fn count<'a>(
    batch: &'a [Derived],
    before: &HashMap<Who, Vec<Step>>,
    zones: &Zones,
    duplicate_ms: i64,
) -> Rollups<'a> {
    let mut calendar = Calendar { zones, known: HashMap::default() };
    let mut spans: HashSet<(&Who, LinkId, i64), RandomState> = HashSet::default();
    let mut days: HashSet<(&Who, LinkId, i32), RandomState> = HashSet::default();
    for (who, steps) in before {
        for step in steps {
            let at_ms = step.click.at_ms();
            spans.insert((who, step.link, at_ms.div_euclid(duplicate_ms)));
            days.insert((who, step.link, calendar.at(&who.workspace, at_ms).day));
        }
    }

    let mut order: Vec<&Derived> = batch.iter().collect();
    order.sort_by_key(|derived| derived.click);
    // The span and the day of each one's last click in the batch: most click once.
    let people = batch.iter().filter(|derived| derived.who.is_some()).count();
    let mut last: HashMap<(&Who, LinkId), (i64, i32), RandomState> =
        HashMap::with_capacity_and_hasher(people, RandomState::default());
    let mut groups: HashMap<Alike<'a>, Counts, RandomState> = HashMap::default();
    for derived in order {
        let at_ms = derived.click.at_ms();
        let local = calendar.at(&derived.workspace, at_ms);
        let mut class = derived.class;
        let mut unique = false;
        if let Some(who) = derived.who.as_ref().filter(|_| class == Class::Human) {
            let (link, span) = (derived.link, at_ms.div_euclid(duplicate_ms));
            let earlier = last.insert((who, link), (span, local.day));
            // In order of time, so that no span comes back after another.
            if earlier.is_some_and(|(earlier, _)| earlier == span) {
                class = Class::Duplicate;
            } else {
                // Days may come back, where clocks are.
                days.extend(earlier.map(|(_, day)| (who, link, day)));
                if spans.contains(&(who, link, span)) {
                    class = Class::Duplicate;
                } else if earlier.is_some() {
                    unique = days.insert((who, link, local.day));
                } else {
                    unique = !days.contains(&(who, link, local.day));
                }
            }
        }
        let alike = Alike {
            workspace: &derived.workspace,
            link: derived.link,
            revision: derived.revision,
            local,
            country: derived.country,
            device: derived.device,
            referrer: &derived.referrer,
        };
        groups.entry(alike).or_default().add(class, unique);
    }

    let mut rollups = Rollups::default();
    for (alike, counts) in groups {
        let Alike { workspace, local: Local { day, month, hour }, country, device, .. } = alike;
        let at = (workspace, alike.link, alike.revision);
        add(&mut rollups.by_day, at, day, (), counts);
        add(&mut rollups.by_country, at, day, country, counts);
        add(&mut rollups.by_device, at, day, device, counts);
        add(&mut rollups.by_referrer, at, day, alike.referrer, counts);
        add(&mut rollups.by_hour, at, month, hour, counts);
        for (day, part) in [
            (day, Part::All),
            (day, Part::Country(country)),
            (day, Part::Device(device)),
            (month, Part::Hour(hour)),
        ] {
            rollups.in_all.entry((workspace, day, part)).or_default().merge(counts);
        }
    }
    rollups
}

/// What clicks have in common that all rollups count alike: they are summed first, and looked up once.
#[derive(PartialEq, Eq, Hash)]
struct Alike<'a> {
    workspace: &'a str,
    link: LinkId,
    revision: i64,
    local: Local,
    country: [u8; 2],
    device: Device,
    referrer: &'a str,
}

/// A time in a workspace's zone, as far as rollups tell times apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Local {
    day: i32,
    /// First day of the month.
    month: i32,
    /// Of the week.
    hour: i32,
}

/// Remembers local times: the same for all of a quarter of an hour, to which all zones keep.
struct Calendar<'a> {
    zones: &'a Zones,
    known: HashMap<(&'a str, i64), Local, RandomState>,
}

const QUARTER_MS: i64 = 900_000;

impl<'a> Calendar<'a> {
    fn at(&mut self, workspace: &'a str, at_ms: i64) -> Local {
        *self.known.entry((workspace, at_ms.div_euclid(QUARTER_MS))).or_insert_with(|| {
            let zone = &self.zones[workspace];
            let day = time::local_day(at_ms, zone);
            Local {
                day,
                month: time::day_number(time::day_date(day).first_of_month()),
                hour: time::hour_of_week(at_ms, zone),
            }
        })
    }
}

fn add<'a, D: Ord>(
    rollup: &mut BTreeMap<Key<'a, D>, Counts>,
    (workspace, link, revision): (&'a str, LinkId, i64),
    day: i32,
    dimension: D,
    counts: Counts,
) {
    rollup.entry((workspace, day, link, revision, dimension)).or_default().merge(counts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::VisitorId;
    use proptest::prelude::*;

    const START_MS: i64 = 1_795_000_000_000;

    fn derived(visitor: u8, link: i64, at_ms: i64, class: Class) -> Derived {
        let who =
            Who { workspace: "w".into(), visitor: VisitorId::from_bytes([visitor; 12]), anonymous: false };
        Derived {
            click: ClickId::generate(at_ms),
            workspace: "w".into(),
            link: LinkId::from_i64(link).unwrap(),
            revision: 1,
            class,
            who: (class == Class::Human).then_some(who),
            device: Device::Mobile,
            country: *b"DE",
            referrer: "instagram.com".into(),
        }
    }

    fn zones() -> Zones {
        HashMap::from([("w".into(), TimeZone::get("Asia/Kathmandu").unwrap())])
    }

    fn step(derived: &Derived) -> (Who, Step) {
        let step = Step { click: derived.click, link: derived.link, country: *b"DE", device: 0 };
        (derived.who.clone().unwrap(), step)
    }

    #[test]
    fn every_class_is_counted_under_its_name() {
        let at_ms = START_MS.div_euclid(10_000) * 10_000;
        let batch = [
            derived(1, 1, at_ms, Class::Human),
            derived(1, 1, at_ms + 9_999, Class::Human),
            derived(1, 1, at_ms + 10_000, Class::Human),
            derived(2, 1, at_ms, Class::Human),
            derived(2, 1, at_ms, Class::Bot),
            derived(2, 1, at_ms, Class::Preview),
            derived(2, 1, at_ms, Class::Prefetch),
        ];
        let rollups = count(&batch, &HashMap::new(), &zones(), 10_000);
        let counts = rollups.by_day.values().next().unwrap();
        let expected = Counts { human: 3, duplicate: 1, bot: 1, preview: 1, prefetch: 1, uniques: 2 };
        assert_eq!((rollups.by_day.len(), *counts, counts.recorded()), (1, expected, 7));
    }

    proptest! {
        /// However the clicks are cut into batches and ordered, the sums are the same.
        #[test]
        fn batches_do_not_matter(
            clicks in prop::collection::vec((0u8..3, 0i64..2, 0i64..3, 0i64..40_000), 1..30),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            reverse in any::<bool>(),
        ) {
            let mut all: Vec<Derived> = clicks
                .iter()
                .map(|(visitor, link, days, ms)| {
                    derived(*visitor, *link, START_MS + days * 24 * 3_600_000 + ms, Class::Human)
                })
                .collect();
            let unordered = all.clone();
            let whole = count(&unordered, &HashMap::new(), &zones(), 10_000);
            if reverse {
                all.reverse();
            }
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
            ends.push(all.len());
            ends.sort_unstable();
            let mut before: HashMap<Who, Vec<Step>> = HashMap::new();
            let mut sums: BTreeMap<Key<'_, ()>, Counts> = BTreeMap::new();
            let mut from = 0;
            for end in ends {
                let batch = &all[from..end];
                for (key, counts) in count(batch, &before, &zones(), 10_000).by_day {
                    let sum = sums.entry(key).or_default();
                    sum.human += counts.human;
                    sum.duplicate += counts.duplicate;
                    sum.uniques += counts.uniques;
                }
                for (who, step) in batch.iter().map(step) {
                    before.entry(who).or_default().push(step);
                }
                from = end;
            }
            prop_assert_eq!(whole.by_day, sums);
        }
    }
}
