//! In which order a world is told, and what happens to the worker meanwhile.

use crate::random::Random;
use crate::world::World;

#[derive(Debug, Clone)]
pub enum Item {
    Click { index: usize, is_new: bool, is_replayed: bool },
    Delivery { index: usize, is_replayed: bool },
    Rates(Vec<usize>),
}

#[derive(Debug)]
pub enum Step {
    Tell(Vec<Item>),
    /// Told while the worker works.
    TellAndDrain(Vec<Item>),
    Drain,
    /// The worker dies after that many polls.
    Crash(usize),
    Restart,
    /// Two workers at once.
    Contend,
    Trim,
    /// Other rules than before, for all that is there already.
    SetRules,
    /// The same while the worker works.
    SetRulesAndDrain,
}

/// `can_repeat`: the log may hold a record twice, by way of its spool.
pub fn schedule(world: &World, seed: u64, can_repeat: bool) -> Vec<Step> {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut items = in_order(world, &mut random, can_repeat);
    mark_new_visitors(world, &mut random, &mut items, can_repeat);
    let mut steps = Vec::new();
    while !items.is_empty() {
        let count = random.below(items.len().min(12)) + 1;
        let told: Vec<Item> = items.drain(..count).collect();
        match random.below(4) {
            0 => steps.push(Step::TellAndDrain(told)),
            _ => steps.push(Step::Tell(told)),
        }
        match random.below(12) {
            0 | 1 => steps.push(Step::Drain),
            2..5 => {
                let most = random.pick(&[10, 100, 400, 1000]);
                steps.push(Step::Crash(random.below(most)));
            }
            5 => steps.push(Step::Restart),
            6 => steps.push(Step::Contend),
            7 => steps.push(Step::Trim),
            _ => {}
        }
    }
    let set = if random.chance(50) { Step::SetRules } else { Step::SetRulesAndDrain };
    steps.insert(random.below(steps.len() + 1), set);
    steps
}

/// Everything in its time, or a little or entirely out of it; with repetitions where the log has them.
fn in_order(world: &World, random: &mut Random, can_repeat: bool) -> Vec<Item> {
    let mut timed: Vec<(i64, Item)> = Vec::new();
    let disorder_ms = random.pick(&[0, 0, 60_000, 86_400_000, i64::MAX / 4]);
    let at = |random: &mut Random, at_ms: i64| at_ms.saturating_add(random.between(0, disorder_ms));
    for (index, click) in world.clicks.iter().enumerate().filter(|(_, click)| click.is_recorded) {
        let copies: &[bool] = match random.below(10) {
            0 if can_repeat => &[false, true],
            1 if can_repeat => &[true],
            2 if can_repeat => &[true, true],
            3 if can_repeat => &[true, false],
            _ => &[false],
        };
        let mut at_ms = click.at_ms;
        for is_replayed in copies {
            at_ms = at(random, at_ms);
            timed.push((at_ms, Item::Click { index, is_new: false, is_replayed: *is_replayed }));
        }
    }
    for (index, delivery) in world.deliveries.iter().enumerate() {
        let mut at_ms = at(random, delivery.received_ms);
        timed.push((at_ms, Item::Delivery { index, is_replayed: false }));
        if can_repeat && random.chance(15) {
            at_ms = at(random, at_ms);
            timed.push((at_ms, Item::Delivery { index, is_replayed: true }));
        }
    }
    let late: Vec<usize> = (0..world.rates.len()).filter(|rate| world.rates[*rate].is_late).collect();
    if !late.is_empty() {
        let any = random.below(timed.len().max(1));
        let at_ms = timed.get(any).map_or(0, |(at_ms, _)| *at_ms);
        let (some, rest) = late.split_at(random.below(late.len()));
        timed.push((at_ms, Item::Rates(some.to_vec())));
        timed.push((at(random, at_ms), Item::Rates(rest.to_vec())));
    }
    timed.sort_by_key(|(at_ms, _)| *at_ms);
    timed.into_iter().map(|(_, item)| item).collect()
}

/// A visitor's first click made the cookie, so no other can be in the log before it but by way of the spool.
fn mark_new_visitors(world: &World, random: &mut Random, items: &mut [Item], can_repeat: bool) {
    let visitor_of = |item: &Item| match item {
        Item::Click { index, .. } => world.clicks[*index].visitor,
        _ => None,
    };
    for n in 0..items.len() {
        let Some(visitor) = visitor_of(&items[n]) else { continue };
        let Item::Click { index, .. } = items[n] else { continue };
        let key = |index: usize| (world.clicks[index].at_ms, world.clicks[index].id);
        let is_theirs = |other: usize| world.clicks[other].visitor == Some(visitor);
        let is_first =
            (0..world.clicks.len()).filter(|other| is_theirs(*other)).all(|other| key(index) <= key(other));
        let is_late = items[..n].iter().any(|item| visitor_of(item) == Some(visitor));
        let copies =
            items.iter().filter(|item| matches!(item, Item::Click { index: i, .. } if *i == index)).count();
        if !is_first || copies > 1 || (is_late && !can_repeat) || random.chance(20) {
            continue;
        }
        items[n] = Item::Click { index, is_new: true, is_replayed: is_late };
    }
}
