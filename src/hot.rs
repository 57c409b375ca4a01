//! A connection to the hot store in Redis (one server, a cluster, or the master that sentinels name) for
//! everything but the event log and the writing of journeys, which speak to it by [`resp`].

pub(crate) mod resp;
pub mod servers;
pub(crate) mod target;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisError, ServerErrorKind, Value, cmd, pipe,
};
use servers::{Kind, servers};
use tokio::sync::{Mutex, OnceCell};

/// Commands per round trip.
const PIPELINE_MAX: usize = 1000;

/// Cheap to clone. It connects when it is first used and again whenever it has to, so that a process
/// starts while Redis is away.
#[derive(Clone)]
pub enum Connection {
    Single(ConnectionManager),
    Cluster(Arc<Cluster>),
    Sentinel(Arc<Sentinel>),
}

pub struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

impl Cluster {
    async fn connected(&self) -> Result<ClusterConnection, RedisError> {
        let connect = || self.client.get_async_connection();
        Ok(self.connection.get_or_try_init(connect).await?.clone())
    }
}

/// A server of the hot store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Only,
    Master { host: String, port: u16 },
}

/// Asks anew where the master is whenever the last one fails.
pub struct Sentinel {
    client: Mutex<SentinelClient>,
    connection: Mutex<Option<MultiplexedConnection>>,
    answer_within: Duration,
}

impl Connection {
    /// `url`: as [`servers`] reads it. Answers that take longer than
    /// `answer_within` are errors.
    pub fn new(url: &str, answer_within: Duration) -> Result<Self, RedisError> {
        let (urls, kind) = servers(url)
            .ok_or_else(|| RedisError::from((ErrorKind::InvalidClientConfig, "hot.url names no server")))?;
        match kind {
            Kind::Single => {
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_response_timeout(Some(answer_within))
                    .set_connection_timeout(Some(answer_within));
                Ok(Self::Single(ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?))
            }
            Kind::Cluster => {
                let client = ClusterClientBuilder::new(urls)
                    .response_timeout(answer_within)
                    .connection_timeout(answer_within)
                    .build()?;
                Ok(Self::Cluster(Arc::new(Cluster { client, connection: OnceCell::new() })))
            }
            Kind::Sentinel { master } => {
                let mut sentinels = Vec::with_capacity(urls.len());
                let mut node = SentinelNodeConnectionInfo::default();
                for url in urls {
                    let info = url.into_connection_info()?;
                    // The credentials are the master's.
                    sentinels.push(info.addr().clone().into_connection_info()?);
                    node = node.set_redis_connection_info(info.redis_settings().clone());
                }
                let client =
                    SentinelClient::build(sentinels, master, Some(node), SentinelServerType::Master)?;
                let (client, connection) = (Mutex::new(client), Mutex::new(None));
                Ok(Self::Sentinel(Arc::new(Sentinel { client, connection, answer_within })))
            }
        }
    }

    /// Runs commands in order and returns their answers, or the first error. They are sent together; to a
    /// cluster one by one, since their keys lie on different servers. They must bear repetition: what
    /// fails on a connection that has gone stale is tried once more on a new one.
    pub async fn run(&self, commands: impl IntoIterator<Item = Cmd>) -> Result<Vec<Value>, RedisError> {
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for (n, command) in commands.into_iter().enumerate() {
            if n % PIPELINE_MAX == 0 {
                pipelines.push(pipe());
            }
            if let Some(last) = pipelines.last_mut() {
                last.add_command(command);
            }
        }
        match self.run_once(&pipelines).await {
            Err(error) if error.is_connection_dropped() || error.is_connection_refusal() => {
                self.run_once(&pipelines).await
            }
            answers => answers,
        }
    }

    /// The servers that hold the keys: one, or the masters of a cluster.
    pub async fn nodes(&self) -> Result<Vec<Node>, RedisError> {
        let Self::Cluster(cluster) = self else { return Ok(vec![Node::Only]) };
        let mut ask = cmd("CLUSTER");
        ask.arg("SLOTS");
        let random = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let slots = cluster.connected().await?.route_command(ask, random).await?;
        // Of each range: first slot, last slot, the master as (host, port, id ...), its replicas.
        let mut masters = BTreeSet::new();
        for range in Vec::<Value>::from_redis_value(slots)? {
            let master = Vec::<Value>::from_redis_value(range)?.into_iter().nth(2).unwrap_or(Value::Nil);
            let mut master = Vec::<Value>::from_redis_value(master)?.into_iter();
            if let (Some(host), Some(port)) = (master.next(), master.next()) {
                masters.insert((String::from_redis_value(host)?, u16::from_redis_value(port)?));
            }
        }
        Ok(masters.into_iter().map(|(host, port)| Node::Master { host, port }).collect())
    }

    /// Runs a command on one of the [`Connection::nodes`].
    pub async fn run_on(&self, node: &Node, command: Cmd) -> Result<Value, RedisError> {
        match (self, node) {
            (Self::Cluster(cluster), Node::Master { host, port }) => {
                let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                cluster.connected().await?.route_command(command, RoutingInfo::SingleNode(node)).await
            }
            _ => Ok(self.run([command]).await?.pop().unwrap_or(Value::Nil)),
        }
    }

    async fn run_once(&self, pipelines: &[Pipeline]) -> Result<Vec<Value>, RedisError> {
        match self {
            Self::Single(connection) => all(connection.clone(), pipelines).await,
            Self::Sentinel(sentinel) => {
                let answers = all(sentinel.connection().await?, pipelines).await;
                if answers.as_ref().is_err_and(is_of_the_server) {
                    *sentinel.connection.lock().await = None;
                }
                answers
            }
            Self::Cluster(cluster) => {
                let mut connection = cluster.connected().await?;
                let mut answers = Vec::new();
                for command in pipelines.iter().flat_map(Pipeline::cmd_iter) {
                    answers.push(command.query_async::<Value>(&mut connection).await?);
                }
                Ok(answers)
            }
        }
    }
}

impl Sentinel {
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.answer_within))
            .set_connection_timeout(Some(self.answer_within));
        let fresh = self.client.lock().await.get_async_connection_with_config(&config).await?;
        Ok(connection.insert(fresh).clone())
    }
}

/// Whether another server might do better: this one is gone, silent or no master any more.
fn is_of_the_server(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.code() == Some("READONLY")
}

async fn all(mut connection: impl ConnectionLike, pipelines: &[Pipeline]) -> Result<Vec<Value>, RedisError> {
    let mut answers = Vec::new();
    for pipeline in pipelines {
        answers.extend(pipeline.query_async::<Vec<Value>>(&mut connection).await?);
    }
    Ok(answers)
}
