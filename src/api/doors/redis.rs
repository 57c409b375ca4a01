//! Copies of sources in Redis: `{prefix}:1:source:{id}` holds workspace, platform and secrets as JSON.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, cmd};

use super::Copy;
use crate::hot::Connection;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Cheap to clone.
#[derive(Clone)]
pub struct DoorCopies {
    connection: Connection,
    prefix: String,
}

impl DoorCopies {
    pub fn new(url: &str, prefix: &str) -> Result<Self, RedisError> {
        Ok(Self { connection: Connection::new(url, ANSWER_WITHIN)?, prefix: prefix.to_owned() })
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<Copy>, RedisError> {
        let mut get = cmd("GET");
        get.arg(self.key(id));
        let answer = self.connection.run([get]).await?.pop().unwrap_or(redis::Value::Nil);
        let text = Option::<Vec<u8>>::from_redis_value(answer)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Puts copies in place, or takes them away.
    pub(super) async fn put(&self, copies: &[(&str, Option<Copy>)]) -> Result<(), RedisError> {
        let commands: Vec<Cmd> = copies
            .iter()
            .map(|(id, copy)| match copy {
                None => {
                    let mut delete = cmd("DEL");
                    delete.arg(self.key(id));
                    delete
                }
                Some(copy) => {
                    let mut set = cmd("SET");
                    set.arg(self.key(id))
                        .arg(serde_json::to_string(copy).expect("texts are always valid JSON"));
                    set
                }
            })
            .collect();
        self.connection.run(commands).await?;
        Ok(())
    }

    fn key(&self, id: &str) -> String {
        format!("{}:1:source:{{{id}}}", self.prefix)
    }
}
