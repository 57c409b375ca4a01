//! Builds everything and owns the order of starting and stopping. The only place that handles signals.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::api::{self, Api, DEFAULT_WORKSPACE, DoorCopies, Parts};
use crate::config::Config;
use crate::config::data_dir::DataDir;
use crate::dashboard;
use crate::fetch::{FetchMetrics, Fetcher};
use crate::ledger::Ledger;
use crate::links::cache::{LinkCache, LinkCacheMetrics, LinkSource};
use crate::links::copies::Copies;
use crate::links::domain_key;
use crate::links::follow::Follower;
use crate::links::issue::Issuer;
use crate::links::redis::HotLinks;
use crate::log::{Log, LogConfig, LogMetrics};
use crate::redirect::accept::{self, AcceptConfig, AcceptMetrics};
use crate::redirect::{Redirect, RedirectConfig, RedirectMetrics};
use crate::reports::{self, Report, ReportRequest};
use crate::script;
use crate::telemetry;
use crate::webhooks::deliver::{DeliverMetrics, Deliverer};
use crate::worker::geo::Countries;
use crate::worker::journeys::Journeys;
use crate::worker::{Worker, WorkerMetrics};

/// Half of the time for a graceful stop goes to connections, the rest to what they have left behind.
const DRAIN_SHARE: u32 = 2;

/// A running utmost.
pub struct App {
    pub address: SocketAddr,
    pub admin_key: String,
    /// The administration key was made just now and should be shown.
    pub admin_key_is_new: bool,
    config: Arc<Config>,
    ledger: Ledger,
    log: Log,
    stop: watch::Sender<Stage>,
    terminate: Signal,
    interrupt: Signal,
    accepting: JoinHandle<()>,
    working: JoinHandle<()>,
    telling: JoinHandle<()>,
    fetching: JoinHandle<()>,
    following: JoinHandle<()>,
    /// What has nothing to finish: it is dropped.
    helping: JoinSet<()>,
    /// Held until everything has stopped.
    _data_dir: DataDir,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// No new connections; those that are there are answered.
    Draining,
    /// Whoever works finishes what it has begun.
    Finishing,
}

impl App {
    /// Builds everything and begins to listen.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let data_dir = DataDir::hold(&config.data_dir)?;
        let keys = Arc::new(data_dir.key_ring()?);
        let (admin_key, admin_key_is_new) = match &config.admin_key {
            Some(key) => (key.clone(), false),
            None => data_dir.admin_key(api::generate_key)?,
        };
        let listener = TcpListener::bind(config.server.listen)
            .await
            .with_context(|| format!("server.listen {}", config.server.listen))?;
        let address = listener.local_addr()?;
        let public_url = public_url(&config, address)?;
        let config = Arc::new(config);
        let mut registry = Registry::default();

        let ledger = open_ledger(&config).await?;
        let log_metrics = LogMetrics::default();
        log_metrics.register(&mut registry);
        let log = Log::open(&log_config(&config), log_metrics).await.context("hot.url")?;

        let cache_metrics = LinkCacheMetrics::default();
        cache_metrics.register(&mut registry);
        let (cache, copies) = links(&config, &ledger, cache_metrics)?;
        let door_copies = config.hot.url.as_ref().map(|url| DoorCopies::new(url, &config.hot.prefix));
        let api = Api::start(Parts {
            config: Arc::clone(&config),
            ledger: ledger.clone(),
            log: log.clone(),
            copies,
            door_copies: door_copies.transpose()?,
            public_url: public_url.clone(),
            admin_key: admin_key.clone(),
            ring: Arc::clone(&keys),
        })
        .await?;

        let (stop, stage) = watch::channel(Stage::Running);
        let working = match config.roles.worker {
            false => tokio::spawn(async {}),
            true => {
                let metrics = WorkerMetrics::default();
                metrics.register(&mut registry);
                let worker = Worker {
                    ledger: ledger.clone(),
                    log: log.clone(),
                    journeys: open_journeys(&config, &data_dir).await?,
                    keys: Arc::clone(&keys),
                    attribution: config.attribution.clone(),
                    countries: Countries::open(config.geoip_database.as_deref())?,
                    raw_days: config.privacy.raw_days,
                    metrics,
                    due: Arc::new(Notify::new()),
                };
                tokio::spawn(Arc::new(worker).run(reached(stage.clone(), Stage::Finishing)))
            }
        };

        let telling = match config.roles.worker {
            false => tokio::spawn(async {}),
            true => {
                let metrics = DeliverMetrics::default();
                metrics.register(&mut registry);
                let deliverer = Deliverer::new(ledger.clone(), config.webhooks.clone(), metrics);
                tokio::spawn(deliverer.run(reached(stage.clone(), Stage::Finishing)))
            }
        };

        let fetching = match config.roles.worker {
            false => tokio::spawn(async {}),
            true => {
                let metrics = FetchMetrics::default();
                metrics.register(&mut registry);
                let fetcher = Fetcher::new(ledger.clone(), log.clone(), config.webhooks.clone(), metrics);
                tokio::spawn(fetcher.run(reached(stage.clone(), Stage::Finishing)))
            }
        };

        let mut helping = JoinSet::new();
        let mut router = Router::new();
        if config.roles.api {
            router = router
                .merge(api::router(Arc::clone(&api)))
                .merge(dashboard::router(Arc::clone(&api)))
                .merge(script::router());
            helping.spawn(async move { api.work().await });
        }
        let redirect_metrics = RedirectMetrics::default();
        redirect_metrics.register(&mut registry);
        let redirect = config.roles.redirect.then(|| {
            let redirect = RedirectConfig {
                default_domain: domain_key(public_url.authority()).into_owned(),
                is_https: public_url.scheme() == "https",
                is_strict: config.privacy.strict,
                trusted_proxies: config.server.trusted_proxies.clone(),
            };
            Arc::new(Redirect::new(cache.clone(), log.clone(), keys, redirect, &redirect_metrics))
        });
        let follower =
            Follower::start(cache.clone(), data_dir.join("links.snapshot")).await.context("hot.url")?;
        let following = tokio::spawn(follow(follower, stage.clone()));

        let accept_metrics = AcceptMetrics::default();
        accept_metrics.register(&mut registry);
        let router = router
            .merge(api::health(ledger.clone(), log.clone()))
            .merge(telemetry::router(Arc::new(registry), move || cache.observe()));
        let accept = AcceptConfig {
            max_connections: config.server.max_connections,
            header_timeout: config.server.header_timeout,
            max_header_bytes: config.server.max_header_bytes,
            request_timeout: config.server.request_timeout,
            write_timeout: config.server.write_timeout,
            http2_streams: config.server.http2_streams,
            shutdown: config.server.shutdown / DRAIN_SHARE,
        };
        let draining = at_stage(stage, Stage::Draining);
        // Whoever sees that it listens may already tell it to stop.
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let accepting =
            tokio::spawn(accept::serve(listener, redirect, router, accept, accept_metrics, draining));

        tracing::info!(%address, %public_url, "utmost runs");
        Ok(Self {
            address,
            admin_key,
            admin_key_is_new,
            config,
            ledger,
            log,
            stop,
            terminate,
            interrupt,
            accepting,
            working,
            telling,
            fetching,
            following,
            helping,
            _data_dir: data_dir,
        })
    }

    /// Returns at SIGTERM or SIGINT.
    pub async fn until_signalled(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }

    /// Stops in order: accept no more and answer who is there, make their clicks durable, let the worker
    /// finish its batch, close the stores. Bounded by `server.shutdown_seconds`.
    pub async fn stop(self) {
        let Self {
            config,
            ledger,
            log,
            stop,
            accepting,
            working,
            telling,
            fetching,
            following,
            mut helping,
            ..
        } = self;
        let in_order = async {
            stop.send_replace(Stage::Draining);
            let _ = accepting.await;
            log.close().await;
            stop.send_replace(Stage::Finishing);
            let _ = working.await;
            let _ = telling.await;
            let _ = fetching.await;
            let _ = following.await;
            helping.shutdown().await;
            ledger.close().await;
        };
        if tokio::time::timeout(config.server.shutdown, in_order).await.is_err() {
            tracing::warn!("the stop took too long and was cut; what was recorded is safe");
        }
    }

    /// A report of the default workspace.
    pub async fn report(&self, request: &ReportRequest) -> anyhow::Result<Report> {
        Ok(reports::attribution(&self.ledger, DEFAULT_WORKSPACE, request, &self.config.attribution).await?)
    }
}

/// Resolves at a stage of the stop.
async fn at_stage(mut stage: watch::Receiver<Stage>, wanted: Stage) {
    // If the sender is gone, so is the program.
    let _ = stage.wait_for(|now| *now >= wanted).await;
}

/// A flag that becomes true at a stage of the stop.
fn reached(stage: watch::Receiver<Stage>, wanted: Stage) -> watch::Receiver<bool> {
    let (flag, watched) = watch::channel(false);
    tokio::spawn(async move {
        at_stage(stage, wanted).await;
        flag.send_replace(true);
    });
    watched
}

async fn follow(follower: Option<Follower>, stage: watch::Receiver<Stage>) {
    if let Some(mut follower) = follower {
        tokio::select! {
            () = follower.run() => {}
            () = at_stage(stage, Stage::Finishing) => {}
        }
        follower.save().await;
    }
}

/// The ledger of this configuration, for commands that need nothing else.
pub async fn open_ledger(config: &Config) -> anyhow::Result<Ledger> {
    let ledger = match &config.ledger.url {
        None => {
            std::fs::create_dir_all(&config.data_dir)?;
            Ledger::open_sqlite(&config.data_dir.join("ledger.db"), config.ledger.synchronous).await
        }
        Some(url) => Ledger::open_postgres(url).await,
    };
    ledger.context("ledger.url")
}

/// Makes links in this configuration's ledger, for commands.
pub fn open_issuer(config: &Config, ledger: &Ledger) -> anyhow::Result<Issuer> {
    let (_, copies) = links(config, ledger, LinkCacheMetrics::default())?;
    Ok(Issuer::new(ledger.clone(), copies, public_url(config, config.server.listen)?))
}

/// What visitors see. `address`: where this process listens, or is to.
fn public_url(config: &Config, address: SocketAddr) -> anyhow::Result<Url> {
    Ok(match &config.server.public_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{address}"))?,
    })
}

async fn open_journeys(config: &Config, data_dir: &DataDir) -> anyhow::Result<Journeys> {
    Ok(match &config.hot.url {
        None => Journeys::open_embedded(&data_dir.join("journeys.db"), config.ledger.synchronous).await?,
        Some(url) => Journeys::open_redis(url, &config.hot.prefix).await?,
    })
}

fn log_config(config: &Config) -> LogConfig {
    LogConfig {
        url: config.hot.url.clone(),
        data_dir: config.data_dir.clone(),
        prefix: config.hot.prefix.clone(),
        partitions: config.hot.partitions,
        deadline: config.hot.deadline,
        spool_max_bytes: config.hot.spool_max_bytes,
        synchronous: config.hot.synchronous,
        batch_max_bytes: config.hot.queue_max_bytes,
    }
}

fn links(config: &Config, ledger: &Ledger, metrics: LinkCacheMetrics) -> anyhow::Result<(LinkCache, Copies)> {
    let bytes = config.hot.link_cache_bytes;
    Ok(match &config.hot.url {
        None => {
            let cache = LinkCache::new(LinkSource::Ledger(ledger.clone()), bytes, metrics);
            (cache.clone(), Copies::Embedded(cache))
        }
        Some(url) => {
            let hot = HotLinks::new(url, &config.hot.prefix)?;
            (LinkCache::new(LinkSource::Redis(hot.clone()), bytes, metrics), Copies::Redis(hot))
        }
    })
}
