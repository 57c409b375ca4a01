//! `utmost serve` and `utmost health`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, ensure};
use http::{HeaderMap, Method};

use super::client::Client;
use crate::app::App;
use crate::config::Config;

/// Serves until a signal, then stops gracefully.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut app = App::start(config).await?;
    println!("utmost listens on http://{}", app.address);
    if app.admin_key_is_new {
        println!("administration key (shown once, kept in data_dir/admin.key): {}", app.admin_key);
    }
    app.until_signalled().await?;
    app.stop().await;
    Ok(())
}

/// Asks the utmost of this configuration for `/readyz`.
pub async fn health(config: &Config) -> anyhow::Result<()> {
    let client = Client::new(base(config), String::new());
    let answer = client.send(Method::GET, "/readyz", HeaderMap::new(), Vec::new()).await?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// A client of the utmost that runs by this configuration, with its administration key.
pub fn administrator(config: &Config) -> anyhow::Result<Client> {
    let file = config.data_dir.join("admin.key");
    let key = match &config.admin_key {
        Some(key) => key.clone(),
        None => std::fs::read_to_string(&file).with_context(|| {
            format!("{}: is auth.admin_key or data_dir that of the server?", file.display())
        })?,
    };
    Ok(Client::new(base(config), key.trim().to_owned()))
}

/// Where the server of this configuration is reached from this machine.
fn base(config: &Config) -> String {
    let mut address = config.server.listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}
