//! A ledger made by hand, row by row, as the worker would leave it.
#![allow(dead_code, reason = "every test binary uses another part of this")]

use jiff::civil::Date;
use sqlx::{AssertSqlSafe, Row};
use utmost::config::{Attribution, Config};
use utmost::domain::ids::LinkId;
use utmost::domain::time::day_number;
use utmost::ledger::conversions::{ChangeRow, CreditRow, Due, Evaluation, Put, TouchRow, put_evaluation};
use utmost::ledger::{Ledger, Synchronous, Tx, click_packs, packs, rollups};
use utmost::reports::{CompareRequest, Report, ReportError, ReportRequest, RetentionRequest, Sheet};
use utmost::worker::classify::Device;
use utmost::worker::rollup::{Counts, Part, Rollups};

pub const WORKSPACE: &str = "default";

pub struct Shop {
    pub ledger: Ledger,
    tx: Option<Tx>,
    next: i64,
    _dir: Option<tempfile::TempDir>,
}

/// A touch of an order: our link, or None for a rival; the day of the click.
pub type Touch<'a> = (Option<i64>, &'a str);

#[derive(Clone)]
pub struct Order<'a> {
    pub day: &'a str,
    pub amount_minor: i64,
    pub touches: &'a [Touch<'a>],
    /// (day, amount).
    pub refunds: &'a [(&'a str, i64)],
    pub event: &'a str,
    pub source: &'a str,
    pub status: &'a str,
    pub reason: Option<&'a str>,
    pub assigned_value_minor: Option<i64>,
    pub basis: &'static str,
    /// The difference that exchange rates make to all refunds together, on the day of the last.
    pub fx_minor: i64,
    /// Under all the names that the order has for its customer.
    pub customers: &'a [&'a str],
    pub cost_of_goods_minor: Option<i64>,
    pub currency: &'a str,
    pub rate: Option<&'a str>,
    pub is_cancelled: bool,
}

pub const SALE: Order<'static> = Order {
    day: "2026-11-10",
    amount_minor: 0,
    touches: &[],
    refunds: &[],
    event: "purchase",
    source: "shop",
    status: "attributed",
    reason: None,
    assigned_value_minor: None,
    basis: "ex_tax",
    fx_minor: 0,
    customers: &[],
    cost_of_goods_minor: None,
    currency: "EUR",
    rate: None,
    is_cancelled: false,
};

pub enum Value<'a> {
    T(&'a str),
    N(i64),
    None,
}
use Value::{N, T};

pub fn day(date: &str) -> i64 {
    i64::from(day_number(date.parse::<Date>().unwrap()))
}

/// Milliseconds of noon, UTC.
fn noon_ms(date: &str) -> i64 {
    day(date) * 86_400_000 + 43_200_000
}

impl Shop {
    pub async fn open(timezone: &str, currency: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await.unwrap();
        Self { _dir: Some(dir), ..Self::open_in(ledger, timezone, currency).await }
    }

    /// In an empty ledger.
    pub async fn open_in(ledger: Ledger, timezone: &str, currency: &str) -> Self {
        let mut shop = Self { ledger, tx: None, next: 1, _dir: None };
        shop.insert(
            "workspaces (id, name, timezone, currency, settings, created_ms)",
            &[T(WORKSPACE), T("Test"), T(timezone), T(currency), T("{}"), N(0)],
        )
        .await;
        shop
    }

    pub async fn insert(&mut self, table: &str, values: &[Value<'_>]) {
        // PostgreSQL wants to know of which type a bound NULL is, so it stands in the text.
        let mut bound = 0;
        let placeholders = values.iter().map(|value| match value {
            Value::None => "NULL".to_owned(),
            _ => {
                bound += 1;
                format!("${bound}")
            }
        });
        let placeholders = placeholders.collect::<Vec<_>>().join(", ");
        let mut query = sqlx::query(AssertSqlSafe(format!("INSERT INTO {table} VALUES ({placeholders})")));
        for value in values {
            query = match value {
                T(text) => query.bind((*text).to_owned()),
                N(number) => query.bind(*number),
                Value::None => query,
            };
        }
        query.execute(&mut **self.tx().await).await.unwrap();
    }

    pub async fn post(&mut self, id: &str, network: Option<&str>, campaign: Option<&str>, tags: &str) {
        self.insert(
            "posts (workspace, id, network, title, campaign, tags, kind, created_ms, updated_ms)",
            &[
                T(WORKSPACE),
                T(id),
                network.map_or(Value::None, T),
                T(&format!("Title of {id}")),
                campaign.map_or(Value::None, T),
                T(tags),
                T("video"),
                N(0),
                N(0),
            ],
        )
        .await;
    }

    /// A link with one revision; its id.
    pub async fn link(&mut self, post: Option<&str>, network: Option<&str>, campaign: Option<&str>) -> i64 {
        let id = 1000 + self.next;
        self.next += 1;
        let (post, network, campaign) =
            (post.map_or(Value::None, T), network.map_or(Value::None, T), campaign.map_or(Value::None, T));
        self.insert(
            "link_revisions (link, revision, from_ms, workspace, post, network, campaign, utm_source, utm_medium, tags)",
            &[N(id), N(1), N(0), T(WORKSPACE), post, network, campaign, T(&format!("source-{}", id % 3)), T("social"), T(r#"["sale"]"#)],
        )
        .await;
        let (slug, url) = (format!("s{id}"), "https://shop.test/");
        self.insert(
            "links (id, workspace, domain, slug, url, utm, tags, forward_query, extra, created_ms, updated_ms, version)",
            &[N(id), T(WORKSPACE), T("go.test"), T(&slug), T(url), T("{}"), T("[]"), N(1), T("{}"), N(0), N(0), N(1)],
        )
        .await;
        id
    }

    /// Human clicks, all of them unique but `duplicates` more; one bot for each ten.
    pub async fn clicks(&mut self, date: &str, link: i64, human: i64, duplicates: i64) {
        let day = i32::try_from(day(date)).unwrap();
        let counts =
            Counts { human, duplicate: duplicates, bot: human / 10, uniques: human, ..Counts::default() };
        let link = LinkId::from_i64(link).unwrap();
        let added = Rollups {
            by_day: [((WORKSPACE, day, link, 1, ()), counts)].into(),
            by_country: [((WORKSPACE, day, link, 1, *b"DE"), counts)].into(),
            by_device: [((WORKSPACE, day, link, 1, Device::Mobile), counts)].into(),
            in_all: [Part::All, Part::Country(*b"DE"), Part::Device(Device::Mobile)]
                .map(|part| ((WORKSPACE, day, part), counts))
                .into(),
            ..Rollups::default()
        };
        self.add(&added).await;
    }

    pub async fn add(&mut self, added: &Rollups<'_>) {
        rollups::add(self.tx().await, added).await.unwrap();
    }

    async fn tx(&mut self) -> &mut Tx {
        if self.tx.is_none() {
            self.tx = Some(self.ledger.begin().await.unwrap());
        }
        self.tx.as_mut().unwrap()
    }

    /// An order with everything that the worker derives from it.
    pub async fn order(&mut self, order: Order<'_>) -> i64 {
        let id = self.next;
        self.next += 1;
        self.insert(
            "conversions (id, workspace, source, order_id, due, received_ms)",
            &[N(id), T(WORKSPACE), T(order.source), T(&format!("order-{id}")), N(1), N(noon_ms(order.day))],
        )
        .await;
        self.evaluate(id, &order, 1).await;
        id
    }

    /// Replaces what was derived from an order.
    pub async fn evaluate(&mut self, id: i64, order: &Order<'_>, now_ms: i64) {
        self.tx().await;
        let tx = self.tx.as_mut().unwrap();
        let again = "UPDATE conversions SET due = ABS(due) + 1 WHERE id = $1";
        sqlx::query(again).bind(id).execute(&mut **tx).await.unwrap();
        let due = "SELECT due FROM conversions WHERE id = $1";
        let due: i64 = sqlx::query(due).bind(id).fetch_one(&mut **tx).await.unwrap().get(0);
        let due = Due {
            id,
            workspace: WORKSPACE.to_owned(),
            source: order.source.to_owned(),
            order_id: format!("order-{id}"),
            due,
        };
        let put = put_evaluation(&self.ledger, tx, &due, &evaluation(order), now_ms).await.unwrap();
        assert!(matches!(put, Put::Done { .. }));
    }

    pub async fn cost(
        &mut self,
        scope: &str,
        target: &str,
        minor: i64,
        currency: &str,
        from: &str,
        to: &str,
    ) {
        let id = format!("cost-{}", self.next);
        self.next += 1;
        let target = match scope {
            "link" => LinkId::from_i64(target.parse().unwrap()).unwrap().to_string(),
            _ => target.to_owned(),
        };
        self.insert(
            "costs (id, workspace, scope, target, amount_minor, currency, from_day, to_day, kind, created_ms)",
            &[T(&id), T(WORKSPACE), T(scope), T(&target), N(minor), T(currency), N(day(from)), N(day(to)), T("spend"), N(0)],
        )
        .await;
    }

    pub async fn rate(&mut self, base: &str, currency: &str, date: &str, rate: &str) {
        self.insert("rates (base, currency, day, rate)", &[T(base), T(currency), N(day(date)), T(rate)])
            .await;
    }

    pub async fn compare(&mut self, query: &str) -> Result<Sheet, ReportError> {
        self.commit().await;
        let request = CompareRequest::parse(pairs(query))?;
        utmost::reports::compare(&self.ledger, WORKSPACE, &request, &settings()).await
    }

    pub async fn retention(&mut self, query: &str) -> Result<Sheet, ReportError> {
        self.commit().await;
        let request = RetentionRequest::parse(pairs(query))?;
        let ask = async || utmost::reports::retention(&self.ledger, WORKSPACE, &request, &settings()).await;
        let unpacked = ask().await?;
        self.pack().await;
        let packed = ask().await?;
        assert_eq!(told(&packed), told(&unpacked), "{query}");
        Ok(packed)
    }

    /// The report for `name=value&...`: the same before and after conversions are packed.
    pub async fn report(&mut self, query: &str) -> Result<Report, ReportError> {
        self.commit().await;
        let request = ReportRequest::parse(pairs(query))?;
        let ask = async || utmost::reports::attribution(&self.ledger, WORKSPACE, &request, &settings()).await;
        let unpacked = ask().await?;
        self.pack().await;
        let packed = ask().await?;
        assert_eq!(told(&packed), told(&unpacked), "{query}");
        Ok(packed)
    }

    /// As the worker does now and then.
    pub async fn pack(&self) {
        packs::pack(&self.ledger, true).await.unwrap();
        click_packs::pack(&self.ledger, i64::MAX).await.unwrap();
    }

    /// The orders whose customer has this hash.
    pub async fn orders_of(&self, customer: &str) -> Vec<i64> {
        let rows = sqlx::query("SELECT id FROM conversions WHERE customer = $1").bind(customer.to_owned());
        rows.fetch_all(&self.ledger.read).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// All bytes that reports read of conversions.
    pub async fn packed(&self) -> Vec<Vec<u8>> {
        let text =
            "SELECT packed FROM conversions WHERE packed IS NOT NULL UNION ALL SELECT conversions FROM packs";
        sqlx::query(text).fetch_all(&self.ledger.read).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    pub async fn commit(&mut self) {
        if let Some(tx) = self.tx.take() {
            tx.commit().await.unwrap();
        }
    }
}

/// Without the moments at which it was answered.
pub fn told(report: impl serde::Serialize) -> serde_json::Value {
    let mut told = serde_json::to_value(report).unwrap();
    for name in ["as_of", "then", "now", "snapshot"] {
        told.as_object_mut().unwrap().remove(name);
    }
    told
}

/// A customer's hash, as good as a keyed one.
pub fn customer(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex()[..32].to_owned()
}

/// What the worker derives from an order.
fn evaluation(order: &Order<'_>) -> Evaluation {
    let refunded: i64 = order.refunds.iter().map(|(_, minor)| minor).sum();
    let mut changes = vec![("revenue", order.day, order.amount_minor)];
    changes.extend(order.refunds.iter().map(|(day, minor)| ("refund", *day, -minor)));
    if order.fx_minor != 0 {
        changes.push(("fx", order.refunds.last().unwrap().0, order.fx_minor));
    }
    if order.is_cancelled {
        changes.push(("cancelled", order.day, 0));
    }
    let credits =
        (0..).zip(&changes).flat_map(|(change_no, (_, _, minor))| credits(order, change_no, *minor));
    let touch = |(link, date): &Touch<'_>| TouchRow {
        at_ms: noon_ms(date),
        via: "journey".to_owned(),
        link: link.map(|link| LinkId::from_i64(link).unwrap()),
        revision: link.map(|_| 1),
        click: None,
        visitor: None,
        channel: link.is_none().then(|| "paid_search".to_owned()),
        country: Some("DE".to_owned()),
        device: Some("mobile".to_owned()),
        counted: true,
    };
    let change = |(kind, date, amount_minor): &(&'static str, &str, i64)| ChangeRow {
        kind,
        refund_id: None,
        amount_minor: *amount_minor,
        at_ms: noon_ms(date),
        day: day(date) as i32,
    };
    let status =
        ["attributed", "unattributed", "excluded"].into_iter().find(|status| *status == order.status);
    Evaluation {
        event: Some(order.event.to_owned()),
        status: Some(status.unwrap()),
        reason: order.reason.map(str::to_owned),
        occurred_ms: Some(noon_ms(order.day)),
        t_ms: Some(noon_ms(order.day)),
        order_day: Some(day(order.day) as i32),
        currency: Some(order.currency.to_owned()),
        total_minor: Some(order.amount_minor),
        cost_of_goods_minor: order.cost_of_goods_minor,
        gross_minor: Some(order.amount_minor),
        refunds_minor: Some(refunded),
        net_minor: Some(order.amount_minor - refunded),
        basis: Some(order.basis),
        rate: order.rate.map(str::to_owned),
        assigned_value_minor: order.assigned_value_minor,
        customers: order
            .customers
            .iter()
            .map(|name| blake3::hash(name.as_bytes()).to_hex()[..32].to_owned())
            .collect(),
        credits: credits.collect(),
        touches: order.touches.iter().map(touch).collect(),
        changes: changes.iter().map(change).collect(),
        ..Evaluation::default()
    }
}

fn credits(order: &Order<'_>, change_no: i64, minor: i64) -> Vec<CreditRow> {
    let count = order.touches.len() as i64;
    let share = |whole: i64, n: i64| {
        let left = whole.abs() % count;
        whole / count + if n < left { whole.signum() } else { 0 }
    };
    let credit = |(n, (_, clicked)): (i64, &Touch<'_>)| {
        let (first, last) = (n == 0, n == count - 1);
        let whole = |holds: bool, of: i64| if holds { of } else { 0 };
        // The three models that share are all linear here.
        let of = |of| [whole(first, of), whole(last, of), share(of, n), share(of, n), share(of, n)];
        CreditRow {
            change_no,
            touch_no: n,
            click_day: day(clicked) as i32,
            is_last: last,
            amounts_minor: of(minor),
            weights: of(if change_no == 0 { 1_000_000_000 } else { 0 }),
        }
    };
    (0..).zip(order.touches).map(credit).collect()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap())
}

pub fn settings() -> Attribution {
    Config::from_layers(None, std::iter::empty()).unwrap().attribution
}

/// `key: column=value ...` for each row and the total, columns as asked.
pub fn rows(report: &Report, columns: &[&str]) -> Vec<String> {
    let whole = [(Some("total"), &report.totals)];
    let rows = report.rows.iter().map(|row| (row.name.as_deref(), &row.figures));
    rows.chain(whole)
        .map(|(name, figures)| {
            let cells = report.cells(figures);
            let cell = |column: &&str| {
                let index = utmost::reports::COLUMNS.iter().position(|name| name == column).unwrap();
                match cells[index].to_string() {
                    text if text.is_empty() => "null".to_owned(),
                    text => text,
                }
            };
            format!("{}: {}", name.unwrap_or("-"), columns.iter().map(cell).collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// `key: cell cell ...` for each row of a sheet and its totals, columns as asked.
pub fn sheet_rows(sheet: &Sheet, columns: &[&str]) -> Vec<String> {
    let place = |column: &&str| sheet.columns.iter().position(|name| name == column).unwrap();
    let places: Vec<usize> = columns.iter().map(place).collect();
    let rows = sheet.rows.iter().map(|row| (row.name.as_deref().unwrap_or("-"), &row.cells));
    rows.chain(sheet.totals.iter().map(|cells| ("total", cells)))
        .map(|(name, cells)| {
            let texts = places.iter().map(|place| match cells[*place].to_string() {
                text if text.is_empty() => "null".to_owned(),
                text => text,
            });
            format!("{name}: {}", texts.collect::<Vec<_>>().join(" "))
        })
        .collect()
}
