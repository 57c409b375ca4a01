//! Journeys in Redis: a sorted set per visitor, `{prefix}:1:journey:{workspace/visitor}`, score the click's
//! time, member click id, link id, country and device. Keys without a visitor are `seen`, not `journey`.

use redis::{Cmd, FromRedisValue, RedisError, cmd};
use std::collections::BTreeMap;
use std::time::Duration;

use super::{ANONYMOUS_MS, JourneyError, Step, Who};
use crate::hot::Connection;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

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
        let mut by_key: BTreeMap<String, (bool, Vec<Step>)> = BTreeMap::new();
        for (who, step) in steps {
            by_key.entry(self.key(who)).or_insert((who.anonymous, Vec::new())).1.push(*step);
        }
        let mut commands = Vec::with_capacity(by_key.len() * 2);
        for (key, (anonymous, steps)) in by_key {
            let mut zadd = cmd("ZADD");
            zadd.arg(&key);
            for step in &steps {
                zadd.arg(step.click.at_ms()).arg(step.to_bytes().as_slice());
            }
            commands.push(zadd);
            let last_ms = steps.iter().map(|step| step.click.at_ms()).max().unwrap_or(now_ms);
            let expires_ms = last_ms.max(now_ms) + if anonymous { ANONYMOUS_MS } else { retention_ms };
            let mut expire = cmd("PEXPIREAT");
            expire.arg(&key).arg(expires_ms);
            commands.push(expire);
        }
        self.connection.run(&commands).await?;
        Ok(())
    }

    pub async fn read(
        &self,
        whose: &[Who],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Vec<Step>>, JourneyError> {
        let ranges: Vec<Cmd> = whose
            .iter()
            .map(|who| {
                let mut range = cmd("ZRANGEBYSCORE");
                range.arg(self.key(who)).arg(from_ms).arg(to_ms);
                range
            })
            .collect();
        let mut journeys = Vec::with_capacity(whose.len());
        for members in self.connection.run(&ranges).await? {
            let members = Vec::<Vec<u8>>::from_redis_value(members).map_err(RedisError::from)?;
            journeys.push(members.iter().filter_map(|bytes| Step::from_bytes(bytes)).collect());
        }
        Ok(journeys)
    }

    pub async fn erase(&self, who: &Who) -> Result<(), JourneyError> {
        let mut delete = cmd("DEL");
        delete.arg(self.key(who));
        self.connection.run(&[delete]).await?;
        Ok(())
    }

    fn key(&self, who: &Who) -> String {
        let kind = if who.anonymous { "seen" } else { "journey" };
        format!("{}:1:{kind}:{{{}/{}}}", self.prefix, who.workspace, who.visitor)
    }
}
