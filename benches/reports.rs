//! How long reports take over a year of a busy workspace: `cargo bench --bench reports [-- [--json] [--orders N] [FILE]]`.
//!
//! The ledger is made by a fixed seed: 2,000 posts with two links each, 10 million clicks spread evenly
//! over links and days (so that nearly every link has clicks on every day, which is the hardest case for
//! counts by day), 100,000 orders of 60,000 customers with one to four touches, and costs of all kinds.
//! With FILE it is kept there and used again. Each report is asked for several times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use sqlx::AssertSqlSafe;
use utmost::config::{Attribution, Config};
use utmost::ledger::{Ledger, Synchronous, Tx, sql};
use utmost::reports::{CompareRequest, ReportRequest, RetentionRequest, attribution, compare, retention};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POSTS: i64 = 2_000;
const LINKS: i64 = 2 * POSTS;
const ORDERS: i64 = 100_000;
/// 1 January 2026.
const FIRST_DAY: i64 = 20_454;
const DAYS: i64 = 365;
const ROUNDS: usize = 15;

/// The report and its parameters; a year unless they say otherwise.
const REPORTS: [(&str, &str); 29] = [
    ("attribution", "by=post"),
    ("attribution", "by=post&model=linear"),
    ("attribution", "by=post&model=all"),
    ("attribution", "by=post&clock=click"),
    ("attribution", "by=post&clock=cash"),
    ("attribution", "by=link"),
    ("attribution", "by=network"),
    ("attribution", "by=campaign"),
    ("attribution", "by=kind"),
    ("attribution", "by=tag"),
    ("attribution", "by=utm_source"),
    ("attribution", "by=source"),
    ("attribution", "by=country"),
    ("attribution", "by=device"),
    ("attribution", "by=day"),
    ("attribution", "by=week"),
    ("attribution", "by=month"),
    ("attribution", "by=hour_of_week"),
    ("attribution", "by=day&network=instagram"),
    ("attribution", "by=post&campaign=c7"),
    ("attribution", "by=post&country=DE"),
    ("attribution", "by=day&post=post-00042"),
    ("attribution", "by=post&from=2026-06-01&to=2026-07-01"),
    ("attribution", "by=network&from=2026-06-11&to=2026-07-11"),
    ("attribution", "by=network&model=all"),
    ("compare", "by=network&models=first_touch,linear"),
    ("compare", "by=post&models=first_touch,linear"),
    ("retention", ""),
    ("retention", "by=post"),
];

struct Arguments {
    json: bool,
    orders: i64,
    file: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { json: false, orders: ORDERS, file: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => read.json = true,
                "--orders" => {
                    read.orders = arguments.next().and_then(|n| n.parse().ok()).expect("--orders N");
                }
                // `cargo bench` adds a flag of its own.
                "--bench" => {}
                file => read.file = Some(PathBuf::from(file)),
            }
        }
        read
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let dir = tempfile::tempdir().expect("a folder");
    let path = arguments.file.unwrap_or_else(|| dir.path().join("ledger.db"));
    let is_new = !path.exists();
    let ledger = Ledger::open_sqlite(Path::new(&path), Synchronous::Normal).await.expect("the ledger opens");
    if is_new {
        let started = Instant::now();
        let mut tx = ledger.begin().await.expect("a transaction");
        fill(&mut tx, arguments.orders).await;
        tx.commit().await.expect("it commits");
        eprintln!("made {} in {:.0} s", path.display(), started.elapsed().as_secs_f64());
    }
    let settings = Config::from_layers(None, std::iter::empty()).expect("the defaults hold").attribution;
    if !arguments.json {
        println!(
            "{:<55} {:>9} {:>9} {:>7}",
            "report (a year unless it says otherwise)", "p50 ms", "p99 ms", "rows"
        );
    }
    for (report, query) in REPORTS {
        let mut pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if !query.contains("from=") {
            pairs.extend([("from", "2026-01-01"), ("to", "2027-01-01")]);
        }
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            rows = ask(&ledger, report, &pairs, &settings).await;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        // Of so few the 99th of a hundred is the slowest.
        let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        let name = format!("{report} {query}");
        if arguments.json {
            println!("{}", serde_json::json!({"report": name, "p50_ms": p50, "p99_ms": p99, "rows": rows}));
        } else {
            println!("{name:<55} {p50:>9.1} {p99:>9.1} {rows:>7}");
        }
    }
}

/// A report as the API makes it, JSON included; answers its number of rows.
async fn ask(ledger: &Ledger, report: &str, pairs: &[(&str, &str)], settings: &Attribution) -> usize {
    let pairs = pairs.iter().copied();
    let sheet = match report {
        "attribution" => {
            let request = ReportRequest::parse(pairs).expect("a request");
            let report = attribution(ledger, "default", &request, settings).await.expect("a report");
            serde_json::to_vec(&report).expect("JSON");
            return report.rows.len();
        }
        "compare" => {
            let request = CompareRequest::parse(pairs).expect("a request");
            compare(ledger, "default", &request, settings).await
        }
        _ => {
            let request = RetentionRequest::parse(pairs).expect("a request");
            retention(ledger, "default", &request, settings).await
        }
    }
    .expect("a report");
    serde_json::to_vec(&sheet).expect("JSON");
    sheet.rows.len()
}

enum Value {
    Text(String),
    Number(i64),
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

async fn fill(tx: &mut Tx, count: i64) {
    const NETWORKS: [&str; 6] = ["instagram", "tiktok", "facebook", "x", "linkedin", "youtube"];
    let mut random = StdRng::seed_from_u64(1);
    let mut workspaces = Rows::of("workspaces (id, name, timezone, currency, settings, created_ms)");
    workspaces.add(tx, row!["default", "Bench", "Europe/Berlin", "EUR", "{}", 0]).await;
    workspaces.write(tx).await;

    let mut posts =
        Rows::of("posts (workspace, id, network, title, campaign, tags, kind, created_ms, updated_ms)");
    let mut revisions = Rows::of(
        "link_revisions (link, revision, from_ms, workspace, post, network, campaign, utm_source, utm_medium, utm_content, tags)",
    );
    for n in 0..POSTS {
        let (id, campaign) = (format!("post-{n:05}"), format!("c{}", n % 40));
        let kind = ["video", "image", "text"][(n % 3) as usize];
        let tags = format!("[\"t{}\",\"u{}\"]", n % 10, n % 7);
        let title = format!("Title of post {n}");
        posts
            .add(
                tx,
                row![
                    "default",
                    id.as_str(),
                    NETWORKS[(n % 6) as usize],
                    title,
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
    clicks(tx, &mut random).await;
    orders(tx, &mut random, count).await;

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
}

async fn clicks(tx: &mut Tx, random: &mut StdRng) {
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
    let mut by_month =
        Rows::of("clicks_by_month (workspace, month, link, revision, human, uniques, bots, recorded)");
    let mut in_all = Rows::of("clicks_in_all (workspace, day, part, value, human, uniques, bots, recorded)");
    let mut of_month = vec![(0, 0); LINKS as usize];
    for day in FIRST_DAY..FIRST_DAY + DAYS {
        let mut of_day = BTreeMap::from([(("all", ""), (0, 0))]);
        for n in 0..LINKS {
            let human: i64 = random.random_range(0..13);
            let (bots, recorded) = (human / 8, human + human / 8);
            if human > 0 {
                by_day.add(tx, row!["default", day, link(n), 1, human, 0, bots, 0, 0, human]).await;
                let country = ["DE", "FR", "US"][random.random_range(0..3)];
                by_country
                    .add(tx, row!["default", day, link(n), 1, country, human, human, bots, recorded])
                    .await;
                let device = if random.random_bool(0.8) { "mobile" } else { "desktop" };
                by_device
                    .add(tx, row!["default", day, link(n), 1, device, human, human, bots, recorded])
                    .await;
                for part in [("all", ""), ("country", country), ("device", device)] {
                    let sums = of_day.entry(part).or_default();
                    *sums = (sums.0 + human, sums.1 + bots);
                }
                let sums = &mut of_month[n as usize];
                *sums = (sums.0 + human, sums.1 + bots);
            }
        }
        for ((part, value), (human, bots)) in of_day {
            in_all.add(tx, row!["default", day, part, value, human, human, bots, human + bots]).await;
        }
        let month = month_start(day);
        if day + 1 == FIRST_DAY + DAYS || month_start(day + 1) != month {
            for (n, (human, bots)) in (0..).zip(of_month.iter_mut().map(std::mem::take)) {
                let row = row!["default", month, link(n), 1, human, human, bots, human + bots];
                by_month.add(tx, row).await;
            }
        }
        if month == day {
            for hour in 0..168 {
                for n in (hour % 4..LINKS).step_by(4) {
                    let row = row!["default", day, hour, link(n), 1, 5, 5, 0, 5];
                    by_hour.add(tx, row).await;
                }
                let human = 5 * LINKS / 4;
                let row = row!["default", day, "hour", hour.to_string(), human, human, 0, human];
                in_all.add(tx, row).await;
            }
        }
    }
    for rows in [&mut by_day, &mut by_month, &mut by_country, &mut by_device, &mut by_hour, &mut in_all] {
        rows.write(tx).await;
    }
}

/// A touch of an order: our link, or None for a rival's.
struct Touch {
    link: Option<i64>,
    day: i64,
}

async fn orders(tx: &mut Tx, random: &mut StdRng, count: i64) {
    let mut conversions = Rows::of(
        "conversions (id, workspace, source, order_id, due, evaluated_ms, received_ms, event, status, reason, occurred_ms, t_ms, order_day, currency, gross_minor, refunds_minor, net_minor, basis, customer, touch_count, journey)",
    );
    let mut customers = Rows::of("order_customers (workspace, customer, source, order_id)");
    let mut touches =
        Rows::of("touches (conversion, n, at_ms, via, link, revision, channel, country, device, counted)");
    let mut changes = Rows::of("changes (conversion, change_no, kind, amount_minor, at_ms, day)");
    let mut credits = Rows::of(
        "credits (conversion, change_no, n, workspace, link, revision, country, device, kind, event, source, order_day, click_day, cash_day, is_last, first_touch, last_touch, linear, time_decay, position_based, first_touch_weight, last_touch_weight, linear_weight, time_decay_weight, position_based_weight)",
    );
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
        let steps: Vec<String> = journey
            .iter()
            .map(|touch| match touch.link {
                Some(link) => format!("{link}.1.{}.DE.mobile", touch.day),
                None => "-paid_search".to_owned(),
            })
            .collect();
        let order_id = format!("o{id}");
        // By e-mail and by the shop's own number, as most shops send both.
        let customer = random.random_range(0..count * 6 / 10);
        let hashes = [format!("{customer:032x}"), format!("{:032x}", customer + (1 << 40))];
        for hash in &hashes {
            customers.add(tx, row!["default", hash.as_str(), source, order_id.as_str()]).await;
        }
        let [customer, _] = hashes;
        let mut row = row![id, "default", source, order_id, 0, 1, at_ms, "purchase", status];
        row.push(reason);
        row.extend(row![at_ms, at_ms, day, "EUR", gross, refund, gross - refund, "ex_tax", customer]);
        row.extend(row![matched.then_some(journey.len() as i64), steps.join(" ")]);
        conversions.add(tx, row).await;
        changes.add(tx, row![id, 0, "revenue", gross, at_ms, day]).await;
        if refund > 0 {
            changes.add(tx, row![id, 1, "refund", -refund, at_ms + 86_400_000 * 5, day + 5]).await;
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
                row.extend(row![first * amount, last * amount, all, all, all]);
                row.extend(row![first * scale, last * scale, weight, weight, weight]);
                credits.add(tx, row).await;
            }
        }
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
