//! The installation: files, stores, addresses, and what piles up.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use http::{HeaderMap, Method};
use redis::{FromRedisValue as _, RedisError, Value, cmd};
use serde_json::Value as Json;

use super::Findings;
use crate::cli::serve::administrator;
use crate::config::Config;
use crate::hot::{Connection, Node};
use crate::ledger::Ledger;
use crate::ledger::doctor::{self, Backlog};

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const FREE_WRONG_BYTES: u64 = 100 << 20;
const FREE_WARN_BYTES: u64 = 1 << 30;
/// So much may wait without anybody worrying.
const WAITING_WARN: i64 = 1_000;

pub(super) async fn check(
    config: &Config,
    ledger: Option<&Ledger>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    data_dir(config, findings);
    keys(config, findings);
    public_url(config, findings);
    if let Some(url) = &config.hot.url {
        redis_server(config, url, findings).await;
    }
    server(config, findings).await;
    if let Some(ledger) = ledger {
        let store = if config.ledger.url.is_some() { "PostgreSQL" } else { "SQLite" };
        findings.ok("ledger", format!("{store} answers, schema version {}", doctor::version(ledger).await?));
        backlog(&doctor::backlog(ledger).await?, config, findings);
    }
    Ok(())
}

fn data_dir(config: &Config, findings: &mut Findings) {
    let path = &config.data_dir;
    let shown = path.display();
    if !path.exists() {
        findings.warn("data_dir", format!("{shown} is not there yet"), "the first `utmost serve` makes it");
        return;
    }
    let probe = path.join(format!("doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    if let Err(error) = written {
        findings.wrong("data_dir", format!("{shown}: {error}"), "let the user that runs utmost write there");
        return;
    }
    match free_bytes(path) {
        None => findings.ok("data_dir", format!("{shown} can be written; how much is free is not known")),
        Some(free) => {
            let detail = format!("{shown} can be written, {} MB are free", free >> 20);
            match free {
                _ if free < FREE_WRONG_BYTES => {
                    findings.wrong("data_dir", detail, "make room: clicks will be lost")
                }
                _ if free < FREE_WARN_BYTES => findings.warn("data_dir", detail, "make room in time"),
                _ => findings.ok("data_dir", detail),
            }
        }
    }
    let files = |dir: std::path::PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let lanes = files(path.join("spool")).flat_map(|lane| files(lane.path()));
    let spool: u64 = lanes.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    // Its own marks take a little.
    if spool > 4096 {
        let detail = format!("{spool} bytes of clicks and webhooks wait for the hot store");
        findings.warn("spool", detail, "see that Redis answers; a running server empties it by itself");
    }
}

/// As `df` says, which every system has but the barest containers.
fn free_bytes(path: &std::path::Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib * 1024)
}

fn keys(config: &Config, findings: &mut Findings) {
    let path = config.data_dir.join("keys.toml");
    match std::fs::metadata(&path) {
        Err(_) if !config.data_dir.exists() => {}
        Err(_) => findings.warn(
            "keys",
            format!("{} is not there", path.display()),
            "the first `utmost serve` makes it; if there was one, restore it from your backup: visitors and customers are known by it",
        ),
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            findings.wrong("keys", format!("others can read {}", path.display()), format!("chmod 600 {}", path.display()));
        }
        Ok(_) => findings.ok("keys", "there, and nobody else can read them"),
    }
}

fn public_url(config: &Config, findings: &mut Findings) {
    let Some(url) = &config.server.public_url else {
        findings.warn(
            "public_url",
            "not set: short links begin with the address listened on",
            "set server.public_url to https:// and your short domain",
        );
        return;
    };
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !is_local {
        findings.warn(
            "public_url",
            format!("{url} is not https"),
            "put a proxy with TLS in front, and set server.public_url to https://",
        );
    } else {
        findings.ok("public_url", url.to_string());
    }
    if config.server.trusted_proxies.is_empty() && url.scheme() == "https" {
        findings.warn(
            "trusted_proxies",
            "none, so all clicks seem to come from the proxy: no countries, and people without a cookie look alike",
            "set server.trusted_proxies to the network of the proxy in front",
        );
    }
}

async fn redis_server(config: &Config, url: &str, findings: &mut Findings) {
    let connection = match Connection::new(url, ANSWER_WITHIN) {
        Ok(connection) => connection,
        Err(error) => return findings.wrong("redis", error.to_string(), "see that hot.url is right"),
    };
    let nodes = match connection.nodes().await {
        Ok(nodes) => nodes,
        Err(error) => {
            return findings.wrong("redis", error.to_string(), "see that hot.url is right and Redis runs");
        }
    };
    for node in &nodes {
        let name = match node {
            Node::Only => "Redis".to_owned(),
            Node::Master { host, port } => format!("{host}:{port}"),
        };
        match setting(&connection, node, "maxmemory-policy").await {
            Err(error) => {
                return findings.wrong(
                    "redis",
                    format!("{name}: {error}"),
                    "see that hot.url is right and Redis runs",
                );
            }
            Ok(None) => findings.warn(
                "redis",
                format!("{name} does not tell its settings"),
                "see for yourself that maxmemory-policy is noeviction and appendonly is on",
            ),
            Ok(Some(policy)) if policy != "noeviction" => findings.wrong(
                "redis",
                format!("{name} may throw journeys and clicks away: maxmemory-policy is {policy}"),
                "set maxmemory-policy noeviction",
            ),
            Ok(Some(_)) => findings.ok("redis", format!("{name} answers and throws nothing away")),
        }
        if let Ok(Some(appendonly)) = setting(&connection, node, "appendonly").await
            && appendonly != "yes"
        {
            findings.warn(
                "redis",
                format!("{name} forgets clicks when it ends: appendonly is {appendonly}"),
                "set appendonly yes (appendfsync everysec or always)",
            );
        }
    }
    let mut get = cmd("GET");
    get.arg(format!("{}:1:partitions", config.hot.prefix));
    let stored = connection.run([get]).await.ok().and_then(|mut answers| answers.pop());
    let stored = stored.and_then(|value| Option::<u16>::from_redis_value(value).ok().flatten());
    if let Some(stored) = stored.filter(|stored| *stored != config.hot.partitions) {
        findings.wrong(
            "partitions",
            format!("the event log has {stored}, hot.partitions says {}", config.hot.partitions),
            format!("set hot.partitions = {stored}; they are fixed at the first start"),
        );
    }
}

async fn setting(connection: &Connection, node: &Node, name: &str) -> Result<Option<String>, RedisError> {
    let mut get = cmd("CONFIG");
    get.arg("GET").arg(name);
    let answer = match connection.run_on(node, get).await {
        // Hosted ones often refuse it.
        Err(error) if error.code().is_some() => return Ok(None),
        answer => answer?,
    };
    let texts: Vec<String> = match answer {
        Value::Map(pairs) => {
            pairs.into_iter().filter_map(|(_, value)| String::from_redis_value(value).ok()).collect()
        }
        other => Vec::<String>::from_redis_value(other).unwrap_or_default().into_iter().skip(1).collect(),
    };
    Ok(texts.into_iter().next())
}

/// The running server, if there is one.
async fn server(config: &Config, findings: &mut Findings) {
    let Ok(client) = administrator(config) else {
        return findings.warn("server", "there is no administration key yet", "start `utmost serve`");
    };
    let asked = client.send(Method::GET, "/readyz", HeaderMap::new(), Vec::new());
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(answer)) => {
            let ready: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
            let (log, ledger) =
                (ready["log"].as_str().unwrap_or("?"), ready["ledger"].as_str().unwrap_or("?"));
            let detail = format!("it answers; log {log}, ledger {ledger}");
            match (answer.status.is_success(), log) {
                (true, "up") => findings.ok("server", detail),
                (true, _) => findings.warn(
                    "server",
                    detail,
                    "see that Redis answers; until then the spool keeps clicks",
                ),
                (false, _) => findings.wrong("server", detail, "its log says what is missing"),
            }
        }
        _ => findings.warn(
            "server",
            format!("nobody answers at {}", config.server.listen),
            "start `utmost serve`, if it is to run on this machine",
        ),
    }
}

fn backlog(backlog: &Backlog, config: &Config, findings: &mut Findings) {
    let Backlog { due, dead, unverified, unfed, webhooks_disabled, webhooks_waiting } = *backlog;
    if due > WAITING_WARN {
        findings.warn(
            "worker",
            format!("{due} conversions wait to be evaluated"),
            "see that a process with the role worker runs",
        );
    } else {
        findings.ok("worker", format!("{due} conversions wait to be evaluated"));
    }
    if config.hot.url.is_some() && unfed > WAITING_WARN {
        findings.warn(
            "links",
            format!("{unfed} changes of links wait for their copies in Redis"),
            "see that a process with the role api runs",
        );
    }
    if dead > 0 {
        findings.warn(
            "deliveries",
            format!("{dead} webhooks could not be read"),
            "GET /api/v1/deliveries?result=dead says why; then `utmost replay --dead`",
        );
    }
    if unverified > 0 {
        findings.warn(
            "deliveries",
            format!("{unverified} webhooks wait for a secret that verifies them"),
            "`utmost doctor --source ID` of their source says what to do",
        );
    }
    if webhooks_disabled > 0 {
        findings.warn(
            "webhooks",
            format!("{webhooks_disabled} webhooks were disabled"),
            "GET /api/v1/webhooks says why; PATCH {\"enabled\": true}, then POST .../replay",
        );
    }
    if webhooks_waiting > WAITING_WARN {
        findings.warn(
            "webhooks",
            format!("{webhooks_waiting} messages wait to be taken"),
            "see what their receivers answer: GET /api/v1/webhooks/{id}/deliveries?result=waiting",
        );
    }
}
