//! Journeys in Redis: a sorted set per visitor, `{prefix}:1:journey:{workspace/visitor}`, score the click's
//! time, member click id, link id, country and device. Keys without a visitor are `seen`, not `journey`.

use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, cmd};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{ANONYMOUS_MS, JourneyError, Step, Who};
use crate::hot::servers::Kind;
use crate::hot::target::Target;
use crate::hot::{Connection, Node, resp};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Journeys that are added in one go.
const JOURNEYS_PER_RUN: usize = 500;

/// Keys that Redis looks at for one page.
const KEYS_PER_PAGE: usize = 1000;

/// How far a walk through all journeys has come.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// None: not asked yet.
    nodes: Option<Vec<Node>>,
    /// Which of them.
    node: usize,
    cursor: u64,
}

#[derive(Clone)]
pub struct RedisJourneys {
    connection: Arc<PlainMutex<Connection>>,
    /// For adding, which is most of the work. None in a cluster, where keys lie on different servers.
    writer: Option<Arc<Writer>>,
    prefix: String,
}

struct Writer {
    url: String,
    target: Target,
    connection: Mutex<Option<resp::Connection>>,
    /// Of the journeys.
    others: Arc<PlainMutex<Connection>>,
}

impl RedisJourneys {
    /// `url`: `redis://host:port/db` or `redis-cluster://a,b,c`.
    pub async fn open(url: &str, prefix: &str) -> Result<Self, JourneyError> {
        // The worker starts while Redis is away, and waits.
        let connection = Arc::new(PlainMutex::new(Connection::new(url, ANSWER_WITHIN)?));
        let writer = Writer {
            url: url.to_owned(),
            target: Target::parse(url)?,
            connection: Mutex::default(),
            others: Arc::clone(&connection),
        };
        let writer = (writer.target.kind != Kind::Cluster).then(|| Arc::new(writer));
        Ok(Self { connection, writer, prefix: prefix.to_owned() })
    }

    fn connection(&self) -> Connection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn add(
        &self,
        steps: &[(Who, Step)],
        now_ms: i64,
        retention_ms: i64,
    ) -> Result<(), JourneyError> {
        let mut steps: Vec<&(Who, Step)> = steps.iter().collect();
        steps.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let journeys: Vec<&[&(Who, Step)]> = steps.chunk_by(|(a, _), (b, _)| a == b).collect();
        let until_ms = |journey: &[&(Who, Step)]| {
            let last_ms = journey.iter().map(|(_, step)| step.click.at_ms()).max().unwrap_or(now_ms);
            let kept_ms = if journey[0].0.anonymous { ANONYMOUS_MS } else { retention_ms };
            last_ms.max(now_ms) + kept_ms
        };
        let runs = journeys.chunks(JOURNEYS_PER_RUN);
        let Some(writer) = &self.writer else {
            for journeys in runs {
                let commands = journeys.iter().flat_map(|journey| {
                    let (key, mut add, mut expire) = (self.key(&journey[0].0), Cmd::new(), Cmd::new());
                    adding(&key, journey, |word| {
                        add.arg(word);
                    });
                    expiring(&key, until_ms(journey), |word| {
                        expire.arg(word);
                    });
                    [add, expire]
                });
                self.connection().run(commands).await?;
            }
            return Ok(());
        };
        let encode = |n: usize, out: &mut Vec<u8>| {
            let journeys = runs.clone().nth(n).unwrap_or_default();
            let mut key = String::new();
            for journey in journeys {
                key.clear();
                self.push_key(&mut key, &journey[0].0);
                resp::push_header(out, 2 + 2 * journey.len());
                adding(&key, journey, |word| resp::push_bulk(out, word));
                resp::push_header(out, 3);
                expiring(&key, until_ms(journey), |word| resp::push_bulk(out, word));
            }
            2 * journeys.len()
        };
        Ok(writer.run(encode).await?)
    }

    pub async fn read(
        &self,
        whose: &[Who],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Vec<Step>>, JourneyError> {
        let ranges = whose.iter().map(|who| {
            let mut range = cmd("ZRANGEBYSCORE");
            range.arg(self.key(who)).arg(from_ms).arg(to_ms);
            range
        });
        let mut journeys = Vec::with_capacity(whose.len());
        for members in self.connection().run(ranges).await? {
            let members = Vec::<Vec<u8>>::from_redis_value(members).map_err(RedisError::from)?;
            journeys.push(members.iter().filter_map(|bytes| Step::from_bytes(bytes)).collect());
        }
        Ok(journeys)
    }

    pub async fn erase(&self, who: &Who) -> Result<(), JourneyError> {
        let mut delete = cmd("DEL");
        delete.arg(self.key(who));
        self.connection().run([delete]).await?;
        Ok(())
    }

    /// Some whole journeys of visitors: Redis names keys in no order, and may name one twice.
    pub async fn page(&self, place: Place) -> Result<(Vec<(Who, Vec<Step>)>, Option<Place>), JourneyError> {
        let mut place = match place {
            Place { nodes: None, .. } => Place { nodes: Some(self.connection().nodes().await?), ..place },
            place => place,
        };
        let nodes = place.nodes.as_ref().map_or(&[][..], Vec::as_slice);
        let Some(node) = nodes.get(place.node) else { return Ok((Vec::new(), None)) };
        let start = format!("{}:1:journey:{{", self.prefix);
        let mut scan = cmd("SCAN");
        scan.arg(place.cursor)
            .arg("MATCH")
            .arg(format!("{}*", escaped(&start)))
            .arg("COUNT")
            .arg(KEYS_PER_PAGE);
        let found = self.connection().run_on(node, scan).await?;
        let (cursor, keys) = <(u64, Vec<String>)>::from_redis_value(found).map_err(RedisError::from)?;
        let whose = |key: &String| {
            let (workspace, visitor) = key.strip_prefix(&start)?.strip_suffix('}')?.rsplit_once('/')?;
            let visitor = visitor.parse().ok()?;
            Some(Who { workspace: workspace.into(), visitor, anonymous: false })
        };
        let whose: Vec<Who> = keys.iter().filter_map(whose).collect();
        let steps = self.read(&whose, i64::MIN, i64::MAX).await?;
        place.cursor = cursor;
        if cursor == 0 {
            place.node += 1;
        }
        let is_end = place.nodes.as_ref().is_none_or(|nodes| place.node >= nodes.len());
        Ok((whose.into_iter().zip(steps).collect(), (!is_end).then_some(place)))
    }

    fn key(&self, who: &Who) -> String {
        let mut key = String::new();
        self.push_key(&mut key, who);
        key
    }

    fn push_key(&self, out: &mut String, who: &Who) {
        let visitor = who.visitor.to_text();
        out.push_str(&self.prefix);
        out.push_str(if who.anonymous { ":1:seen:{" } else { ":1:journey:{" });
        out.push_str(&who.workspace);
        out.push('/');
        out.push_str(str::from_utf8(&visitor).expect("base64 is ASCII"));
        out.push('}');
    }
}

/// The words of the command that adds steps to a journey.
fn adding(key: &str, journey: &[&(Who, Step)], mut word: impl FnMut(&[u8])) {
    word(b"ZADD");
    word(key.as_bytes());
    for (_, step) in journey {
        word(resp::decimal(step.click.at_ms().unsigned_abs(), &mut [0; 20]));
        word(&step.to_bytes());
    }
}

/// The words of the command that says when a journey expires.
fn expiring(key: &str, until_ms: i64, mut word: impl FnMut(&[u8])) {
    word(b"PEXPIREAT");
    word(key.as_bytes());
    word(resp::decimal(until_ms.unsigned_abs(), &mut [0; 20]));
}

impl Writer {
    /// `encode` appends the commands of the n-th run and says how many they are; none after the last. They
    /// must bear repetition: what fails on a connection that has gone stale is tried once more on a new one.
    async fn run(&self, encode: impl Fn(usize, &mut Vec<u8>) -> usize) -> Result<(), resp::RedisError> {
        let mut slot = self.connection.lock().await;
        // Taken out while in use: after a failure nobody reads a reply that is not his.
        if let Some(connection) = slot.take() {
            match run(connection, &encode).await {
                Err(resp::RedisError::Io(_)) => {}
                ended => {
                    *slot = Some(ended?);
                    return Ok(());
                }
            }
        }
        // It may lead to another server than before, and what is written there must be read there.
        let others = Connection::new(&self.url, ANSWER_WITHIN)
            .map_err(|error| resp::RedisError::Address(error.to_string()))?;
        // Any key would do: there is one server.
        let connection = resp::Connection::open(&self.target, "", CONNECT_WITHIN).await?;
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        *slot = Some(run(connection, &encode).await?);
        Ok(())
    }
}

/// Answers are awaited one run later: Redis works on one run while the next is made.
async fn run(
    mut connection: resp::Connection,
    encode: impl Fn(usize, &mut Vec<u8>) -> usize,
) -> Result<resp::Connection, resp::RedisError> {
    let (mut commands, mut unanswered) = (Vec::new(), 0);
    for n in 0.. {
        commands.clear();
        let count = encode(n, &mut commands);
        let exchange = async {
            connection.write(&commands).await?;
            connection.acknowledge(unanswered).await
        };
        timeout(ANSWER_WITHIN, exchange).await.map_err(|_| resp::RedisError::Timeout)??;
        unanswered = count;
        if count == 0 {
            break;
        }
    }
    Ok(connection)
}

/// A prefix in which nothing is a pattern.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "*?[]^-\\".contains(c)).chain([c])).collect()
}
