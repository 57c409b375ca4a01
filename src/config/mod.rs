//! The configuration: layered, then checked whole, so that every mistake shows at once.
//! Only this module reads the environment.

pub mod data_dir;
mod raw;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Serialize;
use toml::{Table, Value};
use url::Url;

use crate::hot::servers::servers;
use crate::ledger::Synchronous;
use crate::webhooks::WebhooksConfig;

pub use settings::{EventSettings, WorkspaceSettings};

/// Every mistake found, one per line.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has mistakes:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

/// The checked configuration. Keys and meanings: `config/default.toml`.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub roles: Roles,
    pub server: Server,
    pub hot: Hot,
    pub ledger: LedgerConfig,
    /// None: made at first start.
    pub admin_key: Option<String>,
    pub workspace_timezone: String,
    pub workspace_currency: String,
    pub attribution: Attribution,
    pub privacy: Privacy,
    pub dialects: Dialects,
    pub webhooks: WebhooksConfig,
    pub geoip_database: Option<PathBuf>,
    pub log_json: bool,
    pub log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub redirect: bool,
    pub api: bool,
    pub worker: bool,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// None: `http://` and the address listened on.
    pub public_url: Option<Url>,
    pub trusted_proxies: Vec<IpNet>,
    pub threads: usize,
    pub max_connections: usize,
    pub header_timeout: Duration,
    pub max_header_bytes: usize,
    pub request_timeout: Duration,
    pub write_timeout: Duration,
    pub http2_streams: u32,
    pub shutdown: Duration,
}

#[derive(Debug, Clone)]
pub struct Hot {
    /// None: embedded.
    pub url: Option<String>,
    pub prefix: String,
    pub partitions: u16,
    pub deadline: Duration,
    pub spool_max_bytes: u64,
    pub queue_max_bytes: usize,
    pub synchronous: Synchronous,
    pub link_cache_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// None: embedded.
    pub url: Option<String>,
    pub synchronous: Synchronous,
}

/// Defaults for workspaces; a workspace's own settings override them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribution {
    pub lookback_days: u32,
    pub half_life_days: f64,
    pub position_shares: [f64; 3],
    pub revenue_basis: String,
    pub include_rival_touches: bool,
    pub inherit_renewals: bool,
    pub purchase_cuts_journey: bool,
    /// Whether a person's duplicate click is a touch of its own.
    pub count_duplicate_touches: bool,
    pub duplicate_seconds: u32,
    pub journey_retention_days: u32,
    /// Decimal amounts in the workspace's currency, by event.
    pub assigned_values: BTreeMap<String, String>,
    /// What a click would have cost as an advertisement, by network: decimal amounts, as fine as need be.
    pub click_prices: BTreeMap<String, String>,
}

impl Attribution {
    /// Of one person's clicks on one link in one span of this length, one is a touch.
    pub fn duplicate_ms(&self) -> i64 {
        match self.count_duplicate_touches {
            // One click can be recorded twice, so of one moment there is one touch even so.
            true => 1,
            false => i64::from(self.duplicate_seconds) * 1000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privacy {
    pub strict: bool,
    pub raw_days: u32,
}

/// Which other shorteners' APIs are spoken.
#[derive(Debug, Clone)]
pub struct Dialects {
    pub dub: bool,
    pub yourls: bool,
    pub kutt: bool,
    pub shlink: bool,
    pub bitly: bool,
    /// Workspaces by the tenant id that callers of the Dub dialect send.
    pub dub_tenants: BTreeMap<String, String>,
}

impl Config {
    /// Reads `file` if given, else `./utmost.toml` if there is one, then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.map_or_else(|| PathBuf::from("utmost.toml"), Path::to_path_buf);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(ConfigError(vec![format!("{}: {error}", path.display())])),
        };
        let env = std::env::vars().filter(|(name, _)| name.starts_with("UTMOST_"));
        let name = path.display().to_string();
        Self::from_layers(text.as_deref().map(|text| (name.as_str(), text)), env)
    }

    /// For tests and the demo: the same from a text and given variables.
    pub fn from_layers(
        file: Option<(&str, &str)>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let layered = raw::layer(file, env);
        let mut read = Reader { table: layered.table, errors: layered.errors };
        let config = check(&mut read);
        match read.errors.is_empty() {
            true => Ok(config),
            false => Err(ConfigError(read.errors)),
        }
    }
}

fn check(read: &mut Reader) -> Config {
    let attribution = check_attribution(read);
    let roles = read.strings("roles");
    for role in &roles {
        if !["redirect", "api", "worker"].contains(&role.as_str()) {
            read.wrong("roles", &format!("{role:?} is none of redirect, api, worker"));
        }
    }
    if roles.is_empty() {
        read.wrong("roles", "name at least one of redirect, api, worker");
    }
    let has = |role: &str| roles.iter().any(|r| r == role);

    let public_url = read.parsed::<Url>("server.public_url", "a URL such as https://go.example.com");
    if let Some(url) = &public_url
        && (!matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some())
    {
        read.wrong("server.public_url", "expected http:// or https:// and a host, without a path");
    }
    let hot_url = read.text("hot.url");
    if hot_url.as_ref().is_some_and(|url| servers(url).is_none()) {
        read.wrong(
            "hot.url",
            "expected redis://host, rediss://host, redis-cluster://a,b,c, rediss-cluster://a,b,c or \
             redis-sentinel://a,b,c/master, or nothing for the embedded store",
        );
    }
    let ledger_url = read.text("ledger.url");
    if let Some(url) = &ledger_url
        && !url.starts_with("postgres://")
        && !url.starts_with("postgresql://")
    {
        read.wrong("ledger.url", "expected postgres://, or nothing for the embedded ledger");
    }
    let admin_key = read.text("auth.admin_key");
    if admin_key.as_ref().is_some_and(|key| key.len() < 16) {
        read.wrong("auth.admin_key", "expected at least 16 characters");
    }
    let workspace_timezone = read.text("workspace.timezone").unwrap_or_default();
    if TimeZone::get(&workspace_timezone).is_err() {
        read.wrong("workspace.timezone", "expected an IANA name such as Europe/Berlin");
    }
    let workspace_currency = read.text("workspace.currency").unwrap_or_default();
    if iso_currency::Currency::from_code(&workspace_currency).is_none() {
        read.wrong("workspace.currency", "expected an ISO 4217 code such as EUR");
    }
    Config {
        data_dir: PathBuf::from(read.text("data_dir").unwrap_or_else(|| "./data".into())),
        roles: Roles { redirect: has("redirect"), api: has("api"), worker: has("worker") },
        server: Server {
            listen: read
                .parsed("server.listen", "an address and a port such as 0.0.0.0:8080")
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            public_url,
            trusted_proxies: read.all_parsed("server.trusted_proxies", "networks such as 10.0.0.0/8"),
            threads: read.int("server.threads", 0, 1024) as usize,
            max_connections: read.int("server.max_connections", 1, 10_000_000) as usize,
            header_timeout: Duration::from_millis(read.int("server.header_timeout_ms", 1, 600_000)),
            max_header_bytes: read.int("server.max_header_bytes", 8192, 1 << 20) as usize,
            request_timeout: Duration::from_millis(read.int("server.request_timeout_ms", 1, 3_600_000)),
            write_timeout: Duration::from_millis(read.int("server.write_timeout_ms", 1, 3_600_000)),
            http2_streams: read.int("server.http2_streams", 1, 100_000) as u32,
            shutdown: Duration::from_secs(read.int("server.shutdown_seconds", 1, 600)),
        },
        hot: Hot {
            url: hot_url,
            prefix: read.text("hot.prefix").unwrap_or_else(|| "utmost".into()),
            partitions: read.int("hot.partitions", 1, 1024) as u16,
            deadline: Duration::from_millis(read.int("hot.deadline_ms", 1, 60_000)),
            spool_max_bytes: read.int("hot.spool_max_bytes", 1 << 16, 1 << 50),
            queue_max_bytes: read.int("hot.queue_max_bytes", 1 << 12, 1 << 40) as usize,
            synchronous: read.synchronous("hot.synchronous"),
            link_cache_bytes: read.int("hot.link_cache_bytes", 1 << 20, 1 << 40),
        },
        ledger: LedgerConfig { url: ledger_url, synchronous: read.synchronous("ledger.synchronous") },
        admin_key,
        workspace_timezone,
        workspace_currency,
        attribution,
        privacy: Privacy {
            strict: read.one_of("privacy.mode", &["standard", "strict"]) == "strict",
            raw_days: read.int("privacy.raw_days", 1, 3660) as u32,
        },
        dialects: check_dialects(read),
        webhooks: WebhooksConfig {
            allow_networks: read.all_parsed("webhooks.allow_networks", "networks such as 10.0.0.0/8"),
            timeout: Duration::from_millis(read.int("webhooks.timeout_ms", 1, 60_000)),
            parallel: read.int("webhooks.parallel", 1, 64) as usize,
            first_retry: Duration::from_millis(read.int("webhooks.first_retry_ms", 1, 3_600_000)),
            give_up: Duration::from_secs(read.int("webhooks.give_up_seconds", 1, 30 * 24 * 3600)),
        },
        geoip_database: read.text("geoip.database").map(PathBuf::from),
        log_json: read.one_of("log.format", &["text", "json"]) == "json",
        log_level: read.text("log.level").unwrap_or_else(|| "info".into()),
    }
}

fn check_attribution(read: &mut Reader) -> Attribution {
    let shares = read.numbers("attribution.position_shares");
    let position_shares = match shares.as_slice() {
        [f, m, l] if [f, m, l].iter().all(|s| (0.0..=1.0).contains(*s)) && (f + m + l - 1.0).abs() < 1e-9 => {
            [*f, *m, *l]
        }
        _ => {
            read.wrong("attribution.position_shares", "expected three shares that add up to 1");
            [0.4, 0.2, 0.4]
        }
    };
    let half_life_days = read.number("attribution.half_life_days");
    if !(half_life_days > 0.0 && half_life_days.is_finite()) {
        read.wrong("attribution.half_life_days", "expected a number above 0");
    }
    let duplicate_seconds = read.int("attribution.duplicate_seconds", 1, 900) as u32;
    if duplicate_seconds != 0 && 900 % duplicate_seconds != 0 {
        // Local days start at multiples of 15 minutes, so no span then straddles two days.
        read.wrong("attribution.duplicate_seconds", "expected a divisor of 900");
    }
    let lookback_days = read.int("attribution.lookback_days", 1, 400) as u32;
    let journey_retention_days = read.int("attribution.journey_retention_days", 1, 3660) as u32;
    if journey_retention_days < lookback_days {
        read.wrong("attribution.journey_retention_days", "must not be shorter than lookback_days");
    }

    Attribution {
        lookback_days,
        half_life_days,
        position_shares,
        revenue_basis: read
            .one_of("attribution.revenue_basis", &["total", "ex_tax", "ex_tax_shipping"])
            .to_owned(),
        include_rival_touches: read.one_of("attribution.rival_touches", &["include", "ignore"]) == "include",
        inherit_renewals: read.one_of("attribution.renewals", &["inherit", "exclude"]) == "inherit",
        purchase_cuts_journey: read.flag("attribution.purchase_cuts_journey"),
        count_duplicate_touches: read.one_of("attribution.duplicate_touches", &["ignore", "count"])
            == "count",
        duplicate_seconds,
        journey_retention_days,
        assigned_values: read
            .text_table("attribution.assigned_values", "decimal amounts as strings, such as \"5.00\""),
        click_prices: read
            .text_table("attribution.click_prices", "decimal amounts as strings, such as \"0.85\""),
    }
}

fn check_dialects(read: &mut Reader) -> Dialects {
    const KNOWN: [&str; 5] = ["dub", "yourls", "kutt", "shlink", "bitly"];
    let enabled = read.strings("dialects.enabled");
    for name in enabled.iter().filter(|name| !KNOWN.contains(&name.as_str())) {
        read.wrong("dialects.enabled", &format!("{name:?} is none of {}", KNOWN.join(", ")));
    }
    let has = |name: &str| enabled.iter().any(|given| given == name);
    Dialects {
        dub: has("dub"),
        yourls: has("yourls"),
        kutt: has("kutt"),
        shlink: has("shlink"),
        bitly: has("bitly"),
        dub_tenants: read.text_table("dialects.dub_tenants", "workspaces by tenant, as strings"),
    }
}

/// Takes values out of the layered table and gathers what is wrong with them.
struct Reader {
    table: Table,
    errors: Vec<String>,
}

impl Reader {
    fn wrong(&mut self, key: &str, problem: &str) {
        self.errors.push(format!("{key}: {problem}"));
    }

    /// Types were checked against the defaults while layering, so the value is there and of its kind.
    fn value(&self, key: &str) -> &Value {
        let mut keys = key.split('.');
        let first = keys.next().and_then(|key| self.table.get(key));
        keys.fold(first, |value, key| value.and_then(|value| value.get(key)))
            .unwrap_or_else(|| panic!("default.toml lacks {key}"))
    }

    /// None where empty.
    fn text(&self, key: &str) -> Option<String> {
        self.value(key).as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).as_bool().unwrap_or_default()
    }

    fn number(&self, key: &str) -> f64 {
        self.value(key).as_float().unwrap_or_default()
    }

    fn int(&mut self, key: &str, min: u64, max: u64) -> u64 {
        match u64::try_from(self.value(key).as_integer().unwrap_or_default()) {
            Ok(n) if (min..=max).contains(&n) => n,
            _ => {
                self.wrong(key, &format!("expected a whole number from {min} to {max}"));
                min
            }
        }
    }

    fn strings(&mut self, key: &str) -> Vec<String> {
        let items = self.value(key).as_array().cloned().unwrap_or_default();
        let strings: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if strings.len() != items.len() {
            self.wrong(key, "expected a list of strings");
        }
        strings
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        let items = self.value(key).as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|v| v.as_float().or(v.as_integer().map(|n| n as f64))).collect()
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(key, &format!("{text:?} is wrong, expected {expected}"));
        }
        parsed
    }

    fn all_parsed<T: std::str::FromStr>(&mut self, key: &str, expected: &str) -> Vec<T> {
        let texts = self.strings(key);
        let parsed: Vec<T> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        if parsed.len() != texts.len() {
            self.wrong(key, &format!("expected {expected}"));
        }
        parsed
    }

    fn one_of(&mut self, key: &str, allowed: &[&'static str]) -> &'static str {
        let text = self.text(key).unwrap_or_default();
        match allowed.iter().find(|word| **word == text) {
            Some(word) => word,
            None => {
                self.wrong(key, &format!("{text:?} is none of {}", allowed.join(", ")));
                allowed[0]
            }
        }
    }

    fn synchronous(&mut self, key: &str) -> Synchronous {
        match self.one_of(key, &["full", "normal"]) {
            "normal" => Synchronous::Normal,
            _ => Synchronous::Full,
        }
    }

    fn text_table(&mut self, key: &str, expected: &str) -> BTreeMap<String, String> {
        let table = self.value(key).as_table().cloned().unwrap_or_default();
        let texts: BTreeMap<String, String> =
            table.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        if texts.len() != table.len() {
            self.wrong(key, &format!("expected {expected}"));
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::from_layers(Some(("utmost.toml", file)), env)
    }

    #[test]
    fn defaults_stand_and_layers_override() {
        let config = load(
            "[hot]\nurl = \"redis://a\"\n[attribution]\nhalf_life_days = 3\n[attribution.assigned_values]\nsign_up = \"5.00\"\n[dialects.dub_tenants]\norg-1 = \"acme\"",
            &[("UTMOST_SERVER__LISTEN", "0.0.0.0:9"), ("UTMOST_ROLES", "api, worker")],
        )
        .unwrap();
        assert_eq!(config.server.listen.port(), 9);
        assert_eq!(config.roles, Roles { redirect: false, api: true, worker: true });
        assert_eq!(config.hot.url.as_deref(), Some("redis://a"));
        assert_eq!(config.attribution.half_life_days, 3.0);
        assert_eq!(config.attribution.assigned_values["sign_up"], "5.00");
        assert_eq!(config.attribution.lookback_days, 100);
        assert!(config.dialects.dub && config.dialects.bitly);
        assert_eq!(config.dialects.dub_tenants["org-1"], "acme");
    }

    #[test]
    fn all_mistakes_show_at_once() {
        let ConfigError(errors) = load(
            "data_dir = 5\nlisten = \"x\"\n[server]\nlisten = \"nowhere\"\n[hot]\nurl = \"http://a\"\npartitions = 0\n[workspace]\ncurrency = \"EURO\"\n[dialects]\nenabled = [\"tinyurl\"]",
            &[("UTMOST_PRIVACY__RAW_DAYS", "many")],
        )
        .unwrap_err();
        let all = errors.join("\n");
        for part in [
            "utmost.toml: data_dir is a whole number, expected a string",
            "utmost.toml: listen is unknown",
            "server.listen: \"nowhere\" is wrong",
            "hot.url: expected redis://",
            "hot.partitions: expected a whole number from 1 to 1024",
            "dialects.enabled: \"tinyurl\" is none of dub, yourls",
            "workspace.currency: expected an ISO 4217 code",
            "UTMOST_PRIVACY__RAW_DAYS: expected a whole number",
        ] {
            assert!(all.contains(part), "{part}\nnot in\n{all}");
        }
    }
}
