//! The disk is full: redirects go on unrecorded and are counted as lost, webhooks are answered 503 and come
//! again, and once there is room everything is recorded as before.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::{Load, Shop, log_becomes};
use crate::support::{Redis, Server, metric};

/// Two ways to have no room: the kernel refuses every longer file, which anybody may ask of it; or a small
/// file system is really full, where this process may mount one.
enum Disk {
    Limit(tempfile::TempDir),
    Small(Mounted),
}

struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

impl Disk {
    fn limit() -> Self {
        Self::Limit(tempfile::tempdir().unwrap())
    }

    /// None where mounting is not allowed.
    fn small() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(dir.path())
            .output()
            .expect("mount is there");
        mount.status.success().then(|| Self::Small(Mounted(dir)))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Limit(dir) | Self::Small(Mounted(dir)) => dir.path(),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn fill(&self, server: &Server) {
        match self {
            Self::Limit(_) => limit_files(server, "0:unlimited"),
            Self::Small(_) => {
                let mut ballast = File::create(self.ballast()).unwrap();
                for block in [&[1; 1 << 16][..], &[1; 1 << 10]] {
                    while ballast.write_all(block).is_ok() {}
                }
            }
        }
    }

    fn free(&self, server: &Server) {
        match self {
            Self::Limit(_) => limit_files(server, "unlimited:unlimited"),
            Self::Small(_) => fs::remove_file(self.ballast()).unwrap(),
        }
    }
}

/// Files of the process may not grow beyond this.
fn limit_files(server: &Server, fsize: &str) {
    let pid = server.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={fsize}")]).status();
    assert!(set.expect("prlimit is there").success());
}

async fn full_under_load(disk: Disk, redis: Option<Redis>) {
    let url = redis.as_ref().map_or_else(String::new, Redis::url);
    // The limit holds for its words too, where they go to a file.
    let server = Server::start(disk.path(), &[("UTMOST_HOT__URL", &url), ("UTMOST_LOG__LEVEL", "off")]);
    let client = server.client();
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    if let Some(redis) = &redis {
        redis.pause();
        log_becomes(&client, "spooling").await;
        load.goes_on(100).await;
    }
    disk.fill(&server);
    // Where there was room within the log's files, it is used first.
    let is_hit = async {
        while metric(&client, "utmost_clicks_lost_total").await < 100 || load.refused() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), is_hit).await.expect("the disk is full");
    log_becomes(&client, "losing").await;
    // The visitors go on all the same.
    load.reaches(load.redirected() + 100).await;
    disk.free(&server);
    log_becomes(&client, if redis.is_some() { "spooling" } else { "up" }).await;
    load.goes_on(100).await;
    if let Some(redis) = &redis {
        redis.resume();
    }
    log_becomes(&client, "up").await;
    load.goes_on(100).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    let lost = metric(&client, "utmost_clicks_lost_total").await;
    outcome.is_recorded(&shop, lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_log_that_may_not_grow() {
    full_under_load(Disk::limit(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spool_that_may_not_grow() {
    full_under_load(Disk::limit(), Some(Redis::start(&["--maxmemory-policy", "noeviction"]))).await;
}

/// Where mounting is not allowed, the two tests above have to do, and this says so.
#[tokio::test(flavor = "multi_thread")]
async fn small_file_system() {
    let (Some(first), Some(second)) = (Disk::small(), Disk::small()) else {
        eprintln!("mounting a tmpfs is not allowed here: full disks are shown by RLIMIT_FSIZE only");
        return;
    };
    full_under_load(first, None).await;
    full_under_load(second, Some(Redis::start(&["--maxmemory-policy", "noeviction"]))).await;
}
