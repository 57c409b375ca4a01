//! Journeys in Redis: a sorted set per visitor, `{prefix}:1:journey:{workspace/visitor}`, score the click's
//! time, member click id, link id, country and device. Keys without a visitor are `seen`, not `journey`.

use redis::{FromRedisValue, RedisError, cmd};
use std::time::Duration;

use super::{ANONYMOUS_MS, JourneyError, Step, Who};
use crate::hot::{Connection, Node};

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
    connection: Connection,
    prefix: String,
}

impl RedisJourneys {
    /// `url`: `redis://host:port/db` or `redis-cluster://a,b,c`.
    pub async fn open(url: &str, prefix: &str) -> Result<Self, JourneyError> {
        // The worker starts while Redis is away, and waits.
        let connection = Connection::new(url, ANSWER_WITHIN)?;
        Ok(Self { connection, prefix: prefix.to_owned() })
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
        // Not all commands at once: there may be a hundred thousand.
        for journeys in journeys.chunks(JOURNEYS_PER_RUN) {
            let commands = journeys.iter().flat_map(|steps| {
                let (who, _) = steps[0];
                let key = self.key(who);
                let mut zadd = cmd("ZADD");
                zadd.arg(&key);
                for (_, step) in *steps {
                    zadd.arg(step.click.at_ms()).arg(step.to_bytes().as_slice());
                }
                let last_ms = steps.iter().map(|(_, step)| step.click.at_ms()).max().unwrap_or(now_ms);
                let kept_ms = if who.anonymous { ANONYMOUS_MS } else { retention_ms };
                let mut expire = cmd("PEXPIREAT");
                expire.arg(&key).arg(last_ms.max(now_ms) + kept_ms);
                [zadd, expire]
            });
            self.connection.run(commands).await?;
        }
        Ok(())
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
        for members in self.connection.run(ranges).await? {
            let members = Vec::<Vec<u8>>::from_redis_value(members).map_err(RedisError::from)?;
            journeys.push(members.iter().filter_map(|bytes| Step::from_bytes(bytes)).collect());
        }
        Ok(journeys)
    }

    pub async fn erase(&self, who: &Who) -> Result<(), JourneyError> {
        let mut delete = cmd("DEL");
        delete.arg(self.key(who));
        self.connection.run([delete]).await?;
        Ok(())
    }

    /// Some whole journeys of visitors: Redis names keys in no order, and may name one twice.
    pub async fn page(&self, place: Place) -> Result<(Vec<(Who, Vec<Step>)>, Option<Place>), JourneyError> {
        let mut place = match place {
            Place { nodes: None, .. } => Place { nodes: Some(self.connection.nodes().await?), ..place },
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
        let found = self.connection.run_on(node, scan).await?;
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
        let kind = if who.anonymous { "seen" } else { "journey" };
        format!("{}:1:{kind}:{{{}/{}}}", self.prefix, who.workspace, who.visitor)
    }
}

/// A prefix in which nothing is a pattern.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "*?[]^-\\".contains(c)).chain([c])).collect()
}
