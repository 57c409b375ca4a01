//! From a seed to a world: workspaces, links, rates, people and their clicks. Orders: `orders`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use utmost::domain::keys::KeyRing;

use crate::orders::orders;
use crate::random::Random;
use crate::world::{
    AGENTS, Basis, BoundTo, Click, Coupon, DAY_MS, Link, Platform, Rate, Request, Revision, Rules, Source,
    Space, World,
};

/// Somebody who clicks and buys.
pub struct Person {
    pub space: usize,
    pub email: Option<&'static str>,
    pub devices: Vec<[u8; 12]>,
    pub number: usize,
}

pub struct Generator {
    pub random: Random,
    pub world: World,
    pub people: Vec<Person>,
    /// Around this moment most of it happens.
    pub start_ms: i64,
}

/// Zones with the moments around which their clocks change, or just some summer's day: in the 2040s, so
/// that nothing is ever too old for a bound that counts from the real clock.
const ZONES: [(&str, &str); 8] = [
    ("UTC", "2040-06-15T00:00:00Z"),
    ("Asia/Kathmandu", "2040-06-14T18:15:00Z"),
    ("Asia/Kolkata", "2040-02-28T18:30:00Z"),
    ("America/New_York", "2040-03-11T07:00:00Z"),
    ("America/New_York", "2040-11-04T06:00:00Z"),
    ("Europe/Berlin", "2040-10-28T01:00:00Z"),
    ("Australia/Lord_Howe", "2040-04-01T15:00:00Z"),
    ("Pacific/Kiritimati", "2040-12-31T10:00:00Z"),
];

/// Per EUR. Products and quotients of these have finite decimals, so that every conversion is exact.
const PER_EUR: [(&str, i64); 4] = [("USD", 1250), ("JPY", 160_000), ("INR", 100_000), ("KWD", 320)];

const EMAILS: [&str; 4] = ["ada@x.example", "ben@x.example", "Cleo@Y.example", "dora@y.example"];

pub fn world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let (zone, start) = random.pick(&ZONES);
    let start_ms = start.parse::<Timestamp>().expect("a time").as_millisecond();
    let mut spaces = vec![space(&mut random, "w", zone)];
    if random.chance(20) {
        let (zone, _) = random.pick(&ZONES);
        spaces.push(space(&mut random, "v", zone));
    }
    let world = World {
        keys: keys(),
        spaces,
        links: Vec::new(),
        coupons: Vec::new(),
        sources: Vec::new(),
        rates: Vec::new(),
        clicks: Vec::new(),
        statements: Vec::new(),
        deliveries: Vec::new(),
        duplicate_seconds: random.pick(&[1, 10, 60]),
    };
    let mut generator = Generator { random, world, people: Vec::new(), start_ms };
    for space in 0..generator.world.spaces.len() {
        generator.links(space);
        generator.sources(space);
        generator.people(space);
    }
    generator.rates();
    for _ in 0..generator.random.between(0, 14) {
        generator.visit();
    }
    orders(&mut generator);
    generator.world
}

/// The same keys in every run: what is sorted by a hash has one outcome per seed.
fn keys() -> KeyRing {
    let key = |digit: &str| digit.repeat(64);
    let text = format!(
        "visitor = \"{}\"\ncustomer = \"{}\"\nsalt = \"{}\"\n[[token]]\nversion = 1\nmade_at_ms = 0\nkey = \"{}\"\n",
        key("1"),
        key("2"),
        key("3"),
        key("4")
    );
    toml::from_str(&text).expect("a key ring")
}

fn space(random: &mut Random, id: &'static str, zone: &'static str) -> Space {
    Space {
        id,
        zone,
        currency: random.pick(&["EUR", "EUR", "USD", "JPY", "INR"]),
        rules: Rules {
            lookback_days: random.pick(&[1, 7, 100, 100]),
            half_life_days: random.pick(&[1, 7, 7, 30]),
            shares_percent: random.pick(&[[40, 20, 40], [40, 20, 40], [30, 30, 40], [0, 50, 50]]),
            basis: random.pick(&[Basis::ExTax, Basis::ExTax, Basis::Total, Basis::ExTaxShipping]),
            rivals_count: random.chance(80),
            purchase_cuts: random.chance(30),
            duplicates_count: random.chance(20),
            lead_lookback_days: random.pick(&[None, Some(3)]),
            lead_value_minor: random.pick(&[None, Some(500)]),
        },
    }
}

impl Generator {
    pub fn chance(&mut self, percent: u64) -> bool {
        self.random.chance(percent)
    }

    /// A UUIDv7 of a time.
    pub fn uuid(&mut self, at_ms: i64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&at_ms.to_be_bytes()[2..]);
        id[6..14].copy_from_slice(&self.random.number().to_be_bytes());
        id[14..].copy_from_slice(&self.random.number().to_be_bytes()[..2]);
        id[6] = 0x70 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        id
    }

    /// Mostly around the start, often close to a change of day, seldom long ago.
    pub fn moment(&mut self) -> i64 {
        let start_ms = self.start_ms;
        match self.random.below(10) {
            0..4 => {
                let zone = TimeZone::get(self.world.spaces[0].zone).expect("a zone");
                let day_ms = start_ms + self.random.between(-2, 4) * DAY_MS;
                let at = Timestamp::from_millisecond(day_ms).expect("a time").to_zoned_datetime(zone);
                let midnight = at.start_of_day().expect("every day starts").timestamp().as_millisecond();
                midnight + self.random.between(-20_000, 20_000)
            }
            4..8 => start_ms + self.random.between(-2 * DAY_MS, 5 * DAY_MS),
            8 => start_ms - self.random.between(0, 9 * DAY_MS),
            _ => start_ms - self.random.between(0, 150 * DAY_MS),
        }
    }

    fn links(&mut self, space: usize) {
        for _ in 0..self.random.between(1, 4) {
            let n = self.world.links.len();
            let id = (n as i64 + 1) << 40 | (n as i64 + 7);
            let mut revision = Revision {
                from_ms: self.start_ms - 200 * DAY_MS,
                post: self.chance(80).then(|| format!("post-{}", n % 3)),
                tags: BTreeMap::from([("source", "instagram".to_owned()), ("medium", "social".to_owned())]),
            };
            // Two links may have the same tags, and then these identify neither.
            if self.chance(80) {
                revision.tags.insert("campaign", format!("spring-{}", n % 2));
            }
            if self.chance(70) {
                let stamp = utmost::domain::ids::LinkId::from_i64(id).expect("a link id").to_string();
                revision.tags.insert("content", stamp);
            }
            let mut revisions = vec![revision];
            while self.chance(25) {
                let mut next = revisions.last().expect("one").clone();
                next.from_ms = self.moment().max(next.from_ms + 1);
                next.post = Some(format!("post-{}", self.random.below(4)));
                next.tags.insert("term", "late".to_owned());
                revisions.push(next);
            }
            self.world.links.push(Link { id, space, slug: format!("s{n}"), revisions });
        }
        let links = self.world.links.len();
        for code in ["SAVE10", "POST20"] {
            if self.chance(50) {
                let bound_to = match code {
                    "SAVE10" => BoundTo::Link(links - 1),
                    _ => BoundTo::Post(format!("post-{}", self.random.below(3))),
                };
                self.world.coupons.push(Coupon { space, code, bound_to });
            }
        }
    }

    fn sources(&mut self, space: usize) {
        let platforms = [Platform::Shopify, Platform::Api, Platform::Standard];
        let name = self.world.spaces[space].id;
        for n in 0..self.random.between(1, 3) {
            let platform = self.random.pick(&platforms);
            let id = format!("{name}-shop-{n}");
            self.world.sources.push(Source { id, space, platform, is_of_record: true });
        }
        if self.chance(60) {
            let id = format!("{name}-script");
            self.world.sources.push(Source { id, space, platform: Platform::Standard, is_of_record: false });
        }
    }

    fn people(&mut self, space: usize) {
        let count = self.random.between(1, 4) as usize;
        for (number, email) in EMAILS.into_iter().enumerate().take(count) {
            let mut devices = Vec::new();
            for n in 0..self.random.between(0, 2) as u8 {
                // A device may be shared with whoever came before.
                let owner = if number > 0 && self.chance(20) { number - 1 } else { number };
                let mut device = [7; 12];
                (device[0], device[1]) = (owner as u8, n);
                devices.push(device);
            }
            let email = self.chance(80).then_some(email);
            self.people.push(Person { space, email, devices, number });
        }
    }

    fn rates(&mut self) {
        let first_day = (self.start_ms / DAY_MS) as i32;
        for (currency, base) in PER_EUR {
            let (is_missing, is_late) = (self.chance(15), self.chance(30));
            for day in first_day - 12..first_day + 8 {
                // Weekends have no rates, and one currency none at all.
                if is_missing || self.chance(50) {
                    continue;
                }
                let thousandths = base * self.random.pick(&[1000, 2000, 800]) / 1000;
                let rate = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
                let is_late = is_late && self.chance(70);
                self.world.rates.push(Rate { currency, day, rate, is_late });
            }
        }
    }

    /// Somebody comes by a link, perhaps twice in a row.
    fn visit(&mut self) {
        let person = self.random.below(self.people.len());
        let (space, devices) = (self.people[person].space, self.people[person].devices.clone());
        let of_space: Vec<usize> =
            (0..self.world.links.len()).filter(|link| self.world.links[*link].space == space).collect();
        let link = self.random.pick(&of_space);
        let visitor = match self.random.below(10) {
            0 => None,
            1 => Some([99; 12]),
            _ if devices.is_empty() => None,
            _ => Some(self.random.pick(&devices)),
        };
        let mut at_ms = self.moment();
        let agent = if self.chance(80) { self.random.below(2) } else { self.random.below(AGENTS.len()) };
        let network = self.chance(80).then(|| [203, 0, self.random.below(2) as u8]);
        loop {
            let request = self.random.pick(&[
                Request::Get,
                Request::Get,
                Request::Get,
                Request::Get,
                Request::Get,
                Request::Get,
                Request::Head,
                Request::Prefetch,
            ]);
            let id = self.uuid(at_ms);
            self.world.clicks.push(Click {
                id,
                at_ms,
                link,
                visitor,
                network,
                request,
                agent,
                referrer: self.random.pick(&["", "https://www.l.instagram.com/x", "junk"]),
                is_recorded: self.random.chance(95),
            });
            if !self.chance(35) {
                return;
            }
            at_ms += self.random.pick(&[0, 1, 900, 1000, 5_000, 9_999, 61_000, 3_600_000]);
        }
    }
}
