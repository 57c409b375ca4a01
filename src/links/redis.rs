//! Hot copies of links in Redis: what redirectors read, and how they hear of changes.
//!
//! `{prefix}:1:link:{domain/slug}` holds a copy as JSON, `{prefix}:1:link-changes` is a stream of the keys
//! that changed, `{prefix}:1:domains` the set of short domains.

use std::collections::HashMap;
use std::time::Duration;

use redis::streams::StreamReadReply;
use redis::{Cmd, FromRedisValue, RedisError, Script, Value, cmd};

use super::HotLink;
use super::cache::{LinkCache, Located, SourceError};
use crate::hot::Connection;
use crate::log::Position;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Well below the answer's bound.
const BLOCK_MS: u64 = 500;
/// Changes that the stream keeps; who missed more starts afresh.
const CHANGES_KEPT: usize = 100_000;
const CHANGES_READ: usize = 1_000;

/// Replaces a copy unless there is a newer one.
const PUT: &str = "local old = redis.call('GET', KEYS[1]) \
     if old then \
       local ok, copy = pcall(cjson.decode, old) \
       if ok and tonumber(copy.revision) > tonumber(ARGV[1]) then return 0 end \
     end \
     redis.call('SET', KEYS[1], ARGV[2]) \
     return 1";

/// Cheap to clone.
#[derive(Clone)]
pub struct HotLinks {
    url: String,
    connection: Connection,
    prefix: String,
}

impl HotLinks {
    pub fn new(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let connection = Connection::new(url, ANSWER_WITHIN)?;
        Ok(Self { url: url.to_owned(), connection, prefix: prefix.to_owned() })
    }

    /// What there is of `domain/slug`.
    pub async fn locate(&self, key: &str) -> Result<Located, SourceError> {
        let mut get = cmd("GET");
        get.arg(self.link_key(key));
        let answer = self.one(get).await?;
        if let Some(text) = Option::<Vec<u8>>::from_redis_value(answer).map_err(RedisError::from)? {
            return Ok(Located::Link(serde_json::from_slice(&text)?));
        }
        let mut is_member = cmd("SISMEMBER");
        is_member.arg(self.domains_key()).arg(key.split('/').next().unwrap_or_default());
        let is_own = bool::from_redis_value(self.one(is_member).await?).map_err(RedisError::from)?;
        Ok(if is_own { Located::NoLink } else { Located::UnknownDomain })
    }

    /// Puts copies in place, or takes them away, and tells redirectors. A copy never replaces a newer one.
    pub async fn put(&self, copies: &[(String, Option<HotLink>)]) -> Result<(), RedisError> {
        let script = Script::new(PUT);
        let mut writes = Vec::with_capacity(copies.len());
        for (key, copy) in copies {
            writes.push(match copy {
                None => {
                    let mut delete = cmd("DEL");
                    delete.arg(self.link_key(key));
                    delete
                }
                Some(copy) => {
                    let text = serde_json::to_string(copy).expect("texts and numbers are JSON");
                    let mut put = cmd("EVALSHA");
                    put.arg(script.get_hash()).arg(1).arg(self.link_key(key)).arg(copy.revision).arg(text);
                    put
                }
            });
        }
        match self.connection.run(writes.iter().cloned()).await {
            // Nobody has taught this server the script yet.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let mut load = cmd("SCRIPT");
                load.arg("LOAD").arg(PUT);
                self.one(load).await?;
                self.connection.run(writes).await?;
            }
            answers => {
                answers?;
            }
        }
        // Only now, so that who hears of a change reads what it changed to.
        let changes: Vec<Cmd> = copies
            .iter()
            .map(|(key, _)| {
                let mut change = cmd("XADD");
                change.arg(self.changes_key()).arg("MAXLEN").arg("~").arg(CHANGES_KEPT);
                change.arg("*").arg("link").arg(key);
                change
            })
            .collect();
        self.connection.run(changes).await?;
        Ok(())
    }

    /// Adds short domains; their links are found from then on.
    pub async fn add_domains(&self, domains: &[String]) -> Result<(), RedisError> {
        if domains.is_empty() {
            return Ok(());
        }
        let mut add = cmd("SADD");
        add.arg(self.domains_key()).arg(domains);
        self.one(add).await?;
        Ok(())
    }

    pub async fn remove_domain(&self, domain: &str) -> Result<(), RedisError> {
        let mut remove = cmd("SREM");
        remove.arg(self.domains_key()).arg(domain);
        self.one(remove).await?;
        Ok(())
    }

    /// Begins to follow the changes after a position; None: after what there is when Redis is reached.
    pub fn changes(&self, after: Option<Position>) -> Result<Changes, RedisError> {
        // A connection of its own, since it blocks.
        Ok(Changes { copies: Self::new(&self.url, &self.prefix)?, after })
    }

    async fn one(&self, command: Cmd) -> Result<Value, RedisError> {
        Ok(self.connection.run([command]).await?.pop().unwrap_or(Value::Nil))
    }

    fn link_key(&self, key: &str) -> String {
        format!("{}:1:link:{{{key}}}", self.prefix)
    }

    fn changes_key(&self) -> String {
        format!("{}:1:link-changes", self.prefix)
    }

    fn domains_key(&self) -> String {
        format!("{}:1:domains", self.prefix)
    }
}

/// Follows the changes of links.
pub struct Changes {
    copies: HotLinks,
    after: Option<Position>,
}

impl Changes {
    /// Waits a moment for changes and applies them to a cache. After an error the place is kept, so the
    /// next call goes on there.
    pub async fn apply_next(&mut self, cache: &LinkCache) -> Result<(), RedisError> {
        let Some(after) = self.after else {
            let (_, last) = self.bounds().await?;
            // What came into the cache before may have changed unnoticed.
            cache.clear();
            self.after = Some(last);
            return Ok(());
        };
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(CHANGES_READ).arg("BLOCK").arg(BLOCK_MS);
        read.arg("STREAMS").arg(self.copies.changes_key()).arg(after.to_string());
        let reply = self.copies.one(read).await?;
        let reply = Option::<StreamReadReply>::from_redis_value(reply).map_err(RedisError::from)?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        let changes: Vec<(Option<Position>, Option<String>)> =
            entries.map(|entry| (entry.id.parse().ok(), entry.get("link"))).collect();

        // Looked at after reading, so that nothing is trimmed unnoticed in between. As long as the stream
        // reaches back to our place, nothing after it is gone.
        let (first, last) = self.bounds().await?;
        if last < after || (last > after && first.is_none_or(|first| first > after)) {
            tracing::warn!(%after, %last, "changes of links may have been missed: the cache starts afresh");
            cache.clear();
            self.after = Some(last);
            return Ok(());
        }
        for (id, link) in changes {
            if let Some(link) = link {
                cache.invalidate(&link);
            }
            self.after = id.or(self.after);
        }
        Ok(())
    }

    /// The place up to which changes are applied.
    pub fn position(&self) -> Option<Position> {
        self.after
    }

    /// The oldest entry of the stream, and the newest id that it ever gave.
    async fn bounds(&self) -> Result<(Option<Position>, Position), RedisError> {
        let mut info = cmd("XINFO");
        info.arg("STREAM").arg(self.copies.changes_key());
        let info = match self.copies.one(info).await {
            Err(error) if error.to_string().contains("no such key") => return Ok((None, Position::START)),
            info => HashMap::<String, Value>::from_redis_value(info?).map_err(RedisError::from)?,
        };
        let position = |id: &Value| String::from_redis_value_ref(id).ok()?.parse().ok();
        let first = match info.get("first-entry") {
            Some(Value::Array(entry)) => entry.first().and_then(position),
            _ => None,
        };
        Ok((first, info.get("last-generated-id").and_then(position).unwrap_or(Position::START)))
    }
}
