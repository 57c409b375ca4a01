//! What the black-box tests share: the real binary and real servers, each on a free port and in a folder
//! of its own, gone when the test ends.
#![allow(dead_code, reason = "every test binary uses another part of this")]

pub mod postgres;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use serde_json::Value;
use tempfile::TempDir;
use utmost::cli::client::{Answer, Client};

pub const ADMIN_KEY: &str = "um_test_admin_key_0123456789";

/// A running `utmost serve`.
pub struct Server {
    child: Child,
    pub base: String,
    dir: PathBuf,
    env: Vec<(String, String)>,
}

impl Server {
    /// Starts the real binary in `dir` on a free port; `env` holds keys such as `UTMOST_HOT__URL`.
    pub fn start(dir: &Path, env: &[(&str, &str)]) -> Self {
        let env: Vec<(String, String)> =
            env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (child, base) = spawn(dir, &env, "127.0.0.1:0");
        Self { child, base, dir: dir.to_path_buf(), env }
    }

    pub fn client(&self) -> Client {
        Client::new(self.base.clone(), ADMIN_KEY.to_owned())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and waits; says whether it ended well.
    pub fn terminate(&mut self) -> bool {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends").success()
    }

    /// Starts it again where it was: same folder, same address, same settings.
    pub fn restart(&mut self) {
        let listen = self.base.trim_start_matches("http://").to_owned();
        let (child, base) = spawn(&self.dir, &self.env, &listen);
        (self.child, self.base) = (child, base);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, env: &[(String, String)], listen: &str) -> (Child, String) {
    // A write beyond a limit on file sizes then fails instead of killing: tests set one to fill the disk.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve", env!("CARGO_BIN_EXE_utmost")])
        .current_dir(dir)
        .env("UTMOST_SERVER__LISTEN", listen)
        .env("UTMOST_AUTH__ADMIN_KEY", ADMIN_KEY)
        .env("UTMOST_DATA_DIR", dir.join("data"))
        .env("UTMOST_LOG__LEVEL", std::env::var("TEST_LOG").unwrap_or_else(|_| "error".into()))
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let line = lines.next().expect("it says where it listens").expect("as text");
    let base = line.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
    // Keeps the pipe open and empty.
    std::thread::spawn(move || lines.for_each(drop));
    (child, base)
}

/// A running redis-server with its data in a folder of its own.
pub struct Redis {
    child: Child,
    pub port: u16,
    options: Vec<String>,
    dir: TempDir,
}

impl Redis {
    pub fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let port = free_port();
        let child = spawn_redis(port, dir.path(), &options);
        await_redis(port);
        Self { child, port, options, dir }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn pause(&self) {
        signal(self.child.id(), "STOP");
    }

    pub fn resume(&self) {
        signal(self.child.id(), "CONT");
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    pub fn restart(&mut self) {
        self.restart_loading(&[]);
        await_redis(self.port);
    }

    /// Ends it after it has saved a snapshot.
    pub fn save_and_end(&mut self) {
        self.cli(&["SHUTDOWN", "SAVE"]);
        self.child.wait().expect("it ends");
    }

    /// Starts it again with more options and does not wait until it has loaded its data.
    pub fn restart_loading(&mut self, more: &[&str]) {
        let options: Vec<String> =
            self.options.iter().cloned().chain(more.iter().map(|option| (*option).to_owned())).collect();
        self.child = spawn_redis(self.port, self.dir.path(), &options);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster of three servers, each with a third of the slots.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start(options: &[&str]) -> Self {
        let clustered = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let options = [&clustered[..], options].concat();
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::start(&options)).collect();
        let cluster = Self { nodes };
        let mut create = vec!["--cluster".to_owned(), "create".to_owned()];
        create.extend(cluster.addresses());
        create.push("--cluster-yes".to_owned());
        let made = Command::new("redis-cli").args(create).output().expect("redis-cli runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        cluster.is_whole();
        cluster
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect()
    }

    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.addresses().join(","))
    }

    /// Waits until every server says that all slots are served.
    pub fn is_whole(&self) {
        let is_ok = |node: &Redis| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        eventually(Duration::from_secs(20), || self.nodes.iter().all(is_ok));
    }

    /// The keys of each server that match a pattern.
    pub fn keys(&self, pattern: &str) -> Vec<Vec<String>> {
        let of = |node: &Redis| node.cli(&["KEYS", pattern]).lines().map(str::to_owned).collect::<Vec<_>>();
        self.nodes.iter().map(|node| of(node).into_iter().filter(|key| !key.is_empty()).collect()).collect()
    }
}

fn spawn_redis(port: u16, dir: &Path, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
        .arg("--dir")
        .arg(dir)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (scripts/test installs it)")
}

fn await_redis(port: u16) {
    eventually(Duration::from_secs(20), || {
        let pong = Command::new("redis-cli").args(["-p", &port.to_string(), "ping"]).output();
        pong.is_ok_and(|output| output.stdout.starts_with(b"PONG"))
    });
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "kill -{name} {pid}");
}

/// Waits for something that must come true; how long it may take is a bound, not an expectation.
pub fn eventually(within: Duration, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !is_true() {
        assert!(Instant::now() < end, "it did not come true within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same for what has to be asked over HTTP: polls until `check` is content, and returns that answer.
pub async fn settled(client: &Client, path: &str, check: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = client.api(Method::GET, path, None).await.expect(path);
        if check(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{path} did not settle: {answer:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub const BROWSER: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";

/// A number on `/metrics`, summed over its labels; 0 if it is not there.
pub async fn metric(client: &Client, name: &str) -> u64 {
    let answer = client.send(Method::GET, "/metrics", HeaderMap::new(), Vec::new()).await.expect("/metrics");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let is_of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let value = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number");
    text.lines().filter(is_of_it).map(value).sum::<f64>() as u64
}

/// A browser's click: the answer of the redirect.
pub async fn click(client: &Client, short_url: &str, cookie: Option<&str>) -> anyhow::Result<Answer> {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", BROWSER.parse()?);
    headers.insert("referer", "https://l.instagram.com/".parse()?);
    if let Some(cookie) = cookie {
        headers.insert("cookie", cookie.parse()?);
    }
    client.send(Method::GET, short_url, headers, Vec::new()).await
}

/// The click token in a redirect's Location.
pub fn token(answer: &Answer) -> String {
    let location = answer.headers["location"].to_str().expect("a URL");
    let url = url::Url::parse(location).expect("a URL");
    let pair = url.query_pairs().find(|(name, _)| name == "um_click");
    pair.expect("a token").1.into_owned()
}
