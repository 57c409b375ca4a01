//! Logs and the registry of metrics.

use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Logs go to standard error, so that reports and tables on standard output stay clean.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.log_json {
        true => builder.json().try_init(),
        false => builder.try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
