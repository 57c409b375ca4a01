//! Headless Chromium by the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>): a new profile each.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use utmost::cli::client::Client;

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

pub struct Browser {
    driver: Child,
    base: String,
    client: Client,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is installed (scripts/test installs it)");
        let lines = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("successfully on port ").map(|(_, port)| port.to_owned()))
            .expect("chromedriver says its port");
        let base = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));

        let profile = tempfile::tempdir().expect("a folder");
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({"args": flags, "binary": "/usr/bin/chromium"});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let client = Client::new(base.clone(), String::new());
        let made = client.api(Method::POST, "/session", Some(wanted)).await.expect("Chromium starts");
        let session = format!("/session/{}", made["value"]["sessionId"].as_str().expect("an id"));
        Self { driver, base, client, session, _profile: profile }
    }

    /// Opens a page and waits until it has loaded.
    pub async fn open(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    /// What a piece of script in the page returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until a piece of script in the page returns true.
    pub async fn until(&self, script: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.run(script).await != true {
            assert!(Instant::now() < end, "it did not come true: {script}");
        }
    }

    /// Clicks on what a selector finds, as a person would.
    pub async fn click(&self, selector: &str) {
        let found = self.post("element", json!({"using": "css selector", "value": selector})).await;
        let element = found.as_object().and_then(|found| found.values().next()).expect("an element");
        self.post(&format!("element/{}/click", element.as_str().expect("an id")), json!({})).await;
    }

    /// A cookie of the page with its attributes; null if there is none.
    pub async fn cookie(&self, name: &str) -> Value {
        let path = format!("{}/cookie", self.session);
        let cookies = self.client.api(Method::GET, &path, None).await.expect("the cookies");
        let mut cookies = cookies["value"].as_array().expect("a list").iter();
        cookies.find(|cookie| cookie["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// What stands in the console since it was last looked at: errors of scripts, refusals by policy.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().expect("a list").iter();
        entries.filter_map(|entry| entry["message"].as_str()).map(str::to_owned).collect()
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let path = format!("{}/{command}", self.session);
        let mut answer = self.client.api(Method::POST, &path, Some(body)).await.expect(command);
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium outlives a killed driver, so the session is ended first; a test may be panicking here.
        let (client, session) = (Client::new(self.base.clone(), String::new()), self.session.clone());
        let end = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(client.api(Method::DELETE, &session, None)).is_ok())
        };
        let _ = std::thread::spawn(end).join();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
