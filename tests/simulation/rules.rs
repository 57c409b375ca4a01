//! The reference: the rules of docs/ARCHITECTURE.md applied to everything at once, by plain loops over
//! plain data. It shares no code with the worker.

use std::collections::{BTreeMap, BTreeSet};

use utmost::domain::ids::LinkId;

use crate::journeys::{self, Found};
use crate::money::{self, Moves};
use crate::outcome::{Conversion, Counts, Outcome};
use crate::state::{State, state};
use crate::world::{Basis, BoundTo, Class, Expected, Keys, Revision, Says, Status, Token, World};

/// Tells which of two statements of one version stands: by their hashes, which the ledger knows.
pub type Ties = BTreeMap<usize, String>;

pub struct Reference<'a> {
    pub world: &'a World,
    /// By source and order id: what verified deliveries said, oldest first.
    orders: BTreeMap<(usize, String), Vec<usize>>,
}

/// A customer as far as one key tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Customer {
    Email(String),
    /// Means something only within its source.
    Id(usize, String),
}

type Key = (usize, String);

/// When an order was placed, its source and its id: the smallest comes first.
type Claim<'a> = (i64, &'a str, &'a str);

/// An order that counts, with everything that concerns it.
struct Known {
    state: State,
    keys: Keys,
    customers: BTreeSet<Customer>,
    named: BTreeSet<usize>,
    t_ms: i64,
    exclusion: Option<&'static str>,
}

impl<'a> Reference<'a> {
    pub fn new(world: &'a World, ties: &Ties) -> Self {
        let mut orders: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for delivery in world.deliveries.iter().filter(|delivery| delivery.expected == Expected::Accepted) {
            for index in &delivery.statements {
                let statement = &world.statements[*index];
                let said = orders.entry((statement.source, statement.order_id.clone())).or_default();
                if !said.contains(index) {
                    said.push(*index);
                }
            }
        }
        for said in orders.values_mut() {
            said.sort_by_key(|index| (world.statements[*index].version_ms, ties.get(index)));
        }
        Self { world, orders }
    }

    pub fn outcome(&self) -> Outcome {
        let known: BTreeMap<&Key, Option<Known>> =
            self.orders.keys().map(|key| (key, self.known(key))).collect();
        let mut outcome = Outcome { clicks: self.clicks(), ..Outcome::default() };
        for (key, of_key) in &known {
            let conversion = of_key.as_ref().map(|of_key| self.conversion(key, of_key, &known));
            let source = self.world.sources[key.0].id.clone();
            outcome.conversions.insert((source, key.1.clone()), conversion);
        }
        outcome
    }

    fn known(&self, key: &Key) -> Option<Known> {
        let source = &self.world.sources[key.0];
        let space = &self.world.spaces[source.space];
        if !source.is_of_record {
            return None;
        }
        let state = self.state(key)?;
        let evidence = self.evidence(key, &state);
        let mut keys = state.keys.clone();
        for other in evidence.iter().filter_map(|other| self.state(other)) {
            keys = filled(keys, other.keys);
        }
        let group: Vec<&Key> = std::iter::once(key).chain(evidence).collect();
        let customers = group.iter().flat_map(|order| self.customers(order)).collect();
        let named: BTreeSet<usize> = group.iter().flat_map(|order| self.tokens(order).into_keys()).collect();
        let t_ms =
            named.iter().map(|click| self.world.clicks[*click].at_ms).fold(state.order.occurred_ms, i64::max);
        let day = money::local_day(state.order.occurred_ms, space.zone);
        let currency = if state.order.currency.is_empty() { space.currency } else { state.order.currency };
        let has_rate = money::rate(&self.world.rates, currency, space.currency, day).is_some();
        let exclusion = match state.order.status {
            Status::Test => Some("test"),
            Status::Unpaid => Some("unpaid"),
            Status::Paid | Status::Cancelled if !has_rate => Some("missing_rate"),
            Status::Paid | Status::Cancelled => None,
        };
        Some(Known { state, keys, customers, named, t_ms, exclusion })
    }

    fn state(&self, key: &Key) -> Option<State> {
        state(self.world, self.orders.get(key)?)
    }

    /// Orders of evidence sources of the same workspace that share a name with this one, in their order.
    fn evidence(&self, key: &Key, state: &State) -> Vec<&Key> {
        let mut names = state.keys.references.clone();
        names.push(key.1.clone());
        let sources = &self.world.sources;
        let mut found: Vec<&Key> = self
            .orders
            .keys()
            .filter(|other| !sources[other.0].is_of_record)
            .filter(|other| sources[other.0].space == sources[key.0].space)
            .filter(|other| names.contains(&other.1))
            .collect();
        found.sort_by_key(|other| (&sources[other.0].id, &other.1));
        found
    }

    /// The keys of every statement that states the order, with the time that it states.
    fn stated_keys(&self, key: &Key) -> Vec<(i64, &Keys)> {
        let said = self.orders[key].iter().map(|index| &self.world.statements[*index].says);
        said.filter_map(|says| match says {
            Says::Order(order) => Some((order.occurred_ms, &order.keys)),
            Says::Refund(_) | Says::Deleted => None,
        })
        .collect()
    }

    fn customers(&self, key: &Key) -> BTreeSet<Customer> {
        let mut customers = BTreeSet::new();
        for (_, keys) in self.stated_keys(key) {
            customers.extend(keys.email.as_ref().map(|email| Customer::Email(email.to_lowercase())));
            customers.extend(keys.customer_id.clone().map(|id| Customer::Id(key.0, id)));
        }
        customers
    }

    /// Clicks that the order names by valid tokens of its workspace, and when it was first placed so.
    fn tokens(&self, key: &Key) -> BTreeMap<usize, i64> {
        let world = self.world;
        let space = world.sources[key.0].space;
        let mut tokens = BTreeMap::new();
        for (ordered_ms, keys) in self.stated_keys(key) {
            for token in keys.all_tokens() {
                if let Token::Of(click) = token
                    && world.links[world.clicks[click].link].space == space
                {
                    let first = tokens.entry(click).or_insert(ordered_ms);
                    *first = ordered_ms.min(*first);
                }
            }
        }
        tokens
    }

    /// Visitors whose whole journeys count for an order: of the clicks that it names and of those that
    /// any order of its customers names, but for those that another customer claimed first.
    fn visitors(&self, space: usize, known: &Known) -> BTreeSet<[u8; 12]> {
        let world = self.world;
        let visitor_of = |click: &usize| world.clicks[*click].visitor;
        let in_space: Vec<&Key> =
            self.orders.keys().filter(|order| world.sources[order.0].space == space).collect();
        let mut visitors: BTreeSet<[u8; 12]> = known.named.iter().filter_map(visitor_of).collect();
        for order in &in_space {
            if !self.customers(order).is_disjoint(&known.customers) {
                visitors.extend(self.tokens(order).keys().filter_map(visitor_of));
            }
        }
        visitors.retain(|visitor| {
            let mut first: Option<(Claim<'_>, BTreeSet<Customer>)> = None;
            for order in &in_space {
                let customers = self.customers(order);
                if customers.is_empty() {
                    continue;
                }
                for (click, ordered_ms) in self.tokens(order) {
                    let claim = (ordered_ms, world.sources[order.0].id.as_str(), order.1.as_str());
                    if visitor_of(&click) == Some(*visitor)
                        && first.as_ref().is_none_or(|(known, _)| claim < *known)
                    {
                        first = Some((claim, customers.clone()));
                    }
                }
            }
            known.customers.is_empty() || first.is_none_or(|(_, first)| !first.is_disjoint(&known.customers))
        });
        visitors
    }

    /// T of the latest earlier purchase of the same customer that counts.
    fn earlier_purchase_ms(
        &self,
        key: &Key,
        known: &Known,
        all: &BTreeMap<&Key, Option<Known>>,
    ) -> Option<i64> {
        let space = |key: &Key| self.world.sources[key.0].space;
        let counts = |other: &Known| other.exclusion.is_none() && other.state.order.event == "purchase";
        all.iter()
            .filter(|(other, _)| **other != key && space(other) == space(key))
            .filter(|(other, _)| !self.customers(other).is_disjoint(&known.customers))
            .filter_map(|(_, other)| other.as_ref().filter(|other| counts(other)))
            .map(|other| other.t_ms)
            .filter(|t_ms| *t_ms < known.t_ms)
            .max()
    }

    fn conversion(&self, key: &Key, known: &Known, all: &BTreeMap<&Key, Option<Known>>) -> Conversion {
        let (world, space_no) = (self.world, self.world.sources[key.0].space);
        let space = &world.spaces[space_no];
        let order = &known.state.order;
        let (basis, gross_minor) = money::gross(order, space.rules.basis);
        let changes = money::changes(&Moves {
            order,
            refunds: &known.state.refunds,
            cancelled_ms: known.state.cancelled_ms,
            gross_minor,
            to: space.currency,
            zone: space.zone,
            rates: &world.rates,
        });
        let sum = |kinds: &[&str]| -> Option<i64> {
            let changes = changes.as_ref()?.iter();
            Some(changes.filter(|change| kinds.contains(&change.kind.as_str())).map(|c| c.amount_minor).sum())
        };
        let currency = if order.currency.is_empty() { space.currency } else { order.currency };
        let order_day = money::local_day(order.occurred_ms, space.zone);
        let found = match known.exclusion {
            Some(_) => Found::default(),
            None => {
                let cut_ms = self.earlier_purchase_ms(key, known, all).filter(|_| space.rules.purchase_cuts);
                journeys::find(&journeys::Evidence {
                    world,
                    space: space_no,
                    event: order.event,
                    t_ms: known.t_ms,
                    cut_ms,
                    keys: &known.keys,
                    named: &known.named,
                    visitors: &self.visitors(space_no, known),
                    coupon_links: &self.coupon_links(space_no, &known.keys, known.t_ms),
                })
            }
        };
        let mut conversion = Conversion {
            event: order.event.to_owned(),
            status: found.status.to_owned(),
            reason: found.reason.map(str::to_owned),
            method: found.method.map(str::to_owned),
            runners_up: found.runners_up.iter().map(|method| (*method).to_owned()).collect(),
            occurred_ms: order.occurred_ms,
            t_ms: known.t_ms,
            order_day,
            total_minor: order.total_minor,
            tax_minor: order.tax_minor,
            shipping_minor: order.shipping_minor,
            refunded_minor: known.state.refunds.iter().map(|refund| refund.amount_minor).sum(),
            currency: currency.to_owned(),
            gross_minor: sum(&["revenue"]),
            refunds_minor: sum(&["refund", "cancelled"]).map(|minor| -minor),
            net_minor: sum(&["revenue", "refund", "cancelled"]),
            basis: basis_name(basis).to_owned(),
            rate: money::rate(&world.rates, currency, space.currency, order_day),
            assigned_value_minor: space.rules.lead_value_minor.filter(|_| order.event == "lead"),
            customer: self.hashes(space.id, &known.customers).into_iter().next(),
            touches: found.touches,
            others: found.others,
            changes: changes.unwrap_or_default(),
            weights: Default::default(),
            credits: Vec::new(),
        };
        if let Some(reason) = known.exclusion {
            (conversion.status, conversion.reason) = ("excluded".to_owned(), Some(reason.to_owned()));
        }
        conversion
    }

    fn coupon_links(&self, space: usize, keys: &Keys, t_ms: i64) -> BTreeSet<usize> {
        let mut links = BTreeSet::new();
        for coupon in self.world.coupons.iter().filter(|coupon| coupon.space == space) {
            if !keys.coupons.iter().any(|code| code.to_uppercase() == coupon.code) {
                continue;
            }
            match &coupon.bound_to {
                BoundTo::Link(link) => {
                    links.insert(*link);
                }
                BoundTo::Post(post) => {
                    let of_space = |n: &usize| self.world.links[*n].space == space;
                    let those = |is_there: &dyn Fn(&Revision) -> bool| -> Vec<usize> {
                        let links = (0..self.world.links.len()).filter(of_space);
                        let stood_for_it = |n: &usize| {
                            let held = self.world.links[*n].revisions.iter().rfind(|held| is_there(held));
                            held.is_some_and(|held| held.post.as_ref() == Some(post))
                        };
                        links.filter(stood_for_it).collect()
                    };
                    let then = those(&|held| held.from_ms <= t_ms);
                    links.extend(if then.is_empty() { those(&|_| true) } else { then });
                }
            }
        }
        links
    }

    fn hashes(&self, space: &str, customers: &BTreeSet<Customer>) -> BTreeSet<String> {
        let hash = |customer: &Customer| match customer {
            Customer::Email(email) => self.world.keys.customer_hash(space, "email", email),
            Customer::Id(source, id) => {
                let kind = format!("id:{}", self.world.sources[*source].id);
                self.world.keys.customer_hash(space, &kind, id)
            }
        };
        customers.iter().map(hash).collect()
    }

    /// Per link and day; of the people's clicks in one span of the clock one counts.
    fn clicks(&self) -> BTreeMap<(String, i64, i32), Counts> {
        let mut counts: BTreeMap<(String, i64, i32), Counts> = BTreeMap::new();
        let (mut spans, mut days) = (BTreeSet::new(), BTreeSet::new());
        for click in self.world.clicks.iter().filter(|click| click.is_recorded) {
            let link = &self.world.links[click.link];
            let space = &self.world.spaces[link.space];
            let day = money::local_day(click.at_ms, space.zone);
            let count = counts.entry((space.id.to_owned(), link.id, day)).or_default();
            match click.class() {
                Class::Bot => count.bot += 1,
                Class::Preview => count.preview += 1,
                Class::Prefetch => count.prefetch += 1,
                Class::Human => {
                    // Without a cookie the network and the browser tell people apart, for a day.
                    let who = match click.visitor {
                        Some(visitor) => (Some(visitor), None),
                        None => (None, Some((day, click.network, click.agent))),
                    };
                    let span = click.at_ms.div_euclid(self.world.duplicate_seconds * 1000);
                    if spans.insert((who, link.id, span)) {
                        count.human += 1;
                        count.uniques += i64::from(days.insert((who, link.id, day)));
                    } else {
                        count.duplicate += 1;
                    }
                }
            }
        }
        counts
    }
}

/// What a statement leaves open is filled from another.
pub fn filled(keys: Keys, other: Keys) -> Keys {
    let mut tokens = keys.tokens;
    tokens.extend(other.tokens);
    let mut coupons = keys.coupons;
    coupons.extend(other.coupons);
    let mut references = keys.references;
    references.extend(other.references);
    Keys {
        tokens,
        coupons,
        references,
        customer_id: None,
        email: None,
        landing: keys.landing.or(other.landing),
        referrer: keys.referrer.or(other.referrer),
        utm: if keys.utm.is_empty() { other.utm } else { keys.utm },
    }
}

pub fn link_text(world: &World, link: usize) -> String {
    LinkId::from_i64(world.links[link].id).expect("a link id").to_string()
}

fn basis_name(basis: Basis) -> &'static str {
    match basis {
        Basis::Total => "total",
        Basis::ExTax => "ex_tax",
        Basis::ExTaxShipping => "ex_tax_shipping",
    }
}
