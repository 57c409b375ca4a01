//! A headless Chromium, driven over the WebDriver protocol (https://www.w3.org/TR/webdriver2/).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use utmost::cli::client::Client;

/// The key under which the protocol names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    client: Client,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (scripts/test installs it)");
        let client = Client::new(format!("http://127.0.0.1:{port}"), String::new());
        let profile = tempfile::tempdir().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while client.api(Method::GET, "/status", None).await.is_err() {
            assert!(Instant::now() < end, "chromedriver does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let answer = client.api(Method::POST, "/session", Some(wanted)).await.expect("Chromium starts");
        let session = answer["value"]["sessionId"].as_str().unwrap().to_owned();
        Self { driver, client, session, _profile: profile }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        self.client.api(method, &path, body).await.expect(&path)["value"].take()
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "url", Some(json!({ "url": url }))).await;
    }

    pub async fn url(&self) -> String {
        self.call(Method::GET, "url", None).await.as_str().unwrap().to_owned()
    }

    /// The value of a JavaScript expression.
    pub async fn eval(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return {expression};"), "args": [] });
        self.call(Method::POST, "execute/sync", Some(script)).await
    }

    pub async fn text(&self, selector: &str) -> String {
        let found = self.eval(&format!("document.querySelector({})?.innerText", json!(selector))).await;
        found.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    async fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.call(Method::POST, "element", Some(wanted)).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks what leads to another page, and waits until that page is there.
    pub async fn click(&self, selector: &str) {
        self.eval("window.isBefore = true").await;
        let element = self.element(selector).await;
        self.call(Method::POST, &format!("element/{element}/click"), Some(json!({}))).await;
        let end = Instant::now() + Duration::from_secs(30);
        while self.eval("window.isBefore || document.readyState !== 'complete'").await == true {
            assert!(Instant::now() < end, "{selector} leads nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.call(Method::POST, &format!("element/{element}/value"), Some(json!({ "text": text }))).await;
    }

    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params":
            { "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false } });
        self.call(Method::POST, "goog/cdp/execute", Some(size)).await;
    }

    pub async fn dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "cmd": "Emulation.setEmulatedMedia", "params":
            { "features": [{ "name": "prefers-color-scheme", "value": scheme }] } });
        self.call(Method::POST, "goog/cdp/execute", Some(media)).await;
    }

    /// The whole page as PNG, for people to look at.
    pub async fn screenshot(&self, name: &str) {
        let wanted = json!({ "cmd": "Page.captureScreenshot", "params": { "captureBeyondViewport": true } });
        let shot = self.call(Method::POST, "goog/cdp/execute", Some(wanted)).await;
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), png).unwrap();
    }

    /// What the browser complained of since the last call: refused scripts, missing files, errors.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.call(Method::POST, "se/log", Some(json!({ "type": "browser" }))).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its driver once the driver is told to stop in good order.
        let _ = Command::new("kill").arg(self.driver.id().to_string()).status();
        let _ = self.driver.wait();
    }
}
