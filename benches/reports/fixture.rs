//! The ledger of a busy workspace over a year, as the worker would have left it; by a fixed seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use sqlx::AssertSqlSafe;
use utmost::ledger::packs::{self, Change, ChangeKind, Conversion, Status};
use utmost::ledger::paths::{PathCounts, put_months};
use utmost::ledger::{Tx, sql};

const POSTS: i64 = 2_000;
const LINKS: i64 = 2 * POSTS;
/// 1 January 2026.
const FIRST_DAY: i64 = 20_454;
const DAYS: i64 = 365;
/// 31 December: on the last day clicks still come.
pub const LIVE_DAY: i64 = FIRST_DAY + DAYS - 1;

enum Value {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    None,
}

/// Rows of one table, written some hundred at a time.
struct Rows {
    table: &'static str,
    columns: usize,
    values: Vec<Value>,
}

impl Rows {
    fn of(table: &'static str) -> Self {
        Self { table, columns: table.matches(',').count() + 1, values: Vec::new() }
    }

    async fn add(&mut self, tx: &mut Tx, row: Vec<Value>) {
        assert_eq!(row.len(), self.columns, "{}", self.table);
        self.values.extend(row);
        if self.values.len() + self.columns > 20_000 {
            self.write(tx).await;
        }
    }

    async fn write(&mut self, tx: &mut Tx) {
        let rows = self.values.len() / self.columns;
        if rows == 0 {
            return;
        }
        let text = format!("INSERT INTO {} VALUES {}", self.table, sql::unnumbered(rows, self.columns));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in self.values.drain(..) {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::None => query.bind(None::<String>),
            };
        }
        query.execute(&mut **tx).await.expect(self.table);
    }
}

macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$(Value::from($value)),*] };
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::None, Self::Number)
    }
}

/// Ids as far apart as real ones are.
fn link(n: i64) -> i64 {
    4_000_000_000_000_000_000 + n * 1_000_003
}

fn month_start(day: i64) -> i64 {
    let date = utmost::domain::time::day_date(i32::try_from(day).expect("a day"));
    i64::from(utmost::domain::time::day_number(date.first_of_month()))
}

/// Fills an empty ledger with so many orders and a year of clicks; answers the number of clicks.
pub async fn fill(tx: &mut Tx, orders_count: i64) -> i64 {
    const NETWORKS: [&str; 6] = ["instagram", "tiktok", "facebook", "x", "linkedin", "youtube"];
    let mut random = StdRng::seed_from_u64(1);
    let mut workspaces = Rows::of("workspaces (id, name, timezone, currency, settings, created_ms)");
    workspaces.add(tx, row!["default", "Bench", "Europe/Berlin", "EUR", "{}", 0]).await;
    workspaces.write(tx).await;

    let mut posts = Rows::of(
        "posts (workspace, id, network, title, published_ms, campaign, tags, kind, created_ms, updated_ms)",
    );
    let mut revisions = Rows::of(
        "link_revisions (link, revision, from_ms, workspace, post, network, campaign, utm_source, utm_medium, utm_content, tags)",
    );
    for n in 0..POSTS {
        let (id, campaign) = (format!("post-{n:05}"), format!("c{}", n % 40));
        let kind = ["video", "image", "text"][(n % 3) as usize];
        let tags = format!("[\"t{}\",\"u{}\"]", n % 10, n % 7);
        let title = format!("Title of post {n}");
        let published_ms = FIRST_DAY * 86_400_000 + n * 7 * 3_600_000 / 2;
        posts
            .add(
                tx,
                row![
                    "default",
                    id.as_str(),
                    NETWORKS[(n % 6) as usize],
                    title,
                    published_ms,
                    campaign.as_str(),
                    tags,
                    kind,
                    0,
                    0
                ],
            )
            .await;
        for k in 0..2 {
            let (link, network) = (link(2 * n + k), NETWORKS[((n + k) % 6) as usize]);
            let row = row![
                link,
                1,
                0,
                "default",
                id.as_str(),
                network,
                campaign.as_str(),
                network,
                "social",
                link.to_string(),
                "[]"
            ];
            revisions.add(tx, row).await;
        }
    }
    posts.write(tx).await;
    revisions.write(tx).await;
    let clicks = clicks(tx, &mut random).await;
    null_paths(tx, &mut random).await;
    orders(tx, &mut random, orders_count).await;

    let mut costs = Rows::of(
        "costs (workspace, id, scope, target, amount_minor, currency, from_day, to_day, kind, created_ms)",
    );
    for n in 0..200 {
        let from = FIRST_DAY + random.random_range(0..330);
        let row = row![
            "default",
            format!("cost-{n}"),
            "post",
            format!("post-{:05}", n * 10),
            10_000,
            "EUR",
            from,
            from + 14,
            "spend",
            0
        ];
        costs.add(tx, row).await;
    }
    for n in 0..12 {
        let row = row![
            "default",
            format!("campaign-{n}"),
            "campaign",
            format!("c{n}"),
            90_000,
            "EUR",
            FIRST_DAY + n * 30,
            FIRST_DAY + n * 30 + 30,
            "hours",
            0
        ];
        costs.add(tx, row).await;
    }
    costs.write(tx).await;
    clicks
}

/// Clicks of people and of machines.
type Counts = (i64, i64);

/// What a link, or all of them, were clicked in a span of time.
#[derive(Default)]
struct Clicked {
    all: Counts,
    countries: BTreeMap<&'static str, Counts>,
    devices: BTreeMap<&'static str, Counts>,
    /// Of the week.
    hours: BTreeMap<i64, Counts>,
}

impl Clicked {
    fn add(&mut self, country: &'static str, device: &'static str, hour: i64, is_human: bool) {
        for counts in [
            &mut self.all,
            self.countries.entry(country).or_default(),
            self.devices.entry(device).or_default(),
            self.hours.entry(hour).or_default(),
        ] {
            *(if is_human { &mut counts.0 } else { &mut counts.1 }) += 1;
        }
    }

    /// As the rollups of all links and of months have them.
    fn parts(&self) -> Vec<(&'static str, &'static str, Counts)> {
        let countries = self.countries.iter().map(|(value, counts)| ("country", *value, *counts));
        let devices = self.devices.iter().map(|(value, counts)| ("device", *value, *counts));
        [("all", "", self.all)].into_iter().chain(countries).chain(devices).collect()
    }

    fn add_all(&mut self, other: &Self) {
        let sum = |into: &mut Counts, of: &Counts| *into = (into.0 + of.0, into.1 + of.1);
        sum(&mut self.all, &other.all);
        other.countries.iter().for_each(|(key, of)| sum(self.countries.entry(key).or_default(), of));
        other.devices.iter().for_each(|(key, of)| sum(self.devices.entry(key).or_default(), of));
        other.hours.iter().for_each(|(key, of)| sum(self.hours.entry(*key).or_default(), of));
    }
}

const COUNTRIES: [&str; 16] =
    ["DE", "DE", "DE", "DE", "DE", "DE", "DE", "DE", "AT", "AT", "CH", "US", "FR", "IT", "GB", ""];
const DEVICES: [&str; 10] =
    ["mobile", "mobile", "mobile", "mobile", "mobile", "mobile", "mobile", "desktop", "desktop", "tablet"];

/// Answers how many clicks there are.
async fn clicks(tx: &mut Tx, random: &mut StdRng) -> i64 {
    let mut by_day = Rows::of(
        "clicks_by_day (workspace, day, link, revision, human, duplicate, bot, preview, prefetch, uniques)",
    );
    let mut by_country = Rows::of(
        "clicks_by_country (workspace, day, link, revision, country, human, uniques, bots, recorded)",
    );
    let mut by_device =
        Rows::of("clicks_by_device (workspace, day, link, revision, device, human, uniques, bots, recorded)");
    let mut by_hour =
        Rows::of("clicks_by_hour (workspace, month, hour, link, revision, human, uniques, bots, recorded)");
    let mut in_all = Rows::of("clicks_in_all (workspace, day, part, value, human, uniques, bots, recorded)");
    let mut months = Rows::of("click_months (workspace, month, version, packed_version, to_day)");
    let mut of_month: Vec<Clicked> = (0..LINKS).map(|_| Clicked::default()).collect();
    let mut whole = 0;
    for day in FIRST_DAY..FIRST_DAY + DAYS {
        let mut of_day = Clicked::default();
        for n in 0..LINKS {
            let mut clicked = Clicked::default();
            let human = random.random_range(0..14);
            for i in 0..human + human / 8 {
                let country = COUNTRIES[random.random_range(0..COUNTRIES.len())];
                let device = DEVICES[random.random_range(0..DEVICES.len())];
                // Day 0 is a Thursday. At night few are awake: the later of two hours.
                let hour = random.random_range(0..24).max(random.random_range(0..24));
                clicked.add(country, device, (day + 3) % 7 * 24 + hour, i < human);
            }
            whole += clicked.all.0 + clicked.all.1;
            if human > 0 {
                let row = row!["default", day, link(n), 1, human, 0, clicked.all.1, 0, 0, human];
                by_day.add(tx, row).await;
            }
            for (country, (human, bots)) in &clicked.countries {
                let mut row = row!["default", day, link(n), 1, *country];
                row.extend(row![*human, *human, *bots, human + bots]);
                by_country.add(tx, row).await;
            }
            for (device, (human, bots)) in &clicked.devices {
                let mut row = row!["default", day, link(n), 1, *device];
                row.extend(row![*human, *human, *bots, human + bots]);
                by_device.add(tx, row).await;
            }
            of_month[n as usize].add_all(&clicked);
            of_day.add_all(&clicked);
        }
        for (part, value, (human, bots)) in of_day.parts() {
            in_all.add(tx, row!["default", day, part, value, human, human, bots, human + bots]).await;
        }
        let month = month_start(day);
        if day + 1 == FIRST_DAY + DAYS || month_start(day + 1) != month {
            let mut in_month = Clicked::default();
            for (n, clicked) in (0..).zip(of_month.iter_mut().map(std::mem::take)) {
                for (hour, (human, bots)) in &clicked.hours {
                    let mut row = row!["default", month, *hour, link(n), 1];
                    row.extend(row![*human, *human, *bots, human + bots]);
                    by_hour.add(tx, row).await;
                }
                in_month.add_all(&clicked);
            }
            months.add(tx, row!["default", month, 1, 0, month]).await;
            for (hour, (human, bots)) in in_month.hours {
                let row = row!["default", month, "hour", hour.to_string(), human, human, bots, human + bots];
                in_all.add(tx, row).await;
            }
        }
    }
    for rows in [&mut by_day, &mut by_country, &mut by_device, &mut by_hour, &mut in_all, &mut months] {
        rows.write(tx).await;
    }
    whole
}

/// Journeys that did not convert, by day: most people click once, one in twenty twice.
async fn null_paths(tx: &mut Tx, random: &mut StdRng) {
    let mut counts = Rows::of("path_counts (workspace, event, day, paths)");
    for day in FIRST_DAY..FIRST_DAY + DAYS {
        let mut paths: HashMap<Vec<(i64, i64)>, i64> = HashMap::new();
        for n in 0..LINKS {
            for _ in 0..random.random_range(0..13) {
                let mut path = vec![(link(n), 1)];
                if random.random_bool(0.05) {
                    path.push((link(random.random_range(0..LINKS)), 1));
                }
                *paths.entry(path).or_default() += 1;
            }
        }
        counts.add(tx, row!["default", "purchase", day, PathCounts::of(&paths).to_bytes()]).await;
    }
    counts.write(tx).await;
    put_months(tx, "default", BTreeSet::new(), LIVE_DAY).await.expect("it sums");
}

/// A touch of an order: our link, or None for a rival's.
struct Touch {
    link: Option<i64>,
    day: i64,
}

async fn orders(tx: &mut Tx, random: &mut StdRng, count: i64) {
    let mut conversions = Rows::of(
        "conversions (id, workspace, source, order_id, due, evaluated_ms, received_ms, event, status, reason, occurred_ms, t_ms, order_day, currency, gross_minor, refunds_minor, net_minor, basis, customer)",
    );
    let mut customers = Rows::of("order_customers (workspace, customer, source, order_id)");
    let mut touches =
        Rows::of("touches (conversion, n, at_ms, via, link, revision, channel, country, device, counted)");
    let mut changes = Rows::of("changes (conversion, change_no, kind, amount_minor, at_ms, day)");
    let mut credits = Rows::of(
        "credits (conversion, change_no, n, workspace, link, revision, country, device, kind, event, source, order_day, click_day, cash_day, is_last, first_touch, last_touch, linear, time_decay, position_based, first_touch_weight, last_touch_weight, linear_weight, time_decay_weight, position_based_weight)",
    );
    let mut of_days: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
    for id in 0..count {
        // One after the other, as orders come.
        let day = FIRST_DAY + id * DAYS / count;
        let at_ms = day * 86_400_000 + random.random_range(0..80_000_000);
        let gross: i64 = random.random_range(1_000..20_000);
        let matched = random.random_bool(0.85);
        let refund = if matched && random.random_bool(0.06) { gross / 2 } else { 0 };
        let source = ["src_shopify", "src_woo"][random.random_range(0..2)];
        let (status, reason) =
            if matched { ("attributed", Value::None) } else { ("unattributed", Value::from("no_match")) };
        let journey = if matched { touches_before(day, random) } else { Vec::new() };
        let order_id = format!("o{id}");
        // By e-mail and by the shop's own number, as most shops send both.
        let customer = random.random_range(0..count * 6 / 10);
        let hashes = [format!("{customer:032x}"), format!("{:032x}", customer + (1 << 40))];
        for hash in &hashes {
            customers.add(tx, row!["default", hash.as_str(), source, order_id.as_str()]).await;
        }
        let mut packed = Conversion {
            id,
            links: journey.iter().map(|touch| touch.link.map(|link| (link, 1))).collect(),
            order_day: day,
            source,
            status: if matched { Status::Attributed } else { Status::Unattributed },
            reason: (!matched).then_some("no_match"),
            basis: Some("ex_tax"),
            occurred_ms: Some(at_ms),
            t_ms: at_ms,
            gross_minor: gross,
            net_minor: gross - refund,
            assigned_value_minor: None,
            goods: None,
            customers: hashes.iter().map(|hash| packs::customer(hash).expect("hex")).collect(),
            touches: Vec::new(),
            changes: Vec::new(),
        };
        let [customer, _] = hashes;
        let mut row = row![id, "default", source, order_id, 0, 1, at_ms, "purchase", status];
        row.push(reason);
        row.extend(row![at_ms, at_ms, day, "EUR", gross, refund, gross - refund, "ex_tax", customer]);
        conversions.add(tx, row).await;
        let change =
            |kind, amount_minor, at_ms, day| Change { kind, amount_minor, at_ms, day, credits: Vec::new() };
        packed.changes.push(change(ChangeKind::Revenue, gross, at_ms, day));
        changes.add(tx, row![id, 0, "revenue", gross, at_ms, day]).await;
        if refund > 0 {
            let refunded_ms = at_ms + 86_400_000 * 5;
            packed.changes.push(change(ChangeKind::Refund, -refund, refunded_ms, day + 5));
            changes.add(tx, row![id, 1, "refund", -refund, refunded_ms, day + 5]).await;
        }
        let whole = journey.len() as i64;
        for (n, Touch { link, day: clicked }) in (0..).zip(journey) {
            let channel = if link.is_some() { Value::None } else { "paid_search".into() };
            let country = if link.is_some() { "DE" } else { "" };
            let revision = link.map(|_| 1);
            let mut row = row![id, n, clicked * 86_400_000, "journey", link, revision];
            row.push(channel);
            row.extend(row![country, "mobile", 1]);
            touches.add(tx, row).await;
            for (change_no, kind, amount, cash_day, scale) in
                [(0, "revenue", gross, day, 1_000_000_000), (1, "refund", -refund, day + 5, 0)]
            {
                if amount == 0 {
                    continue;
                }
                let (first, last) = (i64::from(n == 0), i64::from(n + 1 == whole));
                let (all, weight) = (amount / whole, scale / whole);
                let mut row = row![id, change_no, n, "default", link, revision];
                row.extend(row![country, "mobile", kind, "purchase", source]);
                row.extend(row![day, clicked, cash_day, last]);
                let amounts = [first * amount, last * amount, all, all, all];
                let weights = [first * scale, last * scale, weight, weight, weight];
                row.extend(amounts.into_iter().chain(weights).map(Value::from));
                credits.add(tx, row).await;
                packed.changes[change_no as usize].credits.push((whole > 1).then_some(amounts));
                if change_no == 0 {
                    let channel = if link.is_some() { "" } else { "paid_search" };
                    let at_ms = clicked * 86_400_000;
                    packed.touches.push(packs::Touch {
                        channel,
                        at_ms,
                        day: clicked,
                        country,
                        device: "mobile",
                        weights: (whole > 1).then_some(weights),
                    });
                }
            }
        }
        of_days.entry(day).or_default().push(packed.to_bytes());
    }
    for (day, records) in of_days {
        let pack = packs::pack_of(records.iter().map(Vec::as_slice));
        packs::put(tx, "default", "purchase", day, &pack).await.expect("packs");
    }
    for rows in [&mut conversions, &mut customers, &mut touches, &mut changes, &mut credits] {
        rows.write(tx).await;
    }
}

fn touches_before(day: i64, random: &mut StdRng) -> Vec<Touch> {
    let count = [1, 1, 1, 1, 1, 2, 2, 3, 4][random.random_range(0..9)];
    let mut touches: Vec<Touch> = (0..count)
        .map(|n| Touch {
            link: Some(link(random.random_range(0..LINKS))),
            day: (day - (count - n) * 2).max(FIRST_DAY),
        })
        .collect();
    if random.random_bool(0.1) {
        touches.push(Touch { link: None, day });
    }
    touches
}
