//! Tells a world to a real worker on real stores, in some order, with crashes and restarts.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use utmost::config::{Attribution, Config};
use utmost::domain::ids::{ClickId, LinkId, VisitorId};
use utmost::ledger::workspaces::{self, WorkspaceRow};
use utmost::ledger::{Ledger, Synchronous, rates, rollups};
use utmost::log::record::{Click, ClientNetwork, Delivery, PackedClick, Request};
use utmost::log::{Log, LogConfig, LogMetrics, Stream};
use utmost::worker::geo::Countries;
use utmost::worker::journeys::Journeys;
use utmost::worker::{Worker, WorkerError, WorkerMetrics};

use crate::schedule::Item;
use crate::world::{self, AGENTS, BoundTo, Platform, World};

/// Where a run keeps its things.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    /// None: embedded.
    pub redis: Option<String>,
    /// None: SQLite. The URL of a database that is migrated; each run has its own copy.
    pub postgres: Option<String>,
}

impl Stores {
    /// Of what is on servers, so that runs on several combinations do not meet.
    pub fn prefix(&self) -> &'static str {
        if self.postgres.is_some() { "sim_pg" } else { "sim" }
    }
}

pub struct Stage<'a> {
    world: &'a World,
    stores: Stores,
    /// Of all keys in Redis.
    prefix: String,
    dir: TempDir,
    pub worker: Worker,
    redis: Option<MultiplexedConnection>,
}

const PARTITIONS: u16 = 2;

/// An empty ledger that is migrated already.
static EMPTY: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = memory_dir();
    let path = dir.path().join("ledger.db");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            Ledger::open_sqlite(&path, Synchronous::Normal).await.expect("a ledger").close().await;
        });
    })
    .join()
    .expect("it migrates");
    dir
});

/// In memory where there is such a folder: a seed is many small commits.
fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

impl<'a> Stage<'a> {
    pub async fn open(world: &'a World, stores: &Stores, prefix: String) -> Self {
        let dir = memory_dir();
        std::fs::copy(EMPTY.path().join("ledger.db"), dir.path().join("ledger.db")).expect("a copy");
        let redis = match &stores.redis {
            Some(url) => {
                let client = redis::Client::open(url.as_str()).expect("a URL");
                Some(client.get_multiplexed_async_connection().await.expect("Redis"))
            }
            None => None,
        };
        let mut stores = stores.clone();
        if let Some(url) = &mut stores.postgres {
            *url = copy_of(url, &prefix).await;
        }
        let worker = worker(world, &stores, &prefix, &dir).await;
        let stage = Self { world, stores, prefix, dir, worker, redis };
        stage.set_up().await;
        stage
    }

    /// Takes down what would be left on servers.
    pub async fn close(self) {
        self.worker.log.close().await;
        self.worker.ledger.close().await;
        if let Some(url) = &self.stores.postgres {
            drop_database(url).await;
        }
    }

    /// What the process held is gone; what is on disk is opened again.
    pub async fn reopen(&mut self) {
        self.worker.log.close().await;
        self.worker.ledger.close().await;
        self.worker = worker(self.world, &self.stores, &self.prefix, &self.dir).await;
    }

    /// Works everything off.
    pub async fn drain(&self) -> Result<(), WorkerError> {
        tokio::time::timeout(Duration::from_secs(60), self.worker.drain()).await.expect("it comes to an end")
    }

    /// Works, and dies after that many polls, between two awaits. Says whether it died.
    pub async fn crash(&mut self, polls: usize) -> bool {
        let finished = {
            let mut drain = pin!(self.worker.drain());
            let mut left = polls;
            std::future::poll_fn(|cx| match drain.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    left -= 1;
                    Poll::Pending
                }
            })
            .await
        };
        if let Some(outcome) = &finished {
            outcome.as_ref().expect("it drains");
        }
        self.reopen().await;
        finished.is_none()
    }

    /// Two workers on the same stores at once: one of them is overtaken, or waits.
    pub async fn contend(&self) {
        let other = Worker {
            ledger: self.worker.ledger.clone(),
            log: self.worker.log.clone(),
            journeys: self.worker.journeys.clone(),
            keys: Arc::clone(&self.worker.keys),
            attribution: self.worker.attribution.clone(),
            countries: Countries::open(None).expect("none"),
            raw_days: self.worker.raw_days,
            metrics: WorkerMetrics::default(),
            due: Arc::new(Notify::new()),
        };
        let (one, two) = tokio::join!(self.drain(), other.drain());
        for outcome in [one, two] {
            if let Err(error) = outcome {
                let text = format!("{error:?}");
                let is_expected = text.contains("Overtaken") || text.contains("deadlock detected");
                assert!(is_expected, "{text}");
            }
        }
    }

    pub async fn tell(&self, items: &[Item]) {
        let mut appends = JoinSet::new();
        for item in items {
            let log = self.worker.log.clone();
            match item {
                Item::Rates(rates) => self.state_rates(rates).await,
                Item::Click { index, is_new, is_replayed } => {
                    let click = self.click(*index, *is_new, *is_replayed);
                    match &self.redis {
                        Some(redis) => self.add_click(redis.clone(), &click).await,
                        None => {
                            appends.spawn(async move { log.append_click(&click).await.expect("it appends") });
                        }
                    }
                }
                Item::Delivery { index, is_replayed } => {
                    let delivery = self.delivery(*index, *is_replayed);
                    match &self.redis {
                        Some(redis) => self.add_delivery(redis.clone(), &delivery).await,
                        None => {
                            appends.spawn(async move {
                                log.append_delivery(&delivery).await.expect("it appends")
                            });
                        }
                    }
                }
            }
        }
        appends.join_all().await;
    }

    /// What is committed may go.
    pub async fn trim(&self) {
        for partition in 0..self.worker.log.partitions() {
            for (stream, name) in [(Stream::Clicks, "clicks"), (Stream::Conversions, "conversions")] {
                let position =
                    rollups::position(&self.worker.ledger, name, partition).await.expect("a position");
                if let Ok(position) = position.parse() {
                    self.worker.log.trim(stream, partition, position).await.expect("it trims");
                }
            }
        }
    }

    /// All journeys go, as they do in time.
    pub async fn expire_journeys(&mut self) {
        match &mut self.redis {
            Some(redis) => {
                let script =
                    "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end";
                let pattern = format!("{}:1:journey:*", self.prefix);
                let script = redis::Script::new(script);
                let _: () = script.arg(pattern).invoke_async(redis).await.expect("Redis runs it");
            }
            None => self.worker.journeys.expire(i64::MAX / 2, 0).await.expect("they expire"),
        }
    }

    pub async fn mark_all_due(&self) {
        self.execute("UPDATE conversions SET due = ABS(due) + 1").await;
    }

    /// The workspaces' owners set their rules; until then those of the configuration held.
    pub async fn set_rules(&self) {
        let ledger = &self.worker.ledger;
        for space in &self.world.spaces {
            let mut tx = ledger.begin_alone().await.expect("a transaction");
            let row = workspaces::get(ledger, space.id).await.expect("it reads").expect("a workspace");
            let row = WorkspaceRow { settings: settings(&space.rules, space.currency), ..row };
            workspaces::update(&mut tx, &row).await.expect("it writes");
            workspaces::mark_due(&mut tx, Some(space.id)).await.expect("it marks");
            tx.commit().await.expect("it commits");
        }
    }

    async fn execute(&self, text: &str) {
        let mut tx = self.worker.ledger.begin().await.expect("a transaction");
        sqlx::query(AssertSqlSafe(text.to_owned())).execute(&mut *tx).await.expect("it writes");
        tx.commit().await.expect("it commits");
    }

    async fn state_rates(&self, indices: &[usize]) {
        let row = |index: &usize| {
            let rate = &self.world.rates[*index];
            rates::RateRow {
                base: "EUR".to_owned(),
                currency: rate.currency.to_owned(),
                day: rate.day.into(),
                rate: rate.rate.parse().expect("a decimal"),
            }
        };
        let rows: Vec<_> = indices.iter().map(row).collect();
        let mut tx = self.worker.ledger.begin_alone().await.expect("a transaction");
        rates::put(&mut tx, &rows).await.expect("it takes rates");
        tx.commit().await.expect("it commits");
    }

    fn click(&self, index: usize, is_new_visitor: bool, is_replayed: bool) -> Click<'static> {
        let click = &self.world.clicks[index];
        Click {
            id: ClickId::from_bytes(click.id),
            link: LinkId::from_i64(self.world.links[click.link].id).expect("a link id"),
            visitor: click.visitor.map(VisitorId::from_bytes),
            is_new_visitor,
            request: match click.request {
                world::Request::Get => Request::Get,
                world::Request::Head => Request::Head,
                world::Request::Prefetch => Request::Prefetch,
            },
            address: click.network.map(|[a, b, c]| ClientNetwork::of([a, b, c, 9].into())),
            user_agent: AGENTS[click.agent].0.into(),
            referrer: click.referrer.into(),
            is_replayed,
        }
    }

    fn delivery(&self, index: usize, is_replayed: bool) -> Delivery {
        let delivery = &self.world.deliveries[index];
        let source = &self.world.sources[delivery.source];
        Delivery {
            id: delivery.id.clone(),
            workspace: self.world.spaces[source.space].id.to_owned(),
            source: source.id.clone(),
            platform: platform(source.platform).to_owned(),
            received_ms: delivery.received_ms,
            is_verified: delivery.expected != world::Expected::Unverified,
            headers: delivery.headers.clone(),
            body: delivery.body.clone(),
            is_replayed,
        }
    }

    /// As docs/STREAMS.md says; the log itself writes marks only by way of its spool.
    async fn add_click(&self, mut redis: MultiplexedConnection, click: &Click<'_>) {
        let spread = match (&click.visitor, click.address.map(ClientNetwork::address)) {
            (Some(visitor), _) => u32::from_be_bytes(visitor.as_bytes()[..4].try_into().expect("4 bytes")),
            (None, Some(IpAddr::V4(address))) => {
                crc32fast::hash(&[&address.octets()[..], click.user_agent.as_bytes()].concat())
            }
            (None, _) => crc32fast::hash(click.user_agent.as_bytes()),
        };
        let partition = spread % u32::from(PARTITIONS);
        let mut command = redis::cmd("XADD");
        command.arg(format!("{}:1:clicks:{{{partition}}}", self.prefix)).arg("*");
        let mut packed = Vec::new();
        click.pack(&mut packed);
        let mut packed = PackedClick::read(&packed).unwrap();
        packed.click.is_replayed = click.is_replayed;
        packed.fields(|name, value| {
            command.arg(name).arg(value);
        });
        command.exec_async(&mut redis).await.expect("Redis takes it");
    }

    async fn add_delivery(&self, mut redis: MultiplexedConnection, delivery: &Delivery) {
        let partition = crc32fast::hash(delivery.source.as_bytes()) % u32::from(PARTITIONS);
        let mut command = redis::cmd("XADD");
        command.arg(format!("{}:1:conversions:{{{partition}}}", self.prefix)).arg("*");
        delivery.fields(|name, value| {
            command.arg(name).arg(value);
        });
        command.exec_async(&mut redis).await.expect("Redis takes it");
    }

    /// Workspaces, sources, links, coupons and the rates that are known from the start.
    async fn set_up(&self) {
        let world = self.world;
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let or_null = |text: Option<&String>| text.map_or("NULL".to_owned(), |text| quote(text));
        let mut rows = Vec::new();
        for space in &world.spaces {
            rows.push(format!(
                "INSERT INTO workspaces (id, name, timezone, currency, settings, created_ms) VALUES ({}, 'W', {}, {}, '{{}}', 0)",
                quote(space.id), quote(space.zone), quote(space.currency),
            ));
        }
        for source in &world.sources {
            let role = if source.is_of_record { "of_record" } else { "evidence" };
            rows.push(format!(
                "INSERT INTO sources (id, workspace, platform, name, role, settings, created_ms) VALUES ({}, {}, {}, 'S', '{role}', '{{}}', 0)",
                quote(&source.id), quote(world.spaces[source.space].id), quote(platform(source.platform)),
            ));
        }
        for link in &world.links {
            let space = quote(world.spaces[link.space].id);
            let now = link.revisions.last().expect("one");
            rows.push(format!(
                "INSERT INTO links (id, workspace, domain, slug, url, utm, post, tags, forward_query, extra, created_ms, updated_ms, version)
                 VALUES ({}, {space}, 'go.example', {}, 'https://shop.example/', '{{}}', {}, '[]', 1, '{{}}', 0, 0, 0)",
                link.id, quote(&link.slug), or_null(now.post.as_ref()),
            ));
            for (revision, held) in (1..).zip(&link.revisions) {
                let tag = |name| or_null(held.tags.get(name));
                rows.push(format!(
                    "INSERT INTO link_revisions (link, revision, from_ms, workspace, post, utm_source, utm_medium, utm_campaign, utm_term, utm_content, tags)
                     VALUES ({}, {revision}, {}, {space}, {}, {}, {}, {}, {}, {}, '[]')",
                    link.id, held.from_ms, or_null(held.post.as_ref()), tag("source"), tag("medium"), tag("campaign"), tag("term"), tag("content"),
                ));
            }
        }
        for coupon in &world.coupons {
            let mut bound = ("NULL".to_owned(), "NULL".to_owned());
            match &coupon.bound_to {
                BoundTo::Post(post) => bound.0 = quote(post),
                BoundTo::Link(link) => bound.1 = world.links[*link].id.to_string(),
            }
            rows.push(format!(
                "INSERT INTO coupons (workspace, code, post, link, created_ms) VALUES ({}, {}, {}, {}, 0)",
                quote(world.spaces[coupon.space].id),
                quote(coupon.code),
                bound.0,
                bound.1,
            ));
        }
        let mut tx = self.worker.ledger.begin().await.expect("a transaction");
        for row in rows {
            sqlx::query(AssertSqlSafe(row)).execute(&mut *tx).await.expect("it is written");
        }
        tx.commit().await.expect("it commits");
        let early: Vec<usize> = (0..world.rates.len()).filter(|rate| !world.rates[*rate].is_late).collect();
        self.state_rates(&early).await;
    }
}

/// Makes a database that is migrated already; returns its URL.
pub async fn make_template(server: &str) -> String {
    sqlx::any::install_default_drivers();
    let (base, _) = server.rsplit_once('/').expect("a database");
    let template = format!("{base}/migrated");
    execute_on(server, "CREATE DATABASE migrated".to_owned()).await;
    Ledger::open_postgres(&template).await.expect("a ledger").close().await;
    template
}

/// Makes another database like a template; returns its URL.
async fn copy_of(template: &str, name: &str) -> String {
    let (base, template) = template.rsplit_once('/').expect("a database");
    execute_on(
        &format!("{base}/postgres"),
        format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"),
    )
    .await;
    format!("{base}/{name}")
}

async fn drop_database(url: &str) {
    let (base, name) = url.rsplit_once('/').expect("a database");
    execute_on(&format!("{base}/postgres"), format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

async fn execute_on(url: &str, text: String) {
    let mut connection = AnyConnection::connect(url).await.expect("PostgreSQL");
    sqlx::query(AssertSqlSafe(text)).execute(&mut connection).await.expect("it does as told");
    connection.close().await.expect("it closes");
}

async fn worker(world: &World, stores: &Stores, prefix: &str, dir: &TempDir) -> Worker {
    let ledger = match &stores.postgres {
        Some(url) => Ledger::open_postgres(url).await,
        None => Ledger::open_sqlite(&dir.path().join("ledger.db"), Synchronous::Normal).await,
    };
    let config = LogConfig {
        url: stores.redis.clone(),
        data_dir: dir.path().to_path_buf(),
        prefix: prefix.to_owned(),
        partitions: if stores.redis.is_some() { PARTITIONS } else { 1 },
        synchronous: Synchronous::Normal,
        ..LogConfig::default()
    };
    let journeys = match &stores.redis {
        Some(url) => Journeys::open_redis(url, prefix).await,
        None => Journeys::open_embedded(&dir.path().join("journeys.db"), Synchronous::Normal).await,
    };
    Worker {
        ledger: ledger.expect("a ledger"),
        log: Log::open(&config, LogMetrics::default()).await.expect("a log"),
        journeys: journeys.expect("journeys"),
        keys: Arc::new(world.keys.clone()),
        attribution: defaults(world),
        countries: Countries::open(None).expect("none"),
        raw_days: 30,
        metrics: WorkerMetrics::default(),
        due: Arc::new(Notify::new()),
    }
}

pub fn defaults(world: &World) -> Attribution {
    let config = Config::from_layers(None, std::iter::empty()).expect("the default configuration");
    Attribution { duplicate_seconds: world.duplicate_seconds as u32, ..config.attribution }
}

fn platform(platform: Platform) -> &'static str {
    match platform {
        Platform::Api => "api",
        Platform::Standard => "standard",
        Platform::Shopify => "shopify",
    }
}

fn settings(rules: &world::Rules, currency: &str) -> String {
    let share = |percent: i64| percent as f64 / 100.0;
    let mut settings = serde_json::json!({
        "lookback_days": rules.lookback_days,
        "half_life_days": rules.half_life_days as f64,
        "position_shares": rules.shares_percent.map(share),
        "revenue_basis": match rules.basis {
            world::Basis::Total => "total",
            world::Basis::ExTax => "ex_tax",
            world::Basis::ExTaxShipping => "ex_tax_shipping",
        },
        "rival_touches": if rules.rivals_count { "include" } else { "ignore" },
        "purchase_cuts_journey": rules.purchase_cuts,
        "duplicate_touches": if rules.duplicates_count { "count" } else { "ignore" },
    });
    if let Some(days) = rules.lead_lookback_days {
        settings["events"] = serde_json::json!({"lead": {"lookback_days": days}});
    }
    if let Some(minor) = rules.lead_value_minor {
        let value =
            if currency == "JPY" { minor.to_string() } else { format!("{}.{:02}", minor / 100, minor % 100) };
        settings["assigned_values"] = serde_json::json!({"lead": value});
    }
    settings.to_string()
}
