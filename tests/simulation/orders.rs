//! Orders and what becomes of them: every history is a list of statements, told in one delivery or several.

use std::collections::BTreeMap;

use crate::bodies;
use crate::generate::Generator;
use crate::world::{
    DAY_MS, Delivery, Expected, Keys, Landing, Order, Platform, Refund, Says, Statement, Status, Token,
};

/// An order as its shop knows it.
struct History {
    source: usize,
    order_id: String,
    /// Of the last statement.
    version_ms: i64,
    order: Order,
    refunds: Vec<Refund>,
}

pub fn orders(generator: &mut Generator) {
    let of_record = by_role(generator, true);
    for _ in 0..generator.random.between(1, 6) {
        let source = generator.random.pick(&of_record);
        let history = begin(generator, source);
        let names = names(&history);
        run(generator, history);
        let space = generator.world.sources[source].space;
        let evidence: Vec<usize> = by_role(generator, false)
            .into_iter()
            .filter(|source| generator.world.sources[*source].space == space)
            .collect();
        if !evidence.is_empty() && generator.chance(40) {
            let mut seen = begin(generator, evidence[0]);
            seen.order_id = names[generator.random.below(names.len())].clone();
            run(generator, seen);
        }
    }
    for _ in 0..generator.random.below(3) {
        junk(generator);
    }
}

fn by_role(generator: &Generator, is_of_record: bool) -> Vec<usize> {
    let sources = &generator.world.sources;
    (0..sources.len()).filter(|source| sources[*source].is_of_record == is_of_record).collect()
}

/// All names by which others may know the order.
fn names(history: &History) -> Vec<String> {
    std::iter::once(history.order_id.clone()).chain(history.order.keys.references.clone()).collect()
}

/// The order as it is first stated.
fn begin(generator: &mut Generator, source: usize) -> History {
    let (space, platform) = (generator.world.sources[source].space, generator.world.sources[source].platform);
    let person = pick_person(generator, space);
    let keys = keys(generator, source, person);
    let named = keys.all_tokens().into_iter().find_map(|token| match token {
        Token::Of(click) => Some(generator.world.clicks[click].at_ms),
        Token::Forged(_) => None,
    });
    let after = [-3_000, -400, 0, 1, 60_000, 3_600_000, DAY_MS, 6 * DAY_MS, 8 * DAY_MS, 101 * DAY_MS];
    let placed_ms = match named.or_else(|| generator.world.clicks.last().map(|click| click.at_ms)) {
        Some(at_ms) if generator.chance(75) => at_ms + generator.random.pick(&after),
        _ => generator.moment(),
    };
    let occurred_ms = on_clock(platform, placed_ms);
    let reporting = generator.world.spaces[space].currency;
    let currency = match generator.chance(60) {
        true => reporting,
        false => generator.random.pick(&["EUR", "USD", "JPY", "KWD", "GBP"]),
    };
    let is_lead = platform != Platform::Shopify && generator.chance(15);
    let total_minor = match generator.random.below(10) {
        0 => 0,
        1 => generator.random.between(1, 7),
        _ => generator.random.between(100, 30_000),
    };
    let (tax_minor, shipping_minor) = parts(generator, total_minor);
    let status = match generator.random.below(20) {
        0..3 => Status::Unpaid,
        3 => Status::Test,
        4 => Status::Cancelled,
        _ => Status::Paid,
    };
    let mut order = Order {
        event: "purchase",
        status: if platform == Platform::Shopify { status } else { Status::Paid },
        occurred_ms,
        currency,
        total_minor,
        tax_minor,
        shipping_minor,
        keys,
    };
    if is_lead {
        let nothing = (None, None);
        (order.event, order.currency, order.total_minor) = ("lead", "", 0);
        (order.tax_minor, order.shipping_minor) = nothing;
    }
    let count = generator.world.statements.iter().filter(|known| known.source == source).count();
    let order_id = match platform {
        // Above 2^53, as Shopify's are.
        Platform::Shopify => format!("{}", 9_100_000_000_000_000u64 + count as u64),
        _ => format!("o-{count}"),
    };
    if platform == Platform::Shopify {
        let number = 1001 + count;
        order.keys.references =
            vec![format!("#{number}"), format!("{number}"), format!("checkout-{order_id}")];
    }
    let version_ms = on_clock(platform, occurred_ms + generator.random.between(0, 30_000));
    History { source, order_id, version_ms, order, refunds: Vec::new() }
}

/// Shopify tells whole seconds.
fn on_clock(platform: Platform, at_ms: i64) -> i64 {
    if platform == Platform::Shopify { at_ms.div_euclid(1000) * 1000 } else { at_ms }
}

/// Tax and shipping, where they are stated.
fn parts(generator: &mut Generator, total_minor: i64) -> (Option<i64>, Option<i64>) {
    let tax_minor = generator.chance(70).then(|| total_minor * generator.random.between(0, 25) / 100);
    let shipping_minor = generator.chance(50).then(|| total_minor * generator.random.between(0, 30) / 100);
    (tax_minor, shipping_minor)
}

/// States the order, and then what happens to it.
fn run(generator: &mut Generator, mut history: History) {
    let platform = generator.world.sources[history.source].platform;
    state(generator, &history);
    for _ in 0..generator.random.pick(&[0, 0, 1, 1, 2, 3, 4]) {
        let passes = [0, 0, 1000, 60_000, 3_600_000, DAY_MS, 4 * DAY_MS];
        history.version_ms =
            on_clock(platform, history.version_ms + generator.random.pick(&passes)).max(history.version_ms);
        let has_money = history.order.event == "purchase";
        match generator.random.below(12) {
            0..4 if has_money => refund(generator, &mut history),
            4 if has_money => {
                history.order.total_minor = generator.random.between(0, 30_000);
                (history.order.tax_minor, history.order.shipping_minor) =
                    parts(generator, history.order.total_minor);
                state(generator, &history);
            }
            5 | 6 => {
                let space = generator.world.sources[history.source].space;
                let person = pick_person(generator, space);
                let references = history.order.keys.references.clone();
                history.order.keys = keys(generator, history.source, person);
                history.order.keys.references = references;
                state(generator, &history);
            }
            7..10 if platform == Platform::Shopify => {
                let statuses = [Status::Paid, Status::Paid, Status::Cancelled, Status::Unpaid, Status::Test];
                history.order.status = generator.random.pick(&statuses);
                state(generator, &history);
            }
            10 if platform == Platform::Shopify => {
                let says = Says::Deleted;
                let deleted = statement(generator, &history, says);
                deliver(generator, &history, vec![deleted], bodies::deleted(&history.order_id));
            }
            11 => {
                history.order.occurred_ms -= 2000;
                state(generator, &history);
            }
            _ => state(generator, &history),
        }
    }
}

/// Says it of the history's order; the same statement twice is one.
fn statement(generator: &mut Generator, history: &History, mut says: Says) -> usize {
    if let Says::Order(order) = &mut says {
        // A token that is listed twice names one click.
        let mut named = Vec::new();
        order.keys.tokens.retain(|token| {
            !named.contains(token) && {
                named.push(*token);
                true
            }
        });
    }
    let statement = Statement {
        source: history.source,
        order_id: history.order_id.clone(),
        version_ms: history.version_ms,
        says,
    };
    let statements = &mut generator.world.statements;
    statements.iter().position(|known| *known == statement).unwrap_or_else(|| {
        statements.push(statement);
        statements.len() - 1
    })
}

fn state(generator: &mut Generator, history: &History) {
    let mut says = vec![statement(generator, history, Says::Order(Box::new(history.order.clone())))];
    let platform = generator.world.sources[history.source].platform;
    let body = match platform {
        // Shopify lists an order's refunds with it.
        Platform::Shopify => {
            for refund in &history.refunds {
                says.push(statement(generator, history, Says::Refund(refund.clone())));
            }
            let (order, refunds) = (&history.order, &history.refunds);
            bodies::shopify(&generator.world, &history.order_id, history.version_ms, order, refunds)
        }
        _ => bodies::conversion(&generator.world, &history.order_id, history.version_ms, &history.order),
    };
    deliver(generator, history, says, body);
}

/// A part of the total, the rest of it, or more; sometimes an earlier refund is changed or taken back.
fn refund(generator: &mut Generator, history: &mut History) {
    let refunded: i64 = history.refunds.iter().map(|refund| refund.amount_minor).sum();
    let total_minor = history.order.total_minor;
    let platform = generator.world.sources[history.source].platform;
    let amount_minor = match generator.random.below(6) {
        0 => (total_minor - refunded).max(1),
        1 => total_minor + generator.random.between(1, 500),
        _ => generator.random.between(1, total_minor.max(1)),
    };
    let occurred_ms = on_clock(platform, history.version_ms - generator.random.between(0, 5_000));
    // Only the generic body takes a refund back, by an amount of nothing.
    let again = platform != Platform::Shopify && !history.refunds.is_empty() && generator.chance(30);
    let said = if again {
        let known = history.refunds.last_mut().expect("there is one");
        known.amount_minor = if generator.chance(60) { 0 } else { amount_minor };
        known.clone()
    } else {
        let id = format!("{}", 900 + history.refunds.len());
        let refund = Refund { id, amount_minor, currency: history.order.currency, occurred_ms };
        history.refunds.push(refund.clone());
        refund
    };
    let index = statement(generator, history, Says::Refund(said.clone()));
    let body = match platform {
        Platform::Shopify => bodies::shopify_refund(&history.order_id, history.version_ms, &said),
        _ => bodies::refund(&history.order_id, history.version_ms, &said),
    };
    deliver(generator, history, vec![index], body);
}

/// Sends it, perhaps more than once, perhaps before anybody can verify it.
fn deliver(
    generator: &mut Generator,
    history: &History,
    statements: Vec<usize>,
    (topic, body): bodies::Body,
) {
    let platform = generator.world.sources[history.source].platform;
    loop {
        // Over the API there is no other clock than that of the receipt.
        let late_ms = if platform == Platform::Api { 0 } else { generator.random.between(0, 9_000) };
        let received_ms = history.version_ms + late_ms;
        let headers = match platform {
            Platform::Shopify => bodies::shopify_headers(topic, history.version_ms),
            _ => Vec::new(),
        };
        let expected = if generator.chance(4) { Expected::Unverified } else { Expected::Accepted };
        let id = delivery_id(generator, received_ms);
        let (source, body, statements) = (history.source, body.clone(), statements.clone());
        let delivery = Delivery { id, source, received_ms, headers, body, statements, expected };
        generator.world.deliveries.push(delivery);
        if !generator.chance(25) {
            return;
        }
    }
}

fn delivery_id(generator: &mut Generator, received_ms: i64) -> String {
    uuid::Uuid::from_bytes(generator.uuid(received_ms)).to_string()
}

/// Deliveries that say nothing of an order.
fn junk(generator: &mut Generator) {
    let source = generator.random.below(generator.world.sources.len());
    let (platform, is_cut_off) = (generator.world.sources[source].platform, generator.chance(50));
    let (body, expected) = match platform {
        _ if is_cut_off => (b"{\"id\": 1, \"tot".to_vec(), Expected::Dead),
        Platform::Shopify => (b"{\"id\": 1}".to_vec(), Expected::Ignored),
        _ => (b"{\"type\": \"ping\", \"data\": {}}".to_vec(), Expected::Ignored),
    };
    let received_ms = generator.moment();
    let id = delivery_id(generator, received_ms);
    let headers = bodies::shopify_headers("products/update", received_ms);
    let delivery = Delivery { id, source, received_ms, headers, body, statements: Vec::new(), expected };
    generator.world.deliveries.push(delivery);
}

fn pick_person(generator: &mut Generator, space: usize) -> Option<usize> {
    let of_space: Vec<usize> =
        (0..generator.people.len()).filter(|person| generator.people[*person].space == space).collect();
    generator.chance(85).then(|| generator.random.pick(&of_space))
}

fn keys(generator: &mut Generator, source: usize, person: Option<usize>) -> Keys {
    let space = generator.world.sources[source].space;
    let mut keys = Keys::default();
    if let Some(person) = person.map(|person| &generator.people[person]) {
        let (email, number) = (person.email, person.number);
        keys.email = email.filter(|_| generator.random.chance(70)).map(str::to_owned);
        keys.customer_id = generator.random.chance(40).then(|| format!("{}", 40 + number));
    }
    let clicks = &generator.world.clicks;
    let is_of = |click: &usize| {
        let theirs = person.is_none_or(|person| {
            clicks[*click].visitor.is_some_and(|visitor| generator.people[person].devices.contains(&visitor))
        });
        theirs && generator.world.links[clicks[*click].link].space == space
    };
    let theirs: Vec<usize> = (0..clicks.len()).filter(is_of).collect();
    let any: Vec<usize> = (0..clicks.len()).collect();
    let pool = if theirs.is_empty() || generator.chance(15) { any } else { theirs };
    let token = |generator: &mut Generator| match generator.random.below(20) {
        0 => Token::Forged(generator.random.below(3) as u8),
        _ if pool.is_empty() => Token::Forged(3),
        _ => Token::Of(generator.random.pick(&pool)),
    };
    for _ in 0..generator.random.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 2]) {
        let token = token(generator);
        keys.tokens.push(token);
    }
    if generator.chance(10) {
        keys.coupons.push(generator.random.pick(&["save10", "Post20", "UNKNOWN"]));
    }
    let landing_token = token(generator);
    keys.landing = landing(generator, space, landing_token);
    if generator.chance(25) {
        keys.referrer = Some(generator.random.pick(&[
            "https://www.google.com/search",
            "https://news.example.org/a",
            "https://www.paypal.com/checkout",
            "https://shop.example/cart",
        ]));
    }
    if generator.world.sources[source].platform != Platform::Shopify && generator.chance(10) {
        keys.utm = generator.tags_of_some_link(space);
    }
    keys
}

fn landing(generator: &mut Generator, space: usize, token: Token) -> Option<Landing> {
    let base = generator.random.pick(&["/p", "https://shop.example/hats"]);
    let plain = Landing { base, tags: BTreeMap::new(), token: None, gclid: false };
    let tags = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    match generator.random.below(10) {
        0 => Some(plain),
        1 => Some(Landing { gclid: true, ..plain }),
        2 => Some(Landing { tags: tags(&[("source", "newsletter"), ("medium", "email")]), ..plain }),
        3 => Some(Landing { tags: tags(&[("campaign", "unheard-of")]), ..plain }),
        4 => Some(Landing { tags: generator.tags_of_some_link(space), ..plain }),
        5 => Some(Landing { tags: generator.tags_of_some_link(space), token: Some(token), ..plain }),
        _ => None,
    }
}

impl Generator {
    /// Upper and lower case as tools leave them.
    fn tags_of_some_link(&mut self, space: usize) -> BTreeMap<&'static str, String> {
        let of_space: Vec<usize> =
            (0..self.world.links.len()).filter(|link| self.world.links[*link].space == space).collect();
        let link = self.random.pick(&of_space);
        let revisions = &self.world.links[link].revisions;
        let mut tags = revisions[self.random.below(revisions.len())].tags.clone();
        if self.chance(30) {
            tags.remove("content");
        }
        if self.chance(20) {
            tags.values_mut().for_each(|value| *value = value.to_uppercase());
        }
        tags
    }
}

impl Keys {
    /// Those of the landing included.
    pub fn all_tokens(&self) -> Vec<Token> {
        let landed = self.landing.as_ref().and_then(|landing| landing.token);
        self.tokens.iter().copied().chain(landed).collect()
    }
}
