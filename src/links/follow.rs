//! Keeps a redirector's links current: applies changes as they come, and keeps a snapshot on disk to
//! start from when Redis is away.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::HotLink;
use super::cache::LinkCache;
use super::redis::Changes;
use crate::log::Position;

const SNAPSHOT_EVERY: Duration = Duration::from_secs(300);
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// One per redirector whose links come from Redis.
pub struct Follower {
    cache: LinkCache,
    changes: Changes,
    snapshot: PathBuf,
}

impl Follower {
    /// Fills the cache from the snapshot, if there is one. None if the links do not come from Redis.
    pub async fn start(cache: LinkCache, snapshot: PathBuf) -> Result<Option<Self>, redis::RedisError> {
        let Some(copies) = cache.copies() else { return Ok(None) };
        let (to_fill, path) = (cache.clone(), snapshot.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&to_fill, &path)).await;
        let after = match loaded.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(after) => after,
            Err(error) => {
                // It only saves asking for links again.
                tracing::warn!(%error, "the snapshot of links is not used");
                cache.clear();
                None
            }
        };
        let changes = copies.changes(after)?;
        Ok(Some(Self { cache, changes, snapshot }))
    }

    /// Runs until it is dropped; then `save`.
    pub async fn run(&mut self) {
        let mut saved = Instant::now();
        let mut is_failing = false;
        loop {
            match self.changes.apply_next(&self.cache).await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    // Links at hand serve on: better an old destination than none.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "changes of links do not come through");
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            if saved.elapsed() >= SNAPSHOT_EVERY {
                self.save().await;
                saved = Instant::now();
            }
        }
    }

    /// Writes the snapshot.
    pub async fn save(&self) {
        let (cache, path) = (self.cache.clone(), self.snapshot.clone());
        // Changes after this place are applied again to whoever starts from the snapshot.
        let after = self.changes.position();
        let saved = tokio::task::spawn_blocking(move || save(&cache, after, &path)).await;
        if let Err(error) = saved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            tracing::warn!(%error, "the snapshot of links was not written");
        }
    }
}

const VERSION: u32 = 1;

/// The first line; every other one is `["domain/slug", copy]`.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    after: Option<String>,
}

fn save(cache: &LinkCache, after: Option<Position>, path: &Path) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial)?);
    let head = Head { version: VERSION, after: after.map(|after| after.to_string()) };
    serde_json::to_writer(&mut out, &head)?;
    for (key, link) in cache.links() {
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut out, &(&*key, link.to_copy()))?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    fs::rename(partial, path)
}

/// The place after which changes have to be applied.
fn load(cache: &LinkCache, path: &Path) -> io::Result<Option<Position>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::new(file).lines();
    let head: Head = serde_json::from_str(&lines.next().transpose()?.unwrap_or_default())?;
    if head.version != VERSION {
        return Err(io::Error::other("of another version"));
    }
    for line in lines {
        let (key, copy): (String, HotLink) = serde_json::from_str(&line?)?;
        cache.put(&key, &copy);
    }
    head.after.map(|after| after.parse().map_err(io::Error::other)).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::cache::{LinkCacheMetrics, LinkSource};
    use super::super::redis::HotLinks;
    use super::*;
    use crate::domain::ids::LinkId;
    use crate::domain::utm::{ClickParam, Utm, link_destination};

    #[test]
    fn a_snapshot_reads_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let new = || {
            // Nobody is asked.
            let source = LinkSource::Redis(HotLinks::new("redis://127.0.0.1:1", "utmost").unwrap());
            LinkCache::new(source, 1 << 20, LinkCacheMetrics::default())
        };
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("links.snapshot");
        assert_eq!(load(&new(), &path).unwrap(), None);

        let copy = HotLink {
            id: LinkId::from_i64(5).unwrap(),
            workspace: "main".into(),
            destination: link_destination("https://s.test/#f", &Utm::default(), ClickParam::Default),
            forward_query: true,
            expires_at_ms: Some(3),
            expired_url: None,
            closed: false,
            revision: 9,
        };
        let cache = new();
        cache.put("go.test/a", &copy);
        cache.put("go.test/лето", &copy);
        let after = Some(Position { major: 7, minor: 1 });
        save(&cache, after, &path).unwrap();
        let read = new();
        assert_eq!(load(&read, &path).unwrap(), after);
        let mut links: Vec<_> = read.links().map(|(key, link)| (key, link.to_copy())).collect();
        links.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(links, [("go.test/a".into(), copy.clone()), ("go.test/лето".into(), copy)]);

        fs::write(&path, "{\"version\":2}").unwrap();
        assert!(load(&new(), &path).is_err());
        fs::write(&path, "junk").unwrap();
        assert!(load(&new(), &path).is_err());
    }
}
