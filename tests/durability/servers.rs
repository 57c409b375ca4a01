//! Redis in all the ways `hot.url` can name it: over TLS with a user of its own, as a cluster, and behind
//! sentinels, whose master fails.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{Load, Shop, log_becomes};
use crate::support::{Cluster, Redis, Server, eventually, free_port};

fn run(program: &str, arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(dir).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A certificate for this machine, signed by itself, and its key.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=redis \
                     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    arguments.extend(["-out", cert.to_str().unwrap(), "-keyout", key.to_str().unwrap()]);
    run("openssl", &arguments, dir);
    (cert, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let ((cert, key), (foreign, _)) = (certificate(dir.path(), "redis"), certificate(dir.path(), "foreign"));
    let (cert, key, tls_port) = (cert.to_str().unwrap(), key.to_str().unwrap(), free_port().to_string());
    let tls = ["--tls-port", &tls_port, "--tls-cert-file", cert, "--tls-key-file", key];
    let tls = [&tls[..], &["--tls-auth-clients", "no", "--maxmemory-policy", "noeviction"]].concat();
    // Whoever does not log in can write nothing.
    let users = "--user utmost on >p@ss/word ~utmost:* +@all --user default on nopass ~* +@all -@write";
    let users: Vec<&str> = users.split(' ').collect();
    let mut redis = Redis::start(&[&tls[..], &["--appendonly", "yes"], &users].concat());
    let url = format!("rediss://utmost:p%40ss%2Fword@localhost:{tls_port}/0");
    let server = Server::start(dir.path(), &[("UTMOST_HOT__URL", &url), ("SSL_CERT_FILE", cert)]);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    redis.pause();
    load.goes_on(100).await;
    redis.resume();
    log_becomes(&server.client(), "up").await;
    load.goes_on(100).await;
    redis.kill();
    load.goes_on(100).await;
    redis.restart();
    log_becomes(&server.client(), "up").await;
    load.goes_on(100).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;

    // Nobody else is taken for Redis.
    let other = tempfile::tempdir().unwrap();
    let foreign = foreign.to_str().unwrap();
    let env = [("UTMOST_HOT__URL", &*url), ("SSL_CERT_FILE", foreign), ("UTMOST_HOT__PREFIX", "other")];
    let server = Server::start(other.path(), &env);
    log_becomes(&server.client(), "spooling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_whose_server_is_killed() {
    let mut cluster = Cluster::start(&["--appendonly", "yes"]);
    let dir = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let env = [("UTMOST_HOT__URL", &*url), ("UTMOST_HOT__PARTITIONS", "4")];
    let server = Server::start(dir.path(), &env);
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    cluster.nodes[1].kill();
    load.goes_on(100).await;
    cluster.nodes[1].restart();
    cluster.is_whole();
    log_becomes(&server.client(), "up").await;
    load.goes_on(200).await;
    // Each partition has a reader of its own, so what comes last in one says nothing of the others.
    let quiet = load.quiet().await;
    load.is_counted(&shop).await;
    drop(quiet);
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;
    for node in &cluster.nodes {
        assert_ne!(node.cli(&["DBSIZE"]).trim(), "0", "every server has its share");
    }
}

/// A master, its replica, and a sentinel that promotes it.
struct Watched {
    master: Redis,
    replica: Redis,
    sentinel: Child,
    sentinel_port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.sentinel.kill();
        let _ = self.sentinel.wait();
    }
}

impl Watched {
    fn start(options: &[&str]) -> Self {
        let options =
            [&["--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"][..], options].concat();
        let (master, replica) = (Redis::start(&options), Redis::start(&options));
        replica.cli(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
        let (dir, sentinel_port) = (tempfile::tempdir().unwrap(), free_port());
        let conf = format!(
            "port {sentinel_port}\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            dir.path().display(),
            master.port
        );
        std::fs::write(dir.path().join("sentinel.conf"), conf).unwrap();
        eventually(Duration::from_secs(20), || {
            replica.cli(&["INFO", "replication"]).contains("link_status:up")
        });
        let sentinel = Command::new("redis-server")
            .args(["sentinel.conf", "--sentinel"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let watched = Self { master, replica, sentinel, sentinel_port, dir };
        eventually(Duration::from_secs(20), || watched.ask("num-slaves") == "1");
        watched
    }

    /// What the sentinel says of the master.
    fn ask(&self, field: &str) -> String {
        let port = self.sentinel_port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port, "SENTINEL", "MASTER", "main"]).output();
        let text = String::from_utf8_lossy(&asked.expect("redis-cli runs").stdout).into_owned();
        text.lines().skip_while(|line| *line != field).nth(1).unwrap_or_default().to_owned()
    }

    fn server(&self) -> Server {
        let url = format!("redis-sentinel://127.0.0.1:{}/main", self.sentinel_port);
        Server::start(self.dir.path(), &[("UTMOST_HOT__URL", &url)])
    }

    /// Everything that the master has, the replica has too.
    fn is_replicated(&self) -> bool {
        let offset = |redis: &Redis, field: &str| {
            let text = redis.cli(&["INFO", "replication"]);
            text.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned))
        };
        offset(&self.master, "master_repl_offset:") == offset(&self.replica, "slave_repl_offset:")
    }

    fn promoted(&self) {
        eventually(Duration::from_secs(30), || self.ask("port") == self.replica.port.to_string());
    }
}

/// Redirects go on through a failover, and what the replica had is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn sentinel_promotes_a_replica_that_has_everything() {
    let mut watched = Watched::start(&[]);
    let server = watched.server();
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    let quiet = load.quiet().await;
    eventually(Duration::from_secs(20), || watched.is_replicated());
    watched.master.kill();
    drop(quiet);
    load.goes_on(100).await;
    watched.promoted();
    log_becomes(&server.client(), "up").await;
    load.goes_on(100).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;
}

/// The replica lacks what the worker has counted already: its streams go on above that, and no new entry is
/// taken for an old one. What the worker had not counted would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn sentinel_promotes_a_replica_that_is_behind() {
    let mut watched = Watched::start(&[]);
    let server = watched.server();
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    let quiet = load.quiet().await;
    eventually(Duration::from_secs(20), || watched.is_replicated());
    watched.replica.pause();
    drop(quiet);
    load.goes_on(100).await;
    let quiet = load.quiet().await;
    load.is_counted(&shop).await;
    watched.master.kill();
    watched.replica.resume();
    drop(quiet);
    load.goes_on(100).await;
    watched.promoted();
    log_becomes(&server.client(), "up").await;
    load.goes_on(100).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;
}

/// A master that may not write without its replica refuses, and the spool keeps what a promotion would lose.
#[tokio::test(flavor = "multi_thread")]
async fn sentinel_with_min_replicas_to_write() {
    let mut watched = Watched::start(&["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"]);
    let server = watched.server();
    let shop = Shop::open(&server).await;
    let load = Load::start(&shop, 8);
    load.goes_on(200).await;
    let quiet = load.quiet().await;
    eventually(Duration::from_secs(20), || watched.is_replicated());
    watched.replica.pause();
    eventually(Duration::from_secs(20), || watched.master.cli(&["SET", "a", "b"]).starts_with("NOREPLICAS"));
    drop(quiet);
    load.goes_on(100).await;
    log_becomes(&server.client(), "spooling").await;
    watched.master.kill();
    watched.replica.resume();
    load.goes_on(100).await;
    watched.promoted();
    // It comes back as the replica.
    watched.master.restart();
    log_becomes(&server.client(), "up").await;
    load.goes_on(100).await;
    let outcome = load.end().await;
    assert_eq!(outcome.unanswered(), 0);
    outcome.is_recorded(&shop, 0).await;
}
