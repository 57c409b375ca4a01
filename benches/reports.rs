//! How long reports take over a year of a busy workspace: `cargo bench --bench reports [FILE]`.
//!
//! The ledger is made by a fixed seed: 2,000 posts with two links each, 10 million clicks spread evenly
//! over links and days (so that nearly every link has clicks on every day, which is the hardest case for
//! counts by day), 100,000 orders with one to four touches, and costs of all kinds. With FILE it is kept
//! there and used again. Each report is asked for several times; the median counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use sqlx::AssertSqlSafe;
use utmost::config::Config;
use utmost::ledger::{Ledger, Synchronous, Tx, sql};
use utmost::reports::{ReportRequest, attribution};

const POSTS: i64 = 2_000;
const LINKS: i64 = 2 * POSTS;
const ORDERS: i64 = 100_000;
/// 1 January 2026.
const FIRST_DAY: i64 = 20_454;
const DAYS: i64 = 365;
const ROUNDS: usize = 7;

const REPORTS: [&str; 22] = [
    "by=post",
    "by=post&model=linear",
    "by=post&clock=click",
    "by=post&clock=cash",
    "by=link",
    "by=network",
    "by=campaign",
    "by=kind",
    "by=tag",
    "by=utm_source",
    "by=source",
    "by=country",
    "by=device",
    "by=day",
    "by=week",
    "by=hour_of_week",
    "by=day&network=instagram",
    "by=post&campaign=c7",
    "by=day&post=post-00042",
    "by=post&from=2026-06-01&to=2026-07-01",
    "by=network&from=2026-06-11&to=2026-07-11",
    "by=network&model=all",
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench` adds a flag of its own.
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = tempfile::tempdir().expect("a folder");
    let path = file.map_or_else(|| dir.path().join("ledger.db"), PathBuf::from);
    let is_new = !path.exists();
    let ledger = Ledger::open_sqlite(Path::new(&path), Synchronous::Normal).await.expect("the ledger opens");
    if is_new {
        let started = Instant::now();
        let mut tx = ledger.begin().await.expect("a transaction");
        fill(&mut tx).await;
        tx.commit().await.expect("it commits");
        eprintln!("made {} in {:.0} s", path.display(), started.elapsed().as_secs_f64());
    }
    let settings = Config::from_layers(None, std::iter::empty()).expect("the defaults hold").attribution;
    println!("{:<45} {:>9} {:>9}", "report (a year unless it says otherwise)", "median ms", "rows");
    for query in REPORTS {
        let mut pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if !query.contains("from=") {
            pairs.extend([("from", "2026-01-01"), ("to", "2027-01-01")]);
        }
        let request = ReportRequest::parse(pairs).expect(query);
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let report = attribution(&ledger, "default", &request, &settings).await.expect(query);
            serde_json::to_vec(&report).expect("JSON");
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            rows = report.rows.len();
        }
        times.sort_by(f64::total_cmp);
        println!("{query:<45} {:>9.1} {rows:>9}", times[ROUNDS / 2]);
    }
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

async fn fill(tx: &mut Tx) {
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
    orders(tx, &mut random).await;

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

async fn orders(tx: &mut Tx, random: &mut StdRng) {
    let mut conversions = Rows::of(
        "conversions (id, workspace, source, order_id, due, evaluated_ms, received_ms, event, status, reason, occurred_ms, t_ms, order_day, currency, gross_minor, refunds_minor, net_minor, basis)",
    );
    let mut touches =
        Rows::of("touches (conversion, n, at_ms, via, link, revision, channel, country, device, counted)");
    let mut changes = Rows::of("changes (conversion, change_no, kind, amount_minor, at_ms, day)");
    let mut credits = Rows::of(
        "credits (conversion, change_no, n, workspace, link, revision, kind, event, source, order_day, click_day, cash_day, is_last, first_touch, last_touch, linear, time_decay, position_based, first_touch_weight, last_touch_weight, linear_weight, time_decay_weight, position_based_weight)",
    );
    for id in 0..ORDERS {
        let day = FIRST_DAY + random.random_range(0..DAYS);
        let at_ms = day * 86_400_000 + random.random_range(0..80_000_000);
        let gross: i64 = random.random_range(1_000..20_000);
        let matched = random.random_bool(0.85);
        let refund = if matched && random.random_bool(0.06) { gross / 2 } else { 0 };
        let source = ["src_shopify", "src_woo"][random.random_range(0..2)];
        let (status, reason) =
            if matched { ("attributed", Value::None) } else { ("unattributed", Value::from("no_match")) };
        let row = vec![
            id.into(),
            "default".into(),
            source.into(),
            format!("o{id}").into(),
            0.into(),
            1.into(),
            at_ms.into(),
            "purchase".into(),
            status.into(),
            reason,
            at_ms.into(),
            at_ms.into(),
            day.into(),
            "EUR".into(),
            gross.into(),
            refund.into(),
            (gross - refund).into(),
            "ex_tax".into(),
        ];
        conversions.add(tx, row).await;
        changes.add(tx, row![id, 0, "revenue", gross, at_ms, day]).await;
        if refund > 0 {
            changes.add(tx, row![id, 1, "refund", -refund, at_ms + 86_400_000 * 5, day + 5]).await;
        }
        if !matched {
            continue;
        }
        let count = [1, 1, 1, 1, 1, 2, 2, 3, 4][random.random_range(0..9)];
        let rival = random.random_bool(0.1);
        for n in 0..count + i64::from(rival) {
            let last = n + 1 == count + i64::from(rival);
            let ours = !(rival && last);
            let clicked = (day - (count - n) * 2).max(FIRST_DAY);
            let link = ours.then(|| link(random.random_range(0..LINKS)));
            let whole = count + i64::from(rival);
            let (channel, country) = if ours { (Value::None, "DE") } else { ("paid_search".into(), "") };
            touches
                .add(
                    tx,
                    vec![
                        id.into(),
                        n.into(),
                        (clicked * 86_400_000).into(),
                        "journey".into(),
                        link.into(),
                        link.map(|_| 1).into(),
                        channel,
                        country.into(),
                        "mobile".into(),
                        1.into(),
                    ],
                )
                .await;
            for (change_no, kind, amount, cash_day, scale) in
                [(0, "revenue", gross, day, 1_000_000_000), (1, "refund", -refund, day + 5, 0)]
            {
                if amount == 0 {
                    continue;
                }
                let (first, all) = (n == 0, amount / whole);
                let only = |holds: bool, of: i64| if holds { of } else { 0 };
                credits
                    .add(
                        tx,
                        row![
                            id,
                            change_no,
                            n,
                            "default",
                            link,
                            link.map(|_| 1),
                            kind,
                            "purchase",
                            source,
                            day,
                            clicked,
                            cash_day,
                            i64::from(last),
                            only(first, amount),
                            only(last, amount),
                            all,
                            all,
                            all,
                            only(first, scale),
                            only(last, scale),
                            scale / whole,
                            scale / whole,
                            scale / whole,
                        ],
                    )
                    .await;
            }
        }
    }
    for rows in [&mut conversions, &mut touches, &mut changes, &mut credits] {
        rows.write(tx).await;
    }
}
