//! A connection to the hot store in Redis, one server or a cluster, for everything but the event log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Client, Cmd, FromRedisValue, RedisError, Value, cmd, pipe};
use tokio::sync::OnceCell;

/// Commands per round trip.
const PIPELINE_MAX: usize = 1000;

/// Cheap to clone. It connects when it is first used and again whenever it has to, so that a process
/// starts while Redis is away.
#[derive(Clone)]
pub enum Connection {
    Single(ConnectionManager),
    Cluster(Arc<Cluster>),
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

impl Connection {
    /// `url`: `redis://host:port/db` or `redis-cluster://a,b,c`. Answers that take longer than
    /// `answer_within` are errors.
    pub fn new(url: &str, answer_within: Duration) -> Result<Self, RedisError> {
        match url.strip_prefix("redis-cluster://") {
            Some(nodes) => {
                let (credentials, hosts) = nodes
                    .rsplit_once('@')
                    .map_or((String::new(), nodes), |(c, hosts)| (format!("{c}@"), hosts));
                let nodes: Vec<String> =
                    hosts.split(',').map(|host| format!("redis://{credentials}{}", host.trim())).collect();
                let client = ClusterClientBuilder::new(nodes)
                    .response_timeout(answer_within)
                    .connection_timeout(answer_within)
                    .build()?;
                Ok(Self::Cluster(Arc::new(Cluster { client, connection: OnceCell::new() })))
            }
            None => {
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_response_timeout(Some(answer_within))
                    .set_connection_timeout(Some(answer_within));
                Ok(Self::Single(ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?))
            }
        }
    }

    /// Runs commands in order and returns their answers, or the first error. They are sent together; to a
    /// cluster one by one, since their keys lie on different servers. They must bear repetition: what
    /// fails on a connection that has gone stale is tried once more on a new one.
    pub async fn run(&self, commands: &[Cmd]) -> Result<Vec<Value>, RedisError> {
        match self.run_once(commands).await {
            Err(error) if error.is_connection_dropped() || error.is_connection_refusal() => {
                self.run_once(commands).await
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
            _ => Ok(self.run(&[command]).await?.pop().unwrap_or(Value::Nil)),
        }
    }

    async fn run_once(&self, commands: &[Cmd]) -> Result<Vec<Value>, RedisError> {
        let mut answers = Vec::with_capacity(commands.len());
        match self {
            Self::Single(connection) => {
                let mut connection = connection.clone();
                for chunk in commands.chunks(PIPELINE_MAX) {
                    let mut pipeline = pipe();
                    for command in chunk {
                        pipeline.add_command(command.clone());
                    }
                    answers.extend(pipeline.query_async::<Vec<Value>>(&mut connection).await?);
                }
            }
            Self::Cluster(cluster) => {
                let mut connection = cluster.connected().await?;
                for command in commands {
                    answers.push(command.query_async::<Value>(&mut connection).await?);
                }
            }
        }
        Ok(answers)
    }
}
